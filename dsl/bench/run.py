"""A whole benchmark: every activation, dtype and direction, some at every size; as a table and as JSON.

In: cases, a generated package's directory, `Options`. Out: rows of plain data, and 1 where one of our results
is wrong.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import torch
import triton

from dsl.bench import clock, measure
from dsl.bench.case import Case
from dsl.bench.measure import Row
from dsl.bench.rivals import versions
from dsl.parallel import ending, interrupts_kept
from dsl.progress import Progress

SWEEP_RIVALS = ("dslgen", "eager")
"""Whom a sweep over sizes times: the others would compile anew for every size."""


@dataclass(frozen=True)
class Options:
    """What is measured, and how long that may take.

    `elements` is the size of the tensors; the activations in `sweep` are measured at powers of two from 2^10
    to 2^`largest`, too, and at an odd size and a misaligned address. `rivals` are whom we are compared with,
    all that are installed unless they are named. `workers` processes compile beforehand.
    After `seconds` nothing new is begun.
    """

    device: str | None = None
    dtypes: tuple[str, ...] = ("float32", "bfloat16", "float16")
    elements: int = 64 * 128 * 126 * 126
    sweep: tuple[str, ...] = ()
    largest: int = 30
    workers: int = min(14, os.cpu_count() or 1)
    seconds: float = 450.0
    json: Path | None = None
    rivals: tuple[str, ...] = ()


def run(cases: Sequence[Case], package: Path, options: Options, command: str) -> int:
    """Measure, print a table, write JSON if asked to; 1 if one of our results is wrong or missing.

    Raises `clock.NoDevice` where there is no such device.
    """
    where = clock.device(options.device)
    return _Run(cases, package, options, where, command).all()


class _Run:
    def __init__(
        self, cases: Sequence[Case], folder: Path, options: Options, where: torch.device, command: str
    ) -> None:
        self.cases, self.folder, self.options, self.where = cases, folder, options, where
        self.package = load(folder)
        self.began = time.monotonic()
        self.progress = Progress()
        self.names = ("dslgen", *options.rivals) if options.rivals else ()
        self.found: dict[str, Any] = {"command": command, "environment": environment(where)}
        self.found |= {"host": [], "throughput": [], "sweep": [], "wrong": []}

    def all(self) -> int:
        """Everything, each part saved when it is done, and at Ctrl-C what there is."""
        try:
            with self.progress:
                self.parts()
        except KeyboardInterrupt:
            self.found["wrong"].append("stopped")
            self.save()
            kept = f"{self.options.json} holds what was measured" if self.options.json else "nothing is kept"
            raise KeyboardInterrupt(kept) from None
        print("\n".join(table(self.found)))
        for line in self.found["wrong"]:
            print(f"wrong: {line}")
        return 1 if self.found["wrong"] else 0

    def parts(self) -> None:
        """One part after another."""
        self.say(", ".join(f"{key} {value}" for key, value in self.found["environment"].items()))
        self.warm()
        self.each("throughput", self.cases, self.throughput)
        self.each("host", self.cases, self.host)
        self.each("sweep", [case for case in self.cases if case.name in self.options.sweep], self.sweep)

    def each(self, part: str, cases: Sequence[Case], rows: Callable[[Case], Iterator[Row]]) -> None:
        """A part's rows of every case, for as long as the time lasts."""
        for place, case in enumerate(cases):
            self.progress.show(place, len(cases), f"{part}: {case.name}")
            if self.seconds() > self.options.seconds:
                missing = ", ".join(each.label for each in cases[place:])
                self.found["wrong"].append(f"out of time: no {part} of {missing}")
                break
            self.found[part] += rows(case)
        self.found["seconds"] = round(self.seconds())
        self.save()
        self.say(f"{part} done")

    def throughput(self, case: Case) -> Iterator[Row]:
        """The size that was asked for, in every dtype."""
        for dtype in self.options.dtypes:
            yield from self.checked(case, dtype, self.options.elements, 0, self.names)

    def sweep(self, case: Case) -> Iterator[Row]:
        """Every other power of two, and sizes and addresses that no vector divides."""
        n = self.options.elements
        places = [(2**power, 0) for power in range(10, self.options.largest + 1, 2)]
        places += [(n - 1, 0), (n, 1), (n - 1, 1)]
        for dtype in self.options.dtypes:
            for size, offset in places:
                yield from self.checked(case, dtype, size, offset, SWEEP_RIVALS)

    def checked(self, case: Case, dtype: str, n: int, offset: int, names: tuple[str, ...] = ()) -> list[Row]:
        """Rows of throughput, and a note of what is wrong in them."""
        if self.where.type == "cuda":
            torch.cuda.empty_cache()
        rows = measure.throughput(case, self.package, dtype, n, offset, self.where, names)
        self.found["wrong"] += filter(None, map(measure.wrong, rows))
        return rows

    def host(self, case: Case) -> Iterator[Row]:
        """The host's cost of a call."""
        yield measure.host(case, self.package, self.where)

    def warm(self) -> None:
        """Compile in several processes, which takes longer than measuring; on a CPU it is not worth it."""
        if self.where.type == "cpu":
            return
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
        common = (str(self.folder), self.options.dtypes, self.options.elements, str(self.where), self.names)
        with ending(ProcessPoolExecutor(self.options.workers, get_context("spawn"))) as pool:
            with interrupts_kept():
                jobs = [pool.submit(_warm, case, *common) for case in self.cases]
            for done, job in enumerate(as_completed(jobs), 1):
                self.progress.show(done, len(jobs), "compiled")
                if error := job.exception():
                    print(f"compiling beforehand failed: {error}"[:300], file=sys.stderr)
        self.say("compiled")

    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.began

    def say(self, text: str) -> None:
        """A line of progress."""
        self.progress.note(f"[{self.seconds():4.0f} s] {text}")

    def save(self) -> None:
        """What was found so far, a row a line."""
        if self.options.json:
            self.options.json.parent.mkdir(parents=True, exist_ok=True)
            self.options.json.write_text(as_json(self.found), encoding="utf-8")


