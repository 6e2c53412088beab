"""Rewritings of networks into what a chip's cores can hold; ``LEGAL`` lists them in order. Capabilities come from
the chip file: a pass that its chip does not need returns the network it was given.
"""

from __future__ import annotations

from compiler.legal.attention import AttentionMethods
from compiler.legal.core_modes import CoreModes
from compiler.legal.fit_weights import FitWeights
from compiler.legal.host_ends import HostEnds
from compiler.legal.number_base import NumberBase
from compiler.legal.place_biases import PlaceBiases
from compiler.legal.separate_axons import SeparateAxons
from compiler.legal.signed_rows import SignedRows
from compiler.legal.split_fan_in import SplitFanIn
from compiler.legal.splitters import Splitters
from compiler.legal.streams import Streams
from compiler.legal.strobes import Strobes
from compiler.legal.target import Choices, Legalisation

LEGAL: tuple[Legalisation, ...] = (
    AttentionMethods(),
    Streams(),
    HostEnds(),
    SeparateAxons(),
    PlaceBiases(),
    FitWeights(),
    SplitFanIn(),
    CoreModes(),
    SignedRows(),
    Strobes(),
    NumberBase(),
    Splitters(),
)

__all__ = ["LEGAL", "Choices", "Legalisation"]
