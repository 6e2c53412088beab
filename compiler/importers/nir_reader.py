"""Models in the neuromorphic intermediate representation (NIR): HDF5 files that many frameworks write.

NIR says what a network does in continuous time; steps, their length and the reset are settings here, each recorded with
its origin. Source of the primitives: Pedersen et al. 2024, Nature Communications 15, 8122.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import networkx as nx
import numpy as np

from compiler.importers.nir_builder import NirBuilder
from compiler.importers.nir_extension import EXTENSION, read_inputs, read_op
from compiler.importers.nir_file import NirNode, printable, read_nir_file
from compiler.importers.nir_layers import (
    read_conv1d,
    read_conv2d,
    read_flatten,
    read_linear,
    read_pool,
    read_scale,
)
from compiler.importers.nir_loops import Edge, late_edges
from compiler.importers.nir_neurons import RESETS, read_delay, read_if, read_integrator, read_lif, read_threshold
from compiler.importers.nir_writers import WRITERS, rockpool_step
from compiler.importers.options import Option, Options
from compiler.ir.graph import Graph, Setting
from compiler.ir.ops import Input, TimeMean
from compiler.ir.types import TensorType
from compiler.ir.verify import verify
from neurochip.errors import CheckpointError, GraphError, UnsupportedError

OPTIONS: tuple[Option, ...] = (
    Option(name="T", kind="count", default=None, spellings=("timesteps",), meaning="steps one input takes"),
    Option(name="dt", kind="number", default=None, meaning="seconds a step takes"),
    Option(
        name="discretisation", kind="choice", default="euler", choices=("euler", "exact"),
        meaning="k = dt/tau, or 1 - exp(-dt/tau)",
    ),
    Option(
        name="reset", kind="choice", default="hard", choices=RESETS,
        meaning="to v_reset, minus the threshold, or as snnTorch does",
    ),
    Option(name="spikes", kind="choice", default="one", choices=("one", "several"), meaning="in a step, at most"),
    Option(
        name="written_by", kind="choice", default="nir", choices=tuple(WRITERS),
        meaning="the framework whose conventions are the defaults of the other settings",
    ),
    Option(name="fires", kind="choice", default="gt", choices=("gt", "ge"), meaning="above, or also at the threshold"),
    Option(name="readout", kind="choice", default="mean", choices=("mean", "steps"), meaning="outputs over time"),
    Option(name="input", kind="choice", default="real", choices=("real", "spikes"), meaning="what enters"),
    Option(name="input_low", kind="number", default=-inf, spellings=("input.low",), meaning="smallest input"),
    Option(name="input_high", kind="number", default=inf, spellings=("input.high",), meaning="largest input"),
    Option(name="input_shape", kind="shape", default=(), meaning="without time and batch"),
)  # fmt: skip

TIMED = ("LIF", "CubaLIF", "IF", "LI", "CubaLI", "I", "Delay")
"""Primitives that need dt."""

_ONE: dict[str, Callable[[NirBuilder, str, NirNode, str], str]] = {
    "LIF": read_lif,
    "CubaLIF": read_lif,
    "IF": read_if,
    "LI": read_integrator,
    "CubaLI": read_integrator,
    "I": read_integrator,
    "Delay": read_delay,
    "Threshold": read_threshold,
    "Scale": read_scale,
    "SumPool2d": read_pool,
    "AvgPool2d": read_pool,
}
_SEVERAL: dict[str, Callable[[NirBuilder, str, NirNode, tuple[str, ...]], str]] = {
    "Linear": read_linear,
    "Affine": read_linear,
    "Conv1d": read_conv1d,
    "Conv2d": read_conv2d,
}
PRIMITIVES: tuple[str, ...] = (*_ONE, *_SEVERAL, "Flatten", "Input", "Output")
"""What can be read, and graphs of it."""

_AXES = {"Conv2d": 3, "Conv1d": 2, "Linear": 1, "Affine": 1, "SumPool2d": 3, "AvgPool2d": 3}
_PASS = "pass"
"""Kind of the inputs and outputs of inner graphs."""


def read_nir(path: str | Path, settings: Mapping[str, str] | None = None) -> Graph:
    """Read a NIR file into a verified float Graph; nothing in the file is executed.

    Args:
        settings: values of ``OPTIONS`` by name; they win over the file's metadata.

    Raises:
        CheckpointError: a damaged file, an unknown primitive, shapes that do not fit, a setting that nobody said.
        UnsupportedError: what a Graph cannot express; says the node and the remedy.
        MissingExtraError: h5py is not installed.
    """
    try:
        return _graph(_flat(read_nir_file(path)), settings or {})
    except (CheckpointError, UnsupportedError) as error:
        raise type(error)(f"{path}: {printable(error)}") from None
    except GraphError as error:
        raise CheckpointError(f"{path}: {printable(error)}") from None


@dataclass(frozen=True, slots=True, eq=False)
class _Flat:
    """A file without graphs in graphs: nodes by dotted name, what each reads, and the file's metadata."""

    nodes: dict[str, NirNode]
    inputs: dict[str, list[str]]
    metadata: Mapping[str, object]


