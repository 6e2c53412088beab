"""Whether a network is well formed: names, shapes, delays and ranges. Says nothing about any chip's limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import isfinite
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from neurochip.errors import ProgramError
from neurochip.network.axes import shape_of
from neurochip.network.network import Coding, Home, Network, NeuronKind, Population, ResetKind
from neurochip.network.projections import (
    Bias,
    BiasPlace,
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
    ProductMethod,
    Projection,
)
from neurochip.network.validate_products import weighted_products

MAX_NEURONS = 1 << 31
MAX_TIMESTEPS = 1 << 20
MAX_INTERVAL = 1 << 12
MAX_SHIFT = 32
MAX_COPIES = MAX_LINES = 1 << 12
_SHOWN = 12

Grid = tuple[int, int, int]


def validate_network(network: Network, *, timed: bool = True) -> None:
    """Check every population and projection of ``network``.

    Args:
        timed: ``False`` before depths and delays are set: then sources must come before their readers in the list.
    Raises:
        ProgramError: listing what is wrong: names that repeat or do not exist, weights whose shape does not fit the
            populations, delays that are not the difference of depths, numbers outside their range.
    """
    found = list(problems(network, timed=timed))
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ProgramError(f"network {network.name!r} is not well formed: {'; '.join(found[:_SHOWN])}{more}")


def problems(network: Network, *, timed: bool = True) -> Iterator[str]:
    """Every fault of ``network``, one sentence each; ``timed`` as in ``validate_network``."""
    if not 1 <= network.interval <= MAX_INTERVAL:
        yield f"interval: expected 1 to {MAX_INTERVAL} ticks, found {network.interval}"
    if not 1 <= network.timesteps <= MAX_TIMESTEPS:
        yield f"timesteps: expected 1 to {MAX_TIMESTEPS}, found {network.timesteps}"
    for title, items in (("population", network.populations), ("projection", network.projections)):
        for name, count in Counter(item.name for item in items).items():
            if count > 1 or not name:
                yield f"{title} {name!r}: expected a name of its own, found {count} of that name"
    yield from _input(network)
    populations = {p.name: p for p in network.populations}
    for population in network.populations:
        yield from _population(network, population)
    sound = True
    for projection in network.projections:
        where = f"projection {projection.name!r}"
        missing = [n for n in (*(s.population for s in projection.sources), projection.target) if n not in populations]
        if missing:
            yield f"{where}: expected names of populations, found {', '.join(map(repr, missing))}"
            sound = False
            continue
        order = _delays(network, projection) if timed else _order(projection, list(populations))
        faults = (*_ends(projection, populations), *order, *_shapes(network, projection, populations))
        yield from (f"{where}: {fault}" for fault in faults)
        sound = sound and not faults
    if sound:
        yield from _compartments(network, populations)
        yield from weighted_products(network)
    yield from _readout(network, populations)


def input_grid(network: Network) -> Grid:
    """The user's input as (height, width, channels): images (C, H, W), tokens (N, features) or (features,)."""
    shape = network.input.shape
    if len(shape) == 3:
        return shape[1], shape[2], shape[0]
    return (1, *shape) if len(shape) == 2 else (1, 1, shape[0])


def _input(network: Network) -> Iterator[str]:
    spec = network.input
    if not 1 <= len(spec.shape) <= 3 or min(spec.shape, default=0) < 1:
        yield f"input: expected a shape of 1 to 3 positive sizes, found {spec.shape}"
    if not (isfinite(spec.scale) and spec.scale > 0):
        yield f"input: expected a positive scale, found {spec.scale}"
    if spec.low > spec.high or (spec.kind == "spikes" and (spec.low < 0 or spec.scale != 1)):
        yield f"input: levels {spec.low} to {spec.high} at scale {spec.scale} are no range of {spec.kind} values"


