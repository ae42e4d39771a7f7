"""What one call on a small tensor costs the host, beside `torch.nn.functional.mish` on the same machine.

In: a generated package. Out: a table of microseconds, and JSON with `--json`. Needs torch and the package.

    python benchmarks/call_cost.py --json benchmarks/results/call_cost-cpu.json
    python benchmarks/call_cost.py --device cuda --json benchmarks/results/call_cost-cuda.json

On a CPU most of a call are the torch operations of the formula; their share stands in a column of its own. On
a GPU the kernels run behind the host, and the column is empty.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import inspect
import json
import platform
import sys
import timeit
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[1]
ELEMENTS = {"cpu": 8, "cuda": 4096}
KINDS = ("no grad", "grad", "backward")
LIMITS = {"no grad": 1.5, "grad": 3.0}
"""The ratios to F.mish that are aimed at."""


def main(arguments: Sequence[str]) -> int:
    """Measure what is asked for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--package", default="generated")
    parser.add_argument("--folder", type=Path, default=ROOT, help="where the package is")
    parser.add_argument("--device", default="cpu", choices=tuple(ELEMENTS))
    parser.add_argument("--only", default="", metavar="NAME,...", help="these activations alone")
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sys.path.insert(0, str(chosen.folder))
    package = importlib.import_module(chosen.package)
    only = chosen.only.split(",") if chosen.only else []
    names = [name for name in sorted(set(package._MODULES.values())) if not only or name in only]
    modules = {name: importlib.import_module(f"{chosen.package}.{name}") for name in names}
    rows = {"F.mish": costs(functional.mish, chosen.device)}
    for name, module in modules.items():
        if hasattr(module, "_operator") and not hasattr(module._operator, "inputs"):  # of one input
            rows[name] = activation(module, name, chosen.device)
    print(table(rows))
    if chosen.json:
        found = {"environment": environment(chosen.device), "microseconds": rows}
        chosen.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def environment(device: str) -> dict[str, Any]:
    """What this was measured on."""
    name = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    return {
        "device": name,
        "elements": ELEMENTS[device],
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def activation(module: Any, name: str, device: str) -> dict[str, float]:
    """The costs of an activation, with the parameters' defaults, and 0.75 for one that has none."""
    function = getattr(module, name)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.annotation is float]
    values = [0.75 if p.default is p.empty else float(p.default) for p in parameters]
    required = {p.name: value for p, value in zip(parameters, values, strict=True) if p.default is p.empty}
    row = costs(partial(function, **required) if required else function, device)
    if device == "cpu":
        row["formula"] = timed(partial(module._operator._formula, small(device), *values), device)
    return row


def small(device: str) -> Tensor:
    """A small tensor."""
    return torch.linspace(-2, 2, ELEMENTS[device], device=device)


def costs(function: Callable[[Tensor], Tensor], device: str) -> dict[str, float]:
    """Microseconds of a call without gradient, of one with, and of its backward pass."""
    x = small(device)
    tracked = x.clone().requires_grad_()
    y = function(tracked)
    upstream = torch.ones_like(y)
    calls: tuple[Callable[[], object], ...] = (
        partial(function, x),
        partial(function, tracked),
        partial(torch.autograd.grad, y, tracked, upstream, retain_graph=True),
    )
    return {kind: timed(call, device) for kind, call in zip(KINDS, calls, strict=True)}


def timed(call: Callable[[], object], device: str) -> float:
    """Microseconds that a call keeps the host busy: the best of several rounds, as others only delay it."""
    count = 300 if device == "cuda" else 2000
    best = float("inf")
    for _ in range(9):
        if device == "cuda":
            torch.cuda.synchronize()
        gc.collect()
        best = min(best, timeit.timeit(call, number=count) / count)
    return round(1e6 * best, 2)


def table(rows: dict[str, dict[str, float]]) -> str:
    """A line for each activation: microseconds and, in brackets, times F.mish."""
    peer = rows["F.mish"]
    lines = [f"{'us (times F.mish)':16}" + "".join(f"{kind:>18}" for kind in KINDS) + f"{'formula':>10}"]
    for name, row in rows.items():
        cells = "".join(f"{row[kind]:9.1f} ({row[kind] / peer[kind]:5.1f})" + "  " for kind in KINDS)
        lines.append(f"{name:16} {cells}" + (f"{row['formula']:8.1f}" if "formula" in row else ""))
    for kind, limit in LIMITS.items():
        within = [name for name, row in rows.items() if row[kind] <= limit * peer[kind] and name != "F.mish"]
        lines.append(f"{kind}: {len(within)} of {len(rows) - 1} within {limit} times F.mish")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
