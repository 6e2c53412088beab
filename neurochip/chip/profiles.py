"""Cost profiles of a chip description: one published set of energies and times each, never mixed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from neurochip.chip.costs import EVENTS, Barrier, Costs, Event, Noc
from neurochip.chip.quantity import Count, Energy, Figure, Measure, Power, Section, Time


class EventCost(Section):
    """Energy and time of one event; an event the chip does not have is left out of the table.

    Without ``latency`` it is a multiply-accumulate on the chip's ``mac_array`` and lasts as its lanes and clock say.
    """

    energy: Energy
    latency: Time | None = None


class StaticPower(Section):
    """Power that flows whether or not anything happens: chips * per_chip + used cores * per_core."""

    per_chip: Power
    per_core: Power


class RouterBarrier(Section):
    """Barrier time when this many routers of one chip have work."""

    routers: Annotated[int, Field(ge=1, strict=True)]
    time: Time


class ChipBarrier(Section):
    """Barrier time over this many chips."""

    chips: Annotated[int, Field(ge=1, strict=True)]
    time: Time


class BarrierTable(Section):
    """Barrier times by routers in use on one chip, and by chips; see ``costs.Barrier``."""

    interpolation: Literal["linear", "step"]
    by_routers: Annotated[tuple[RouterBarrier, ...], Field(min_length=1)]
    by_chips: tuple[ChipBarrier, ...] = ()

    def plain(self) -> Barrier:
        """The tables in ns."""
        return Barrier(
            interpolation=self.interpolation,
            by_routers=tuple((row.routers, row.time.base or 0.0) for row in self.by_routers),
            by_chips=tuple((row.chips, row.time.base or 0.0) for row in self.by_chips),
        )


class NocTiming(Section):
    """Time a link is busy with one packet, on the chip and between chips, and the depth of router buffers."""

    link_service: Time
    chip_link_service: Time
    buffer: Count[Literal["packets"]]


class Profile(Section):
    """One set of costs. Every figure that is not assumed comes from the profile's own ``sources``."""

    note: Annotated[str, Field(min_length=1)]
    sources: Annotated[tuple[str, ...], Field(min_length=1)]
    costs: dict[Event, EventCost]
    static_power: StaticPower
    barrier: BarrierTable | None = None
    noc: NocTiming

    def plain(self, name: str, assumed: tuple[str, ...], mac_ns: float | None = None) -> Costs:
        """The profile as plain numbers; ``assumed`` lists assumptions made elsewhere in the description.

        ``mac_ns``: time of events on the matrix unit.
        """
        energy: dict[str, float | None] = dict.fromkeys(EVENTS)
        latency: dict[str, float | None] = dict.fromkeys(EVENTS)
        for event, cost in self.costs.items():
            energy[event], latency[event] = cost.energy.base, mac_ns if cost.latency is None else cost.latency.base
        listed = tuple(figures(self))
        return Costs(
            profile=name,
            energy_pj=energy,
            latency_ns=latency,
            static_mw_per_chip=self.static_power.per_chip.base,
            static_mw_per_core=self.static_power.per_core.base,
            barrier=None if self.barrier is None else self.barrier.plain(),
            noc=Noc(
                hop_x_ns=latency["hop_x"] or 0.0,
                hop_y_ns=latency["hop_y"] or 0.0,
                link_service_ns=self.noc.link_service.base or 0.0,
                buffer_packets=self.noc.buffer.value,
                chip_link_latency_ns=latency["chip_crossing"] or 0.0,
                chip_link_service_ns=self.noc.chip_link_service.base or 0.0,
            ),
            assumed=(*assumed, *assumptions(listed)),
            not_published=tuple(
                ".".join(path).removeprefix("costs.") for path, figure in listed if figure.status == "unpublished"
            ),
        )


def figures(part: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Figure]]:
    """Every figure below ``part`` with its path, in file order; list items count from 0."""
    if isinstance(part, Figure):
        yield path, part
    elif isinstance(part, BaseModel):
        for name in type(part).model_fields:
            yield from figures(getattr(part, name), (*path, name))
    elif isinstance(part, Mapping):
        for key, value in part.items():
            yield from figures(value, (*path, str(key)))
    elif isinstance(part, tuple):
        for index, value in enumerate(part):
            yield from figures(value, (*path, str(index)))


def assumptions(listed: tuple[tuple[tuple[str, ...], Figure], ...]) -> Iterator[str]:
    """One line for each assumed figure: what, how much, why."""
    for path, figure in listed:
        if figure.status == "assumed":
            name = ".".join(path).removeprefix("costs.")
            yield f"{name} = {value_text(figure)}: {figure.note}"


def value_text(figure: Figure) -> str:
    """A figure's value and unit as a person reads them, e.g. ``23.6 pJ``, ``2 to 8 bits`` or ``not published``."""
    value, unit = getattr(figure, "value", None), getattr(figure, "unit", "")
    if value is None:
        return "not published"
    if isinstance(value, tuple):
        return f"{', '.join(str(list(v)) if isinstance(v, tuple) else str(v) for v in value)} {unit}"
    return f"{value:g} {unit}" if isinstance(figure, Measure) else f"{value} {unit}"
