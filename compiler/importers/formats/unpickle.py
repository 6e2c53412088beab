"""A pickle machine that cannot execute anything.

It interprets the opcodes of pickle protocols 0 to 5 (PEP 307, PEP 3154, PEP 574; CPython's ``pickletools``) over plain
containers and inert stand-ins. Nothing is imported or looked up: a name in the file becomes a ``Global``, and what
calling or building one means is decided by a ``Vocabulary`` of our own functions.
"""

from __future__ import annotations

import codecs
import mmap
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol

from compiler.importers.formats.storage import brief
from neurochip.errors import CheckpointError

# One opcode makes at most one object (a set: 216 bytes), so this bounds memory as well as time. A checkpoint of
# 1000 tensors with its optimiser takes about 100 000.
MAX_OPCODES: Final = 2_000_000
MAX_INT_BYTES: Final = 256
MAX_LINE: Final = 1 << 20
MAX_KEY: Final = 1 << 60  # beyond it integers of equal hash are easily made, and a dict of them is quadratic


@dataclass(frozen=True, slots=True)
class Global:
    """The name of something importable. It stays a name."""

    module: str
    name: str

    @property
    def path(self) -> str:
        """The dotted name."""
        return f"{self.module}.{self.name}"


class Vocabulary(Protocol):
    """What names, calls and persistent ids in a pickle mean. All may raise CheckpointError."""

    def find(self, module: str, name: str) -> object:
        """The inert stand-in of a global."""

    def call(self, function: object, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        """The value of ``function(*args, **kwargs)``; ``function`` is any value of the pickle."""

    def build(self, instance: object, state: object) -> None:
        """Give ``state`` to an instance made by ``call``."""

    def persistent(self, pid: object) -> object:
        """The object that lives outside the pickle under ``pid``."""


def dict_key(value: object) -> object:
    """``value`` if it is a plain hashable value, and no integer chosen to make dictionaries slow."""
    if type(value) in (str, bytes, bool, float, type(None)):
        return value
    if type(value) is int and -MAX_KEY < value < MAX_KEY:
        return value
    raise CheckpointError(f"{brief(value)} cannot be a key: keys are text, bytes, numbers below 2**60, bool or None")


class Machine:
    """Runs one pickle that starts at ``position`` of ``data``; afterwards ``position`` is behind its STOP."""

    def __init__(self, data: bytes | mmap.mmap, vocabulary: Vocabulary, *, position: int = 0) -> None:
        self.data = data
        self.position = position
        self._vocabulary = vocabulary
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []  # one suspended stack for each open MARK
        self._memo: dict[int, Any] = {}

    def run(self) -> object:
        """The pickled value, of plain containers and stand-ins; raises CheckpointError and nothing else."""
        data, start, end, opcode = self.data, self.position, len(self.data), 0
        try:
            for _ in range(MAX_OPCODES):
                if self.position >= end:
                    raise CheckpointError("the pickle ends without a STOP opcode; the file is truncated")
                opcode = data[self.position]
                self.position += 1
                if opcode == _STOP:
                    return self._stack.pop()
                _OPCODES[opcode](self)
        except CheckpointError as error:
            raise CheckpointError(f"{error} (byte {self.position - start} of the pickle)") from error
        except _MALFORMED as error:
            where = f"at byte {self.position - start}, opcode 0x{opcode:02x}"
            raise CheckpointError(f"malformed pickle {where} ({type(error).__name__}); nothing was executed") from error
        raise CheckpointError(f"the pickle has more than {MAX_OPCODES} opcodes; save the state dict alone")

    # Reading arguments

    def _take(self, count: int) -> bytes:
        if not 0 <= count <= len(self.data) - self.position:
            raise CheckpointError(f"the pickle announces {brief(count)} bytes where fewer are left")
        chunk = self.data[self.position : self.position + count]
        self.position += count
        return chunk

    def _number(self, form: struct.Struct) -> Any:
        return form.unpack(self._take(form.size))[0]

    def _line(self) -> bytes:
        end = self.data.find(b"\n", self.position, self.position + MAX_LINE)
        if end < 0:
            raise CheckpointError("a line of the pickle has no end")
        line = self.data[self.position : end]
        self.position = end + 1
        return line

    def _decimal(self) -> int:
        line = self._line().removesuffix(b"L")
        if len(line) > MAX_INT_BYTES:
            raise CheckpointError(f"an integer of {len(line)} digits in the pickle")
        return int(line)

    def _to_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._outer.pop()
        return items

    # Opcodes

    def _mark(self) -> None:
        self._outer.append(self._stack)
        self._stack = []

    def _pop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._to_mark()

    def _dup(self) -> None:
        self._stack.append(self._stack[-1])

    def _long(self, form: struct.Struct) -> None:
        size = self._number(form)
        if not 0 <= size <= MAX_INT_BYTES:
            raise CheckpointError(f"an integer of {size} bytes in the pickle; at most {MAX_INT_BYTES} are read")
        self._stack.append(int.from_bytes(self._take(size), "little", signed=True))

    def _counted(self, form: struct.Struct, decode: Callable[[bytes], object]) -> None:
        self._stack.append(decode(self._take(self._number(form))))

    def _int_line(self) -> None:
        if self.data[self.position : self.position + 3] in (b"00\n", b"01\n"):
            self._stack.append(self._line() == b"01")
        else:
            self._stack.append(self._decimal())

    def _string_line(self) -> None:
        quoted = self._line()
        if len(quoted) < 2 or quoted[:1] != quoted[-1:] or quoted[:1] not in (b"'", b'"'):
            raise CheckpointError("a STRING opcode without quotes")
        self._stack.append(_text(codecs.escape_decode(quoted[1:-1])[0]))

    def _tuple(self, count: int) -> None:
        if len(self._stack) < count:
            raise IndexError
        at = len(self._stack) - count
        self._stack[at:] = [tuple(self._stack[at:])]

    def _put(self, index: int) -> None:
        if not 0 <= index <= len(self.data):
            raise CheckpointError(f"memo index {brief(index)} in a pickle that is shorter than that")
        self._memo[index] = self._stack[-1]

    def _append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise CheckpointError(f"the pickle appends to {brief(target)}, expected a list")
        target.extend(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise CheckpointError(f"the pickle sets items of {brief(target)}, expected a dict and pairs")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[dict_key(key)] = value

    def _add_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not set:
            raise CheckpointError(f"the pickle adds items to {brief(target)}, expected a set")
        target.update(dict_key(item) for item in items)

    def _set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set_items([key, value])

    def _make_dict(self) -> None:
        items = self._to_mark()
        self._stack.append({})
        self._set_items(items)

    def _find(self, module: object, name: object) -> Any:
        if type(module) is not str or type(name) is not str:
            raise CheckpointError("the pickle names a global by something else than text")
        return self._vocabulary.find(module, name)

    def _global_line(self) -> Any:
        return self._find(str(self._line(), "utf-8"), str(self._line(), "utf-8"))

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(self._find(module, name))

    def _call(self, function: object, args: object, kwargs: object) -> None:
        if type(args) is not tuple or type(kwargs) is not dict:
            raise CheckpointError(f"the pickle calls {brief(function)} with {brief(args)}, expected a tuple")
        if any(type(key) is not str for key in kwargs):
            raise CheckpointError("the pickle calls with keyword arguments that are not text")
        self._stack.append(self._vocabulary.call(function, args, kwargs))

    def _reduce(self) -> None:
        args, function = self._stack.pop(), self._stack.pop()
        self._call(function, args, {})

    def _new_object_ex(self) -> None:
        kwargs, args, cls = self._stack.pop(), self._stack.pop(), self._stack.pop()
        self._call(cls, args, kwargs)

    def _inst(self) -> None:
        cls = self._global_line()
        args = tuple(self._to_mark())
        self._call(cls, args, {})

    def _obj(self) -> None:
        cls, *args = self._to_mark()
        self._call(cls, tuple(args), {})

    def _build(self) -> None:
        state = self._stack.pop()
        self._vocabulary.build(self._stack[-1], state)

    def _persistent(self) -> None:
        self._stack.append(self._vocabulary.persistent(self._stack.pop()))

    def _protocol(self) -> None:
        version = self._take(1)[0]
        if version > 5:
            raise CheckpointError(f"pickle protocol {version}; 0 to 5 are read")

    def _frame(self) -> None:
        size = self._number(_U64)
        if size > len(self.data) - self.position:
            raise CheckpointError(f"a pickle frame of {size} bytes where fewer are left")

    def _extension(self, form: struct.Struct) -> None:
        code = self._number(form)
        raise CheckpointError(
            f"the pickle refers to extension code {code} of copyreg, which could be anything; refused"
        )

    def _refuse(self, what: str) -> None:
        raise CheckpointError(f"the pickle uses {what}, which no checkpoint needs; refused")

    def _push(self, value: object) -> None:
        self._stack.append(value)


def _text(raw: bytes) -> str | bytes:
    """A Python 2 string: text where it is UTF-8, as ``torch.load`` reads it, else the bytes."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw


_STOP: Final = ord(".")
_U8, _U16, _U32, _U64 = (struct.Struct(f) for f in ("<B", "<H", "<I", "<Q"))
_I32, _F64 = struct.Struct("<i"), struct.Struct(">d")
# What the opcodes above raise on nonsense: stack underflow, unknown opcodes, undecodable text.
_MALFORMED: Final = (IndexError, KeyError, ValueError, OverflowError, TypeError, struct.error, RecursionError)


def _utf8(raw: bytes) -> str:
    return raw.decode("utf-8")


_OPCODES: Final[Mapping[int, Callable[[Machine], None]]] = MappingProxyType(
    {
        ord("("): Machine._mark,
        ord("0"): Machine._pop,
        ord("1"): lambda m: m._to_mark().clear(),
        ord("2"): Machine._dup,
        ord("N"): lambda m: m._push(None),
        0x88: lambda m: m._push(True),
        0x89: lambda m: m._push(False),
        ord("I"): Machine._int_line,
        ord("L"): lambda m: m._push(m._decimal()),
        ord("F"): lambda m: m._push(float(m._line())),
        ord("J"): lambda m: m._push(m._number(_I32)),
        ord("K"): lambda m: m._push(m._number(_U8)),
        ord("M"): lambda m: m._push(m._number(_U16)),
        ord("G"): lambda m: m._push(m._number(_F64)),
        0x8A: lambda m: m._long(_U8),
        0x8B: lambda m: m._long(_I32),
        ord("S"): Machine._string_line,
        ord("V"): lambda m: m._push(codecs.raw_unicode_escape_decode(m._line())[0]),
        ord("T"): lambda m: m._counted(_I32, _text),
        ord("U"): lambda m: m._counted(_U8, _text),
        ord("X"): lambda m: m._counted(_U32, _utf8),
        0x8C: lambda m: m._counted(_U8, _utf8),
        0x8D: lambda m: m._counted(_U64, _utf8),
        ord("B"): lambda m: m._counted(_U32, bytes),
        ord("C"): lambda m: m._counted(_U8, bytes),
        0x8E: lambda m: m._counted(_U64, bytes),
        0x96: lambda m: m._counted(_U64, bytes),
        ord(")"): lambda m: m._push(()),
        0x85: lambda m: m._tuple(1),
        0x86: lambda m: m._tuple(2),
        0x87: lambda m: m._tuple(3),
        ord("t"): lambda m: m._push(tuple(m._to_mark())),
        ord("]"): lambda m: m._push([]),
        ord("l"): lambda m: m._push(m._to_mark()),
        ord("a"): lambda m: m._append([m._stack.pop()]),
        ord("e"): lambda m: m._append(m._to_mark()),
        ord("}"): lambda m: m._push({}),
        ord("d"): Machine._make_dict,
        ord("s"): Machine._set_item,
        ord("u"): lambda m: m._set_items(m._to_mark()),
        0x8F: lambda m: m._push(set()),
        0x90: lambda m: m._add_items(m._to_mark()),
        0x91: lambda m: m._push(frozenset(dict_key(item) for item in m._to_mark())),
        ord("p"): lambda m: m._put(m._decimal()),
        ord("q"): lambda m: m._put(m._number(_U8)),
        ord("r"): lambda m: m._put(m._number(_U32)),
        0x94: lambda m: m._put(len(m._memo)),
        ord("g"): lambda m: m._push(m._memo[m._decimal()]),
        ord("h"): lambda m: m._push(m._memo[m._number(_U8)]),
        ord("j"): lambda m: m._push(m._memo[m._number(_U32)]),
        ord("c"): lambda m: m._push(m._global_line()),
        0x93: Machine._stack_global,
        ord("R"): Machine._reduce,
        ord("b"): Machine._build,
        ord("i"): Machine._inst,
        ord("o"): Machine._obj,
        0x81: Machine._reduce,
        0x92: Machine._new_object_ex,
        ord("P"): lambda m: m._push(m._vocabulary.persistent(str(m._line(), "utf-8"))),
        ord("Q"): Machine._persistent,
        0x80: Machine._protocol,
        0x95: Machine._frame,
        0x82: lambda m: m._extension(_U8),
        0x83: lambda m: m._extension(_U16),
        0x84: lambda m: m._extension(_I32),
        0x97: lambda m: m._refuse("an out-of-band buffer"),
        0x98: lambda m: m._refuse("an out-of-band buffer"),
    }
)
