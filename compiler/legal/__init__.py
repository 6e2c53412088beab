"""Rewritings of networks into what a chip's cores can hold; ``LEGAL`` lists them in order. Capabilities come from
the chip file: a pass that its chip does not need returns the network it was given.
"""

from __future__ import annotations

from compiler.legal.attention import AttentionMethods
from compiler.legal.no_leak import NoLeak
from compiler.legal.target import Choices, Legalisation

LEGAL: tuple[Legalisation, ...] = (AttentionMethods(), NoLeak())

__all__ = ["LEGAL", "Choices", "Legalisation"]
