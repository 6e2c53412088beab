"""Every error that neurochip raises on purpose.

An error names the place, what was expected, what was found and what to try. The command line prints it as it is and
leaves with ``exit_code``; a traceback always means a bug of ours.
"""

from __future__ import annotations


class NeurochipError(Exception):
    """Base of all errors a user can cause; ``exit_code`` is what the command line leaves with."""

    exit_code = 1


class CheckpointError(NeurochipError):
    """A model file that cannot be read safely or does not hold the expected tensors."""


class GraphError(NeurochipError):
    """A graph that is malformed: bad shapes, unknown names, cycles, or text that does not parse."""


class UnsupportedError(NeurochipError):
    """A model construct that the chosen chip or lowering cannot express; says the layer and the remedy."""


class ChipError(NeurochipError):
    """A chip description with a missing, misspelt or impossible entry; says file:line."""


class CapacityError(NeurochipError):
    """A model that does not fit the chip; says which limit, by how much, which layer, what would fit."""


class ProgramError(NeurochipError):
    """A program file that is corrupt, truncated, of another version, or fails the mapping checker."""


class InputError(NeurochipError):
    """Input data or labels with a wrong shape, dtype, range or layout."""


class SimulationError(NeurochipError):
    """A run that broke a guarantee of the simulator, such as a spike differing from the integer reference."""


class MissingExtraError(NeurochipError):
    """An optional dependency is not installed; names the extra that brings it."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the '{extra}' extra; install it with: pip install 'neurochip[{extra}]'")
