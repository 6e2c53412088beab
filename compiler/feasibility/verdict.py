"""The answer of a feasibility check, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One thing that a chip cannot take: the stage that found it, and the error's text (where, what, what to try)."""

    stage: str
    message: str

    def to_dict(self) -> dict[str, str]:
        """Plain values."""
        return {"stage": self.stage, "message": self.message}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerUse:
    """What one population asks of a core.

    Attributes:
        layer: Graph node; population: its name in the network. tiles: pieces it is cut into.
        tightest: the resource of which a single neuron needs the largest share; ``need`` of ``limit``.
        need, limit: what one neuron takes, and what a core has. Above the limit the layer is refused.
        fan_out: axons that the most read neuron feeds; copies: how often a core must hold each neuron for that.
        current_bits: signed width of the largest possible current of a step; membrane limits are the chip's.
        mode: of its cores, ``spiking`` or ``graded``, where the chip's cores have a mode.
    """

    layer: str
    population: str
    neurons: int
    tiles: int
    tightest: str
    need: int
    limit: int
    copies: int
    current_bits: int
    mode: str | None = None

    @property
    def share(self) -> float:
        """``need / limit`` of the tightest resource."""
        return self.need / self.limit

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name) for name in (*self.__dataclass_fields__, "share")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Feasibility:
    """Whether a model can be compiled for a chip, without placing it.

    Attributes:
        encoder: who convolves analog input, ``host`` or ``core``; ``none`` = the input is spikes.
        weight_bits, attention, timesteps: what was checked. exact: whether the network computes what the quantised
            model computes, as far as the compiler proves it (every refusal makes it False).
        refusals: everything found, in the order of the stages; empty = it compiles.
        layers: use of a core by each population, tightest first; empty if a stage before tiling refused.
        cores, chips: needed; available: cores of the largest system. neurons: of the network, relays included.
        interval: ticks a step takes; ticks: ticks an input takes. longest_delay: of the network's edges.
        repeaters: populations that take over the destinations of neurons that many cores read, or split them.
        fixes: changes that were tried and are accepted, nearest first.
    """

    model: str
    chip: str
    weight_bits: int
    attention: str
    timesteps: int
    refusals: tuple[Refusal, ...]
    layers: tuple[LayerUse, ...] = ()
    cores: int | None = None
    chips: int | None = None
    available: int = 0
    neurons: int | None = None
    interval: int | None = None
    ticks: int | None = None
    longest_delay: int | None = None
    repeaters: int = 0
    fixes: tuple[str, ...] = ()
    encoder: str = "host"

    @property
    def fits(self) -> bool:
        """Whether nothing was refused."""
        return not self.refusals

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            **plain,
            "fits": self.fits,
            "refusals": [refusal.to_dict() for refusal in self.refusals],
            "layers": [layer.to_dict() for layer in self.layers],
            "fixes": list(self.fixes),
        }
