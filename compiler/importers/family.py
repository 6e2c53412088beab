"""What a model family is to the importer: a name, options, a signature and a way to build the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from compiler.importers.options import Option, Options
from compiler.ir.graph import Graph

Tensors = Mapping[str, NDArray[Any]]


class Family(Protocol):
    """One architecture in one file layout."""

    @property
    def name(self) -> str:
        """What ``--arch`` calls it, e.g. ``spikformer-cifar``; ``spikformer`` means all that start so."""
        ...

    @property
    def options(self) -> tuple[Option, ...]:
        """What the tensors cannot tell."""
        ...

    def matches(self, tensors: Tensors) -> bool:
        """Whether the key names and shapes are this family's."""
        ...

    def build(self, tensors: Tensors, options: Options) -> Graph:
        """The float graph; raises CheckpointError listing missing, unexpected and misshapen tensors."""
        ...
