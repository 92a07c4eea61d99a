"""Work on threads: every result has its place, so the number of workers leaves no trace.

A map over ranges, and pure functions that are begun before their results are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import TypeVar

CHUNKS_A_WORKER = 4  # ranges differ in cost

T = TypeVar("T")

_POOL: ContextVar[tuple[int, ThreadPoolExecutor | None]] = ContextVar("leosim_workers", default=(1, None))


@contextmanager
def workers(count: int) -> Iterator[None]:
    """Let `each_range` and `begin` use `count` threads in the body; one: none but the caller's."""
    if count <= 1:
        before = _POOL.set((1, None))
        try:
            yield
        finally:
            _POOL.reset(before)
        return
    with ThreadPoolExecutor(count - 1) as pool:
        before = _POOL.set((count, pool))
        try:
            yield
        finally:
            _POOL.reset(before)
            pool.shutdown(cancel_futures=True)  # nobody asks any more for what has not begun


def count() -> int:
    """Threads that `each_range` and `begin` may use."""
    return _POOL.get()[0]


def begin(function: Callable[[], T]) -> Callable[[], T]:
    """Begin a pure function on a free thread; what is returned gives its result, once.

    Whoever asks before a thread has come to it computes it himself, so nobody waits for work that waits, and without
    threads all is computed when it is asked for.
    """
    pool = _POOL.get()[1]
    if pool is None:
        return function
    future = pool.submit(function)
    return lambda: function() if future.cancel() else future.result()


def each_range(total: int, function: Callable[[int, int], None]) -> None:
    """Call `function(first, last)` on ranges that make up 0..total; it must let go of the interpreter lock.

    The function may write to places of its own range only.
    """
    number, pool = _POOL.get()
    if pool is None or total < 2:
        function(0, total)
        return
    pieces = min(number * CHUNKS_A_WORKER, total)
    edges = [total * i // pieces for i in range(pieces + 1)]
    ranges = iter(list(pairwise(edges)))  # next() is one step of the interpreter

    def work() -> None:
        for first, last in ranges:
            function(first, last)

    futures = [pool.submit(work) for _ in range(number - 1)]
    work()
    for future in futures:
        if not future.cancel():  # a thread busy with something else has not come to it, and all is done
            future.result()
