"""The ops of the Graph level; ``OPS`` lists them all."""

from __future__ import annotations

from compiler.ir.ops.attention import Attention, MatMul
from compiler.ir.ops.base import Floats, Op, Weights
from compiler.ir.ops.conv import Conv2d
from compiler.ir.ops.elementwise import Add, Scale
from compiler.ir.ops.input import Input
from compiler.ir.ops.linear import Linear
from compiler.ir.ops.mask import AndNot, Mul
from compiler.ir.ops.neuron import Neuron
from compiler.ir.ops.norm import BatchNorm
from compiler.ir.ops.pool import AvgPool, MaxPool, SumPool
from compiler.ir.ops.quantised import QuantiseInput, Requantise
from compiler.ir.ops.readout import Readout
from compiler.ir.ops.reduce import Mean, Sum, TimeMean
from compiler.ir.ops.shape import Reshape, Transpose

OPS: tuple[type[Op], ...] = (
    Input,
    Conv2d,
    Linear,
    BatchNorm,
    Neuron,
    MaxPool,
    AvgPool,
    SumPool,
    Add,
    Mul,
    AndNot,
    MatMul,
    Scale,
    Reshape,
    Transpose,
    Sum,
    Mean,
    TimeMean,
    Attention,
    QuantiseInput,
    Requantise,
    Readout,
)

__all__ = [
    "OPS",
    "Add",
    "AndNot",
    "Attention",
    "AvgPool",
    "BatchNorm",
    "Conv2d",
    "Floats",
    "Input",
    "Linear",
    "MatMul",
    "MaxPool",
    "Mean",
    "Mul",
    "Neuron",
    "Op",
    "QuantiseInput",
    "Readout",
    "Requantise",
    "Reshape",
    "Scale",
    "Sum",
    "SumPool",
    "TimeMean",
    "Transpose",
    "Weights",
]
