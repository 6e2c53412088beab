"""Threads of a simulation: what is queued stays in order, what is mapped comes back in order, errors come out."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from neurochip.sim.workers import Workers


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_results_come_in_the_order_of_items(threads: int) -> None:
    def slow_if_even(item: int) -> int:
        time.sleep(0.001 * (item % 2 == 0))
        return item * item

    with Workers(threads) as workers:
        for size in (0, 1, 2, 17):
            assert workers.map(slow_if_even, range(size)) == [item * item for item in range(size)]


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_queued_work_is_done_in_order_while_others_are_mapped(threads: int) -> None:
    done: list[int] = []

    def append(number: int) -> Callable[[], None]:
        return lambda: done.append(number)

    with Workers(threads) as workers:
        waiting = []
        for number in range(20):
            waiting.append(workers.queue(append(number)))
            assert workers.map(abs, [-1, -2, -3]) == [1, 2, 3]
        for one in waiting:
            one.result()
    assert done == list(range(20))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_an_error_in_any_thread_reaches_the_caller(threads: int) -> None:
    def fail(item: int) -> int:
        time.sleep(0.001)
        if item == 7:
            raise ValueError("seven")
        return item

    with Workers(threads) as workers:
        with pytest.raises(ValueError, match="seven"):
            workers.map(fail, range(12))
        assert workers.map(abs, [-3, 4]) == [3, 4]
