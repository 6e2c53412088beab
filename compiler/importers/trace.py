"""From a live PyTorch module to a Graph: what the module does on an example, recorded function by function."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from compiler.importers.tracing.recorder import BATCH, TIME, VALUE, Recorder, Symbol
from compiler.ir.graph import Graph, Node, Setting
from compiler.ir.ops import Embedding, Floats, Input, Step
from compiler.ir.verify import verify
from neurochip.errors import InputError, MissingExtraError, UnsupportedError

if TYPE_CHECKING:
    from compiler.importers.tracing.session import Session

Axes = Literal["B", "TB", "BT"]

TOLERANCE = 1e-6
"""Largest difference between graph and module, as a fraction of the largest output."""

EXAMPLES = 2
"""At least so many examples are traced at once, so that the batch axis can be told from others of size 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Example:
    """The input of a trace: data laid out as the module takes it, and what the axes are."""

    data: Floats
    axes: Axes
    timesteps: int

    @property
    def is_sequence(self) -> bool:
        return self.axes != "B"

    @property
    def value_shape(self) -> tuple[int, ...]:
        return self.data.shape[len(self.axes) :]

    @property
    def batch(self) -> int:
        return int(self.data.shape[self.axes.index("B")])

    def another(self) -> _Example:
        """Other numbers of the same kind: examples, positions and signs change places."""
        rng = np.random.default_rng(0)
        data = rng.permutation(self.data.ravel()).reshape(self.data.shape)
        return replace(self, data=data)

    def for_graph(self) -> Floats:
        """(B, ...) or (T, B, ...)."""
        return self.data.swapaxes(0, 1) if self.axes == "BT" else self.data


