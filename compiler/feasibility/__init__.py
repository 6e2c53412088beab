"""Before compiling: what a chip refuses of a model and why, how close each layer is to each limit, what would help."""

from __future__ import annotations

from compiler.feasibility.examine import examine
from compiler.feasibility.remedies import Remedy, accepted_changes, remedies
from compiler.feasibility.verdict import Feasibility, LayerUse, Refusal

__all__ = ["Feasibility", "LayerUse", "Refusal", "Remedy", "accepted_changes", "examine", "remedies"]
