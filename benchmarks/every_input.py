"""Every one of the 2^32 float32 inputs, and all of both 16-bit types: our errors and PyTorch's, on a GPU.

In: a generated package, and facts about its activations that `--facts` writes on a machine with the compiler.
Out: JSON, a row per activation, dtype, value or gradient, and implementation. Needs torch and triton alone.

    python benchmarks/every_input.py --prepare build/facts.npz
    python benchmarks/every_input.py build/facts.npz --json benchmarks/results/every_input.json
    python benchmarks/every_input.py --confirm benchmarks/results/every_input.json
    python benchmarks/table.py benchmarks/results/every_input.json

What counts as exact here is our own float64 kernel, whose errors are some 10^-8 of a float32 ulp where it is
right; that it is right is what certificates say of samples, and what `--confirm` says of the worst inputs
found: it evaluates them in rigorous arithmetic and writes the result beside them. Certificates are made in
Triton's interpreter; `--prepare` keeps what that gives for all 16-bit and 8,192 float32 inputs, and the scan
says how far the GPU is from it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

KINDS = ("value", "gradient")
PRECISION = {"float32": (24, -126), "float16": (11, -14), "bfloat16": (8, -126)}
"""Digits, and the exponent of the smallest normal number."""
CHUNK = 2**27
NEIGHBOURHOOD = 1 / 16
"""How far from a root, relative to it, the absolute bound stands in for the relative one."""
MANY = 8
"""So many roots on one side go on for ever; all that lies farther out counts as near."""
COARSE = 12
"""Roots are looked for between numbers that differ above so many low bits."""


def main(arguments: Sequence[str]) -> int:
    """Scan, or prepare or confirm a scan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--prepare", action="store_true", help="write the file of facts, from specs/")
    parser.add_argument("--confirm", action="store_true", help="hold a result to exact values and bounds")
    parser.add_argument("--package", default="generated")
    parser.add_argument("--only", default="", metavar="NAME,...", help="these activations alone")
    parser.add_argument("--json", type=Path, help="what is in it is not scanned again")
    parser.add_argument("--device", default="cuda", help="cpu tries the script, on 16-bit types")
    chosen = parser.parse_args(arguments)
    if chosen.prepare:
        return prepare(chosen.file, chosen.package)
    if chosen.confirm:
        return confirm(chosen.file)
    return scan(chosen)


def prepare(path: Path, package: str) -> int:
    """Write what a machine without the compiler needs: defaults, references, the interpreter's results."""
    import numpy as np

    from dsl.bench.plan import plan
    from dsl.interpret import kernel, start
    from dsl.project import read_project

    start(str(ROOT), package)
    activations = [each for each in read_project([ROOT / "specs"]).checked().activations if each.unary]
    cases = [asdict(case) for case in plan(activations)]
    columns: dict[str, Any] = {"cases": np.array(json.dumps(cases))}
    for activation in activations:
        for kind, dtype in product(KINDS, PRECISION):
            points = _grid(dtype, "cpu").double().numpy()
            found = kernel(activation.name, kind, dtype)(points)
            columns[f"{activation.name}/{kind}/{dtype}"] = found.astype(np.float32)
        print(activation.name, flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **columns)
    return 0


def scan(options: argparse.Namespace) -> int:
    """All activations; a line and rows for each as it is done."""
    import numpy as np
    import torch
    import triton

    from dsl.bench.case import Case

    with np.load(options.file) as data:
        interpreted = dict(data)
    cases = [Case.from_json(row) for row in json.loads(str(interpreted.pop("cases")))]
    if options.only:
        cases = [case for case in cases if case.name in options.only.split(",")]
    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    result: dict[str, Any] = {
        "command": "python benchmarks/every_input.py build/facts.npz",
        "device": device,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "every input": [],
    }
    if options.json and options.json.exists():
        result["every input"] = json.loads(options.json.read_text(encoding="utf-8"))["every input"]
    done = {row["name"] for row in result["every input"]}
    cases = [case for case in cases if case.name not in done]
    dtypes = list(PRECISION) if options.device == "cuda" else ["float16", "bfloat16"]
    for case in cases:
        began = time.perf_counter()
        rows = list(_rows(case, options.package, dtypes, options.device))
        for row in rows:
            if row["by"] == "ours":
                row |= _beside_the_interpreter(row, interpreted, options.package, options.device)
        result["every input"] += rows
        seconds = time.perf_counter() - began
        worst = ", ".join(f"{r['by']} {r['dtype']} {r['kind']} {r['ulp']:.3g}" for r in rows)
        print(f"{case.name} ({seconds:.1f} s): {worst}", flush=True)
        if options.json:
            options.json.write_text(_as_json(result), encoding="utf-8")
    return 0


def _as_json(result: Mapping[str, Any]) -> str:
    """JSON with a row a line."""
    rows = ",\n".join(f"  {json.dumps(row)}" for row in result["every input"])
    head = json.dumps({**result, "every input": []}, indent=1)
    return head.replace('"every input": []', f'"every input": [\n{rows}\n ]') + "\n"


