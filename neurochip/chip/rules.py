"""Rules that tie the parts of a chip description together; each broken rule is (path, message)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from neurochip.chip.profiles import Profile, figures
from neurochip.chip.suggest import did_you_mean

if TYPE_CHECKING:
    from neurochip.chip.spec import ChipSpec

MAX_CORES = 10_000_000
MAX_WEIGHT_BITS = 16

Problem = tuple[tuple[str | int, ...], str]


def problems(spec: ChipSpec) -> Iterator[Problem]:
    """Every broken rule of ``spec``."""
    yield from _sources(spec)
    yield from _nullable(spec)
    yield from _geometry(spec)
    yield from _software(spec)
    yield from _multiplying(spec)
    yield from _weights(spec)
    yield from _time(spec)
    for name, profile in spec.profiles.items():
        yield from _profile(spec, ("profiles", name), profile)
    if spec.default_profile not in spec.profiles:
        hint = did_you_mean(spec.default_profile, spec.profiles)
        yield ("default_profile",), f"no profile {spec.default_profile!r}{hint}; defined: {', '.join(spec.profiles)}"


def _sources(spec: ChipSpec) -> Iterator[Problem]:
    for path, figure in figures(spec):
        if figure.source not in spec.sources:
            yield (*path, "source"), _unknown_source(spec, figure.source)
    for index, source in enumerate(spec.neuron.sources):
        if source not in spec.sources:
            yield ("neuron", "sources", index), _unknown_source(spec, source)


def _unknown_source(spec: ChipSpec, source: str) -> str:
    hint = did_you_mean(source, spec.sources)
    return f"unknown source {source!r}{hint}; name one of the `sources` table: {', '.join(spec.sources)}"


def _nullable(spec: ChipSpec) -> Iterator[Problem]:
    for path, figure in figures(spec):
        if figure.status == "unpublished" and path[0] not in ("profiles", "embedded_processors"):
            yield (*path, "value"), "only costs may be unpublished; give a value, or an assumed one with a note"
        if figure.status == "unpublished" and "barrier" in path:
            yield (*path, "value"), "a barrier entry needs a time; leave the entry out if none is published"


def _software(spec: ChipSpec) -> Iterator[Problem]:
    software = spec.core.software
    if software is None:
        return
    neurons, each, memory = spec.core.neurons.value, software.neuron.value, software.memory.value
    if neurons * each > memory * 1024:
        yield ("core", "neurons", "value"), f"{neurons} neurons of {each} bytes do not fit {memory} KiB"


def _multiplying(spec: ChipSpec) -> Iterator[Problem]:
    """Whoever is said to multiply needs the means."""
    if "core" in spec.encoder.places and not (spec.activation_bits and multiplies(spec)):
        place = "where" if spec.encoder.where == "core" else "also"
        yield ("encoder", place), f"'core' needs payloads (`spikes.payload`) and {_NEEDS['graded']}"
    processors = spec.embedded_processors
    if processors is not None and processors.mac_array and spec.mac_array is None:
        yield ("embedded_processors", "mac_array"), "needs the figures of a `core.software.mac_array`"
    for name, profile in spec.profiles.items():
        for event, cost in profile.costs.items():
            if cost.latency is None and not _on_array(spec, event):
                yield ("profiles", name, "costs", event), "missing `latency`; only events on a `mac_array` do without"


def _on_array(spec: ChipSpec, event: str) -> bool:
    return (event == "mac" and spec.mac_array is not None) or (event == "processor_op" and spec.processors_multiply)


def multiplies(spec: ChipSpec) -> bool:
    """Whether the synapses of some core multiply payloads."""
    return bool(spec.neuron.product or spec.core.modes or spec.core.software)


def _geometry(spec: ChipSpec) -> Iterator[Problem]:
    routers = spec.mesh_columns * spec.mesh_rows * spec.chip_columns * spec.chip_rows
    if routers * spec.cores_per_router > MAX_CORES:
        yield ("mesh",), f"{routers * spec.cores_per_router} cores on all chips; at most {MAX_CORES} can be described"
    if spec.max_chips > spec.chip_columns * spec.chip_rows:
        yield (
            ("boards", "max_chips"),
            f"{spec.max_chips} chips do not fit a grid of {spec.chip_columns} x {spec.chip_rows}",
        )
    processors = spec.embedded_processors
    if processors is not None:
        places = processors.routers.value
        if len(places) != processors.count.value:
            yield (
                ("embedded_processors", "routers", "value"),
                f"{len(places)} places for {processors.count.value} processors; give one [column, row] each",
            )
        for column, row in places:
            if column >= spec.mesh_columns or row >= spec.mesh_rows:
                yield (
                    ("embedded_processors", "routers", "value"),
                    f"[{column}, {row}] is outside the {spec.mesh_columns} x {spec.mesh_rows} routers",
                )
    for method, part in (
        ("processor", processors),
        ("unit", spec.attention_unit),
        ("graded", multiplies(spec)),
    ):
        if method in spec.attention and not part:
            yield ("attention",), f"{method!r} needs {_NEEDS[method]}"


_NEEDS = {
    "processor": "an `embedded_processors` section",
    "unit": "an `attention_unit` section",
    "graded": "`neuron.product: true`, `core.modes` or `core.software`",
}


def _weights(spec: ChipSpec) -> Iterator[Problem]:
    weights = spec.weights
    for name, widths in (("widths", weights.widths.value), ("stored", weights.stored.value)):
        if list(widths) != sorted(set(widths)):
            yield ("weights", name, "value"), f"widths must ascend without repeats; found {list(widths)}"
    if min(weights.widths.value) < (1 if weights.one_bit else 2):
        yield ("weights", "widths", "value"), "a signed weight needs at least 2 bits, or `one_bit: sign`"
    if max(weights.widths.value) > MAX_WEIGHT_BITS:
        yield ("weights", "widths", "value"), f"weights of at most {MAX_WEIGHT_BITS} bits can be modelled"
    types = spec.core.axon_types
    if types is not None and max(weights.widths.value) > types.weight.value:
        yield (
            ("weights", "widths", "value"),
            f"a weight of {max(weights.widths.value)} bits has digits that an axon type's weight of "
            f"{types.weight.value} bits does not hold",
        )
    if types is None and max(weights.widths.value) > max(weights.stored.value):
        yield (
            ("weights", "stored", "value"),
            f"no stored field holds a weight of {max(weights.widths.value)} bits",
        )
    if weights.field is not None and weights.field.value < max(weights.widths.value):
        yield ("weights", "field", "value"), f"a field of {weights.field.value} bits holds no weight of the widest kind"
    if weights.default.value not in weights.widths.value:
        yield ("weights", "default", "value"), f"{weights.default.value} is not one of `widths`"
    low, high = weights.exponent.value
    if not -64 <= low <= high <= 64:
        yield ("weights", "exponent", "value"), f"expected [lowest, highest] within -64..64; found [{low}, {high}]"
    index = spec.core.synapse_memory.index.value
    if index and 2**index < spec.core.neurons.value:
        yield (
            ("core", "synapse_memory", "index", "value"),
            f"{index} bits cannot number {spec.core.neurons.value} neurons",
        )


def _time(spec: ChipSpec) -> Iterator[Problem]:
    if spec.time.kind == "fixed" and spec.time.tick is None:
        yield ("time",), "`kind: fixed` needs a `tick`"
    if spec.time.kind != "fixed" and spec.time.tick is not None:
        yield ("time", "tick"), f"a {spec.time.kind} chip has no fixed tick; remove it or use `kind: fixed`"


def _profile(spec: ChipSpec, path: tuple[str, ...], profile: Profile) -> Iterator[Problem]:
    for index, source in enumerate(profile.sources):
        if source not in spec.sources:
            yield (*path, "sources", index), _unknown_source(spec, source)
    for inner, figure in figures(profile):
        if figure.status != "assumed" and figure.source in spec.sources and figure.source not in profile.sources:
            yield (
                (*path, *inner, "source"),
                f"{figure.source!r} is not one of this profile's sources ({', '.join(profile.sources)}): "
                "profiles never mix; use a figure of its own sources, or mark it assumed with a note",
            )
    if (profile.barrier is None) != (spec.time.kind != "barrier"):
        yield path, "a profile has a `barrier` table exactly when `time.kind` is barrier"
    if profile.barrier is not None:
        for name, keys in (
            ("by_routers", [row.routers for row in profile.barrier.by_routers]),
            ("by_chips", [row.chips for row in profile.barrier.by_chips]),
        ):
            if keys != sorted(set(keys)):
                yield (*path, "barrier", name), f"entries must ascend without repeats; found {keys}"
    all_in = profile.costs.get("synaptic_event_all_in")
    if all_in is not None and all_in.energy.value is not None:
        for event, cost in profile.costs.items():
            if event not in ("synaptic_event_all_in", "mac_all_in") and cost.energy.value:
                yield (
                    (*path, "costs", event, "energy"),
                    "an all-in energy per synaptic event already includes this; keep them in separate profiles",
                )
        for key, power in (("per_chip", profile.static_power.per_chip), ("per_core", profile.static_power.per_core)):
            if power.value:
                yield (
                    (*path, "static_power", key),
                    "an all-in energy per synaptic event already includes this; keep them in separate profiles",
                )