def trace(
    module: Any,
    example_input: Any,
    timesteps: int | None = None,
    *,
    axes: Axes | None = None,
    each_step: bool | None = None,
    input_range: tuple[float, float] | None = None,
    name: str | None = None,
) -> Graph:
    """Record what ``module`` does with ``example_input`` as a Graph; the module is not changed.

    A copy in double precision runs twice, with the example and with other numbers; both times the graph must compute
    what the module does. Neurons of SpikingJelly, snnTorch, Norse and Sinabs become neuron layers called by their
    module paths; loops over time become the graph of one step.

    Args:
        module: a ``torch.nn.Module`` in evaluation mode.
        example_input: a tensor or array, whole numbers for token numbers.
        timesteps: T; the length of the example's time axis if there is one, else 1 unless given.
        axes: how the example is laid out: ``B`` (the same in every step), ``TB`` or ``BT`` (one for each step). If
            None: ``TB`` if there are 3 or 5 axes and the first one has ``timesteps`` elements, or 5 and no
            ``timesteps``; else ``B``.
        each_step: the module computes one step and is called T times. If None: if all its neurons are called once,
            and are such that know single steps only.
        input_range: smallest and largest input that the chip must take; the graph accepts any if None.
        name: of the graph; the class's if None.

    Raises:
        UnsupportedError: the module does something that has no op; names its path and source line.
        InputError: the example does not fit the other arguments. MissingExtraError: PyTorch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtraError("tracing a module", "torch") from None
    if type(module).__name__ == "ExportedProgram" or isinstance(module, torch.jit.ScriptModule | torch.fx.GraphModule):
        raise UnsupportedError(
            f"{type(module).__name__}: exported, scripted and fx programs have no neurons any more, only their "
            "arithmetic of every single step; trace the module that they were made from"
        )
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"module: expected a torch.nn.Module, found {type(module).__name__}")
    if module.training:
        raise InputError("module: it is in training mode; call module.eval() first")
    example = _prepared(example_input, timesteps, axes)
    graphs = []
    for data in (example, example.another()):
        recorded, outputs, values = _Run(module, data, each_step).record()
        nodes = _ranged(recorded.nodes, input_range)
        settings = (Setting("T", example.timesteps, "trace"), Setting("module", type(module).__name__, "trace"))
        graph = Graph(name or type(module).__name__, tuple(nodes), outputs, example.timesteps, settings)
        graph = verify(graph.without_dead_nodes())
        _compare(graph, data, values)
        graphs.append(graph)
    if str(graphs[0]) != str(graphs[1]):
        raise UnsupportedError(
            "the module does something else for other numbers of the same shape; it must not depend on its input"
        )
    return graphs[0]


def _prepared(example_input: Any, timesteps: int | None, axes: Axes | None) -> _Example:
    """The example as an array of at least ``EXAMPLES`` examples."""
    data = np.asarray(example_input.detach().cpu() if hasattr(example_input, "detach") else example_input)
    if data.dtype.kind not in "fiub" or data.ndim < 1:
        raise InputError(
            f"example_input: expected a tensor with a batch axis, found {data.dtype} of shape {data.shape}"
        )
    if axes not in (None, "B", "TB", "BT"):
        raise InputError(f"axes: expected 'B', 'TB' or 'BT', found {axes!r}")
    if axes is None:
        sequence = (data.ndim == 5 and timesteps is None) or (data.ndim in (3, 5) and data.shape[0] == timesteps)
        axes = "TB" if sequence else "B"
    if data.ndim < len(axes):
        raise InputError(f"example_input: expected axes {axes}, found shape {data.shape}")
    steps = data.shape[axes.index("T")] if "T" in axes else timesteps or 1
    if timesteps not in (None, steps):
        raise InputError(f"timesteps: expected {steps}, the length of the example's time axis, found {timesteps}")
    place = axes.index("B")
    while data.shape[place] < EXAMPLES:
        data = np.concatenate([data, data[..., ::-1]], axis=place)
    return _Example(data=data if data.dtype.kind in "iu" else data.astype(np.float64), axes=axes, timesteps=steps)


class _Run:
    """One recorded run of a copy of the module."""

    def __init__(self, module: Any, example: _Example, each_step: bool | None) -> None:
        from compiler.importers.tracing.session import Session

        self._example = example
        self._each_step = each_step
        self._recorder = Recorder(example.timesteps)
        self._session: Session = Session(self._recorder, example.batch)
        with _double_precision():
            self._module = _copied(module)

    def record(self) -> tuple[Recorder, tuple[str, ...], tuple[Floats, ...]]:
        """The recorder, names of the outputs, and what the module gave for them."""
        import torch

        from compiler.importers.tracing.mode import recording

        example, session = self._example, self._session
        kind = example.data.dtype.kind
        low, high = (int(example.data.min()), int(example.data.max())) if kind in "iu" else (-inf, inf)
        op = Input(shape=example.value_shape, integer=kind in "iu", low=low, high=high)
        node = self._recorder.add(op, [], "input")
        x = torch.tensor(example.data)
        dims = {"B": (BATCH,), "TB": (TIME, BATCH), "BT": (BATCH, TIME)}[example.axes]
        symbol = Symbol(node=node, dims=(*dims, *[VALUE] * len(example.value_shape)))
        results = []
        with ExitStack() as stack:
            stack.enter_context(_double_precision())
            stack.enter_context(torch.no_grad())
            stack.enter_context(_watched(self._module, session))
            stack.enter_context(recording(session))
            if self._each_step and example.is_sequence:
                axis = example.axes.index("T")
                for step in range(example.timesteps):
                    part = session.register(x.select(axis, step), _at_step(symbol, step))
                    results.append(self._module(part))
            else:
                results.append(self._module(session.register(x, symbol)))
                while self._goes_on(len(results)):
                    results.append(self._module(session.register(torch.tensor(example.data), symbol)))
        outputs = self._outputs(results)
        return self._recorder, *outputs

    def _goes_on(self, done: int) -> bool:
        """Whether a module that computes one step must be called again."""
        if done >= self._example.timesteps or self._example.is_sequence or self._each_step is False:
            return False
        single = not self._session.runs and set(self._session.calls.values()) == {done}
        return bool(self._each_step) or single

    def _outputs(self, results: list[Any]) -> tuple[tuple[str, ...], tuple[Floats, ...]]:
        from compiler.importers.tracing.mode import _leaves

        session, names, values = self._session, [], []
        for position, tensor in enumerate(_leaves(results[-1])):
            symbol = session.find(tensor) if session.knows(tensor) else None
            if symbol is None or (len(results) > 1 and symbol.step is None and symbol.has_time):
                continue
            with session.paused():
                series = [list(_leaves(result))[position].double().numpy() for result in results]
            found = self._output(symbol, series)
            if found is not None and found[0] not in names:
                names.append(found[0])
                values.append(found[1])
        if not names:
            session.fail("its result does not depend on the input in a way that was recorded")
        return tuple(names), tuple(values)

    def _output(self, symbol: Symbol, series: list[Floats]) -> tuple[str, Floats] | None:
        """A node and its values, (B, ...) or (T, B, ...)."""
        recorder, steps = self._recorder, self._example.timesteps
        symbol = recorder.solid(recorder.settled(symbol))
        value = np.stack(series) if len(series) > 1 else series[0]
        dims = (TIME, *symbol.dims) if len(series) > 1 else symbol.dims
        node = symbol.node
        if len(series) == 1 and symbol.step is not None and steps > 1:
            node = recorder.add(Step(index=symbol.step), [node], f"{node}.step")
        if steps == len(series) == 1 and symbol.step is None and not symbol.has_time and recorder.types[node].timed:
            node = recorder.time_mean(node)  # of the only step, of which the module shows no axis
        if symbol.step is not None and steps == 1 and len(series) == 1:
            dims, value = (TIME, *symbol.dims), value[None]
        if any(len(dim) > 1 for dim in dims):
            self._session.fail("its result has batch and time in one axis; unflatten it")
        lead = [axis for kind in (TIME, BATCH) for axis, dim in enumerate(dims) if dim == kind]
        rest = [axis for axis, dim in enumerate(dims) if dim == VALUE]
        value = value.transpose([*lead, *rest])
        return node, value


def _at_step(symbol: Symbol, step: int) -> Symbol:
    return replace(symbol, dims=tuple(dim for dim in symbol.dims if dim != TIME), step=step)


@contextmanager
def _double_precision() -> Iterator[None]:
    """Tensors that are made without a type are float64: states of neurons, for example."""
    import torch

    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


def _copied(module: Any) -> Any:
    """A copy in double precision whose neurons are at rest."""
    try:
        twin = copy.deepcopy(module).double()
    except RuntimeError as error:
        raise UnsupportedError(
            f"the module cannot be copied ({error}); reset its neurons first, e.g. with functional.reset_net(module)"
        ) from None
    for part in twin.modules():
        if "_backend" in vars(part):
            part._backend = "torch"
        elif "backend" in vars(part):
            part.backend = "torch"
        for reset in ("reset_mem", "reset_states", "reset"):
            if callable(getattr(part, reset, None)) and not isinstance(vars(part).get(reset), np.ndarray):
                getattr(part, reset)()
                break
    return twin


@contextmanager
def _watched(module: Any, session: Session) -> Iterator[None]:
    """Neurons are recorded as ops, and the session knows which module runs."""
    from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

    from compiler.importers.tracing.mode import neuron_forward
    from compiler.importers.tracing.neurons import find_leaf

    names = {part: path for path, part in module.named_modules()}

    def enter(part: Any, inputs: Any) -> None:
        session.path.append(names.get(part, session.current))
        session.layer = session.current if _is_layer(part) else ""

    def leave(part: Any, inputs: Any, output: Any) -> None:
        session.path.pop()
        session.layer = ""

    for part, path in names.items():
        make = find_leaf(part)
        if make is not None:
            part.forward = neuron_forward(session, path or "neurons", part.forward, make)
    handles = [
        register_module_forward_pre_hook(enter),
        register_module_forward_hook(leave, always_call=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_layer(part: Any) -> bool:
    """Whether a module is one of PyTorch's layers, or of a kind of them, and no container."""
    kinds = [kind.__name__ for kind in type(part).__mro__ if kind.__module__.startswith("torch.nn.modules")]
    return kinds[:1] not in ([], ["Module"], ["Sequential"]) and not list(part.children())