def _flat(top: NirNode) -> _Flat:
    nodes, edges = dict(_inner(top, "")), list(_wires(top, ""))
    inputs: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        for name in (source, target):
            if name not in nodes:
                raise CheckpointError(f"an edge names '{name}', which is no node; the nodes are {_listed(nodes)}")
        if source in inputs[target]:
            raise CheckpointError(f"the edge from '{source}' to '{target}' is there twice")
        inputs[target].append(source)
    return _Flat(nodes, inputs, top.metadata)


def _inner(graph: NirNode, prefix: str) -> Iterator[tuple[str, NirNode]]:
    for name, node in graph.nodes.items():
        if node.kind == "NIRGraph":
            yield from _inner(node, f"{prefix}{name}.")
        else:
            hidden = bool(prefix) and node.kind in ("Input", "Output")
            yield prefix + name, replace(node, kind=_PASS) if hidden else node


def _wires(graph: NirNode, prefix: str) -> Iterator[tuple[str, str]]:
    for source, target in graph.edges:
        yield _port(graph, prefix, source, "Output"), _port(graph, prefix, target, "Input")
    for name, node in graph.nodes.items():
        if node.kind == "NIRGraph":
            yield from _wires(node, f"{prefix}{name}.")


def _port(graph: NirNode, prefix: str, name: str, kind: str) -> str:
    """The node that an edge means: of an inner graph its only input or output."""
    node = graph.nodes.get(name)
    while node is not None and node.kind == "NIRGraph":
        ports = [port for port, inner in node.nodes.items() if inner.kind == kind]
        if len(ports) != 1:
            raise UnsupportedError(
                f"graph '{prefix}{name}' inside the graph: expected one {kind}, found {len(ports)}; write its nodes out"
            )
        prefix, name, node = f"{prefix}{name}.", ports[0], node.nodes[ports[0]]
    return prefix + name


def _graph(flat: _Flat, settings: Mapping[str, str]) -> Graph:
    late = _late(flat)
    order = _ordered(flat, late)
    options = Options(_options(flat, settings), flat.metadata, settings)
    if not options.number("dt") > 0:
        raise CheckpointError(f"setting 'dt': expected seconds above 0, found {options.number('dt'):g}")
    backs: dict[str, TensorType] = {}
    if late:
        # What comes back has a size that only the way there tells.
        builder, made = _assembled(flat, options, order, late, None)
        backs = {name: _coming_back(builder, made, name) for name in dict.fromkeys(source for source, _ in late)}
    builder, made = _assembled(flat, options, order, late, backs)
    builder.close_loops(made)
    outputs = [made[name] for name in _outputs(flat)]
    if not outputs:
        raise CheckpointError("the graph has no Output node, so nothing says what its result is")
    title = str(flat.metadata.get("name", "nir"))
    known = tuple(s for s in options.settings if s.value != ())
    kept = _kept_settings(flat.metadata, {option.name for option in OPTIONS})
    graph = Graph(
        title if isinstance(title, str) else "nir",
        tuple(builder.nodes),
        tuple(outputs),
        builder.timesteps,
        known + kept,
    )
    return verify(graph.without_dead_nodes())


def _assembled(
    flat: _Flat, options: Options, order: list[str], late: frozenset[Edge], backs: Mapping[str, TensorType] | None
) -> tuple[NirBuilder, dict[str, str]]:
    """The nodes in order, and by name in the file what each became.

    Args:
        backs: the types of what comes back over the ``late`` edges; None leaves these edges out, and with them the
            nodes that nothing else reaches.
    """
    builder = NirBuilder(options, options.count("T"))
    returning = {source: builder.feedback(f"{source}.before", source, kind) for source, kind in (backs or {}).items()}
    made: dict[str, str] = {}
    for name in order:
        node = flat.nodes[name]
        sources = read_inputs(node, name) if node.kind == EXTENSION else tuple(flat.inputs[name])
        if {*sources} != {*flat.inputs[name]}:
            raise CheckpointError(f"node '{name}': its inputs {', '.join(sources)} are not those of its edges")
        if node.kind == "Input":
            made[name] = builder.add(_name(node, name), _input(flat, options, name))
        elif _comes_back(node):
            if len(sources) != 1:
                raise CheckpointError(f"node '{name}' (Scale): expected one edge to what comes back, found {sources}")
            made[name] = builder.feedback(_name(node, name), sources[0], _type_coming_back(node, name))
        else:
            found = [(returning if (source, name) in late else made).get(source) for source in sources]
            inputs = tuple(value for value in found if value is not None)
            if backs is None and (not inputs or (node.kind == EXTENSION and None in found)):
                continue
            if not inputs:
                raise CheckpointError(
                    f"node '{name}' ({node.kind}): nothing leads to it; expected an edge from an Input"
                )
            made[name] = _read(flat, builder, name, inputs)
    return builder, made


