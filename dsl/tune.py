"""The best launch of a kernel on a GPU: a short search, led by a profile where there is one.

In: a kernel's static choice, what measures another, a profile. Out: the choice that wins by more than noise,
the trials, and how far the static choice was from it. Nothing is tuned when a package runs: the winner is
written into `_tuned.json` beside the kernels, where `_launch.py` finds it by the GPU's name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from dsl.files import read_text, write_atomic
from dsl.profiler import AT_THE_ROOF, DRAM, FEW_WARPS, MOST_STALLED, STALLED, WARPS, Profile

FILE = "_tuned.json"
STAGES = (1, 2, 3)
LARGEST_TILE, SMALLEST_TILE = 8192, 256
MOST_WARPS = 16
REPEATS = 5
LEAST_GAIN = 0.01
"""A win of less is none, however quiet the clock."""


@dataclass(frozen=True)
class Choice:
    """Elements of a program, its warps, and the stages of its loops."""

    tile: int
    warps: int
    stages: int


@dataclass(frozen=True)
class Trial:
    """What a choice took, in ms: the median; and why it was tried."""

    choice: Choice
    ms: float
    why: str


@dataclass(frozen=True)
class Result:
    """The trials, the static choice first, the best of them, and how noisy the clock was."""

    trials: tuple[Trial, ...]
    best: Trial
    noise: float

    @property
    def gap(self) -> float:
        """How much longer than the best the static choice takes, as a part of the best."""
        return self.trials[0].ms / self.best.ms - 1


def tune(start: Choice, measure: Callable[[Choice], float], profile: Profile | None = None) -> Result:
    """Try what the profile shows a need for, and keep what wins by more than noise.

    `measure` gives the milliseconds of a choice. Without a profile everything near is tried.

    >>> result = tune(Choice(1024, 4, 3), lambda choice: 1.0 if choice.warps == 8 else 2.0)
    >>> result.best.choice.warps, result.gap
    (8, 1.0)
    """
    times = [measure(start) for _ in range(REPEATS)]
    noise = max(LEAST_GAIN, (max(times) - min(times)) / median(times))
    best = Trial(start, median(times), "static")
    trials = [best]
    tried = {start}
    improved = True
    while improved:
        improved = False
        for choice, why in list(_near(best.choice, profile)):
            if choice in tried:
                continue
            tried.add(choice)
            trial = Trial(choice, measure(choice), why)
            if trial.ms < best.ms * (1 - noise):  # once more, that it was no luck
                trial = replace(trial, ms=median([trial.ms, *(measure(choice) for _ in range(REPEATS - 1))]))
            trials.append(trial)
            if trial.ms < best.ms * (1 - noise):
                best, improved = trial, True
    return Result(tuple(trials), best, noise)


def _near(choice: Choice, profile: Profile | None) -> Iterator[tuple[Choice, str]]:
    """What to try from a choice, and why."""
    if profile is not None and profile[DRAM] >= AT_THE_ROOF:
        return
    stalled = profile is None or profile[STALLED] > MOST_STALLED
    crowded = profile is None or (profile.metrics.get(WARPS) is not None and profile[WARPS] < FEW_WARPS)
    between = not stalled and not crowded
    unsure = " (no profile)" if profile is None else ""
    if stalled:
        for stages in STAGES:
            yield replace(choice, stages=stages), f"warps wait for memory: stages{unsure}"
        if choice.tile < LARGEST_TILE:
            yield replace(choice, tile=choice.tile * 2), f"warps wait for memory: larger tile{unsure}"
    if crowded and choice.tile > SMALLEST_TILE:
        yield replace(choice, tile=choice.tile // 2), f"few warps resident: smaller tile{unsure}"
    if stalled or crowded or between:
        if choice.warps < MOST_WARPS:
            yield replace(choice, warps=choice.warps * 2), f"more warps{unsure}"
        if choice.warps > 1:
            yield replace(choice, warps=choice.warps // 2), f"fewer warps{unsure}"


def store(folder: Path, gpu: str, found: dict[str, Choice]) -> None:
    """Write choices for a GPU, by `KERNEL/DTYPE`, beside those that are there."""
    path = folder / FILE
    table = json.loads(read_text(path) or "{}")
    rows = table.setdefault(gpu, {})
    rows |= {key: [each.tile, each.warps, each.stages] for key, each in found.items()}
    lines = []
    for name in sorted(table):
        inner = ",\n".join(
            f"    {json.dumps(key)}: {json.dumps(table[name][key])}" for key in sorted(table[name])
        )
        lines.append(f"  {json.dumps(name)}: {{\n{inner}\n  }}")
    write_atomic(path, "{\n" + ",\n".join(lines) + "\n}\n")


def as_text(key: str, result: Result) -> str:
    """The trials of a kernel, the best marked, and the static choice's gap."""
    lines = [key]
    for trial in result.trials:
        mark = "*" if trial is result.best else " "
        each = trial.choice
        shape = f"tile {each.tile:5} warps {each.warps:2} stages {each.stages}"
        lines.append(f"{mark} {trial.ms:9.4f} ms  {shape}  {trial.why}")
    if result.best is result.trials[0]:
        lines.append(f"the static choice stays: nothing won by more than {result.noise:.1%}")
    else:
        lines.append(f"the static choice takes {result.gap:.1%} longer than the best")
    return "\n".join(lines)
