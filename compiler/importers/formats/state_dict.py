"""Finding the state dict, the training arguments and the rest in what a trainer saved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from numpy.typing import NDArray

from compiler.importers.formats.pickled_numpy import NumpyArray
from compiler.importers.formats.pickled_plain import Record
from compiler.importers.formats.pickled_tensors import TypedStorage
from compiler.importers.formats.storage import Budget, TensorRef, brief
from compiler.importers.formats.unpickle import Global
from neurochip.errors import CheckpointError

WRAPPERS: Final = ("state_dict", "model", "net", "model_state_dict")
EMA_WRAPPERS: Final = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
# What trainers save beside the model; tensors in it are no weights.
BOOKKEEPING: Final = frozenset(
    ("optimizer", "optimizer_state_dict", "lr_scheduler", "scheduler", "scaler", "amp_scaler", "loss_scaler", "args")
)
COUNTERS: Final = frozenset(("n_averaged",))  # of torch.optim.swa_utils.AveragedModel
PREFIXES: Final = ("module.", "_orig_mod.")  # DistributedDataParallel, torch.compile
MAX_DEPTH: Final = 32
MAX_VALUES: Final = 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The parts of a saved value: see ``Checkpoint`` for the fields."""

    wrapper: str
    tensors: dict[str, TensorRef]
    args: object
    other: tuple[str, ...]


class _Walk:
    """Bounds a walk over a pickled value, which may contain itself or repeat a part exponentially often."""

    def __init__(self) -> None:
        self._visited = 0

    def visit(self, depth: int) -> None:
        self._visited += 1
        if depth > MAX_DEPTH or self._visited > MAX_VALUES:
            raise CheckpointError(
                f"the saved value is nested more than {MAX_DEPTH} deep or has more than {MAX_VALUES} parts; "
                "it is cyclic or was made to deceive; save the state dict alone"
            )

    def leaves(self, value: object, path: str = "", depth: int = 0) -> Iterator[tuple[str, object]]:
        """Everything in nested dicts and sequences that is not one itself, with its dotted path."""
        self.visit(depth)
        if type(value) is list or type(value) is tuple:
            value = dict(enumerate(value))
        if type(value) is dict:
            for key, part in value.items():
                name = key if type(key) is str else brief(key)
                yield from self.leaves(part, f"{path}.{name}" if path else name, depth + 1)
        else:
            yield path, value

    def has_tensors(self, value: object) -> bool:
        """Whether ``value`` is a dict with a tensor anywhere in it."""
        return type(value) is dict and any(type(leaf) is TensorRef for _, leaf in self.leaves(value))


def select(tree: object, *, ema: bool) -> Selection:
    """Find the state dict in ``tree``; raises CheckpointError if there is none, or more than one."""
    if type(tree) is not dict:
        raise CheckpointError(f"the file holds {_kind(tree)}, expected a state dict or a dict that has one")
    walk = _Walk()
    wrapper, state = _find(tree, ema, walk)
    skipped = (BOOKKEEPING if not wrapper else frozenset[str]()) | COUNTERS
    tensors: dict[str, TensorRef] = {}
    other = [brief(key) for key in tree if key not in ("args", wrapper.partition(".")[0])] if wrapper else []
    for key, value in state.items():
        name = key if type(key) is str else brief(key)
        for path, leaf in walk.leaves(value, name) if name not in skipped else ():
            if type(leaf) is TensorRef:
                if path in tensors:
                    raise CheckpointError(f"two tensors are named {brief(path)!r}")
                if not path.isprintable():
                    raise CheckpointError(
                        f"a tensor's name holds control characters: {brief(path)}; the file is corrupt"
                    )
                tensors[path] = leaf
            else:
                other.append(brief(f"{wrapper}.{path}" if wrapper else path))
        if name in skipped and name != "args":
            other.append(brief(name))
    if not tensors:
        raise CheckpointError(f"the file holds no tensors that could be weights; it holds {_contents(tree)}")
    return Selection(
        wrapper=wrapper,
        tensors=_without_prefixes(tensors),
        args=tree.get("args"),
        other=tuple(dict.fromkeys(other)),
    )


def _find(tree: dict[object, object], ema: bool, walk: _Walk) -> tuple[str, dict[object, object]]:
    averaged = [key for key in EMA_WRAPPERS if walk.has_tensors(tree.get(key))]
    found = averaged if ema else [key for key in WRAPPERS if walk.has_tensors(tree.get(key))]
    if ema and not found:
        raise CheckpointError(
            f"averaged (EMA) weights are asked for, but none of {', '.join(EMA_WRAPPERS)} is in the file, "
            f"which holds {_contents(tree)}; load it without EMA"
        )
    if len(found) > 1:
        raise CheckpointError(f"the file holds several state dicts: {', '.join(found)}; save one of them alone")
    if not found:
        if averaged:
            raise CheckpointError(
                f"the file holds averaged (EMA) weights only, under {averaged[0]!r}; ask for them with ema=True"
            )
        return "", tree
    wrapper, state = found[0], tree[found[0]]
    while type(state) is dict:
        inner = [key for key in WRAPPERS if walk.has_tensors(state.get(key))]
        if len(inner) != 1 or any(type(value) is TensorRef for value in state.values()):
            return wrapper, state
        wrapper, state = f"{wrapper}.{inner[0]}", state[inner[0]]
        walk.visit(wrapper.count("."))
    raise CheckpointError(f"{brief(wrapper)} is {_kind(state)}, expected a state dict")


def _without_prefixes(tensors: dict[str, TensorRef]) -> dict[str, TensorRef]:
    for _ in range(MAX_DEPTH):
        common = [p for p in PREFIXES if all(key.startswith(p) and len(key) > len(p) for key in tensors)]
        if not common:
            break
        tensors = {key.removeprefix(common[0]): tensor for key, tensor in tensors.items()}
    return tensors


def _kind(value: object) -> str:
    if type(value) is TensorRef:
        return f"one tensor of shape {brief(value.shape)}"
    return brief(value) if type(value) not in (Record, TypedStorage) else f"one {type(value).__name__}"


def _contents(tree: dict[object, object]) -> str:
    return ", ".join(brief(key, 40) for key in list(tree)[:20]) or "nothing"


def plain_arguments(value: object, budget: Budget) -> dict[str, object]:
    """The training arguments as plain Python values: a record or dict becomes a dict, torch types become text."""
    walk = _Walk()
    if type(value) is Record or type(value) is dict:
        converted = _plain(value, budget, walk, 0)
        if type(converted) is dict:
            return {key if type(key) is str else brief(key): part for key, part in converted.items()}
    return {}


def _plain(value: object, budget: Budget, walk: _Walk, depth: int) -> object:
    walk.visit(depth)
    if type(value) is Record:
        value = value.values
    if type(value) is dict:
        return {key: _plain(part, budget, walk, depth + 1) for key, part in value.items()}
    if type(value) is list:
        return [_plain(part, budget, walk, depth + 1) for part in value]
    if type(value) is tuple:
        return tuple(_plain(part, budget, walk, depth + 1) for part in value)
    if type(value) is TensorRef:
        return value.array(budget)
    if type(value) is NumpyArray:
        return _frozen(value.array)
    if type(value) in (str, bytes, int, float, bool, set, frozenset, type(None)):
        return value
    return value.path if type(value) is Global else f"<{type(value).__name__}>"


def _frozen(array: NDArray[Any] | None) -> object:
    if array is not None:
        array.flags.writeable = False
    return array
