"""How long the tool itself takes: builds cold and unchanged, of many specs, of great expressions; an import.

In: this checkout. Out: a table, and JSON at a given path. Needs no GPU; takes some minutes. Every time is
that of a process of its own; the first three are the least of a few. Beside the seconds that passed stand
those of the processors, which other work on the machine changes less.

    python benchmarks/build_speed.py --json benchmarks/results/build-speed.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
Times = tuple[float, float]

REACH = {
    "specs/, cold": 5.0,
    "specs/, unchanged": 0.3,
    "import of a module, beyond torch and triton": 0.03,
}
"""Seconds that are to be reached, where there is such a figure."""


def sums(n: int) -> str:
    """A sum of n terms.

    >>> sums(2)
    'f(x) = 1 * sin(x / 2) + 2 * sin(x / 3)\\n'
    """
    return "f(x) = " + " + ".join(f"{i + 1} * sin(x / {i + 2})" for i in range(n)) + "\n"


def nested(n: int) -> str:
    """A function of itself, n times over.

    >>> nested(2)
    'f(x) = tanh(tanh(x))\\n'
    """
    return "f(x) = " + "tanh(" * n + "x" + ")" * n + "\n"


def pieces(n: int) -> str:
    """A function by cases, n of them."""
    return "f(x) = " + "".join(f"where(x > {n - i}, {i + 1} * x, " for i in range(n)) + "x" + ")" * n + "\n"


def specs(n: int) -> str:
    """As many definitions, no two of them equal."""
    return "".join(f"f{i}(x) = x * sigmoid({i + 1} / 7 * x)\n" for i in range(n))


SHAPES: dict[str, tuple[Callable[[int], str], tuple[int, ...]]] = {
    "definitions": (specs, (10, 100, 1000)),
    "terms of a sum": (sums, (100, 400, 1700)),
    "functions, nested": (nested, (5, 20, 60)),
    "cases": (pieces, (30, 100, 300)),
}
"""What grows, and how far: times that grow faster than the sizes are worth a look. 1,700 terms of the sum are
10,000 nodes."""


def main(arguments: Sequence[str]) -> int:
    """Measure everything; 1 where something is out of reach."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    rows = []
    for row in measured(given.rounds):
        rows.append(row)
        reach = f", to reach: {row['reach']}" if "reach" in row else ""
        print(f"{row['what']:46} {row['seconds']:8.3f} s, cpu {row['cpu']:8.3f} s{reach}", flush=True)
    if given.json:
        found = {
            "command": "python benchmarks/build_speed.py",
            "python": platform.python_version(),
            "processors": os.cpu_count(),
            "load": load,
        }
        lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
        given.json.write_text(f'{json.dumps(found)[:-1]}, "builds": [\n{lines}\n]}}\n', encoding="utf-8")
    return int(any(row["seconds"] > row["reach"] for row in rows if "reach" in row))


def measured(rounds: int) -> Iterator[dict[str, Any]]:
    """Every figure, in the order of the table."""
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / f"out{i}" for i in range(rounds)]
        yield _row("specs/, cold", min(_build(["specs"], place) for place in places))
        yield _row("specs/, unchanged", min(_build(["specs"], place) for place in places))
        seconds = _import(rounds)
        yield _row("import of a module, beyond torch and triton", (seconds, seconds))
        for what, (make, sizes) in SHAPES.items():
            for n in sizes:
                spec, out = Path(folder) / "great.act", Path(folder) / f"{what}-{n}"
                spec.write_text(make(n), encoding="utf-8")
                yield _row(f"{n:,} {what}", _build([str(spec)], out))
            yield _row(f"{n:,} {what}, unchanged", _build([str(spec)], out))


def _row(what: str, times: Times) -> dict[str, Any]:
    row: dict[str, Any] = {"what": what, "seconds": round(times[0], 3), "cpu": round(times[1], 3)}
    return row | ({"reach": REACH[what]} if what in REACH else {})


def _build(paths: Sequence[str], out: Path) -> Times:
    """The seconds that a build takes, and those of the processors."""
    command = [sys.executable, "-m", "dsl", "build", *paths, "-o", str(out)]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _import(rounds: int) -> float:
    """What the first module of the package adds to a process that has torch and triton."""
    program = (
        "import torch, triton, triton.language, torch.library, time\n"
        "start = time.perf_counter()\n"
        "import generated\n"
        "generated.mish\n"
        "print(time.perf_counter() - start)"
    )
    command = [sys.executable, "-c", program]
    outputs = [
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        for _ in range(rounds + 1)
    ]
    return min(map(float, outputs))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
