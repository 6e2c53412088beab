"""Values written into tensors that are already there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from compiler.importers.tracing.layout import fitted, same_value
from compiler.importers.tracing.recorder import TIME, Symbol
from compiler.importers.tracing.session import Session, with_dims
from compiler.ir.ops import Affine


def setitem(session: Session, result: Any, x: Any, index: Any, value: Any) -> Any:
    """``x[...] = constant``: elements replaced, as in a border; or ``x[step] = value`` for every step: as ``stack``."""
    if session.knows(value):
        return _written_steps(session, x, index, value)
    if not session.knows(x):
        session.fail("a constant is written into another tensor by an index that depends on the input")
    _, _, before = session._symbols[id(x)]
    symbol = session.recorder.solid(before if isinstance(before, Symbol) else before())
    with session.paused():
        kept, written = torch.ones_like(x), torch.zeros_like(x)
        kept[index], written[index] = 0, value
    gain, offset = fitted(session, kept, symbol.dims), fitted(session, written, symbol.dims)
    return session.record(Affine(gain=gain, offset=offset), symbol, name="written")


def _written_steps(session: Session, x: Any, index: Any, value: Any) -> Callable[[], Symbol]:
    """What a tensor stands for whose first axis is filled step by step, once it is asked for."""
    steps = session.recorder.timesteps
    if type(index) is not int or x.dim() != value.dim() + 1 or x.shape[0] != steps or x.shape[1:] != value.shape:
        session.fail("values that depend on the input are written into a part of another tensor; use cat or stack")
    _, parts = session.filling.setdefault(id(x), (x, {}))
    parts[index % steps] = session.symbol(value)

    def filled() -> Symbol:
        if len(parts) < steps:
            session.fail(
                f"a tensor is used of which {len(parts)} of {steps} steps are written; write all of them first"
            )
        made = same_value([parts[step] for step in range(steps)])
        if made is None:
            session.fail("the steps of a tensor are written with different values; let every step do the same")
        return with_dims(made, (TIME, *made.dims))

    return filled


FUNCTIONS: dict[str, Callable[..., Any]] = {"__setitem__": setitem}
