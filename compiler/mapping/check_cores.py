"""Checker, part two: where cores are, what kind they are, and a recount of every resource they use."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from compiler.mapping.check_index import index_lists, learners, learnt_lists
from neurochip.chip.spec import ChipSpec
from neurochip.network.network import Population
from neurochip.network.projections import (
    Bias,
    Conv,
    Dense,
    Einsum,
    Encoder,
    Gated,
    Gather,
    Matrix,
    MaxConv,
    Pool,
    Product,
    Projection,
)
from neurochip.program.image import HOST, NEURON_CORE, PROCESSOR, UNIT, USE, Program, Table

Ints = NDArray[np.int64]
_KIND_NAMES = {NEURON_CORE: "neuron core", PROCESSOR: "embedded processor", HOST: "host", UNIT: "attention unit"}
_PLACES = {"processor": PROCESSOR, "unit": UNIT}
_HOME = {"lif": NEURON_CORE, "burst": NEURON_CORE, "graded": NEURON_CORE, "readout": NEURON_CORE, "source": HOST}
_AXES = (("y0", "y1"), ("x0", "x1"), ("c0", "c1"))


def core_problems(program: Program) -> Iterator[str]:
    """Every rule about places, kinds and resources that ``program`` breaks."""
    yield from _places(program)
    yield from _kinds(program)
    yield from _resources(program)


def _places(program: Program) -> Iterator[str]:
    cores, chip = program.cores, program.chip
    kind, x, y, slot, number = (cores[name].astype(np.int64) for name in ("kind", "x", "y", "slot", "chip"))
    columns, rows = chip.mesh_columns, chip.mesh_rows
    for mine in (kind == k for k in (NEURON_CORE, PROCESSOR, UNIT)):
        place = ((y * columns * chip.chip_columns + x) << 16 | slot)[mine]
        values, counts = np.unique(place, return_counts=True)
        for value in values[counts > 1][:1]:
            pair = np.flatnonzero(mine)[place == value][:2]
            where = f"router ({x[pair[0]]}, {y[pair[0]]}) slot {slot[pair[0]]}"
            yield f"cores {pair[0]} and {pair[1]} are at the same place: {where}"
    block = y // rows * chip.chip_columns + x // columns
    pairs = np.unique(np.stack([number, block], axis=1), axis=0)
    if len(pairs) != len(np.unique(pairs[:, 0])) or len(pairs) != len(np.unique(pairs[:, 1])):
        yield "cores: chip numbers and blocks of routers do not correspond one to one"
    if len(pairs) > chip.max_chips:
        yield f"cores: {len(pairs)} chips, a {chip.name!r} system has at most {chip.max_chips}"
    here = set(chip.processors)
    for row in np.flatnonzero(kind == PROCESSOR):
        if (int(x[row] % columns), int(y[row] % rows)) not in here:
            yield f"core {row}: the chip has no embedded processor at router ({x[row] % columns}, {y[row] % rows})"


def _kinds(program: Program) -> Iterator[str]:
    kinds = program.cores["kind"][program.tiles["core"]]
    homes = np.array([_home(program, p) for p in program.network.populations])
    for tile in np.flatnonzero(kinds != homes[program.tiles["population"]])[:1]:
        population = program.network.populations[program.tiles["population"][tile]]
        yield (
            f"tile {tile} of population {population.name!r}: expected on a {_KIND_NAMES[_home(program, population)]}, "
            f"found on core {program.tiles['core'][tile]}, a {_KIND_NAMES[int(kinds[tile])]}"
        )


def _home(program: Program, population: Population) -> int:
    if population.neuron.kind == "product":
        methods = {p.method for p in program.network.incoming[population.name] if isinstance(p, Product | Matrix)}
        return _PLACES[methods.pop() if methods else "processor"]
    return HOST if population.home == "host" else _HOME[population.neuron.kind]


def _resources(program: Program) -> Iterator[str]:
    mine = np.flatnonzero(program.cores["kind"] == NEURON_CORE)
    counted, limits = recount(program), program.chip.limits
    for name in USE.names or ():
        found, limit = counted[name][mine], getattr(limits, name)
        for i in np.flatnonzero(found != program.use[name][mine])[:1]:
            told = program.use[name][mine[i]]
            yield f"core {mine[i]}: {name} recounted to {found[i]}, the program says {told}"
        over = np.flatnonzero(found > limit)
        if len(over):
            worst = mine[over[found[over].argmax()]]
            yield f"core {worst}: {counted[name][worst]} {name}, the limit is {limit} ({len(over)} cores are over it)"
    empty = np.setdiff1d(mine, program.tiles["core"])
    if len(empty):
        yield f"core {empty[0]} holds no tile (and {len(empty) - 1} more)"
    yield from _fan_out(program)


def recount(program: Program) -> dict[str, Ints]:
    """Resource name -> (cores,) int64, counted from the tables and the network alone.

    Rules: an input axon serves one position of a port (one payload bit of it, where the source is a product; one
    channel of it, where the chip cannot share weights; one line, where axons have types) or one bias digit of one
    position (of one tile, on a crossbar); a route takes an output axon for every neuron and line it carries; synapse
    lists are stored once a core for one projection and one pair of channel ranges, or on a crossbar a row an axon.
    """
    tiles, ports, chip = program.tiles, program.ports, program.chip
    n = len(program.cores)
    lines = _lines(program)
    copies = np.array([p.copies * p.compartments for p in program.network.populations], np.int64)
    area = _volume(ports[list(_columns(_AXES if not chip.weight_sharing else _AXES[:2]))])
    each = (_payload_bits(program) * lines * learners(program))[ports["bundle"]]
    inputs = np.bincount(ports["core"], weights=area * each, minlength=n)
    biases = {i: _digits(p) for i, p in enumerate(program.network.projections) if isinstance(p, Bias)}
    for number, digits in biases.items():
        on = tiles[program.synapses["tile"][program.synapses["projection"] == number]]
        positions = np.ones(len(on)) if chip.limits.axon_types else _volume(on[list(_columns(_AXES[:2]))])
        inputs += np.bincount(on["core"], weights=digits * positions, minlength=n)
    sent = np.array([p.digits for p in program.network.populations], np.int64)[tiles["population"]]
    again = np.maximum(np.maximum(0, sent - 1), _counting_down(program)[tiles["population"]])  # off their own sums
    inputs += np.bincount(tiles["core"], weights=again * _volume(tiles[list(_columns(_AXES[:2]))]), minlength=n)
    carried = _carried(program, lines) * np.maximum(1, sent)
    words = np.rint(inputs).astype(np.int64) if chip.limits.axon_types else _synapse_words(program)
    one = _list_words(1, True, chip, chip.weight_format(program.origin.weight_bits).stored_bits)
    words = words + _counts(tiles["core"], again * _volume(tiles[list(_columns(_AXES[2:]))]) * one, n)
    return {
        "neurons": _counts(tiles["core"], _volume(tiles) * copies[tiles["population"]], n),
        "input_axons": np.rint(inputs).astype(np.int64),
        "output_axons": _counts(tiles["core"], carried + again * _volume(tiles), n),
        "synapse_words": words,
    }


def _carried(program: Program, lines: Ints) -> Ints:
    """(tiles,) int64: neurons and lines that the routes of each tile carry."""
    total = np.zeros(len(program.tiles), np.int64)
    for number in range(len(program.network.populations)):
        for fan in program.routing.fans(number):
            common = _volume(_common(program.tiles[fan.tile], _as_boxes(fan.boxes)))
            total += _counts(fan.tile, common * fan.readers * lines[fan.bundle], len(total))
    return total


def _synapse_words(program: Program) -> Ints:
    synapses, tiles, chip = program.synapses, program.tiles, program.chip
    total = np.zeros(len(program.cores), np.int64)
    stored = chip.weight_format(program.origin.weight_bits).stored_bits
    ranges = np.zeros((len(synapses), 2), np.int64)
    wired = synapses["port"] >= 0
    for column, name in enumerate(("c0", "c1")):
        ranges[wired, column] = program.ports[name][synapses["port"][wired]]
    for number, projection in enumerate(program.network.projections):
        mine = synapses["projection"] == number
        on = tiles[synapses["tile"][mine]]
        if isinstance(projection, Einsum):
            found = index_lists(projection, on, program.ports[synapses["port"][mine]], chip)
            listed = np.array([count * _list_words(length, True, chip, stored) for count, length in found], np.int64)
            total += _counts(on["core"], listed, len(total))
            continue
        blocks = np.stack([on["core"], on["c0"], on["c1"], *ranges[mine].T], axis=1).astype(np.int64)
        copies = np.ones(len(blocks), np.int64)
        if chip.weight_sharing:
            blocks = np.unique(blocks, axis=0)
            copies = copies[: len(blocks)]
        elif wired[mine].all():
            copies = _volume(program.ports[synapses["port"][mine]][list(_columns(_AXES[:2]))])
        # few distinct channel ranges, many cores
        shapes, which = np.unique(blocks[:, 1:], axis=0, return_inverse=True)
        taps = _distinct_taps(program, projection)
        words = np.array(
            [_block_words(program, projection, shape, stored, taps) for shape in shapes.tolist()], np.int64
        )
        if len(blocks):
            total += _counts(blocks[:, 0], words[which.reshape(-1)] * copies, len(total))
    return total


def _counting_down(program: Program) -> NDArray[np.int64]:
    """Axons of each population's neurons by which unit spikes count down a sum in another compartment."""
    down = [p.coding == "unary" and p.compartments == 2 for p in program.network.populations]
    return np.array(down, np.int64)


