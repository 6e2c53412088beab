"""A crossbar chip, literally: cores with axons, types, crosspoints and neurons that have one destination each.

Built from a program's tables alone and run tick by tick: every axon is one bit, every neuron adds what reaches it,
leaks and compares in every tick, and tells one axon of one core. Nothing here knows populations once the cores are set
up. Neurons that send bursts never hold less than 0 (a negative threshold at which the membrane saturates).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from neurochip.network.axes import source_offsets
from neurochip.network.crossbar import crosspoints, raw_weight
from neurochip.network.projections import Bias, Conv, Dense, Einsum, Gather, Pool
from neurochip.program.image import NEURON_CORE, Program


@dataclass
class Core:
    """One core: axon types, crosspoints (axon, neuron), weights (neuron, type), thresholds, destinations."""

    types: list[int] = field(default_factory=list)
    neurons: list[tuple[int, int, int]] = field(default_factory=list)  # population, neuron id, copy
    thresholds: list[int] = field(default_factory=list)
    soft: list[bool] = field(default_factory=list)
    leaks: list[int] = field(default_factory=list)
    floored: list[bool] = field(default_factory=list)
    points: list[tuple[int, int]] = field(default_factory=list)
    weights: dict[tuple[int, int], int] = field(default_factory=dict)
    destinations: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # neuron -> core, axon, delay


class Chip:
    """A program laid out on cores; ``run`` gives the ticks at which each neuron of each population fired."""

    def __init__(self, program: Program) -> None:
        self.program, self.network = program, program.network
        self.cores = {int(i): Core() for i in np.flatnonzero(program.cores["kind"] == NEURON_CORE)}
        self.axon: dict[tuple[int, int, int], int] = {}  # port, source neuron, line -> axon
        self.always: list[tuple[int, int, int, str]] = []  # core, axon, population, when
        self.slot: dict[tuple[int, int], tuple[int, list[int]]] = {}  # population, neuron -> core, its copies
        self.inbound: dict[tuple[int, int], list[tuple[int, int, int]]] = {}  # host's neuron -> core, axon, delay
        self.outbound: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
        self._lay_axons()
        self._lay_neurons()
        self._set_crosspoints()
        self._set_destinations()
        limits = program.chip.limits
        for core in self.cores.values():
            assert len(core.types) <= limits.input_axons
            assert len(core.neurons) <= limits.neurons
            assert all(t < limits.axon_types for t in core.types)

    def _ids(self, box, population):
        y, x, c = np.meshgrid(*(np.arange(box[f"{a}0"], box[f"{a}1"]) for a in "yxc"), indexing="ij")
        return ((y * population.width + x) * population.channels + c).ravel()

    def _lay_axons(self) -> None:
        for number, port in enumerate(self.program.ports):
            if int(port["core"]) not in self.cores:
                continue
            (source,) = self.program.bundles[port["bundle"]]
            core = self.cores[int(port["core"])]
            for neuron in self._ids(port, self.network.by_name[source.population]):
                for line, kind in enumerate(source.types):
                    self.axon[number, int(neuron), line] = len(core.types)
                    core.types.append(kind)

    def _lay_neurons(self) -> None:
        for tile in self.program.tiles:
            population = self.network.populations[tile["population"]]
            if int(tile["core"]) not in self.cores:
                continue
            core = self.cores[int(tile["core"])]
            folded = np.zeros(population.channels, np.int64)
            for bias in self.network.incoming[population.name]:
                if isinstance(bias, Bias) and bias.place == "threshold":
                    folded += sum(row.astype(np.int64) << s for row, s in zip(bias.weight, bias.shifts, strict=True))
            for neuron in self._ids(tile, population):
                slots = []
                for copy in range(population.copies):
                    slots.append(len(core.neurons))
                    core.neurons.append((int(tile["population"]), int(neuron), copy))
                    core.thresholds.append(population.neuron.threshold - int(folded[neuron % population.channels]))
                    core.soft.append(population.neuron.reset == "soft")
                    core.leaks.append(population.neuron.decay)
                    core.floored.append(population.neuron.kind == "burst")
                self.slot[int(tile["population"]), int(neuron)] = int(tile["core"]), slots

    def _set_crosspoints(self) -> None:
        for block in self.program.synapses:
            projection = self.network.projections[block["projection"]]
            tile = self.program.tiles[block["tile"]]
            target = self.network.populations[tile["population"]]
            if int(tile["core"]) not in self.cores:
                continue
            core = self.cores[int(tile["core"])]
            ids = self._ids(tile, target)
            if isinstance(projection, Bias):
                self._bias_axons(core, int(tile["core"]), projection, int(tile["population"]), ids, target.channels)
                continue
            source = self.network.by_name[projection.sources[0].population]
            raw = raw_weight(projection, target.channels)
            used = crosspoints(raw, projection.base)
            for neuron in ids:
                channel = int(neuron) % target.channels
                for read, at in synapses(projection, source, target, int(neuron)):
                    for line, kind in enumerate(projection.sources[0].types):
                        if used[(line, *at, channel)]:
                            axon = self.axon[int(block["port"]), read, line]
                            value = int(projection.base[line, channel])
                            for slot in self.slot[int(tile["population"]), int(neuron)][1]:
                                core.points.append((axon, slot))
                                assert core.weights.setdefault((slot, kind), value) == value

    def _bias_axons(self, core, number, bias, population, ids, channels) -> None:
        if bias.place in ("register", "threshold"):
            return
        for row, kind in zip(bias.weight, bias.types, strict=True):
            axon = len(core.types)
            core.types.append(kind)
            self.always.append((number, axon, population, bias.place))
            for neuron in ids:
                value = int(row[neuron % channels])
                for slot in self.slot[population, int(neuron)][1] if value else ():
                    core.points.append((axon, slot))
                    assert core.weights.setdefault((slot, kind), value) == value

    def _set_destinations(self) -> None:
        names = {p.name: i for i, p in enumerate(self.network.populations)}
        told: dict[tuple[int, int], int] = {}
        for route in self.program.routes:
            tile, port = self.program.tiles[route["source_tile"]], self.program.ports[route["port"]]
            number = int(tile["population"])
            population = self.network.populations[number]
            box = {f"{a}0": max(tile[f"{a}0"], port[f"{a}0"]) for a in "yxc"}
            box |= {f"{a}1": min(tile[f"{a}1"], port[f"{a}1"]) for a in "yxc"}
            bundle = self.program.bundles[port["bundle"]]
            source = next(s for s in bundle if names[s.population] == number)
            for neuron in self._ids(box, population):
                key = number, int(neuron)
                for line in range(max(1, len(source.types))):
                    inside = int(port["core"]) in self.cores
                    axon = self.axon[int(route["port"]), int(neuron), line] if inside else -1
                    destination = int(port["core"]), axon, int(route["delay"])
                    if key not in self.slot:  # on the host
                        self.inbound.setdefault(key, []).append(destination)
                        continue
                    core, slots = self.slot[key]
                    copy = told.get(key, 0)
                    told[key] = copy + 1
                    assert copy < len(slots), f"{population.name} neuron {neuron} has more destinations than copies"
                    self.cores[core].destinations[slots[copy]] = destination

    def run(self, host: dict[str, np.ndarray]) -> dict[str, list[tuple[int, int]]]:
        """One input. ``host``: spikes (T, P * C) of the populations on the host. Returns (tick, neuron) lists by name.

        Every copy of a neuron must fire together.
        """
        network, ticks, interval = self.network, self.network.ticks, self.network.interval
        first = -interval if any(when == "drop" for *_, when in self.always) else 0  # before input, nothing fires
        arriving: dict[int, set[tuple[int, int]]] = {t: set() for t in range(first, ticks + 2 * interval + 64)}
        for number, population in enumerate(network.populations):
            for step, row in enumerate(host.get(population.name, ())):
                at = step * network.interval + population.depth
                for neuron in np.flatnonzero(row):
                    for core, axon, delay in self.inbound.get((number, int(neuron)), ()):
                        arriving[at + delay].add((core, axon))
        for core, axon, number, when in self.always:
            for step in range(network.timesteps + (when in ("drop", "hold"))):
                own = step * interval + network.populations[number].depth
                between = range(own - interval + 1, own)
                for at in {"drop": [own - interval + 1], "hold": between}.get(when, [own]):
                    arriving[at].add((core, axon))
        laid = {number: _arrays(core) for number, core in self.cores.items()}
        membranes = {number: np.zeros(len(core.neurons), np.int64) for number, core in self.cores.items()}
        fired: dict[tuple[int, int, int], set[int]] = {}
        for tick in range(first, ticks):
            hit: dict[int, list[int]] = {}
            for core, axon in arriving.pop(tick):
                hit.setdefault(core, []).append(axon)
            for number, core in self.cores.items():
                matrix, thresholds, soft, leaks, floored = laid[number]
                v = membranes[number]
                if number in hit:
                    v += matrix[hit[number]].sum(axis=0)
                v -= np.sign(v) * leaks  # after the synapses, past zero
                assert (np.abs(v) < 1 << (network.arithmetic.membrane_bits - 1)).all()
                v[floored] = np.maximum(v[floored], 0)
                spikes = v >= thresholds
                v[spikes] = np.where(soft[spikes], v[spikes] - thresholds[spikes], 0)
                for slot in np.flatnonzero(spikes):
                    population, neuron, copy = core.neurons[slot]
                    fired.setdefault((population, neuron, tick), set()).add(copy)
                    if int(slot) in core.destinations:
                        goal, axon, delay = core.destinations[int(slot)]
                        if goal in self.cores:
                            arriving.setdefault(tick + delay, set()).add((goal, axon))
        found: dict[str, list[tuple[int, int]]] = {p.name: [] for p in network.populations}
        for (number, neuron, tick), copies in sorted(fired.items()):
            population = network.populations[number]
            assert len(copies) == population.copies
            found[population.name].append((tick, neuron))
        return found


def _arrays(core: Core):
    matrix = np.zeros((len(core.types), len(core.neurons)), np.int64)
    for axon, slot in core.points:
        matrix[axon, slot] = core.weights[slot, core.types[axon]]
    return matrix, np.array(core.thresholds), np.array(core.soft), np.array(core.leaks), np.array(core.floored, bool)


def synapses(projection, source, target, neuron):
    """(source neuron, index of the weight without its channel) of every synapse of one target neuron."""
    channel, position = neuron % target.channels, neuron // target.channels
    y, x = divmod(position, target.width)

    def at(sy, sx, c):
        return (sy * source.width + sx) * source.channels + c

    if isinstance(projection, Dense):
        yield from ((at(y, x, c), (c,)) for c in range(source.channels))
    elif isinstance(projection, Gather):
        rows, columns = source.height // target.height, source.width // target.width
        for dy, dx, c in np.ndindex(rows, columns, source.channels):
            yield at(y * rows + dy, x * columns + dx, c), (c,)
    elif isinstance(projection, Einsum):
        rows, columns, channels, own = source_offsets(projection)
        yield from ((int(rows[y] + columns[x] + channels[channel] + o), (0,)) for o in own)
    elif isinstance(projection, Conv | Pool):
        kernel = projection.weight.shape[:2] if isinstance(projection, Conv) else projection.kernel
        conv = isinstance(projection, Conv)
        skipped = projection.rows[0] if conv and projection.rows is not None else 0
        groups = projection.groups if conv else source.channels
        per_in, group = projection.weight.shape[2] if conv else 1, channel // (target.channels // groups)
        first = projection.channels[0] if conv and projection.channels is not None else 0
        for dy, dx, c in np.ndindex(*kernel, per_in):
            sy = y * projection.stride[0] + dy + skipped - projection.padding[0]
            sx = x * projection.stride[1] + dx - projection.padding[1]
            if 0 <= sy < source.height and 0 <= sx < source.width:
                yield at(sy, sx, first + group * per_in + c), (dy, dx, c) if conv else (0,)
    else:
        raise TypeError(projection.kind)


def check_on_chip(program: Program, x: np.ndarray) -> int:
    """Assert that the literal chip fires as the network does, in the right ticks and in no others; returns spikes."""
    network, chip = program.network, Chip(program)
    reference = network.run(x)
    total = 0
    for item in range(len(next(iter(reference.spikes.values())))):
        flat = {n: s[item].reshape(network.timesteps, -1) for n, s in reference.spikes.items()}
        host = {
            p.name: flat[p.name]
            for p in network.populations
            if (p.home == "host" or p.neuron.kind == "source") and p.name in flat
        }
        found = chip.run(host)
        for population in network.populations:
            if population.name in host or population.name not in flat:
                continue
            expected = []
            for step, row in enumerate(flat[population.name]):
                start = step * network.interval + population.depth
                expected += [(start + i, int(n)) for n in np.flatnonzero(row) for i in range(int(row[n]))]
            assert sorted(found[population.name]) == sorted(expected), population.name
            total += len(expected)
    return total