Function = Callable[[Any], Any]


def _rows(case: Any, package: str, dtypes: Sequence[str], device: str) -> Iterator[dict[str, Any]]:
    import torch

    from dsl.bench.rivals import eager

    name = case.name
    ours = getattr(importlib.import_module(f"{package}.{name}"), name)
    makers: dict[str, Function] = {"ours": ours, "torch" if case.reference else "typed": eager(case)}
    for kind in KINDS:
        exact = _of(ours, kind)
        zone = _Zone(exact, device)
        for dtype in dtypes:
            for by, function in makers.items():
                tally = _Tally(dtype)
                measured = _of(function, kind)
                for x in _inputs(getattr(torch, dtype), device):
                    tally.add(x, measured(x), exact(x.double()), zone)
                yield {"name": name, "by": by, "dtype": dtype, "kind": kind, **tally.result()}


def _of(function: Function, kind: str) -> Function:
    """The function, or its gradient, of a tensor."""
    import torch

    def gradient(x: Any) -> Any:
        x = x.detach().requires_grad_()
        y = function(x)
        if not y.requires_grad:  # PyTorch gives a comparison or a constant no derivative: it is 0
            return torch.zeros_like(x)
        return torch.autograd.grad(y, x, torch.ones_like(y))[0]

    def value(x: Any) -> Any:
        with torch.no_grad():
            return function(x)

    return value if kind == "value" else gradient


def _inputs(dtype: Any, device: str) -> Iterator[Any]:
    """Every value of a type, NaN only once in a while, in chunks."""
    import torch

    if dtype.itemsize == 2:
        yield torch.arange(-(2**15), 2**15, device=device).to(torch.int16).view(dtype)
        return
    for start in range(-(2**31), 2**31, CHUNK):
        yield torch.arange(start, start + CHUNK, dtype=torch.int64, device=device).to(torch.int32).view(dtype)


def _grid(dtype: str, device: str) -> Any:
    """All 16-bit values; of float32, 8,192 that cover all exponents."""
    import torch

    if dtype != "float32":
        (values,) = _inputs(getattr(torch, dtype), device)
        return values
    bits = torch.arange(-(2**31), 2**31, 2**19, dtype=torch.int64, device=device) + 12345
    return bits.to(torch.int32).view(torch.float32)


def _beside_the_interpreter(
    row: Mapping[str, Any], interpreted: Mapping[str, Any], package: str, device: str
) -> dict[str, Any]:
    """At how many inputs the GPU's result is another than the interpreter's, and by how much at most."""
    import torch

    name, kind, dtype = row["name"], row["kind"], row["dtype"]
    x = _grid(dtype, device)
    got = _of(getattr(importlib.import_module(f"{package}.{name}"), name), kind)(x).double()
    want = torch.from_numpy(interpreted[f"{name}/{kind}/{dtype}"]).to(device).double()
    precision, emin = PRECISION[dtype]
    _, exponent = torch.frexp(want)
    ulp = torch.ldexp(torch.ones_like(want), (exponent - 1).clamp(min=emin) - (precision - 1))
    other = ~((got == want) | (got.isnan() & want.isnan()))
    gap = torch.where(other, ((got - want) / ulp).abs(), 0.0)
    at = int(gap.argmax())
    return {
        "unlike the interpreter": {
            "inputs": x.numel(),
            "differ": int(other.sum()),
            "ulp": float(gap[at]),
            "at": float(x[at]),
        }
    }


class _Zone:
    """Where a function is next to a root that is no number of the type, so that errors there are absolute."""

    def __init__(self, exact: Function, device: str) -> None:
        import torch

        step = 2**COARSE
        bits = torch.arange(step, 0x7F800000, step, dtype=torch.int64, device=device)
        positive = bits.to(torch.int32).view(torch.float32).double()
        x = torch.cat([-positive.flip(0), positive])
        y = exact(x)
        wide = torch.fmax(exact(x * (1 - NEIGHBOURHOOD)).abs(), exact(x * (1 + NEIGHBOURHOOD)).abs())
        size = y.abs()
        crossed = (y[1:] * y[:-1] < 0) & (torch.minimum(size[1:], size[:-1]) <= wide[1:] / 32)
        dipped = (size[1:-1] < size[2:]) & (size[1:-1] < size[:-2]) & (size[1:-1] <= wide[1:-1] * 2.0**-12)
        dipped &= size[1:-1] > 0
        places = torch.cat([x[1:][crossed], x[1:-1][dipped]])
        self.places = sorted(places.tolist(), key=abs)[: 4 * MANY]
        positives = [p for p in self.places if p > 0]
        negatives = [-p for p in self.places if p < 0]
        self.beyond = [side[MANY - 1] if len(side) >= MANY else math.inf for side in (positives, negatives)]

    def contains(self, x: Any) -> Any:
        near = (x > self.beyond[0]) | (x < -self.beyond[1])
        for place in self.places[: 2 * MANY]:
            near |= (x - place).abs() <= NEIGHBOURHOOD * abs(place)
        return near


