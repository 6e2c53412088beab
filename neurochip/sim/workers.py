"""Threads for work that releases the GIL and shares no state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """A pool of ``threads``; with one, everything runs in the caller."""

    def __init__(self, threads: int) -> None:
        self.threads = max(1, threads)
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None
        self._queue = ThreadPoolExecutor(1) if self.threads > 1 else None

    def map(self, do: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """``do`` of every item, in order; side by side if there are several threads."""
        if self._pool is None or len(items) < 2:
            return [do(item) for item in items]
        return list(self._pool.map(do, items))

    def start(self, do: Callable[[], None]) -> Future[None]:
        """``do`` beside what follows; with one thread at once."""
        return self._started(self._pool, do)

    def queue(self, do: Callable[[], None]) -> Future[None]:
        """``do`` beside what follows, after what was queued before; with one thread at once."""
        return self._started(self._queue, do)

    def _started(self, pool: ThreadPoolExecutor | None, do: Callable[[], None]) -> Future[None]:
        if pool is not None:
            return pool.submit(do)
        do()
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in (self._pool, self._queue):
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)
