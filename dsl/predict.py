"""How long a kernel takes on a GPU that need not be there, and what limits it.

In: the counts of `dsl.inspect` and a GPU's figures. Out: picoseconds per element. A large tensor is assumed,
aligned, on a GPU that does nothing else. `benchmarks/predict.py` holds this to measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dsl.gpu import Gpu

SUSTAINED = 0.8
"""The part of the peak rates of issue at which kernels were measured to run: clocks fall under load, and not
every cycle of every scheduler finds an instruction."""

SHARPNESS = 8
"""How sharp the bend between two limits is. Both constants fit 108 measurements on an H200."""


class Counted(Protocol):
    """What a prediction needs of a kernel's counts; `dsl.inspect.Counts` has it."""

    @property
    def elements(self) -> int:
        """The elements of a thread."""

    @property
    def instructions(self) -> float:
        """Per element."""

    @property
    def special(self) -> float:
        """Of the slow unit, per element."""

    @property
    def registers(self) -> int:
        """Of a thread."""

    @property
    def loads(self) -> tuple[int, ...]:
        """Bits of each."""

    @property
    def stores(self) -> tuple[int, ...]:
        """Bits of each."""


@dataclass(frozen=True)
class Prediction:
    """Picoseconds per element at each limit alone and at all of them; the resident warps of a processor."""

    memory: float
    issue: float
    special: float
    warps: int

    @property
    def total(self) -> float:
        """What an element takes."""
        limits = (self.memory, self.issue, self.special)
        return float(sum(each**SHARPNESS for each in limits) ** (1 / SHARPNESS))

    @property
    def limit(self) -> str:
        """The limit that binds: `memory`, `issue` or `special`."""
        return max(("memory", "issue", "special"), key=lambda name: float(getattr(self, name)))


def predict(counts: Counted, gpu: Gpu) -> Prediction:
    """What a kernel of these counts takes on a GPU.

    >>> from dsl.gpu import gpus
    >>> from types import SimpleNamespace
    >>> copy = SimpleNamespace(elements=8, instructions=2.5, special=0.0, registers=24, loads=(128, 128),
    ...                        stores=(128, 128))
    >>> found = predict(copy, gpus()["h200"])
    >>> found.limit, round(found.total, 2)
    ('memory', 1.9)
    """
    moved = (sum(counts.loads) + sum(counts.stores)) / 8 / counts.elements
    rate = gpu.processors * gpu.clock * SUSTAINED
    lanes = 64 if gpu.target.startswith("gfx") else 32
    return Prediction(
        1000 * moved / (gpu.bandwidth * gpu.copied),
        1000 * counts.instructions / (rate * gpu.issue),
        1000 * counts.special / (rate * gpu.special),
        min(gpu.warps, gpu.registers // (lanes * max(1, counts.registers))),
    )
