"""Threads for kernels that release the GIL and write to disjoint rows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

WORTHWHILE = 1 << 21
"""Accumulates below which handing work to another thread costs more than it saves."""
CHUNKS = 4
"""Chunks per thread: boxes differ in work, so small ones even it out."""


class Workers:
    """A pool of ``threads``; with one, everything runs in the caller."""

    def __init__(self, threads: int) -> None:
        self.threads = max(1, threads)
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None

    def split(self, part: Callable[[int, int], None], tasks: int, accumulates: int) -> None:
        """Run ``part(first, last)`` over 0..tasks-1, in chunks on several threads if ``accumulates`` are worth it."""
        if self._pool is None or accumulates < WORTHWHILE or tasks < 2:
            part(0, tasks)
            return
        step = -(-tasks // (CHUNKS * self.threads))
        futures = [self._pool.submit(part, i, min(i + step, tasks)) for i in range(0, tasks, step)]
        for future in futures:
            future.result()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
