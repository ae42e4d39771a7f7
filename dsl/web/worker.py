"""Questions answered in processes that may be killed: what is typed must not take the machine.

In: a `Question`. Out: its `Answer`s, as they come. Each question has a process of its own, forked from one
that has everything imported, with a limit on memory (where the system keeps one) and on each part's seconds.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dsl.web.answers import LIMITS, Answer, Question, answers

MEMORY = 3 << 30
"""Bytes that a question may take beyond what its process begins with."""
BEAT = 1.0
"""Seconds between two signs of life."""

_CONTEXT: Any = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
_CONTEXT.set_forkserver_preload(["dsl.web.answers"])


def prepare() -> None:
    """Start the process that the others are forked from, which takes seconds, without waiting for it."""
    threading.Thread(target=_start_and_wait, daemon=True).start()


def _start_and_wait() -> None:
    process = _CONTEXT.Process(target=int)
    process.start()
    process.join()


class Work:
    """A question being answered; `stop` ends it from another thread."""

    def __init__(self, question: Question, memory: int = MEMORY) -> None:
        self._question, self._memory = question, memory
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End it: no answer comes any more."""
        self._stopped.set()

    def run(self) -> Generator[Answer | None, None, None]:
        """The answers; None every second in between, so that the reader can be seen to be there still."""
        ours, theirs = _CONTEXT.Pipe(duplex=False)
        process = _CONTEXT.Process(target=_work, args=(theirs, self._question, self._memory))
        process.start()
        theirs.close()
        try:
            yield from self._collect(ours)
        finally:
            ours.close()
            _kill(process)

    def _collect(self, answers: Connection) -> Iterator[Answer | None]:
        parts = iter(LIMITS.items())
        part, limit = next(parts)
        deadline = time.monotonic() + limit + STARTING
        beat = time.monotonic() + BEAT
        while not self._stopped.is_set():
            if answers.poll(0.05):
                try:
                    answer = answers.recv()
                except EOFError:  # killed by the system, or by its own limit
                    yield Answer("stopped", f"The compiler ended in the middle of its {part}: {TOO_MUCH}")
                    return
                if answer is None:
                    return
                yield answer
                if answer.part == "stopped":
                    return
                part, limit = next(parts, (part, limit))
                deadline = time.monotonic() + limit
            elif time.monotonic() > deadline:
                yield Answer("stopped", f"Stopped: the {part} took more than {limit:g} seconds.")
                return
            elif time.monotonic() > beat:
                beat = time.monotonic() + BEAT
                yield None


STARTING = 60
"""Seconds that the first question may wait for the compiler to be loaded."""
TOO_MUCH = "it needed more memory than it may have."


def _kill(process: Any) -> None:
    """End a process and what it started."""
    with suppress(ProcessLookupError, PermissionError, AttributeError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


# In the process


def _work(connection: Connection, question: Question, memory: int) -> None:
    if hasattr(os, "setsid"):
        os.setsid()  # so that compilers it runs end with it
        os.nice(5)
    _limit_memory(memory)
    try:
        for answer in answers(question):
            connection.send(answer)
        connection.send(None)
    except (MemoryError, SystemError):  # parts of Python written in C say it in the second way
        connection.send(Answer("stopped", f"Stopped: {TOO_MUCH}"))
    except Exception as error:
        connection.send(Answer("stopped", f"{type(error).__name__}: {error}"))


def _limit_memory(memory: int) -> None:
    """Hold this process to what it has, and so many bytes more. Linux alone keeps such a limit."""
    if sys.platform != "linux":
        return
    import resource

    held = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    most = int(held[1]) * 1024 + memory if held else memory
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
