"""Independent pieces of work, on all processors where that is simple and worth it.

In: calls without arguments whose results can be pickled. Out: the results, in the calls' order. Processes are
forked, so that they begin with everything imported; where that is not safe, the calls run one after another.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
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
        with ProcessPoolExecutor(workers, get_context("fork"), _leave_interrupts_to_parent) as pool:
            return [first, *pool.map(_run, range(1, len(calls)))]  # type: ignore[list-item]
    finally:
        _calls = ()


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _may_fork() -> bool:
    """A fork takes one thread and the locks of others, which torch and macOS's own libraries have."""
    alone = threading.active_count() == 1 and "torch" not in sys.modules
    return alone and sys.platform == "linux"


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run(place: int) -> object:
    return _calls[place]()
