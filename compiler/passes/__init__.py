"""Rewritings of graphs, from a trained model to integers that a chip can hold; ``PASSES`` lists them in order."""

from __future__ import annotations

from compiler.passes.check_ops import CheckOps
from compiler.passes.fit_registers import FitRegisters
from compiler.passes.fold_batch_norm import FoldBatchNorm
from compiler.passes.fold_scales import FoldScales
from compiler.passes.fuse_attention import FuseAttention
from compiler.passes.lower_pooling import LowerPooling
from compiler.passes.lower_readout import LowerReadout
from compiler.passes.lower_residuals import LowerResiduals
from compiler.passes.merge_linear import MergeLinear
from compiler.passes.quantise import Quantise
from compiler.passes.target import Pass, Target

PASSES: tuple[Pass, ...] = (
    CheckOps(),
    FoldBatchNorm(),
    FuseAttention(),
    FoldScales(),
    LowerResiduals(),
    MergeLinear(),
    LowerPooling(),
    LowerReadout(),
    Quantise(),
    FitRegisters(),
)

__all__ = ["PASSES", "Pass", "Target"]
