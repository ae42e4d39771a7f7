"""Files that change, as they change: `dslgen build --watch`.

In: which files to look at. Out: a turn of a loop now, and one after every change. Files are looked at again
and again, which works on every system and every disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

PERIOD = 0.3
"""Seconds between two looks."""


def changes(
    files: Callable[[], Iterable[Path]], pause: Callable[[float], object] = time.sleep
) -> Iterator[None]:
    """A turn at once, and one whenever `files()` names others or one of them has changed; it never ends.

    What changes during a turn begins another one. An editor that writes in steps is waited for: a change
    counts when a second look finds nothing new.
    """
    seen = None
    while True:
        now = _stamps(files())
        if now == seen:
            pause(PERIOD)
            continue
        while seen is not None:
            pause(PERIOD)
            later = _stamps(files())
            if later == now:
                break
            now = later
        seen = now
        yield


def _stamps(files: Iterable[Path]) -> dict[Path, tuple[int, int, int] | None]:
    """When each file was last written, its size and which one it is; None where there is none."""
    found: dict[Path, tuple[int, int, int] | None] = {}
    for file in files:
        try:
            stat = file.stat()
            found[file] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        except (OSError, ValueError):
            found[file] = None
    return found
