"""Threads for work that releases the GIL and shares no state."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """The caller and ``threads - 1`` helpers; with one thread, everything runs in the caller.

    The first helper does what is queued, in order, and helps with ``map`` in between; the others only help. So a thread
    that has nothing of its own to do is never idle while another has.
    """

    def __init__(self, threads: int) -> None:
        self.threads = max(1, threads)
        self._queue = ThreadPoolExecutor(1) if self.threads > 1 else None
        self._others = ThreadPoolExecutor(self.threads - 2) if self.threads > 2 else None

    def map(self, do: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """``do`` of every item, in order; side by side if there are several threads."""
        if self._queue is None or len(items) < 2:
            return [do(item) for item in items]
        todo, done = deque(enumerate(items)), dict[int, Result]()

        def work() -> None:
            while todo:
                try:
                    number, item = todo.popleft()
                except IndexError:  # a helper was quicker
                    return
                done[number] = do(item)

        helpers = [self._queue.submit(work)]
        if self._others is not None:
            helpers += [self._others.submit(work) for _ in range(self.threads - 2)]
        try:
            work()
        finally:
            todo.clear()
            busy = [helper for helper in helpers if not helper.cancel()]
        for helper in busy:
            helper.result()
        return [done[number] for number in range(len(items))]

    def queue(self, do: Callable[[], None]) -> Future[None]:
        """``do`` beside what follows, after what was queued before; with one thread at once."""
        if self._queue is not None:
            return self._queue.submit(do)
        do()
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in (self._queue, self._others):
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)