def _late(flat: _Flat) -> frozenset[Edge]:
    """The edges that close loops, apart from those that our own writer has marked."""
    open_inputs = {name: [] if _comes_back(flat.nodes[name]) else list(own) for name, own in flat.inputs.items()}
    return late_edges(flat.nodes, open_inputs)


def _comes_back(node: NirNode) -> bool:
    return node.kind == "Scale" and node.metadata.get("feedback") == 1


def _type_coming_back(node: NirNode, name: str) -> TensorType:
    shape = np.shape(node.values.get("scale", ()))
    try:
        low, high, integer = float(node.metadata["low"]), float(node.metadata["high"]), bool(node.metadata["integer"])
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"node '{name}' (Scale): metadata low, high and integer do not go together") from None
    return TensorType(shape, integer=integer, low=low, high=high)


def _coming_back(builder: NirBuilder, made: Mapping[str, str], name: str) -> TensorType:
    """The type of what comes back: spikes, or real numbers of any size."""
    if name not in made:
        raise UnsupportedError(f"node '{name}' is in a loop that nothing leads into; connect the loop to an Input")
    node = next(node for node in builder.nodes if node.name == made[name])
    found = builder.types[made[name]]
    return found if node.op.is_neuron else TensorType(found.shape)


def _outputs(flat: _Flat) -> list[str]:
    """The Output nodes by the number that their writer gave them, else by name."""
    found = [name for name, node in flat.nodes.items() if node.kind == "Output"]
    numbers = {name: flat.nodes[name].metadata.get("number") for name in found}
    if any(not isinstance(number, int) for number in numbers.values()):
        return found
    return sorted(found, key=lambda name: (numbers[name], name))


def _read(flat: _Flat, builder: NirBuilder, name: str, inputs: tuple[str, ...]) -> str:
    """The value of one node."""
    node = flat.nodes[name]
    own = _name(node, name)
    if node.kind == EXTENSION:
        return builder.add(own, read_op(node, name), *inputs)
    if node.kind in _SEVERAL:
        return _SEVERAL[node.kind](builder, own, node, inputs)
    x = builder.sum_of(own, inputs)
    if node.kind in _ONE:
        return _ONE[node.kind](builder, own, node, x)
    if node.kind == "Flatten":
        return read_flatten(builder, own, node, x, _features(flat, name))
    if node.kind == _PASS:
        return x
    if node.kind == "Output":
        averaged = builder.types[x].timed and builder.choice(node, "readout") == "mean"
        return builder.add(own, TimeMean(), x) if averaged else x
    raise CheckpointError(f"node '{name}': unknown primitive '{node.kind}'; known are {', '.join(PRIMITIVES)}")


def _ordered(flat: _Flat, late: frozenset[Edge]) -> list[str]:
    """Every node behind those it reads in the same step; ties as in the file."""
    edges = nx.DiGraph()
    edges.add_nodes_from(flat.nodes)
    for target, sources in flat.inputs.items():
        if not _comes_back(flat.nodes[target]):
            edges.add_edges_from((source, target) for source in sources if (source, target) not in late)
    if nx.is_directed_acyclic_graph(edges):
        place = {name: index for index, name in enumerate(flat.nodes)}
        return list(nx.lexicographical_topological_sort(edges, key=place.__getitem__))
    loop = [a for a, _ in nx.find_cycle(edges)]
    raise UnsupportedError(f"connection {' -> '.join([*loop, loop[0]])}: nothing says where this loop waits for a step")