def _population(network: Network, p: Population) -> Iterator[str]:
    where, rules = f"population {p.name!r}", network.arithmetic
    if min(p.height, p.width, p.channels) < 1 or p.size >= MAX_NEURONS:
        yield f"{where}: expected sizes >= 1 and fewer than 2**31 neurons, found {p.height} x {p.width} x {p.channels}"
    if not 0 <= p.depth <= MAX_TIMESTEPS or not 1 <= p.high < 1 << 31:
        yield f"{where}: expected a depth >= 0 and a largest count >= 1, found depth {p.depth}, high {p.high}"
    neuron = p.neuron
    if neuron.kind not in get_args(NeuronKind) or neuron.reset not in get_args(ResetKind):
        yield f"{where}: unknown neuron kind {neuron.kind!r} or reset {neuron.reset!r}"
    most = {"exponential": 1 << rules.decay_bits, "linear": rules.max_decay, "none": 0}[rules.leak]
    if not 0 <= neuron.decay <= most:
        yield f"{where}: expected a decay of 0 to {most} ({rules.leak} leak), found {neuron.decay}"
    if abs(neuron.threshold) >= 1 << 40 or abs(neuron.threshold_offset) >= 1 << 40:
        yield f"{where}: threshold {neuron.threshold} is beyond any membrane"
    if neuron.kind == "burst" and neuron.threshold + neuron.threshold_offset < 1:
        yield f"{where}: expected a positive unit of its spikes, found {neuron.threshold + neuron.threshold_offset}"
    if p.home not in get_args(Home) or (p.home == "host" and neuron.kind not in ("lif", "readout", "source")):
        yield f"{where}: expected on a core, or a lif, source or readout population on the host, found {p.home!r}"
    if not 1 <= p.copies <= MAX_COPIES or (p.copies > 1 and neuron.kind not in ("lif", "burst", "graded")):
        yield f"{where}: expected 1 to {MAX_COPIES} copies of firing neurons, found {p.copies} of kind {neuron.kind!r}"
    if p.duration > network.interval:
        yield f"{where}: sending for {p.duration} ticks does not fit an interval of {network.interval} ticks"
    incoming = [q for q in network.projections if q.target == p.name]
    products = [q for q in incoming if isinstance(q, Product)]
    weighted = [q for q in incoming if isinstance(q, Matrix | Gated)]  # see ``validate_products``
    if neuron.kind == "product" and not weighted and (len(products) != 1 or len(incoming) != 1):
        yield f"{where}: expected exactly one product projection, found {[q.name for q in incoming]}"
    for product in products:
        if (neuron.kind == "product") == (product.method == "plastic"):
            wanted = "neurons" if product.method == "plastic" else "a product population"
            yield f"{where}: expected {wanted} for product projection {product.name!r}"
    if neuron.kind == "graded" and (neuron.threshold < 1 or p.coding == "spikes"):
        yield f"{where}: expected payloads and a positive unit, found coding {p.coding!r} and {neuron.threshold}"
    if p.coding in ("digits", "unary") and neuron.kind != "graded":
        yield f"{where}: expected graded neurons, which alone send {p.coding} payloads, found {neuron.kind!r}"
    if p.coding not in get_args(Coding) or (
        p.coding == "graded" and neuron.kind not in ("graded", "product", "source")
    ):
        yield f"{where}: coding {p.coding!r} is not one of {neuron.kind!r} neurons"
    if neuron.kind == "source":
        if incoming:
            yield f"{where}: a source replays input, so nothing may project into it; found {incoming[0].name!r}"
        yield from (f"{where}: {fault}" for fault in _replay(network, p))


def _replay(network: Network, p: Population) -> Iterator[str]:
    """A source replays counts of spikes, or analog values as payloads."""
    spec, kind = network.input, "spike" if p.coding == "spikes" else "analog"
    if not spec.kind.startswith(kind) or _grid(p) != input_grid(network):
        yield f"expected the grid of {kind} input, {input_grid(network)}, found {spec.kind} and {_grid(p)}"
    if p.coding == "graded" and (p.high < max(spec.high, -spec.low) or p.signed != (spec.low < 0)):
        yield f"expected payloads of {spec.low} to {spec.high}, found high {p.high}, signed {p.signed}"


