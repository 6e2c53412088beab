"""Small networks with every kind of projection, and an obvious mapper: one tile a core, loops instead of arrays."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np

from neurochip.chip.load import load_chip
from neurochip.network.network import InputSpec, Network, Neuron, Population, ReadoutSpec
from neurochip.network.projections import Bias, Conv, Dense, Encoder, Gather, Pool, Product, Source
from neurochip.program.image import (
    CORES,
    HOST,
    NEURON_CORE,
    PORTS,
    PROCESSOR,
    SYNAPSES,
    TILES,
    USE,
    Layer,
    Origin,
    Program,
    uses_axons,
)

LOIHI = load_chip("loihi")
LIF = Neuron(kind="lif", decay=2048, threshold=10 << 6)
READOUT = Neuron(kind="readout")


def image_network(seed=0):
    """Analog 2 x 6 x 6 image -> encoder -> conv -> pool, q/k/v -> product -> residual -> readout; T = 3."""
    rng = np.random.default_rng(seed)

    def weights(*shape):
        return rng.integers(-20, 21, shape).astype(np.int8)

    def population(name, side, channels, depth, neuron=LIF, high=1):
        return Population(
            name=name, height=side, width=side, channels=channels, neuron=neuron, origin=name, depth=depth, high=high
        )

    populations = (
        population("stem", 6, 4, 0),
        population("conv", 6, 6, 1),
        population("pool", 3, 6, 2),
        *(population(name, 3, 8, 3) for name in "qkv"),
        population("attention", 3, 8, 4, Neuron(kind="product"), high=9 * 4),
        population("mixed", 3, 6, 5),
        population("depthwise", 3, 6, 6),
        population("grouped", 2, 4, 7),
        population("readout", 1, 5, 8, READOUT),
    )
    depth = {p.name: p.depth for p in populations}

    def sources(target, *names):
        return tuple(Source(n, depth[target] - depth[n]) for n in names)

    shared = weights(6, 8)
    projections = (
        Encoder(
            name="stem.encoder",
            sources=(),
            target="stem",
            origin="stem",
            weight=weights(3, 3, 2, 4).astype(np.int16),
            bias=rng.integers(-500, 500, 4),
            multiplier=3,
            down=9,
            padding=(1, 1),
            shift=6,
        ),
        Conv(
            name="conv.w",
            sources=sources("conv", "stem"),
            target="conv",
            origin="conv",
            weight=weights(3, 3, 4, 6),
            padding=(1, 1),
            shift=6,
        ),
        Bias(
            name="conv.b",
            sources=(),
            target="conv",
            origin="conv",
            weight=rng.integers(-100, 100, (2, 6)).astype(np.int16),
            shifts=(6, 12),
        ),
        Pool(
            name="pool.w", sources=sources("pool", "conv"), target="pool", origin="pool", kernel=(2, 2), stride=(2, 2)
        ),
        *(
            Dense(
                name=f"{n}.w",
                sources=sources(n, "pool"),
                target=n,
                origin=n,
                weight=shared if n != "v" else weights(6, 8),
                shift=6,
            )
            for n in "qkv"
        ),
        Product(
            name="attention.p",
            sources=sources("attention", "q", "k", "v"),
            target="attention",
            origin="attention",
            heads=2,
        ),
        Dense(
            name="mixed.w",
            sources=sources("mixed", "attention"),
            target="mixed",
            origin="mixed",
            weight=weights(8, 6),
            shift=1,
        ),
        Pool(name="mixed.r", sources=sources("mixed", "pool"), target="mixed", origin="mixed", weight=5, shift=6),
        Conv(
            name="depthwise.w",
            sources=sources("depthwise", "pool", "mixed"),
            target="depthwise",
            origin="depthwise",
            weight=weights(3, 3, 1, 6),
            padding=(1, 1),
            groups=6,
            shift=6,
        ),
        Conv(
            name="grouped.w",
            sources=sources("grouped", "depthwise"),
            target="grouped",
            origin="grouped",
            weight=weights(2, 2, 3, 4),
            groups=2,
            shift=6,
        ),
        Gather(
            name="readout.w",
            sources=sources("readout", "grouped"),
            target="readout",
            origin="head",
            weight=weights(4, 5),
        ),
    )
    return Network(
        name="image",
        timesteps=3,
        populations=populations,
        projections=projections,
        input=InputSpec(shape=(2, 6, 6), kind="analog", scale=0.1, low=-15, high=15),
        readout=ReadoutSpec(population="readout", scale=1 / 3, divisor=12, bias=(0.1, -0.2, 1e-17, 3.0, 2 / 3)),
        arithmetic=LOIHI.arithmetic,
    )


def spike_network(seed=0, sizes=(20, 16, 5), timesteps=4):
    """Spike input -> fully connected layers -> readout."""
    rng = np.random.default_rng(seed)
    last = len(sizes) - 1
    populations, projections = [], []
    for i, n in enumerate(sizes):
        neuron = Neuron(kind="source") if i == 0 else READOUT if i == last else Neuron(kind="lif", threshold=50 << 6)
        populations.append(
            Population(name=f"p{i}", height=1, width=1, channels=n, neuron=neuron, origin=f"fc{i}", depth=i)
        )
        if i:
            weight = rng.integers(-90, 91, (sizes[i - 1], n)).astype(np.int8)
            projections.append(
                Dense(
                    name=f"w{i}",
                    sources=(Source(f"p{i - 1}", 1),),
                    target=f"p{i}",
                    origin=f"fc{i}",
                    weight=weight,
                    shift=6,
                )
            )
    return Network(
        name="spikes",
        timesteps=timesteps,
        populations=tuple(populations),
        projections=tuple(projections),
        input=InputSpec(shape=(sizes[0],), kind="spikes", scale=1.0, low=0, high=1),
        readout=ReadoutSpec(population=f"p{last}", scale=0.5, divisor=timesteps, bias=(0.0,) * sizes[-1]),
        arithmetic=LOIHI.arithmetic,
    )


def naive_program(network, chip=LOIHI, rows=2, channels=4, tiles_per_core=1):
    """Map ``network`` with tiles of ``rows`` grid rows times ``channels`` channels, in plain loops."""
    tiles, cores = [], []
    for index, p in enumerate(network.populations):
        kind = {"product": PROCESSOR, "source": HOST}.get(p.neuron.kind, NEURON_CORE)
        dy, dc = (rows, channels) if kind == NEURON_CORE else (p.height, p.channels)
        held = 0
        for y in range(0, p.height, dy):
            for c in range(0, p.channels, dc):
                if held % tiles_per_core == 0:
                    cores.append(kind)
                held += 1
                rect = (y, min(y + dy, p.height), 0, p.width, c, min(c + dc, p.channels))
                tiles.append((index, len(cores) - 1, *rect))
    bundles = tuple(dict.fromkeys(q.sources for q in network.projections if uses_axons(q)))
    ports, synapses = [], []
    for index, q in enumerate(network.projections):
        for t, tile in enumerate(tiles):
            if network.populations[tile[0]].name != q.target:
                continue
            if not uses_axons(q):
                synapses.append((index, t, -1))
                continue
            port = (tile[1], bundles.index(q.sources), *_needs(network, q, tile[2:]))
            if port not in ports:
                ports.append(port)
            synapses.append((index, t, ports.index(port)))
    program = Program(
        network=network,
        chip=chip,
        origin=_origin(),
        cores=_cores(cores, chip),
        tiles=np.array(tiles, TILES),
        ports=np.array(ports, PORTS),
        synapses=np.array(synapses, SYNAPSES),
        use=np.zeros(len(cores), USE),
        layers=(Layer(name="conv", kind="conv", dense_macs=1234, analog=False),),
        placement_costs={"row-major": 12.0, "random": 1 / 3, "anneal": 0.1},
        lower_bound_cores=2,
    )
    return replace(program, use=naive_use(program))


def naive_routes(program):
    """(source tile, port, delay) of every tile and port that have neurons in common, in plain loops."""
    routes = []
    for p, port in enumerate(program.ports.tolist()):
        for source in dict.fromkeys(program.bundles[port[1]]):
            for t, tile in enumerate(program.tiles.tolist()):
                if program.network.populations[tile[0]].name == source.population and _common(tile[2:], port[2:]):
                    routes.append((t, p, source.delay))
    return routes


def naive_use(program):
    """The resource rules, one neuron, axon and list at a time."""
    network, limits = program.network, program.chip.limits
    stored = program.chip.weight_format(program.origin.weight_bits).stored_bits
    use = np.zeros(len(program.cores), USE)
    for tile in program.tiles:
        use["neurons"][tile["core"]] += _size(list(tile)[2:])
    for port in program.ports:
        y0, y1, x0, x1 = list(port)[2:6]
        kinds = [network.by_name[s.population] for s in program.bundles[port["bundle"]]]
        bits = max((p.high.bit_length() for p in kinds if p.neuron.kind == "product"), default=1)
        use["input_axons"][port["core"]] += (y1 - y0) * (x1 - x0) * bits
    for t, port, _ in naive_routes(program):
        tile = program.tiles[t]
        use["output_axons"][tile["core"]] += _common(list(tile)[2:], list(program.ports[port])[2:])
    seen = set()
    for projection, t, port in program.synapses.tolist():
        q, tile = network.projections[projection], program.tiles[t]
        core = tile["core"]
        if isinstance(q, Bias):
            use["input_axons"][core] += len(q.weight) * (tile["y1"] - tile["y0"]) * (tile["x1"] - tile["x0"])
        c0, c1 = (int(program.ports[port][k]) for k in ("c0", "c1")) if port >= 0 else (0, 0)
        key = (core, projection, tile["c0"], tile["c1"], c0, c1)
        if key in seen or isinstance(q, Encoder | Product):
            continue
        seen.add(key)
        bits = stored + limits.delay_bits + limits.tag_bits + (limits.index_bits if isinstance(q, Conv | Pool) else 0)
        for synapses in _lists(network, q, tile, c0, c1):
            while synapses > 0:
                block = min(synapses, limits.block_synapses or synapses)
                use["synapse_words"][core] += ceil((limits.header_bits + block * bits) / limits.word_bits)
                synapses -= block
    return use


def _lists(network, q, tile, c0, c1):
    """Synapses of every list of a block."""
    n = int(tile["c1"] - tile["c0"])
    if isinstance(q, Bias):
        return [n] * len(q.weight)
    if isinstance(q, Pool):
        return [q.kernel[0] * q.kernel[1]] * n
    if not isinstance(q, Conv):
        return [n] * (c1 - c0)
    kh, kw, per_group, n_out = q.weight.shape
    step = n_out // q.groups
    reached = [sum(c // step == i // per_group for c in range(tile["c0"], tile["c1"])) for i in range(c0, c1)]
    return [kh * kw * r for r in reached]


def _needs(network, q, rect):
    """The part of a source grid that neurons ``rect`` of the target listen to."""
    source = network.by_name[q.sources[0].population]
    y0, y1, x0, x1, c0, c1 = rect
    whole = (0, source.height, 0, source.width, 0, source.channels)
    if isinstance(q, Dense):
        return (y0, y1, x0, x1, 0, source.channels)
    if isinstance(q, Gather):
        target = network.by_name[q.target]
        by, bx = source.height // target.height, source.width // target.width
        return (y0 * by, y1 * by, x0 * bx, x1 * bx, 0, source.channels)
    if isinstance(q, Product):
        step = source.channels // q.heads
        return (*whole[:4], c0 // step * step, -(-c1 // step) * step)
    (kh, kw), (sy, sx), (py, px) = (q.kernel if isinstance(q, Pool) else q.weight.shape[:2]), q.stride, q.padding
    top, bottom = max(0, y0 * sy - py), min(source.height, (y1 - 1) * sy - py + kh)
    left, right = max(0, x0 * sx - px), min(source.width, (x1 - 1) * sx - px + kw)
    if isinstance(q, Pool):
        return (top, bottom, left, right, c0, c1)
    per_group, step = q.weight.shape[2], q.weight.shape[3] // q.groups
    return (top, bottom, left, right, c0 // step * per_group, ((c1 - 1) // step + 1) * per_group)


def _common(a, b):
    """Number of neurons in the intersection of two rectangles."""
    return _size([f(i, j) for f, i, j in zip((max, min) * 3, a, b, strict=True)])


def _size(rect):
    y0, y1, x0, x1, c0, c1 = (int(v) for v in rect)
    return max(0, y1 - y0) * max(0, x1 - x0) * max(0, c1 - c0)


def _cores(kinds, chip):
    rows, neuron_cores, processors = [], 0, 0
    for kind in kinds:
        if kind == NEURON_CORE:
            router, slot = divmod(neuron_cores, chip.cores_per_router)
            rows.append((kind, 0, router % chip.mesh_columns, router // chip.mesh_columns, slot))
            neuron_cores += 1
        elif kind == PROCESSOR:
            rows.append((kind, 0, *chip.processors[processors], processors))
            processors += 1
        else:
            rows.append((kind, 0, 0, 0, 0))
    return np.array(rows, CORES)


def _origin():
    return Origin(
        model="hand.pt",
        model_sha256="0" * 64,
        family="hand",
        compiler_version="0.1.0",
        weight_bits=8,
        attention="processor",
        placement="row-major",
        profile=LOIHI.default_profile,
        seed=0,
        settings=(("T", "3", "given"),),
        ignored=("head.extra",),
    )