def _warm(
    case: Case, folder: str, dtypes: tuple[str, ...], n: int, where: str, names: tuple[str, ...]
) -> None:
    measure.warm(case, load(Path(folder)), dtypes, n, torch.device(where), names)


def load(folder: Path) -> Any:
    """The generated package in a directory, imported."""
    parent = str(folder.resolve().parent)
    if parent not in sys.path:
        sys.path.insert(0, parent)
    return importlib.import_module(folder.resolve().name)


def environment(where: torch.device) -> dict[str, str]:
    """What this runs on: the device, and the versions of what is compared."""
    name = platform.processor() or platform.machine()
    if where.type == "cuda":
        name = torch.cuda.get_device_name(where)
    tools = {"python": platform.python_version(), "torch": torch.__version__, "triton": triton.__version__}
    return {"device": name, **tools, **versions()}


def kept(arguments: Sequence[str]) -> str:
    """Arguments as they are kept with the results: a file by its name, wherever this machine has its folder.

    >>> kept(["build/plan.json", "--json", "/tmp/speed.json"])
    'build/plan.json --json speed.json'
    """
    return " ".join(Path(text).name if Path(text).is_absolute() else text for text in arguments)


def as_json(found: dict[str, Any]) -> str:
    """JSON with a row a line, so that a change of one figure is a change of one line.

    >>> print(as_json({"command": "c", "rows": [{"a": 1.23456789}, {"a": 2}]}), end="")
    {
      "command": "c",
      "rows": [
        {"a": 1.235},
        {"a": 2}
      ]
    }
    """
    parts = []
    for key, value in found.items():
        text = json.dumps(_short(value))
        if isinstance(value, list) and value:
            text = "[\n" + ",\n".join(f"    {json.dumps(_short(row))}" for row in value) + "\n  ]"
        parts.append(f"  {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _short(value: Any) -> Any:
    """Numbers with four digits: more is noise."""
    match value:
        case float():
            return float(f"{value:.4g}")
        case list() | tuple():
            return [_short(each) for each in value]
        case dict():
            return {key: _short(each) for key, each in value.items()}
        case _:
            return value


def table(found: dict[str, Any]) -> Iterator[str]:
    """Milliseconds and roof fractions, a line each; geometric means; the host's microseconds."""
    names = list(dict.fromkeys(name for row in found["throughput"] for name in row["ms"]))
    if names:
        yield f"{'ms':42}" + "".join(f"{name:>10}" for name in ("roof", *names, "fraction"))
    for row in found["throughput"]:
        cells = [row["roof"], *(row["ms"].get(name) for name in names), row.get("fraction")]
        label = f"{row['name']:24}{row['kind']:9}{row['dtype']:9}"
        yield label + "".join(f"{'-':>10}" if cell is None else f"{cell:10.4f}" for cell in cells)
    for key, ratios in means(found["throughput"]).items():
        yield f"{' '.join(key)}: " + ", ".join(f"{ratio:.2f} times {who}" for who, ratio in ratios.items())
    if found["host"]:
        yield "host, us: value, value with gradient, backward"
    for row in found["host"]:
        who = [(who, row[who]) for who in measure.HOST_RIVALS if isinstance(row[who], list)]
        yield f"{row['name']:24}" + "; ".join(
            f"{name} {', '.join(f'{us:.1f}' for us in times)}" for name, times in who
        )


def means(rows: Sequence[Row]) -> dict[tuple[str, str], dict[str, float]]:
    """How many times as fast as each rival we are, by dtype and kind: geometric means."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for key in dict.fromkeys((row["dtype"], row["kind"]) for row in rows):
        ratios: dict[str, list[float]] = {}
        for row in rows:
            if (row["dtype"], row["kind"]) == key and "dslgen" in row["ms"]:
                for name, ms in row["ms"].items():
                    ratios.setdefault(name, []).append(ms / row["ms"]["dslgen"])
        found[key] = {name: geometric_mean(each) for name, each in ratios.items() if name != "dslgen"}
    return found