def _digits(bias: Bias) -> int:
    """Always-on axons of a bias."""
    return 0 if bias.place in ("register", "threshold") else len(bias.weight)


def _lines(program: Program) -> Ints:
    """(bundles,) int64: axons that each neuron of a bundle takes on a core."""
    return np.array([max(1, len(bundle[0].types)) for bundle in program.bundles], np.int64)


def _block_words(program: Program, projection: Projection, channels: list[int], stored: int, taps: int) -> int:
    """Words of a block whose ``channels`` are tile c0, c1 and port c0, c1; ``taps``: see ``_distinct_taps``."""
    t0, t1, s0, s1 = channels
    chip = program.chip
    if isinstance(projection, Product) and projection.method == "plastic":
        lists = learnt_lists(program.network, projection, t0, t1)
        return sum(count * _list_words(length, True, chip, stored) for count, length in lists)
    if isinstance(projection, Encoder | Product | Matrix | Gated):
        return 0
    skips = program.origin.weight_bits == 1 and bool((np.asarray(getattr(projection, "weight", 1)) == 0).any())
    if isinstance(projection, Dense | Gather):
        return (s1 - s0) * _list_words(t1 - t0, skips, chip, stored)
    if isinstance(projection, Bias):
        return _digits(projection) * _list_words(t1 - t0, skips, chip, stored)
    if isinstance(projection, Pool):
        digits = program.network.by_name[projection.sources[0].population].digits
        return max(1, digits) * (t1 - t0) * _list_words(projection.kernel[0] * projection.kernel[1], True, chip, stored)
    if not isinstance(projection, Conv | MaxConv):
        raise TypeError(f"no resource rule for projection {projection.name!r} of kind {projection.kind!r}")
    kh, kw, per_in, n_out = projection.weight.shape
    per_out = n_out // projection.groups
    if isinstance(projection, MaxConv):
        kh, kw = kh * projection.pool_kernel[0], kw * projection.pool_kernel[1]
    elif projection.channels is not None:
        s0, s1 = s0 - projection.channels[0], s1 - projection.channels[0]
    targets = np.bincount(np.arange(t0, t1) // per_out, minlength=projection.groups)
    reached, times = np.unique(targets[np.arange(s0, s1) // per_in], return_counts=True)
    words = sum(int(m) * _list_words(kh * kw * int(k), True, chip, stored) for k, m in zip(reached, times, strict=True))
    apart = taps * (s1 - s0) * _list_words(t1 - t0, skips, chip, stored)
    return min(words, apart) if apart else words


def _distinct_taps(program: Program, projection: Projection) -> int:
    """Of a convolution to one position that has equal taps: how many differ; else 0. Positions may share lists of one
    tap.
    """
    if not isinstance(projection, Conv):
        return 0
    alone = program.network.by_name[projection.target].positions == 1 and projection.groups == 1
    if not alone or not program.chip.weight_sharing:
        return 0
    flat = np.ascontiguousarray(projection.weight).reshape(-1, projection.weight[0, 0].size)
    distinct = len(np.unique(flat.view(np.dtype((np.void, flat.shape[1] * flat.itemsize)))))
    return distinct if distinct < len(flat) else 0


def _list_words(synapses: int, indexed: bool, chip: ChipSpec, stored: int) -> int:
    """Words of one list; format of ``neurochip.chip.sections.SynapseMemory``."""
    limits = chip.limits
    bits = stored + limits.delay_bits + limits.tag_bits + (limits.index_bits if indexed else 0)
    words = 0
    for start in range(0, synapses, limits.block_synapses):
        block = min(limits.block_synapses, synapses - start)
        words += -(-(limits.header_bits + block * bits) // limits.word_bits)
    return words


def _fan_out(program: Program) -> Iterator[str]:
    """Axons that any one neuron of a tile feeds; looked at neuron by neuron only where the bound is not enough."""
    limit = program.chip.limits.fan_out_per_neuron
    if limit is None:
        return
    tiles, kinds = program.tiles, program.cores["kind"]
    lines = _lines(program)
    for number, population in enumerate(program.network.populations):
        reach = limit * population.copies
        fans = list(program.routing.fans(number))
        tile = np.concatenate([np.empty(0, np.int32), *(fan.tile for fan in fans)])
        boxes = np.concatenate([np.empty((0, 6), np.int64), *(fan.boxes for fan in fans)])
        axons = np.concatenate([np.empty(0, np.int64), *(fan.readers * lines[fan.bundle] for fan in fans)])
        order = np.argsort(tile, kind="stable")
        found, starts = np.unique(tile[order], return_index=True)
        for each, mine in zip(found.tolist(), np.split(order, starts)[1:], strict=True):
            if kinds[tiles["core"][each]] != NEURON_CORE or axons[mine].sum() <= reach:
                continue
            most = _most_axons(tiles[each], boxes[mine], axons[mine])
            if most > reach:
                yield f"tile {each}: a neuron feeds {most} axons, it reaches {reach}"
                return


def _most_axons(tile: np.void, boxes: Ints, axons: Ints) -> int:
    """Largest number of axons that a neuron of ``tile`` feeds where box k takes ``axons[k]`` of each neuron in it."""
    times = np.zeros([int(tile[top]) - int(tile[low]) for low, top in _AXES], np.int64)
    corner = np.array([tile[low] for low, _ in _AXES], np.int64)
    begin, end = np.maximum(boxes[:, ::2] - corner, 0), np.maximum(boxes[:, 1::2] - corner, 0)
    for (y0, x0, c0), (y1, x1, c1), each in zip(begin.tolist(), end.tolist(), axons.tolist(), strict=True):
        times[y0:y1, x0:x1, c0:c1] += each
    return int(times.max())


def _payload_bits(program: Program) -> Ints:
    """(bundles,) int64: axons of one position: bits of the largest payload of its products, 1 for spikes.

    Payloads of either sign take as many again.
    """
    by_name = program.network.by_name
    bits = []
    for bundle in program.bundles:
        products = [by_name[s.population] for s in bundle if by_name[s.population].neuron.kind == "product"]
        digits = [p for p in products if p.coding != "graded"]
        widths = [len(f"{p.high:b}") * (1 + p.signed) for p in digits]
        bits.append(max([*widths, *(by_name[s.population].digits for s in bundle)], default=1) or 1)
    return np.array(bits, np.int64)


def _common(a: Table, b: Table) -> Table:
    """Intersection of the boxes of each row, as a table of the six bounds; an empty one has a volume of 0."""
    both = np.zeros(len(a), np.dtype([(name, np.int64) for name in _columns(_AXES)]))
    for low, top in _AXES:
        both[low] = np.maximum(a[low], b[low])
        both[top] = np.maximum(both[low], np.minimum(a[top], b[top]))
    return both


def _as_boxes(rows: Ints) -> Table:
    """(n, 6) bounds as a table of the six."""
    names = _columns(_AXES)
    table = np.zeros(len(rows), np.dtype([(name, np.int64) for name in names]))
    for column, name in enumerate(names):
        table[name] = rows[:, column]
    return table


def _volume(boxes: Table) -> Ints:
    """Product of the sides of each box, over the axes the table has."""
    volume = np.ones(len(boxes), np.int64)
    for low, top in _AXES:
        if low in (boxes.dtype.names or ()):
            volume *= boxes[top].astype(np.int64) - boxes[low]
    return volume


def _columns(axes: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    return tuple(name for axis in axes for name in axis)


def _counts(places: NDArray[np.integer], amounts: Ints, size: int) -> Ints:
    return np.rint(np.bincount(places, weights=amounts, minlength=size)).astype(np.int64)
