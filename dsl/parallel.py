"""Independent pieces of work, on all processors where that is simple and worth it.

In: calls without arguments whose results can be pickled. Out: the results, in the calls' order. Processes are
forked, so that they begin with everything imported; where that is not safe, the calls run one after another.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

Result = TypeVar("Result")

WORTHWHILE = 6
"""With fewer calls, starting processes costs more than they save."""

_calls: Sequence[Callable[[], object]] = ()
"""What the processes find when they are forked: closures cannot be sent to them."""


def in_order(calls: Sequence[Callable[[], Result]]) -> list[Result]:
    """The results of all calls; of several that raise, the first one's exception.

    >>> in_order([lambda n=n: n * n for n in range(8)])
    [0, 1, 4, 9, 16, 25, 36, 49]
    """
    global _calls
    workers = min(len(calls), _processors())
    if len(calls) < WORTHWHILE or workers < 2 or not _may_fork():
        return [call() for call in calls]
    first = calls[0]()  # Here, so that what it imports and remembers is there in every process.
    _calls = calls
    try:
        with ending(ProcessPoolExecutor(workers, get_context("fork"))) as pool:
            with interrupts_kept():
                pending = [pool.submit(_run, place) for place in range(1, len(calls))]
            return [first, *(future.result() for future in pending)]  # type: ignore[list-item]
    finally:
        _calls = ()


@contextmanager
def ending(pool: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes end at once where an exception leaves the block, Ctrl-C among them.

    What waits for them is not cancelled: of that, together with their end, `concurrent.futures` makes a
    traceback.
    """
    try:
        yield pool
    except BaseException:
        for worker in list((pool._processes or {}).values()):
            worker.terminate()
        raise
    finally:
        pool.shutdown()


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """Ctrl-C reaches this process after the block, and never the processes that start in it.

    A terminal sends it to all of them; those that work would each print a traceback, or break the pool before
    this one knows why. They end with the pool instead.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _may_fork() -> bool:
    """A fork takes one thread and the locks of others, which torch and macOS's own libraries have."""
    alone = threading.active_count() == 1 and "torch" not in sys.modules
    return alone and sys.platform == "linux"


def _run(place: int) -> object:
    return _calls[place]()
