"""What GPUs can do, in figures: the files of `dsl/gpus/`.

In: a name, such as `h200` or `rtx-4090`. Out: a `Gpu`. To add one, write its file.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "gpus"


@dataclass(frozen=True)
class Gpu:
    """A GPU's figures.

    `target` is its architecture, `clock` in GHz, `bandwidth` in GB/s and `copied` the part of it that a copy
    reaches. `issue` and `special` are instructions of a thread per clock and processor, all of them and those
    of the unit for exponentials and reciprocals. `shared` and `shared_per_block` are in KiB, `cache` (L2) in
    MiB; `warps` and `registers` are what a processor holds at once.
    """

    name: str
    target: str
    processors: int
    clock: float
    bandwidth: float
    copied: float
    issue: int
    special: int
    warps: int
    registers: int
    registers_per_thread: int
    shared: int
    shared_per_block: int
    cache: int


@cache
def gpus() -> dict[str, Gpu]:
    """Every GPU by its short name.

    >>> gpus()["rtx-4090"].processors
    128
    """
    return {
        path.stem: Gpu(**tomllib.loads(path.read_text(encoding="utf-8")))
        for path in sorted(FOLDER.glob("*.toml"))
    }


def find(name: str) -> Gpu | None:
    """The GPU of a name, however that is spaced; None for another, such as an architecture's.

    >>> find("RTX 4090") is find("rtx-4090"), find("NVIDIA H200") is find("h200"), find("sm_90")
    (True, True, None)
    """
    wanted = _key(name)
    return next((gpu for short, gpu in gpus().items() if wanted in (_key(short), _key(gpu.name))), None)


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
