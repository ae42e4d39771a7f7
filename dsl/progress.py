"""How far long work has come, on one line of a terminal.

In: counts and a label, as work is done. Out: the line, written anew each time; nothing where none reads it.
"""

from __future__ import annotations

import sys
from shutil import get_terminal_size
from types import TracebackType
from typing import TextIO


class Progress:
    r"""The line; it goes when the block ends, however it ends.

    >>> with Progress(sys.stdout) as progress:  # no terminal
    ...     progress.show(1, 2, "mish float32")
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._reads = self._stream.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._put("")

    def show(self, done: int, total: int, label: str) -> None:
        """Say that so many of all pieces are done, and which was the last."""
        self._put(f"[{done}/{total}] {label}"[: get_terminal_size().columns - 1])

    def clear(self) -> None:
        """Take the line away, for what is printed next."""
        self._put("")

    def note(self, text: str) -> None:
        """A line that stays, above the one that is written anew."""
        self._put(f"{text}\n")

    def _put(self, text: str) -> None:
        if self._reads:
            self._stream.write(f"\r\033[K{text}")
            self._stream.flush()
