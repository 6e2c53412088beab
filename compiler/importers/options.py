"""What a model file's tensors cannot tell: options taken from its arguments, from ``--set`` or from a default."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from compiler.ir.graph import Setting
from neurochip.errors import CheckpointError

Kind = Literal["count", "number", "size", "flag", "choice", "shape", "text"]
Value = int | float | str | tuple[int, ...]

_MEANING = {
    "count": "a whole number >= 1",
    "number": "a number",
    "size": "a size such as 32 or 32x48",
    "flag": "true or false",
    "choice": "a word of the list",
    "shape": "sizes such as 3x32x32",
    "text": "text",
}
LARGEST = 10**6
"""The largest count or size that is believed."""

_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One fact about a family's models that is not in their tensors.

    Attributes:
        kind: ``count`` is an int >= 1, ``number`` a float, ``size`` a (height, width) pair, ``flag`` a bool, ``choice``
            one of ``choices`` (upper or lower case), ``shape`` a tuple of sizes, ``text`` any str.
        default: what upstream's own code uses when nobody says otherwise; None if a guess could change results, so
            that somebody has to say.
        spellings: other names of the same option in upstream's command lines.
        meaning: one line for people.
        choices: the values of a ``choice``.
        in_file: the file's arguments count; False where upstream's code overrides what its command line says.
    """

    name: str
    kind: Kind
    default: Value | None
    spellings: tuple[str, ...] = ()
    meaning: str = ""
    choices: tuple[str, ...] = ()
    in_file: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """All accepted names."""
        return (self.name, *self.spellings)


class Options:
    """The values of a family's options for one file, and where each came from."""

    def __init__(
        self,
        options: tuple[Option, ...],
        arguments: Mapping[str, object],
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Resolve every option: ``settings`` (``--set``) win over the file's ``arguments``, which win over the default.

        Raises CheckpointError for a setting that no option is called, a value of the wrong kind, and a value that
        nobody said of an option without default.
        """
        settings = settings or {}
        known = [name for option in options for name in option.names]
        for name in settings:
            if name not in known:
                raise CheckpointError(_unknown(name, options, known))
        self._found = {option.name: _resolve(option, arguments, settings) for option in options}

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Every option as a record for ``Graph.settings``."""
        return tuple(self._found.values())

    def count(self, name: str) -> int:
        """The value of a ``count`` option."""
        value = self._found[name].value
        if not isinstance(value, int):
            raise TypeError(f"option {name} is no count")
        return value

    def flag(self, name: str) -> bool:
        """The value of a ``flag`` option."""
        value = self._found[name].value
        if not isinstance(value, bool):
            raise TypeError(f"option {name} is no flag")
        return value

    def text(self, name: str) -> str:
        """The value of a ``text`` option."""
        value = self._found[name].value
        if not isinstance(value, str):
            raise TypeError(f"option {name} is no text")
        return value

    def choice(self, name: str) -> str:
        """The value of a ``choice`` option, spelled as in its ``choices``."""
        return self.text(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """The value of a ``shape`` option."""
        value = self._found[name].value
        if not isinstance(value, tuple):
            raise TypeError(f"option {name} is no shape")
        return value

    def number(self, name: str) -> float:
        """The value of a ``number`` option."""
        value = self._found[name].value
        if not isinstance(value, float):
            raise TypeError(f"option {name} is no number")
        return value

    def size(self, name: str) -> tuple[int, int]:
        """The value of a ``size`` option: (height, width)."""
        value = self._found[name].value
        if not isinstance(value, tuple):
            raise TypeError(f"option {name} is no size")
        height, width = value
        return height, width

    def suggest(self, name: str, value: Value) -> None:
        """A default that depends on the tensors, instead of the option's own; whatever somebody said stays."""
        if self._found[name].origin == "default":
            self._found[name] = Setting(name, value, "default")

    def tell(self, name: str, value: Value) -> None:
        """The tensors tell ``value``; raises CheckpointError if ``--set`` says otherwise."""
        said = self._found[name]
        if said.origin == "--set" and said.value != value:
            raise CheckpointError(f"setting '{name}' from --set is {said.value}, but the tensors are of {name} {value}")
        self._found[name] = Setting(name, value, "tensor shapes")


def input_range(arguments: Mapping[str, object]) -> dict[str, object]:
    """``input_low`` and ``input_high`` of images that a trainer normalised, from the ``mean`` and ``std`` it names.

    Pixels 0..1 become ``(pixel - mean) / std`` for each channel, the convention of timm's and torchvision's loaders.
    Empty if the arguments do not hold a usable pair of lists.
    """
    mean, std = arguments.get("mean"), arguments.get("std")
    if not isinstance(mean, list | tuple) or not isinstance(std, list | tuple) or not mean or len(mean) != len(std):
        return {}
    try:
        pairs = [(_finite(m), _finite(s)) for m, s in zip(mean, std, strict=True)]
    except (TypeError, ValueError):
        return {}
    if any(s <= 0 for _, s in pairs):
        return {}
    return {"input_low": min(-m / s for m, s in pairs), "input_high": max((1 - m) / s for m, s in pairs)}


def _unknown(name: str, options: tuple[Option, ...], known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"unknown setting '{name}'; this model knows {', '.join(option.name for option in options)}{hint}"


def _resolve(option: Option, arguments: Mapping[str, object], settings: Mapping[str, str]) -> Setting:
    for name in option.names:
        if name in settings:
            return Setting(option.name, _convert(option, name, settings[name], "--set"), "--set")
    for name in option.names:
        # Upstream's argument parsers leave None where the model's own default holds.
        if option.in_file and arguments.get(name) is not None:
            return Setting(option.name, _convert(option, name, arguments[name], "the file's arguments"), "file")
    if option.default is None:
        known = f" ({' or '.join(option.choices)})" if option.choices else ""
        what = f" ({option.meaning})" if option.meaning else ""
        raise CheckpointError(
            f"the file does not tell '{option.name}'{what}, and results depend on it; "
            f"say it with --set {option.name}=VALUE{known}"
        )
    return Setting(option.name, option.default, "default")


def _convert(option: Option, name: str, value: object, source: str) -> Value:
    try:
        if option.kind == "count":
            return _count(value)
        if option.kind == "number":
            return _finite(value)
        if option.kind == "flag":
            return _FLAGS[str(value).lower()]
        if option.kind == "choice":
            return {choice.lower(): choice for choice in option.choices}[str(value).lower()]
        if option.kind == "text":
            return str(value)
        parts = value.lower().split("x") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            parts = [parts]
        sizes = [_count(part) for part in parts]
        if option.kind == "shape":
            return tuple(sizes)
        height, width = sizes if len(sizes) > 1 else sizes * 2
        return height, width
    except OverflowError:
        raise CheckpointError(f"setting '{name}' from {source}: {value!r:.40} is more than {LARGEST}") from None
    except (TypeError, ValueError, KeyError):
        expected = " or ".join(option.choices) if option.choices else _MEANING[option.kind]
        raise CheckpointError(f"setting '{name}' from {source}: expected {expected}, got {value!r}") from None


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str) or int(value) < 1:
        raise ValueError
    if int(value) > LARGEST:
        raise OverflowError
    return int(value)


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str) or not isfinite(float(value)):
        raise ValueError
    return float(value)
