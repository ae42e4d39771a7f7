"""What Nsight Compute says of a kernel, and what that means.

In: the CSV that `ncu` prints, of either kind. Out: `Profile`s, one for each launch, as text and JSON, with a
verdict. The verdict is a table of rules over six metrics; `dsl.tune` goes by the same metrics.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

METRICS: dict[str, str] = {
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "memory bandwidth used, % of peak",
    "lts__t_sector_hit_rate.pct": "L2 hits, % of sectors",
    "smsp__warp_issue_stalled_memory_dependency_per_warp_active.pct": "warps waiting for memory, %",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "busiest unit of the processors, % of peak",
    "launch__grid_size": "programs",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "resident warps, % of the most",
}
"""The metrics, and what they are."""

DRAM, HITS, STALLED, PROCESSOR, GRID, WARPS = METRICS

SUCCESSORS = {STALLED: "smsp__warp_issue_stalled_long_scoreboard_per_warp_active.pct"}
"""Metrics by other names: GPUs since Volta call a wait for memory a long scoreboard's."""

MOST_STALLED = 20.0
"""Above this many percent of warps waiting for memory, more of it should be in flight."""

AT_THE_ROOF = 85.0
BUSY = 80.0
FEW_WARPS = 50.0


class NoProfiler(Exception):
    """Nothing can be profiled here; the message says why, and what can be had instead."""


@dataclass(frozen=True)
class Profile:
    """One launch: the kernel's name and its metrics, None where the GPU has no such."""

    kernel: str
    metrics: Mapping[str, float | None]

    def __getitem__(self, metric: str) -> float:
        """A metric, 0 where there is none."""
        return self.metrics.get(metric) or 0.0


@dataclass(frozen=True)
class Rule:
    """What limits a kernel for which `holds`, and what would help."""

    limit: str
    advice: str
    holds: Callable[[Profile], bool]


RULES = (
    Rule(
        "memory-bound, at the roof",
        "nothing but moving fewer bytes makes it faster: fuse it with a neighbour, or use a 16-bit type",
        lambda found: found[DRAM] >= AT_THE_ROOF,
    ),
    Rule(
        "issue-bound",
        "fewer instructions make it faster; dslgen inspect counts them",
        lambda found: found[PROCESSOR] >= BUSY,
    ),
    Rule(
        "latency-bound: warps wait for memory",
        "more bytes in flight: larger tiles, more stages, more warps; dslgen tune tries them",
        lambda found: found[STALLED] > MOST_STALLED,
    ),
    Rule(
        "latency-bound: few warps",
        "fewer registers a thread, or smaller tiles; dslgen tune tries them",
        lambda found: found.metrics.get(WARPS) is not None and found[WARPS] < FEW_WARPS,
    ),
    Rule("between the limits", "dslgen tune may find a better launch", lambda found: True),
)
"""The first that holds is the verdict."""


def verdict(profile: Profile) -> Rule:
    """What limits a kernel.

    >>> verdict(Profile("k", {DRAM: 93.3, PROCESSOR: 3.6, WARPS: 80.7})).limit
    'memory-bound, at the roof'
    """
    return next(rule for rule in RULES if rule.holds(profile))


def command(program: Sequence[str], kernel: str) -> list[str]:
    """What profiles a program's launches of the kernels whose names fit a regular expression."""
    names = ",".join([*METRICS, *SUCCESSORS.values()])
    options = ["--csv", "--clock-control", "none", "--profile-from-start", "off", "--metrics", names]
    return ["ncu", *options, "--kernel-name", f"regex:{kernel}", *program]


def run(program: Sequence[str], kernel: str) -> str:
    """The CSV of a program's kernels; raises `NoProfiler` where there is no profiler, GPU or permission."""
    instead = "dslgen inspect NAME --target h200 counts and predicts without either"
    if shutil.which("ncu") is None:
        raise NoProfiler(f"no ncu here: install Nsight Compute, and a GPU; {instead}")
    done = subprocess.run(command(program, kernel), capture_output=True, text=True, check=False)
    said = f"{done.stdout}\n{done.stderr}"
    if "ERR_NVGPUCTRPERM" in said:
        raise NoProfiler(
            "ncu may not read this GPU's counters: run it as root, or load the driver with "
            f"NVreg_RestrictProfilingToAdminUsers=0; {instead}"
        )
    if done.returncode:
        last = next((line for line in reversed(said.splitlines()) if line.strip()), "nothing said")
        raise NoProfiler(f"ncu ended with {done.returncode}: {last}; {instead}")
    return done.stdout


def program(package: str, name: str, shape: str, dtype: str, gradient: bool, arguments: str) -> list[str]:
    """What runs a kernel of a package once."""
    options = ["--gradient"] if gradient else []
    given = [f"--arguments={arguments}"] if arguments else []
    return [sys.executable, "-m", "dsl.profiled", package, name, shape, dtype, *options, *given]


def parse(text: str) -> list[Profile]:
    """The launches in what ncu printed, `--page details` or `--page raw`.

    Lines that are no CSV are passed over. Raises `NoProfiler` where there is no launch.

    >>> rows = '"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"\\n'
    >>> parse(rows + '"0","k","launch__grid_size","","1,572,864"')[0].metrics["launch__grid_size"]
    1572864.0
    """
    rows = list(csv.reader(line for line in text.splitlines() if line.startswith('"')))
    if not rows:
        raise NoProfiler("ncu profiled no kernel: none of that name was launched")
    header, *body = rows
    table = [dict(zip(header, row, strict=False)) for row in body]
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for row in table:
        if not row.get("ID", "").strip():  # the units, which stand below the names
            continue
        _, metrics = found.setdefault(row["ID"], (row["Kernel Name"], {}))
        if "Metric Name" in row:
            metrics[row["Metric Name"]] = row["Metric Value"]
        else:
            metrics.update(row)
    return [Profile(kernel, _chosen(metrics)) for kernel, metrics in found.values()]


def _chosen(values: Mapping[str, str]) -> dict[str, float | None]:
    found = {}
    for name in METRICS:
        value = _number(values.get(name, ""))
        other = SUCCESSORS.get(name)
        found[name] = _number(values.get(other, "")) if value is None and other is not None else value
    return found


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:  # "n/a", "(!) nan": the GPU has no such counter
        return None


def as_text(profiles: Iterable[Profile]) -> str:
    """Each launch: its metrics, the verdict, what would help."""
    parts = []
    for profile in profiles:
        rule = verdict(profile)
        lines = [profile.kernel]
        for name, meaning in METRICS.items():
            value = profile.metrics.get(name)
            shown = "-" if value is None else f"{value:,.0f}" if name == GRID else f"{value:.2f}"
            lines.append(f"  {shown:>12}  {meaning} ({name})")
        parts.append("\n".join([*lines, f"  {rule.limit}: {rule.advice}"]))
    return "\n\n".join(parts)


def as_json(profiles: Iterable[Profile]) -> str:
    """The same for machines."""
    rows = [
        {"kernel": each.kernel, "metrics": dict(each.metrics), "limit": (rule := verdict(each)).limit}
        | {"advice": rule.advice}
        for each in profiles
    ]
    return json.dumps(rows, indent=2) + "\n"