def _compartments(network: Network, populations: dict[str, Population]) -> Iterator[str]:
    """Each neuron has one compartment, one for each digit it sends, and those of each ``MaxConv`` it reads.

    One that sends unit spikes may have a second.
    """
    joined = {name: 1 + p.digits for name, p in populations.items()}
    for projection in network.projections:
        if isinstance(projection, MaxConv):
            source, target = populations[projection.sources[0].population], populations[projection.target]
            rows, columns = projection.grids(source.height, source.width)[1]
            joined[target.name] += projection.compartments(rows * columns // target.positions)
    for name, count in joined.items():
        if populations[name].compartments - count not in ((0, 1) if populations[name].coding == "unary" else (0,)):
            yield f"population {name!r}: expected {count} compartments, found {populations[name].compartments}"


def _ends(projection: Projection, populations: dict[str, Population]) -> Iterator[str]:
    if isinstance(projection, Encoder | Bias):
        if projection.sources:
            yield f"expected no sources, found {projection.sources[0].population!r}"
        return
    if not projection.sources:
        yield "expected at least one source, found none"
    names = [s.population for s in projection.sources]
    if len(set(names)) != len(names) and not isinstance(projection, Product):
        yield f"expected different sources, found {names}"
    for source in projection.sources:
        p = populations[source.population]
        if p.neuron.kind == "readout":
            yield f"source {p.name!r} is a readout, which never fires"
        if not 0 <= source.steps_back <= MAX_TIMESTEPS:
            yield f"steps back to {p.name!r}: expected 0 to {MAX_TIMESTEPS}, found {source.steps_back}"
        if populations[projection.target].neuron.kind == "burst" and p.duration > 1:
            yield f"source {p.name!r} sends for {p.duration} ticks, the burst it feeds needs all in one tick"
    grids = {(p.height, p.width, p.channels) for p in (populations[name] for name in names)}
    if len(grids) > 1:
        yield f"expected sources of one shape, found {' and '.join(map(str, sorted(grids)))}"


def _delays(network: Network, projection: Projection) -> Iterator[str]:
    """All that a source sends for a step must arrive in the interval up to the target's own tick of that step.

    A burst is still being sent in the ticks before its own next tick, so what it reads must arrive in that very tick.
    """
    target = network.by_name[projection.target]
    for source in projection.sources:
        p, span = network.by_name[source.population], network.span(source, target.name)
        slack = 0 if target.neuron.kind == "burst" else network.interval - p.duration
        high = span - p.duration + 1
        low = high - slack
        if source.delay >= 1 and low <= source.delay <= high:
            continue
        back = f" + {source.steps_back} x {network.interval}" if source.steps_back else ""
        lasts = f" - {p.duration - 1}" if p.duration > 1 else ""
        least = f" (or up to {slack} less)" if slack else ""
        yield (
            f"delay from {p.name!r}: expected depth {target.depth} - {p.depth}{back}{lasts} = {high}{least} "
            f"(at least 1), found {source.delay}"
        )


def _order(projection: Projection, names: list[str]) -> Iterator[str]:
    for source in projection.sources:
        if not source.steps_back and names.index(source.population) >= names.index(projection.target):
            yield f"source {source.population!r} is listed after its reader {projection.target!r}"


def _shapes(network: Network, projection: Projection, populations: dict[str, Population]) -> Iterator[str]:
    target = _grid(populations[projection.target])
    source = _grid(populations[projection.sources[0].population]) if projection.sources else input_grid(network)
    if not 0 <= projection.shift <= MAX_SHIFT:
        yield f"expected a shift of 0 to {MAX_SHIFT}, found {projection.shift}"
    yield from _lines(projection, target[2])
    if isinstance(projection, Dense | Gather):
        yield from _weight(projection.weight, (source[2], target[2]))
        if isinstance(projection, Dense):
            yield from _equal("target positions", source[:2], target[:2])
        elif source[0] % target[0] or source[1] % target[1]:
            yield f"target positions {target[:2]} do not divide the source's {source[:2]} into equal blocks"
    elif isinstance(projection, Conv | Encoder):
        groups = projection.groups if isinstance(projection, Conv) else 1
        if isinstance(projection, Conv) and projection.channels is not None:
            first, last = projection.channels
            if not 0 <= first < last <= source[2] or groups != 1:
                yield f"expected one group that reads channels 0 to {source[2]}, found {groups} and {first} to {last}"
                return
            source = (source[0], source[1], last - first)
        if groups < 1 or source[2] % groups or target[2] % groups:
            yield f"{groups} groups do not divide {source[2]} and {target[2]} channels"
            return
        yield from _weight(projection.weight, (*projection.weight.shape[:2], source[2] // groups, target[2]))
        if projection.weight.ndim == 4 and isinstance(projection, Encoder):
            yield from _pooled(projection, (*projection.conv_grid(*source[:2]), target[2]), target)
        elif projection.weight.ndim == 4:
            yield from _window(projection, _kernel(projection), source, target)
            if isinstance(projection, Conv) and projection.rows is not None:
                first, whole = projection.rows
                if not 0 <= first <= whole - len(projection.weight):
                    yield f"expected some of a kernel's {whole} rows, found {len(projection.weight)} from {first} on"
        if isinstance(projection, Encoder):
            yield from _encoder(network, projection, target)
    elif isinstance(projection, MaxConv):
        yield from _maxima(projection, source, target)
    elif isinstance(projection, Pool):
        yield from _equal("target channels", source[2], target[2])
        yield from _window(projection, projection.kernel, source, target)
    elif isinstance(projection, Bias):
        yield from _weight(projection.weight, (len(projection.shifts), target[2]))
        if not all(0 <= shift <= MAX_SHIFT for shift in projection.shifts):
            yield f"expected shifts of 0 to {MAX_SHIFT}, found {projection.shifts}"
    elif isinstance(projection, Product):
        yield from _equal("sources (q, k, v)", 3, len(projection.sources))
        yield from _equal("target grid", source, target)
        if projection.heads < 1 or target[2] % projection.heads:
            yield f"{projection.heads} heads do not divide {target[2]} channels"
        if projection.method not in get_args(ProductMethod) or projection.limit < 0:
            yield f"unknown method {projection.method!r}, or a limit below 0 ({projection.limit})"
    elif isinstance(projection, Einsum):
        yield from _axes(projection, source, target)


def _maxima(projection: MaxConv, source: Grid, target: Grid) -> Iterator[str]:
    if projection.groups < 1 or source[2] % projection.groups or target[2] % projection.groups:
        yield f"{projection.groups} groups do not divide {source[2]} and {target[2]} channels"
        return
    shape = (*projection.weight.shape[:2], source[2] // projection.groups, target[2])
    faults = tuple(_weight(projection.weight, shape))
    yield from faults
    if faults:
        return
    if min(projection.stride) < 1 or min(projection.pool_stride) < 1:
        yield f"impossible strides {projection.stride} and {projection.pool_stride}"
        return
    conv, pooled = projection.grids(*source[:2])
    yield from _window(projection, projection.weight.shape[:2], source, (*conv, target[2]))
    if min(*conv, *pooled) < 1 or pooled[0] % target[0] or pooled[1] % target[1]:
        yield f"target positions {target[:2]} do not divide {pooled[0]} x {pooled[1]} maxima into equal blocks"
    else:
        yield from _pooled(projection, (*conv, target[2]), (*pooled, target[2]))


def _pooled(projection: Any, conv: Grid, target: Grid) -> Iterator[str]:
    """The windows of maxima: none is wholly beyond the border."""
    kernel, stride, padding = projection.pool_kernel, projection.pool_stride, projection.pool_padding
    if min(*kernel, *stride) < 1 or any(not 0 <= 2 * p <= k for p, k in zip(padding, kernel, strict=True)):
        yield f"impossible windows of maxima: kernel {kernel}, stride {stride}, padding {padding}"
        return
    sizes = tuple((conv[i] + 2 * padding[i] - kernel[i]) // stride[i] + 1 for i in (0, 1))
    yield from _equal("target positions", sizes, target[:2])


def _axes(projection: Einsum, source: Grid, target: Grid) -> Iterator[str]:
    sizes = projection.size_of
    if len(sizes) != len(projection.sizes) or any(len(a) != 1 or a == "," or n < 1 for a, n in projection.sizes):
        yield f"expected distinct letters of positive sizes, found {projection.sizes}"
        return
    for what, groups, grid in (("source", projection.axes[0], source), ("target", projection.axes[1], target)):
        letters = groups.replace(",", "")
        if groups.count(",") != 2 or len(set(letters)) != len(letters) or not set(letters) <= set(sizes):
            yield f"expected rows,columns,channels of letters with sizes, found {what} axes {groups!r}"
        else:
            yield from _equal(f"{what} grid of {groups!r}", shape_of(groups, sizes), grid)
    if not 1 <= abs(projection.weight) < 1 << 15:
        yield f"expected a weight other than 0 within 16 bits, found {projection.weight}"


def _lines(projection: Projection, outputs: int) -> Iterator[str]:
    """Axon types of the sources, and the number base they stand for."""
    types = {source.types for source in projection.sources}
    if len(types) > 1 or any(not 0 <= t < MAX_LINES for each in types for t in each):
        yield f"expected the same axon types for all sources, found {sorted(types)}"
        return
    lines = len(next(iter(types), ()))
    if projection.base is not None:
        yield from _weight(projection.base, (lines, outputs))
    if isinstance(projection, Bias):
        if projection.place not in get_args(BiasPlace):
            yield f"expected one of {', '.join(get_args(BiasPlace))}, found {projection.place!r}"
        if len(projection.types) not in (0, len(projection.shifts)):
            yield f"expected {len(projection.shifts)} axon types, found {projection.types}"


def _encoder(network: Network, projection: Encoder, target: Grid) -> Iterator[str]:
    if network.input.kind != "analog":
        yield f"expected an analog input, found {network.input.kind}"
    if projection.bias.shape != (target[2],):
        yield f"expected a bias of shape ({target[2]},), found {projection.bias.shape}"
    if not 1 <= projection.multiplier < 1 << 31 or not 1 <= projection.down <= 62:
        yield f"expected multiplier >= 1 and down 1 to 62, found {projection.multiplier} and {projection.down}"


def _window(projection: Any, kernel: tuple[int, ...], source: Grid, target: Grid) -> Iterator[str]:
    """The output size of a sliding window: (n + 2 padding - kernel) // stride + 1 along each axis."""
    stride, padding = projection.stride, projection.padding
    if min(*kernel, *stride) < 1 or any(not 0 <= p <= k for p, k in zip(padding, kernel, strict=True)):
        yield f"impossible window: kernel {kernel}, stride {stride}, padding {padding}"
        return
    sizes = tuple((source[i] + 2 * padding[i] - kernel[i]) // stride[i] + 1 for i in (0, 1))
    yield from _equal("target positions", sizes, target[:2])


def _kernel(projection: Any) -> tuple[int, int]:
    """The size of a whole kernel, of which a convolution may have some rows."""
    rows, columns = projection.weight.shape[:2]
    cut = getattr(projection, "rows", None)
    return (rows if cut is None else cut[1]), columns


def _weight(weight: NDArray[Any], shape: tuple[int, ...]) -> Iterator[str]:
    if weight.shape != shape:
        yield f"expected weights of shape {shape}, found {weight.shape}"
    elif not np.issubdtype(weight.dtype, np.signedinteger):
        yield f"expected signed whole-number weights, found {weight.dtype}"


def _readout(network: Network, populations: dict[str, Population]) -> Iterator[str]:
    spec = network.readout
    readouts = [p.name for p in network.populations if p.neuron.kind == "readout"]
    if readouts != [spec.population]:
        yield f"readout: expected exactly one readout population, {spec.population!r}, found {readouts}"
        return
    if len(spec.bias) != populations[spec.population].channels or spec.divisor < 1:
        outputs = populations[spec.population].channels
        yield f"readout: expected {outputs} biases and a divisor >= 1, found {len(spec.bias)} and {spec.divisor}"
    if not (isfinite(spec.scale) and spec.scale > 0 and all(map(isfinite, spec.bias))):
        yield f"readout: expected a positive scale and finite biases, found scale {spec.scale}"


def _grid(p: Population) -> Grid:
    return p.height, p.width, p.channels


def _equal(what: str, expected: object, found: object) -> Iterator[str]:
    if expected != found:
        yield f"expected {what} {expected}, found {found}"
