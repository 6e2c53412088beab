"""The words that say what a stack of layers is made of, and how they fit the modules of a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from compiler.importers.family import Tensors
from neurochip.errors import CheckpointError

LETTERS = {"conv": "spg", "maxpool": "ksp", "avgpool": "ksp"}
"""Attributes that a word may carry: kernel, stride, padding, groups."""

COUNTED = {"gap": 1, "vote": 10}
"""Words that may carry a number, and which it is if they do not."""

LARGEST = 64
"""The largest number that such a word may carry."""

WEIGHTED = ("conv", "linear", "bn")
NEURONS = ("sn", "if", "lif")
OTHERS = ("flatten", "dropout", "identity")
KNOWN = (*WEIGHTED, *NEURONS, "maxpool", "avgpool", *COUNTED, *OTHERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One layer: its kind, and numbers by letter (``k``, ``s``, ``p``, ``g``; ``n`` for ``gap`` and ``vote``)."""

    text: str
    kind: str
    numbers: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A module of the file: its path, ``conv``, ``linear``, ``bn`` or ``lif`` (a time constant), its weight's shape."""

    path: str
    kind: str
    shape: tuple[int, ...]


def parse_words(text: str) -> tuple[Word, ...]:
    """The words of ``layers``; raises CheckpointError naming the first that is none."""
    return tuple(_parse(word) for word in re.split(r"[\s,]+", text.strip()) if word)


def _parse(text: str) -> Word:
    kind, _, rest = text.lower().partition(":")
    if kind not in KNOWN:
        raise CheckpointError(f"setting 'layers': '{text}' is no layer; the layers are {', '.join(KNOWN)}")
    if kind in COUNTED:
        if rest and not (is_number(rest) and 0 < int(rest) <= LARGEST):
            raise CheckpointError(f"setting 'layers': expected a number up to {LARGEST} such as {kind}:7, got '{text}'")
        return Word(text=text, kind=kind, numbers={"n": int(rest or COUNTED[kind])})
    letters = LETTERS.get(kind, "")
    numbers = {letter: int(number) for letter, number in re.findall(r"([a-z])(\d+)", rest)}
    if not re.fullmatch(r"([a-z]\d+)*", rest) or not set(numbers) <= set(letters) or len(rest) > 40:
        known = f" such as {kind}:{'1'.join(letters)}1" if letters else " without numbers"
        raise CheckpointError(f"setting 'layers': expected {kind}{known}, got '{text}'")
    if kind in ("maxpool", "avgpool") and "k" not in numbers:
        raise CheckpointError(f"setting 'layers': expected a kernel such as {kind}:k2, got '{text}'")
    return Word(text=text, kind=kind, numbers=numbers)


def modules_of(tensors: Tensors) -> tuple[Module, ...] | None:
    """The modules in the file's order if all of them are layers of a stack, else None."""
    parts: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, array in tensors.items():
        path, _, leaf = key.rpartition(".")
        parts.setdefault(path, {})[leaf] = array.shape
    found = []
    for path, leaves in parts.items():
        shape = leaves.get("weight", ())
        if set(leaves) == {"w"}:
            kind = "lif"
        elif "running_mean" in leaves:
            kind = "bn"
        elif set(leaves) <= {"weight", "bias"} and len(shape) in (2, 4):
            kind = "linear" if len(shape) == 2 else "conv"
        else:
            return None
        found.append(Module(path=path, kind=kind, shape=shape))
    return tuple(found)


def place_names(words: Sequence[Word], modules: Sequence[Module]) -> tuple[str, ...]:
    """The module path of every word: the file's for those with tensors, the free numbers between them for others.

    Raises CheckpointError where words and modules do not fit.
    """
    names: list[str] = []
    waiting = list(modules)
    for index, word in enumerate(words):
        if word.kind in WEIGHTED:
            if not waiting or waiting[0].kind != word.kind:
                got = f"'{waiting[0].path}' is a {waiting[0].kind}" if waiting else "the file has no more tensors"
                raise CheckpointError(f"setting 'layers': at word {index + 1}, {word.text}, {got}")
            names.append(waiting.pop(0).path)
        elif word.kind in NEURONS and waiting and waiting[0].kind == "lif":
            names.append(waiting.pop(0).path)
        else:
            names.append("")
    if waiting:
        raise CheckpointError(f"setting 'layers': no word is left for '{waiting[0].path}', a {waiting[0].kind}")
    return _filled(words, names)


def _filled(words: Sequence[Word], names: list[str]) -> tuple[str, ...]:
    filled = list(names)
    for index, name in enumerate(names):
        if name or filled[index]:
            continue
        end = next((i for i in range(index, len(names)) if names[i]), len(names))
        before = filled[index - 1] if index else ""
        behind = names[end] if end < len(names) else ""
        free = _free_names(before, behind, end - index) or [
            f"{before or 'input'}.{words[i].kind}" + ("" if i == index else str(i - index)) for i in range(index, end)
        ]
        filled[index:end] = free
    return tuple(filled)


def _free_names(before: str, behind: str, count: int) -> list[str]:
    """``count`` paths with the numbers between those of two modules of one container; [] if they do not fit."""
    path, other = before.split("."), behind.split(".")
    fallback: list[str] = []
    for level in range(len(path) - 1, -1, -1):
        if not is_number(path[level]):
            continue
        start = int(path[level])
        free = [".".join([*path[:level], str(start + i)]) for i in range(1, count + 1)]
        shares = len(other) > level and other[:level] == path[:level] and is_number(other[level])
        if shares and int(other[level]) > start:
            return free if int(other[level]) == start + count + 1 else []
        fallback = fallback or free
    if not before and is_number(other[-1]) and int(other[-1]) == count:
        return [".".join([*other[:-1], str(i)]) for i in range(count)]
    return fallback


def proposal(modules: Sequence[Module]) -> str:
    """Words that would fit the modules: a guess to be looked at, not to be run."""
    words: list[str] = []
    for index, module in enumerate(modules):
        behind = modules[index + 1] if index + 1 < len(modules) else None
        kernel = module.shape[2] if module.kind == "conv" else 1
        words.append(f"conv:p{kernel // 2}" if kernel > 1 else module.kind)
        if module.kind == "lif" or (behind is not None and behind.kind in ("bn", "lif")):
            continue
        if behind is None:
            break
        free = _gap(module.path, behind.path)
        pools = behind.kind == "conv" and free > 1
        flattens = behind.kind == "linear" and module.kind != "linear" and _spatial(modules[: index + 1])
        words += (
            ["sn"] + (["maxpool:k2"] if pools or (flattens and free > 2) else []) + (["flatten"] if flattens else [])
        )
    return " ".join(words)


def _spatial(modules: Sequence[Module]) -> bool:
    """Whether what leaves the last of ``modules`` is an image."""
    layers = [module.kind for module in modules if module.kind in ("conv", "linear")]
    return bool(layers) and layers[-1] == "conv"


def _gap(before: str, behind: str) -> int:
    """How many numbers are free between two modules of one container; 1 if they are in different ones."""
    (start, a), (stop, b) = (path.rpartition(".")[::2] for path in (before, behind))
    return int(b) - int(a) - 1 if start == stop and is_number(a) and is_number(b) else 1


def is_number(text: str) -> bool:
    """Whether it can be the number of a module in a container."""
    return text.isdecimal() and len(text) <= 6
