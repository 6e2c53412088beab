"""Small random networks for property tests: every kind of projection, consistent depths and delays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from neurochip.network.arithmetic import Arithmetic
from neurochip.network.axes import shape_of
from neurochip.network.network import InputSpec, Network, Neuron, Population, ReadoutSpec
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
    Source,
)

LOIHI = Arithmetic()


def random_network(
    seed: int, *, arithmetic: Arithmetic = LOIHI, max_delay: int = 7, rare: bool = False
) -> tuple[Network, NDArray[np.float64]]:
    """A well-formed network of 4 to 20 populations, and an input for it.

    Analog (1 or T frames) or spike input; convolutions with stride, padding and groups; dense, pooling and attention
    layers; several sources on one projection (residuals), several projections into one population, biases; delays of
    1 to ``max_delay`` ticks; soft resets where ``arithmetic`` has them; one or two projections into the readout; with
    ``rare``, currents of a convolution joined by dendrites, and connections by index.
    Returns (network, input (B, *shape) or (T, B, *shape)). The same seed gives the same pair.
    """
    builder = _Builder(np.random.default_rng(seed), arithmetic, max_delay)
    rng = builder.rng
    spec, x = builder.add_input()
    for _ in range(rng.integers(2, 6)):
        kind = rng.choice(["conv", "dense", "pool", "attention"], p=[0.35, 0.3, 0.15, 0.2])
        getattr(builder, f"add_{kind}")()
    if rare:
        builder.add_einsum()
        builder.add_max_conv()
        builder.add_weighted()
    readout = builder.add_readout()
    network = Network(
        name=f"random-{seed}",
        timesteps=builder.timesteps,
        populations=tuple(sorted(builder.populations, key=lambda p: p.depth)),
        projections=tuple(builder.projections),
        input=spec,
        readout=readout,
        arithmetic=arithmetic,
    )
    return network, x


def random_arithmetic(seed: int) -> Arithmetic:
    """Neuron rules no chip has, with widths so narrow that currents wrap and membranes clip."""
    rng = np.random.default_rng(seed)
    leak = str(rng.choice(["exponential", "exponential", "linear", "none"]))
    return Arithmetic(
        leak=leak,
        max_decay={"exponential": 4095, "linear": int(rng.integers(1, 2000)), "none": 0}[leak],
        linear_leak=rng.choice([None, "toward_zero", "past_zero", "down"]),
        leak_order=rng.choice([None, "before", "after"]),
        current_bits=int(rng.integers(12, 25)),
        current_overflow=rng.choice(["wrap", "clip"]),
        membrane_bits=int(rng.integers(12, 25)),
        membrane_overflow=rng.choice(["wrap", "clip"]),
        leak_rounding=rng.choice(["toward_zero", "down"]),
        fires=rng.choice(["gt", "ge"]),
        soft_reset=bool(rng.integers(2)),
    )


@dataclass
class _Builder:
    rng: np.random.Generator
    rules: Arithmetic
    max_delay: int
    populations: list[Population] = field(default_factory=list)
    projections: list[Projection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.timesteps = int(self.rng.integers(1, 6))

    def add_input(self) -> tuple[InputSpec, NDArray[np.float64]]:
        rng, batch = self.rng, int(self.rng.integers(1, 4))
        height, width = (int(n) for n in rng.integers(3, 7, 2))
        shape = (int(rng.integers(1, 4)), height, width)
        if rng.random() < 0.5:
            if rng.random() < 0.3:
                shape = (int(rng.integers(4, 20)),)
                height = width = 1
            self._population("input", (height, width, shape[0]), 0, Neuron(kind="source"))
            x = rng.random((self.timesteps, batch, *shape)) < 0.4
            return InputSpec(shape=shape, kind="spikes", scale=1.0, low=0, high=1), x.astype(np.float64)
        low = int(rng.choice([0, -128]))
        spec = InputSpec(shape=shape, kind="analog", scale=float(rng.choice([1 / 255, 0.02])), low=low, high=low + 255)
        frames = (self.timesteps,) if rng.random() < 0.3 else ()
        self._add_encoder(shape)
        return spec, rng.integers(low, low + 256, (*frames, batch, *shape)) * spec.scale

    def _add_encoder(self, shape: tuple[int, int, int]) -> None:
        rng, (channels, height, width) = self.rng, shape
        kernel, padding, stride, grid = self._window((height, width))
        out, limit = int(rng.integers(2, 8)), 100
        encoder = Encoder(
            name="first.encoder",
            sources=(),
            target="first",
            origin="first",
            shift=self.rules.threshold_shift,
            weight=rng.integers(-limit, limit + 1, (*kernel, channels, out)).astype(np.int16),
            bias=rng.integers(-2000, 8000, out),
            multiplier=int(rng.integers(1, 1000)),
            down=int(rng.integers(8, 14)),
            stride=stride,
            padding=padding,
        )
        typical = 128 * limit * np.sqrt(kernel[0] * kernel[1] * channels) / 2 * encoder.multiplier / 2**encoder.down
        self.projections.append(encoder)
        self._population("first", (*grid, out), 0, self._neuron(typical))
        self._maybe_bias("first", out, typical)

    def add_conv(self) -> None:
        rng = self.rng
        source = self._pick()
        kernel, padding, stride, grid = self._window((source.height, source.width))
        groups = int(rng.choice([g for g in range(1, source.channels + 1) if source.channels % g == 0]))
        out = groups * int(rng.integers(1, max(2, 8 // groups)))
        weight = self._weights((*kernel, source.channels // groups, out))
        extra = {"weight": weight, "stride": stride, "padding": padding, "groups": groups}
        self._layer(Conv, self._with_twins(source), (*grid, out), extra, fan_in=int(np.prod(weight.shape[:3])))

    def add_dense(self) -> Population:
        source = self._pick()
        out = int(self.rng.choice([source.channels, self.rng.integers(2, 8)]))  # equal widths make residuals
        sources, weight = self._with_twins(source), self._weights((source.channels, out))
        return self._layer(
            Dense, sources, (source.height, source.width, out), {"weight": weight}, fan_in=source.channels
        )

    def add_pool(self) -> None:
        source = self._pick()
        kernel, padding, stride, grid = self._window((source.height, source.width))
        extra = {"weight": int(self.rng.integers(1, 3)), "kernel": kernel, "stride": stride, "padding": padding}
        self._layer(Pool, self._with_twins(source), (*grid, source.channels), extra, fan_in=0)

    def add_max_conv(self) -> None:
        """Maxima of a convolution, one by one or added up in blocks."""
        rng, source = self.rng, self._pick()
        kernel, padding, stride, conv = self._window((source.height, source.width))
        pool, around, step, pooled = self._window(conv)
        target = tuple(int(rng.choice([n for n in range(1, size + 1) if size % n == 0])) for size in pooled)
        if pooled[0] * pooled[1] // (target[0] * target[1]) * (pool[0] * pool[1] + 1) > 18:  # a small core's neurons
            target = pooled
        groups = int(rng.choice([g for g in range(1, source.channels + 1) if source.channels % g == 0]))
        out = groups * int(rng.integers(1, max(2, 8 // groups)))
        weight = self._weights((*kernel, source.channels // groups, out))
        extra = {"weight": weight, "stride": stride, "padding": padding, "groups": groups}
        extra |= {"pool_kernel": pool, "pool_stride": step, "pool_padding": around}
        fan_in = kernel[0] * kernel[1] * source.channels // groups
        made = self._layer(MaxConv, self._with_twins(source), (*target, out), extra, fan_in)
        projection = next(p for p in self.projections if p.target == made.name and isinstance(p, MaxConv))
        blocks = pooled[0] * pooled[1] // made.positions
        self.populations[-1] = replace(made, compartments=1 + projection.compartments(blocks))

    def add_einsum(self) -> None:
        """Some axes of the source summed over, the others in any order and group, perhaps repeated along a new one."""
        rng, source = self.rng, self._pick()
        heads = int(rng.choice([h for h in range(1, source.channels + 1) if source.channels % h == 0]))
        sizes = {"y": source.height, "x": source.width, "h": heads, "c": source.channels // heads, "n": 2}
        groups = ["", "", ""]
        for letter in rng.permutation(list(sizes)):
            if rng.random() < 0.6:
                groups[rng.integers(3)] += letter
        axes = ("y,x,hc", ",".join(groups))
        extra = {"axes": axes, "sizes": tuple(sizes.items()), "weight": int(rng.choice([-2, 1, 1, 3]))}
        self._layer(Einsum, self._with_twins(source), shape_of(axes[1], sizes), extra, fan_in=0)

    def add_attention(self) -> None:
        source, heads = self._pick(), int(self.rng.integers(1, 4))
        shape = (source.height, source.width, heads * int(self.rng.integers(1, 4)))
        weights = [self._weights((source.channels, shape[2])) for _ in "qkv"]
        parts = [self._layer(Dense, [source], shape, {"weight": w}, source.channels, extras=False) for w in weights]
        name, depth = f"p{len(self.populations)}", self._depth(parts)
        high = source.positions * shape[2] // heads
        sources = tuple(Source(p.name, depth - p.depth) for p in parts)
        product = self._population(name, shape, depth, Neuron(kind="product"), high)
        self.projections.append(Product(name=f"{name}.product", sources=sources, target=name, origin=name, heads=heads))
        self._layer(Pool, [product], shape, {"weight": 1}, fan_in=0, extras=False)

    def add_weighted(self) -> None:
        """A product of spikes with a convolution of spikes, over the channels of a head or over positions."""
        rng, source = self.rng, self._pick()
        heads, depth, over = (
            int(rng.integers(1, 3)),
            int(rng.integers(1, 3)),
            str(rng.choice(["channels", "positions"])),
        )
        kernel, padding, stride, grid = self._window((source.height, source.width))
        positions = grid[0] * grid[1]
        read, made = (depth, positions) if over == "channels" else (positions, depth)
        place = (source.height, source.width)
        widths = (3, heads * read)
        weights = [self._weights((source.channels, width)) for width in widths]
        shapes = [(*place, width) for width in widths]
        parts = [
            self._layer(Dense, [source], shape, {"weight": weight}, source.channels, extras=False)
            for shape, weight in zip(shapes, weights, strict=True)
        ]
        name, tick = f"p{len(self.populations)}", self._depth(parts)
        x, z = ((Source(p.name, tick - p.depth),) for p in parts)
        weight = self._weights((*kernel, 3, heads * depth))
        bias = rng.integers(-100, 100, heads * depth).astype(np.int32)
        shape = (*place, heads * made)
        high = 128 * (weight.size + 1) * max(read, 1)
        product = self._population(name, shape, tick, Neuron(kind="product"), high)
        self.populations[-1] = product = replace(product, signed=True)
        base = {"target": name, "origin": name}
        self.projections.append(
            Matrix(name=f"{name}.matrix", sources=x, weight=weight, bias=bias, stride=stride, padding=padding, **base)
        )
        self.projections.append(Gated(name=f"{name}.gated", sources=z, heads=heads, over=over, **base))
        self._layer(Pool, [product], shape, {"weight": 1}, fan_in=0, extras=False)

    def add_readout(self) -> ReadoutSpec:
        rng, out = self.rng, int(self.rng.integers(2, 6))
        sources = [self.populations[-1]]
        others = [p for p in self._readable() if p is not sources[0] and self._close([p, *sources])]
        if others and rng.random() < 0.5:
            sources.append(others[rng.integers(len(others))])
        depth = max(p.depth for p in sources) + 1
        blocks = (1, 1)
        if len(sources) == 1 and rng.random() < 0.5:
            (only,) = sources
            rows, columns = ([n for n in range(1, size + 1) if size % n == 0] for size in (only.height, only.width))
            blocks = (int(rng.choice(rows)), int(rng.choice(columns)))
        self._population("readout", (*blocks, out), depth, Neuron(kind="readout"))
        for i, p in enumerate(sources):
            if blocks != (1, 1) or rng.random() < 0.5:
                kind, weight = Gather, self._weights((p.channels, out))
            else:
                kind, weight = Conv, self._weights((p.height, p.width, p.channels, out))
            self.projections.append(
                kind(
                    name=f"readout.{i}",
                    sources=(Source(p.name, depth - p.depth),),
                    target="readout",
                    origin="readout",
                    weight=weight,
                )
            )
        bias = tuple(float(b) for b in rng.normal(size=out))
        return ReadoutSpec(population="readout", scale=float(rng.uniform(0.01, 1)), divisor=self.timesteps, bias=bias)

    def _layer(
        self,
        kind: type[Projection],
        sources: list[Population],
        shape: tuple[int, int, int],
        extra: dict[str, object],
        fan_in: int,
        *,
        extras: bool = True,
    ) -> Population:
        """A population and its projection; with ``extras`` maybe a bias and a second projection (a shortcut)."""
        rng, name, depth = self.rng, f"p{len(self.populations)}", self._depth(sources)
        shift = self.rules.threshold_shift + int(rng.integers(0, 2))
        base = {"target": name, "origin": name}
        self.projections.append(
            kind(
                name=f"{name}.synapses",
                sources=tuple(Source(p.name, depth - p.depth) for p in sources),
                shift=shift,
                **base,
                **extra,
            )
        )
        typical = 30 * np.sqrt(0.3 * fan_in) if fan_in else float(rng.integers(0, 4))
        if extras:
            self._maybe_bias(name, shape[2], typical)
        second = [
            p
            for p in self._readable()
            if (p.height, p.width) == shape[:2] and p not in sources and 1 <= depth - p.depth <= self.max_delay
        ]
        if extras and second and rng.random() < 0.4:
            other = second[rng.integers(len(second))]
            weight = self._weights((other.channels, shape[2]))
            source = (Source(other.name, depth - other.depth),)
            self.projections.append(Dense(name=f"{name}.shortcut", sources=source, shift=shift, weight=weight, **base))
        return self._population(name, shape, depth, self._neuron(typical))

    def _maybe_bias(self, name: str, channels: int, typical: float) -> None:
        rng, digits = self.rng, int(self.rng.integers(1, 3))
        if rng.random() < 0.5:
            limit = min(127, int(typical) + 1)
            self.projections.append(
                Bias(
                    name=f"{name}.bias",
                    sources=(),
                    target=name,
                    origin=name,
                    weight=rng.integers(-limit // 2, limit + 1, (digits, channels)).astype(np.int16),
                    shifts=tuple(self.rules.threshold_shift - 2 * d for d in range(digits)),
                )
            )

    def _population(
        self, name: str, shape: tuple[int, int, int], depth: int, neuron: Neuron, high: int = 1
    ) -> Population:
        height, width, channels = shape
        made = Population(
            name=name,
            height=height,
            width=width,
            channels=channels,
            neuron=neuron,
            origin=name,
            depth=depth,
            high=high,
        )
        self.populations.append(made)
        return made

    def _neuron(self, typical: float) -> Neuron:
        """A rule whose threshold a current of ``typical`` weight units can reach."""
        unit = 1 << self.rules.threshold_shift
        threshold = int(self.rng.uniform(0, 0.8) * typical) * unit
        return Neuron(
            kind="lif",
            decay=self._decay(),
            threshold=threshold,
            reset="soft" if self.rules.soft_reset and self.rng.random() < 0.5 else "hard",
            threshold_offset=unit if self.rng.random() < 0.3 else 0,
        )

    def _decay(self) -> int:
        most = self.rules.max_decay
        return int(self.rng.choice([0, min(2048, most), most, self.rng.integers(0, max(most, 1))]))

    def _pick(self) -> Population:
        return self._readable()[-1 - int(self.rng.integers(0, min(2, len(self._readable()))))]

    def _readable(self) -> list[Population]:
        return [p for p in self.populations if p.neuron.kind in ("lif", "source")]

    def _with_twins(self, source: Population) -> list[Population]:
        """``source`` and, sometimes, earlier populations of its shape: a residual."""
        shape = (source.height, source.width, source.channels)
        picked = [source]
        for p in self._readable():
            same = (p.height, p.width, p.channels) == shape and p is not source
            if same and len(picked) < 3 and self.rng.random() < 0.6 and self._close([p, *picked]):
                picked.append(p)
        return picked

    def _close(self, sources: list[Population]) -> bool:
        """Whether one target can read all ``sources`` within ``max_delay``."""
        depths = [p.depth for p in sources]
        return max(depths) + 1 - min(depths) <= self.max_delay

    def _depth(self, sources: list[Population]) -> int:
        """A depth that every source reaches in 1 to ``max_delay`` ticks, often the earliest."""
        first = max(p.depth for p in sources) + 1
        slack = self.max_delay - max(first - p.depth for p in sources)
        return first + int(self.rng.integers(0, min(3, slack + 1))) * int(self.rng.random() < 0.3)

    def _window(self, size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Kernel, padding, stride and output grid of a window that fits ``size``, possibly different on each axis."""
        axes = []
        for n in size:
            kernel = int(self.rng.integers(1, 4))
            padding = int(self.rng.integers(0, kernel // 2 + 1))
            kernel = min(kernel, n + 2 * padding)
            stride = int(self.rng.integers(1, 3))
            axes.append((kernel, padding, stride, (n + 2 * padding - kernel) // stride + 1))
        (ky, py, sy, ny), (kx, px, sx, nx) = axes
        return (ky, kx), (py, px), (sy, sx), (ny, nx)

    def _weights(self, shape: tuple[int, ...]) -> NDArray[np.int8]:
        """int8 weights of a spread near 30 and a positive mean, some of them exactly zero or at the rails."""
        return np.clip(np.rint(self.rng.normal(6, 32, shape)), -127, 127).astype(np.int8)