def _options(flat: _Flat, settings: Mapping[str, str]) -> tuple[Option, ...]:
    """``OPTIONS`` with the writer's defaults, one for dt where nothing needs it, and a hint if parameters tell it."""
    needed = any(node.kind in TIMED for node in flat.nodes.values())
    writer = settings.get("written_by", flat.metadata.get("written_by", "nir"))
    habits = WRITERS.get(str(writer).lower(), {})
    changed = []
    for option in OPTIONS:
        option = replace(option, default=habits.get(option.name, option.default))
        if option.name == "dt" and option.default is None:
            fit = rockpool_step(flat.nodes.values()) if writer == "rockpool" else _fitting_step(flat)
            hint = f"; the neurons' r would fit dt={fit:g}" if fit else ""
            default = fit if writer == "rockpool" else None
            option = replace(option, default=default if needed else 1.0, meaning=option.meaning + hint)
        changed.append(option)
    return tuple(changed)


def _fitting_step(flat: _Flat) -> float | None:
    """The dt with which every input has weight 1 (snnTorch's and SpikingJelly's convention), if there is one."""
    found: list[float] = []
    for node in flat.nodes.values():
        tau = node.values.get("tau", node.values.get("tau_mem", 1.0)) if node.kind != "IF" else 1.0
        if node.kind in ("LIF", "IF", "CubaLIF") and "r" in node.values:
            try:
                found.extend(np.ravel(np.asarray(tau, np.float64) / np.asarray(node.values["r"], np.float64)))
            except (TypeError, ValueError):
                return None
    if not found or not np.allclose(found, found[0], rtol=1e-4) or not 0 < found[0] < 1:
        return None
    return float(f"{found[0]:.4g}")


def _input(flat: _Flat, options: Options, name: str) -> Input:
    node = flat.nodes[name]
    shape = options.shape("input_shape") or _input_shape(flat, name)
    said = {s.name for s in options.settings if s.origin == "--set"}
    spikes = options.choice("input") == "spikes"
    low, high = options.number("input_low"), options.number("input_high")
    if spikes:
        low, high = max(low, 0.0), 1.0 if high == inf else high
    own = node.metadata
    if "low" in own and not said & {"input", "input_low", "input_high"}:
        try:
            low, high, spikes = float(own["low"]), float(own["high"]), bool(own["integer"])
        except (KeyError, TypeError, ValueError):
            raise CheckpointError(f"node '{name}' (Input): metadata low, high and integer do not go together") from None
    return Input(shape=shape, integer=spikes, low=low, high=high)


def _input_shape(flat: _Flat, name: str) -> tuple[int, ...]:
    """The file's shape; leading axes of size 1 that the first layers do not have are a batch and go."""
    raw = np.asarray(flat.nodes[name].values.get("shape", ()))
    if raw.dtype.kind not in "iuf" or raw.ndim != 1 or not raw.size or (raw < 1).any() or (raw > 1 << 24).any():
        raise CheckpointError(f"node '{name}' (Input): the file tells no shape; say it with --set input_shape=CxHxW")
    shape = tuple(int(n) for n in raw)
    ranks = [_axes(flat.nodes[reader]) for reader, sources in flat.inputs.items() if name in sources]
    known = [rank for rank in ranks if rank is not None]
    while known and len(shape) > max(known) and shape[0] == 1:
        shape = shape[1:]
    return shape


def _axes(node: NirNode) -> int | None:
    """How many axes a node's input has, if it tells."""
    if node.kind in _AXES:
        return _AXES[node.kind]
    keys = ("v_threshold", "v_leak", "r", "scale", "threshold")
    sizes = [np.ndim(node.values[key]) for key in keys if np.size(node.values.get(key, 0)) > 1]
    return max(sizes, default=None)


def _features(flat: _Flat, name: str) -> frozenset[int]:
    """Inputs of the matrices that read a node."""
    readers = [flat.nodes[reader] for reader, sources in flat.inputs.items() if name in sources]
    shapes = [np.shape(node.values["weight"]) for node in readers if node.kind in ("Linear", "Affine")]
    return frozenset(shape[-1] for shape in shapes if shape)


def _name(node: NirNode, name: str) -> str:
    own = node.metadata.get("name")
    return own if isinstance(own, str) and own else name


def _kept_settings(metadata: Mapping[str, object], taken: set[str]) -> tuple[Setting, ...]:
    """Settings of the graph that was saved, as far as they are plain."""
    text = metadata.get("settings")
    try:
        rows = json.loads(text) if isinstance(text, str) else []
        return tuple(
            Setting(str(n), tuple(v) if isinstance(v, list) else v, str(o)) for n, v, o in rows if n not in taken
        )
    except (TypeError, ValueError, RecursionError):
        return ()


def _listed(nodes: Mapping[str, object]) -> str:
    return ", ".join(list(nodes)[:8]) + (", ..." if len(nodes) > 8 else "")
