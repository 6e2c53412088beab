"""Arrays by address. Numba counts references to arrays, two atomic operations for many a use in a branch, which made
the packet kernel eight times slower. Whoever passes addresses keeps the arrays alive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import from_dtype, types
from numba.core import cgutils
from numba.extending import intrinsic

from neurochip.noc.kernels.records import FLOW, KIND, LINK, PLACE, TOTALS, WAITING


def _records(dtype: np.dtype[np.void]) -> Callable[..., Any]:
    """A function (address, index) -> the record there in an array of ``dtype``."""
    record = from_dtype(dtype)

    @intrinsic
    def at(_context: Any, _address: Any, _index: Any) -> Any:
        def generate(compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            offset = builder.mul(arguments[1], ir.Constant(ir.IntType(64), dtype.itemsize))
            place = builder.add(arguments[0], offset)
            return builder.inttoptr(place, compiler.get_value_type(record))

        return record(types.int64, types.int64), generate

    return at


link_at, kind_at, place_at = map(_records, (LINK, KIND, PLACE))
flow_at, waiting_at, totals_at = map(_records, (FLOW, WAITING, TOTALS))


def _pointer(builder: Any, arguments: Any, bits: int) -> Any:
    kind = ir.IntType(bits).as_pointer()
    return builder.gep(builder.inttoptr(arguments[0], kind), [arguments[1]])


def _integers(bits: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Functions (address, index) -> value and (address, index, value) -> None for an array of ``bits``-bit integers.

    Those of 8 bits are unsigned.
    """

    @intrinsic
    def load(_context: Any, _address: Any, _index: Any) -> Any:
        def generate(_compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            value = builder.load(_pointer(builder, arguments, bits))
            if bits == 64:
                return value
            return (builder.sext if bits > 8 else builder.zext)(value, ir.IntType(64))

        return types.int64(types.int64, types.int64), generate

    @intrinsic
    def store(_context: Any, _address: Any, _index: Any, _value: Any) -> Any:
        def generate(compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            value = arguments[2] if bits == 64 else builder.trunc(arguments[2], ir.IntType(bits))
            builder.store(value, _pointer(builder, arguments, bits))
            return compiler.get_dummy_value()

        return types.none(types.int64, types.int64, types.int64), generate

    return load, store


load, store = _integers(64)
load32, store32 = _integers(32)
load8, store8 = _integers(8)


@intrinsic
def prefetch(_context: Any, _address: Any, _offset: Any) -> Any:
    """Bring the cache line at (address + offset) bytes near without waiting."""

    def generate(compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        i32 = cgutils.int32_t
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, i32, i32, i32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        place = builder.inttoptr(builder.add(*arguments), cgutils.voidptr_t)
        builder.call(function, [place, *(ir.Constant(i32, number) for number in (1, 3, 1))])  # to write, keep, data
        return compiler.get_dummy_value()

    return types.none(types.int64, types.int64), generate


@intrinsic
def lowest_bit(_context: Any, bits: Any) -> Any:
    """The position of the lowest set bit of an int64 that is not zero."""

    def generate(_compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], cgutils.true_bit)

    return types.int64(types.int64), generate
