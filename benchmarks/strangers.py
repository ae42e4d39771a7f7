"""How formulas come out that no rule was written for: the sixty of strangers.act, compiled and measured.

In: a file of specs. Out: a table on the terminal and JSON. Values and gradients of the formulas in torch
operations, in float32 and bfloat16, against exact values; a kernel computes the same. Needs what
`dslgen certify` needs. Takes a few minutes.

    python benchmarks/strangers.py
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

DTYPES = ("float32", "bfloat16")
KINDS = ("value", "gradient")
REACH = {
    ("float32", "value"): 8.0,
    ("float32", "gradient"): 16.0,
    ("bfloat16", "value"): 1.0,
    ("bfloat16", "gradient"): 1.0,
}
"""The errors in ulps that a formula should stay within, and the same many half epsilons beside its roots."""
PACKAGE = "strangers"


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--specs", type=Path, default=ROOT / "benchmarks/strangers.act")
    parser.add_argument("--samples", type=int, default=3000, help="float32 inputs beside the usual ones")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks/results/strangers.json")
    chosen = parser.parse_args(arguments)
    with TemporaryDirectory() as folder:
        found = _measured(chosen.specs, Path(folder), chosen.samples, chosen.jobs)
    text = json.dumps({"samples": chosen.samples, "formulas": found}, indent=1, sort_keys=True)
    chosen.json.write_text(text + "\n", encoding="utf-8")
    print("\n".join(_report(found)))
    return 0


def _measured(specs: Path, folder: Path, samples: int, processes: int) -> dict[str, Any]:
    from dsl import assess
    from dsl.build import BuildError
    from dsl.project import read_project

    activations = read_project([specs]).checked().activations
    found: dict[str, Any] = {activation.name: {} for activation in activations}
    jobs = []
    for activation in activations:
        try:
            jobs += assess.jobs([activation])
        except BuildError as error:
            found[activation.name] = {"error": str(error).partition(": ")[2]}
    assess.write_package(folder / PACKAGE, jobs)
    tasks = [
        (job.activation.name, dtype, kind, samples) for job in jobs for dtype in DTYPES for kind in KINDS
    ]
    with ProcessPoolExecutor(processes, get_context("spawn"), _start, (str(folder), str(specs))) as pool:
        for (name, dtype, kind, _), result in zip(tasks, pool.map(_measure, tasks), strict=True):
            found[name][f"{dtype} {kind}"] = result
    return found


_ACTIVATIONS: dict[str, Any] = {}


def _start(folder: str, specs: str) -> None:
    from dsl.interpret import start
    from dsl.project import read_project

    start(folder, PACKAGE)
    _ACTIVATIONS.update({each.name: each for each in read_project([Path(specs)]).activations})


def _measure(task: tuple[str, str, str, int]) -> dict[str, Any]:
    """The errors of one formula, as plain data."""
    from dsl.certify import measure, truth
    from dsl.interpret import formula
    from dsl.pipeline import derive

    name, dtype, kind, samples = task
    activation = _ACTIVATIONS[name]
    values = {parameter.name: parameter.default for parameter in activation.parameters}
    root = activation.body if kind == "value" else derive(activation)[1]
    known = truth(root, activation.input, dtype, values, samples)
    given = {key: float(value) for key, value in values.items()}
    found = measure(formula(name, kind, dtype, given), known)
    return {
        "ulp": float(f"{found.worst_ulp:.4g}"),
        "at": _plain(found.worst_input),
        "near_roots": None if found.near_roots is None else float(f"{found.near_roots:.4g}"),
        "tried": found.tried,
        "failed": found.failed,
        "failures": [
            [_plain(each.input), _plain(each.got), _plain(each.exact)] for each in found.failures[:1]
        ],
        "flushed": found.flushed,
        "undecided": found.undecided,
    }


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else repr(value)


def _report(found: dict[str, Any]) -> Iterator[str]:
    columns = [f"{dtype} {kind}" for dtype in DTYPES for kind in KINDS]
    yield f"{'worst ulp':26}" + "".join(f"{column:>19}" for column in columns)
    for name, rows in found.items():
        yield f"{name:26}" + "".join(f"{_cell(rows, column):>19}" for column in columns)
    yield ""
    for column in columns:
        short = [name for name, rows in found.items() if not _holds(rows, column)]
        wrong = sum("error" not in rows and rows[column]["failed"] > 0 for rows in found.values())
        count = f"{len(found) - len(short)} of {len(found)} within {_bound(column):g} ulp"
        yield f"{column}: {count}; {wrong} with a wrong NaN or infinity"
        for name in short:
            yield f"    {name}: {_told(found[name], column)}"


def _holds(rows: dict[str, Any], column: str) -> bool:
    if "error" in rows:
        return False
    row, allowed = rows[column], _bound(column)
    return not row["failed"] and row["ulp"] <= allowed and (row["near_roots"] or 0) <= allowed


def _bound(column: str) -> float:
    dtype, kind = column.split()
    return REACH[dtype, kind]


def _cell(rows: dict[str, Any], column: str) -> str:
    if "error" in rows:
        return "not compiled *"
    mark = "" if _holds(rows, column) else " *"
    return ("wrong" if rows[column]["failed"] else f"{rows[column]['ulp']:.3g}") + mark


def _told(rows: dict[str, Any], column: str) -> str:
    if "error" in rows:
        return str(rows["error"])
    row = rows[column]
    parts = [f"{row['ulp']:.3g} ulp at {row['at']}"]
    if row["near_roots"]:
        parts.append(f"{row['near_roots']:.3g} half epsilons beside a root")
    parts += [f"at {x} {got} in the place of {exact}" for x, got, exact in row["failures"]]
    return "; ".join(parts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