def _ranged(nodes: Sequence[Node], input_range: tuple[float, float] | None) -> list[Node]:
    """The nodes with the input's range: as said, or all rows of the tables that it looks up."""
    found = []
    for node in nodes:
        op = node.op
        if isinstance(op, Input):
            readers = [other.op for other in nodes if node.name in other.inputs]
            tables = [reader.weight for reader in readers if isinstance(reader, Embedding)]
            if input_range is not None:
                op = replace(op, low=float(input_range[0]), high=float(input_range[1]))
            elif op.integer and tables and len(tables) == len(readers):
                op = replace(op, low=0, high=min(len(table) for table in tables) - 1)
        found.append(replace(node, op=op))
    return found


def _compare(graph: Graph, example: _Example, values: tuple[Floats, ...]) -> None:
    """Raise UnsupportedError unless the graph computes what the module did."""
    open_graph = replace(graph, nodes=tuple(_ranged(graph.nodes, None)))
    run = open_graph.run(example.for_graph())
    for name, expected in zip(graph.outputs, values, strict=True):
        found = run.outputs[name]
        if found.shape != expected.shape and found.ndim == expected.ndim + 1 and (found == found[:1]).all():
            found = found[0]
        scale = max(float(np.abs(expected).max(initial=0)), 1e-12)
        if found.shape != expected.shape or np.abs(found - expected).max(initial=0) > TOLERANCE * scale:
            raise UnsupportedError(
                f"the recorded graph does not compute what the module does (output '{name}'): it has state outside its "
                "neurons, depends on its input, or uses code that PyTorch does not show, such as compiled functions"
            )
