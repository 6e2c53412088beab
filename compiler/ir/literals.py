"""How attribute values and arrays are written in the text form of a graph."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurochip.errors import GraphError

INLINE_ELEMENTS = 64
"""Arrays up to this size are written out; larger ones by shape and hash."""

DTYPES: dict[str, np.dtype[Any]] = {
    "bool": np.dtype(np.bool_),
    **{f"f{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
    **{f"i{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"u{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
}


def dtype_name(array: NDArray[Any]) -> str:
    """``f32`` for float32 and so on; raises GraphError for a dtype that has no name."""
    name = "bool" if array.dtype.kind == "b" else f"{array.dtype.kind}{8 * array.dtype.itemsize}"
    if name not in DTYPES:
        raise GraphError(f"expected an array of one of {', '.join(DTYPES)}; got dtype {array.dtype}")
    return name


def constant_hash(array: NDArray[Any]) -> str:
    """First 12 hex digits of SHA-256 over dtype, shape and little-endian row-major bytes."""
    name = dtype_name(array)
    plain = np.ascontiguousarray(array, dtype=DTYPES[name].newbyteorder("<"))
    header = f"{name}[{dims(array.shape)}]".encode()
    return hashlib.sha256(header + plain.tobytes()).hexdigest()[:12]


def dims(shape: tuple[int, ...]) -> str:
    """``64, 3`` for (64, 3)."""
    return ", ".join(map(str, shape))


def format_array(array: NDArray[Any]) -> str:
    """``i8[2, 2] [1, 2, 3, 4]`` in row-major order, or ``i8[64, 64] #1a2b3c4d5e6f``."""
    name = dtype_name(array)
    head = f"{name}[{dims(array.shape)}]"
    if array.size > INLINE_ELEMENTS:
        return f"{head} #{constant_hash(array)}"
    return f"{head} [{', '.join(_format_element(element) for element in array.ravel())}]"


def _format_element(element: np.generic) -> str:
    """Shortest text that parses back to the very same number."""
    value = element.item()
    if not isinstance(value, float):
        return format_value(value)
    short = float(str(element))
    return repr(short if element.dtype.type(short) == element else value)


def format_value(value: object) -> str:
    """An attribute or a setting as text; unknown objects as the string of themselves."""
    if isinstance(value, np.ndarray):
        return format_array(value)
    if isinstance(value, np.generic):
        value = value.item()
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(format_value(element) for element in value)}]"
    return json.dumps(value if isinstance(value, str) else str(value))