class _Tally:
    """The worst errors so far."""

    def __init__(self, dtype: str) -> None:
        self.precision, self.emin = PRECISION[dtype]
        self.largest = {"float16": 65504.0}.get(dtype, 2.0**128) * (1 - 2.0 ** (3 - self.precision))
        self.worst: dict[str, Any] = {"ulp": 0.0, "at": 0.0, "got": 0.0, "exact": 0.0}
        self.near: dict[str, Any] = {"near roots": None, "near at": None}
        self.counts = {"wrong": 0, "flushed": 0, "signs": 0, "tried": 0}
        self.first_wrong: list[float] | None = None

    def add(self, x: Any, got: Any, exact: Any, zone: _Zone) -> None:
        """Compare results with exact values, both NaN-free where the function is."""
        import torch

        rounded = exact.to(got.dtype).double()
        x, got = x.double(), got.double()
        _, exponent = torch.frexp(rounded)
        ulp = torch.ldexp(
            torch.ones_like(rounded), (exponent - 1).clamp(min=self.emin) - (self.precision - 1)
        )
        same = (got == rounded) | (got.isnan() & rounded.isnan())
        # A result that rounding carries over the end of the range is as wrong as the number there would be.
        over = got.isinf() & rounded.isfinite() & (rounded.abs() > self.largest)
        got = torch.where(over, torch.copysign(2 * ulp * 2.0 ** (self.precision - 1), got), got)
        wrong = ~same & ~(got.isfinite() & rounded.isfinite())
        flushed = (got == 0) & (rounded != 0) & (rounded.abs() < 2.0**self.emin)
        zeros = (got == 0) & (rounded == 0)
        self.counts["tried"] += x.numel()
        self.counts["wrong"] += int(wrong.sum())
        self.counts["flushed"] += int(flushed.sum())
        self.counts["signs"] += int((zeros & (got.signbit() != exact.signbit())).sum())
        if self.first_wrong is None and bool(wrong.any()):
            at = int(wrong.byte().argmax())
            self.first_wrong = [float(x[at]), float(got[at]), float(rounded[at])]
        difference = (got - exact).abs()
        difference = torch.where(wrong | flushed | ~difference.isfinite(), 0.0, difference)
        errors = difference / ulp
        near = zone.contains(x)
        absolute = torch.where(near, torch.minimum(errors, difference * 2.0**self.precision), 0.0)
        if bool(near.any()):
            at = int(absolute.argmax())
            if self.near["near roots"] is None or float(absolute[at]) > self.near["near roots"]:
                self.near = {"near roots": float(absolute[at]), "near at": float(x[at])}
        errors = torch.where(near, 0.0, errors)
        at = int(errors.argmax())
        if float(errors[at]) > self.worst["ulp"]:
            self.worst = {
                "ulp": float(errors[at]),
                "at": float(x[at]),
                "got": float(got[at]),
                "exact": float(exact[at]),
            }

    def result(self) -> dict[str, Any]:
        """What was found, as plain data."""
        found = {**self.worst, **self.near, **self.counts, "first wrong": self.first_wrong}
        return {
            key: repr(v) if isinstance(v, float) and not math.isfinite(v) else v for key, v in found.items()
        }


def confirm(path: Path) -> int:
    """Evaluate a result's worst inputs in rigorous arithmetic; 1 if some were off, or bounds broken."""
    import numpy as np

    from dsl.certificate import bound
    from dsl.evaluate import Reference
    from dsl.pipeline import derive
    from dsl.project import read_project

    activations = {each.name: each for each in read_project([ROOT / "specs"]).checked().activations}
    result = json.loads(path.read_text(encoding="utf-8"))
    off = broken = 0
    inexact = [row for row in result["every input"] if row["ulp"]]
    for row in inexact:
        activation = activations[row["name"]]
        parameters = {p.name: p.default for p in activation.parameters}
        root = activation.body if row["kind"] == "value" else derive(activation)[1]
        values = Reference(root, activation.input, parameters)(np.array([float(row["at"])]), "float64")
        exact = float(values.rounded[0])
        scale = abs(exact) * 2.0**-40
        row["confirmed"] = abs(exact - float(row["exact"])) <= scale
        off += not row["confirmed"]
        if not row["confirmed"]:
            print(f"{row['name']} {row['kind']} at {row['at']}: {row['exact']} is {exact}")
    for row in (row for row in inexact if row["by"] == "ours"):
        allowed = bound(activations[row["name"]].accuracy, row["dtype"], row["kind"])
        if row["ulp"] > allowed or row["wrong"]:
            broken += 1
            what = f"{row['name']} {row['dtype']} {row['kind']} at {row['at']}"
            print(f"{what}: {row['ulp']:.3g}, bound {allowed:g}")
    path.write_text(_as_json(result), encoding="utf-8")
    print(f"{len(inexact)} worst inputs evaluated exactly, {off} off; {broken} bounds broken")
    return 1 if off or broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
