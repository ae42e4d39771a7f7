"""One activation's figures: times against the roof, errors, the host's cost.

In: a `Case`, a package, a device. Out: rows of plain data, for JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from dsl.bench.case import Case
from dsl.bench.clock import host_microseconds, milliseconds
from dsl.bench.rivals import Rival, eager, ours, rivals

KINDS = ("value", "gradient")

TOLERANCE = {"float16": 2.0**-9, "bfloat16": 2.0**-6, "float32": 2.0**-18, "float64": 2.0**-40}
"""The error at which a result is no longer the same function, over the greater of 1 and the exact value."""

SAMPLE = 4096
"""How many elements are checked at either end of a tensor."""

HOST_ELEMENTS = 4096
HOST_RIVALS = ("dslgen", "eager")

Row = dict[str, Any]


def inputs(n: int, offset: int, dtype: str, where: torch.device, count: int) -> list[Tensor]:
    """Normal random tensors of n elements, that begin `offset` elements after an aligned address."""
    torch.manual_seed(0)
    kind = getattr(torch, dtype)
    return [torch.randn(n + offset, dtype=kind, device=where)[offset:] for _ in range(count)]


WIDTH = 8192
"""Columns of the tensors that hold several, each of which has as many."""


def arguments(
    case: Case, n: int, offset: int, dtype: str, where: torch.device
) -> tuple[list[Tensor], Tensor]:
    """The tensors of a call with n results, and an incoming gradient like the result.

    One that holds several has rows of `WIDTH` results, or a single one where that does not divide n.
    """
    if not case.packed:
        *tensors, upstream = inputs(n, offset, dtype, where, case.inputs + 1)
        return tensors, upstream
    (flat,) = inputs(case.inputs * n, offset, dtype, where, 1)
    (upstream,) = inputs(n, offset, dtype, where, 1)
    rows = n // WIDTH if n % WIDTH == 0 else 1
    return [flat.view(rows, -1)], upstream.view(rows, -1)


@cache
def roof(kind: str, dtype: str, n: int, offset: int, where: torch.device, count: int = 1) -> float:
    """Milliseconds of the fastest of PyTorch's kernels that move as many tensors and compute nothing.

    That is a copy for a value, and for a gradient, which reads two tensors, a sum or a product. For `count`
    inputs it is as many copies as move as much: those, and the result or its gradient, and their gradients.
    """
    if count > 1:
        moved = {"value": count + 1, "gradient": 2 * count + 1}[kind]
        return roof("value", dtype, n, offset, where) * moved / 2
    a, b = inputs(n, offset, dtype, where, 2)
    out = torch.empty_like(a)
    calls: dict[str, list[Callable[[], object]]] = {
        "value": [partial(out.copy_, a), partial(torch.neg, a, out=out)],
        "gradient": [partial(torch.add, a, b, out=out), partial(torch.mul, a, b, out=out)],
    }
    return min(milliseconds(call, where) for call in calls[kind])


def throughput(
    case: Case,
    package: Any,
    dtype: str,
    n: int,
    offset: int,
    where: torch.device,
    names: tuple[str, ...] = (),
) -> list[Row]:
    """A row each for the value and the gradient: milliseconds and errors of all rivals or of those named."""
    rows: list[Row] = [
        {"name": case.label, "dtype": dtype, "kind": kind, "n": n, "offset": offset} for kind in KINDS
    ]
    for row in rows:
        limit = roof(row["kind"], dtype, n, offset, where, case.inputs)
        row |= {"roof": limit, "ms": {}, "error": {}, "failed": {}}
    tensors, upstream = arguments(case, n, offset, dtype, where)
    exact = _exact(case, tensors, upstream)
    for name, make in rivals(case, package, names).items():
        for row, truth in zip(rows, exact, strict=True):
            try:
                rival = make()
                if rival is None or (row["kind"] == "gradient" and not rival.gradient):
                    continue
                with rival.context():
                    call = CALLS[row["kind"]](rival, tensors, upstream)
                    result = call()
                    row["ms"][name] = milliseconds(call, where)
                row["error"][name] = _error(result, truth)
            except Exception as error:  # A rival that fails is a result, and not the end of the run.
                row["failed"][name] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    for row in rows:
        if "dslgen" in row["ms"]:
            row["fraction"] = row["roof"] / row["ms"]["dslgen"]
    return rows


def _value(rival: Rival, tensors: list[Tensor], upstream: Tensor) -> Callable[[], tuple[Tensor, ...]]:
    def call() -> tuple[Tensor, ...]:
        with torch.no_grad():
            return (rival.function(*tensors),)

    return call


def _gradient(rival: Rival, tensors: list[Tensor], upstream: Tensor) -> Callable[[], tuple[Tensor, ...]]:
    tracked = [x.detach().requires_grad_() for x in tensors]
    y = rival.function(*tracked)
    return lambda: torch.autograd.grad(y, tracked, upstream, retain_graph=True)


CALLS = {"value": _value, "gradient": _gradient}


Results = tuple[Tensor, ...]


def _exact(case: Case, tensors: list[Tensor], upstream: Tensor) -> tuple[Results, Results]:
    """The value and the gradients at both ends of tensors, by PyTorch in float64."""
    function = eager(case)
    sample = [_ends(x).double().requires_grad_() for x in tensors]
    y = function(*sample)
    gradients = torch.autograd.grad(y, sample, _ends(upstream).double())
    return (y.detach(),), gradients


def _ends(x: Tensor) -> Tensor:
    """The first and the last elements of a tensor, or its first and its last row."""
    rows = SAMPLE if x.dim() == 1 else 1
    return x if len(x) <= 2 * rows else torch.cat([x[:rows], x[-rows:]])


def _error(got: Results, exact: Results) -> float:
    """The greatest error over the greater of 1 and the exact value; infinite where there is no number."""
    return max(_greatest(_ends(one.detach()).double(), other) for one, other in zip(got, exact, strict=True))


def _greatest(got: Tensor, exact: Tensor) -> float:
    error = (got - exact).abs() / exact.abs().clamp(min=1)
    return float(error.nan_to_num(nan=float("inf")).max())


def wrong(row: Row) -> str | None:
    """What is wrong with our result in a row of `throughput`, or None."""
    label = f"{row['name']} {row['kind']} {row['dtype']} n={row['n']} offset={row['offset']}"
    if "dslgen" not in row["error"]:
        return f"{label}: {row['failed']['dslgen']}"
    error, most = row["error"]["dslgen"], TOLERANCE[row["dtype"]]
    return f"{label}: off by {error:.3g}, more than {most:.3g}" if not error <= most else None


def warm(
    case: Case,
    package: Any,
    dtypes: tuple[str, ...],
    n: int,
    where: torch.device,
    names: tuple[str, ...] = (),
) -> None:
    """Fill the compilers' caches on disk with what `throughput` will run."""
    for dtype in dtypes:
        tensors, upstream = arguments(case, n, 0, dtype, where)
        for make in rivals(case, package, names).values():
            for kind in KINDS:
                try:
                    rival = make()
                    if rival is not None and (kind == "value" or rival.gradient):
                        with rival.context():
                            CALLS[kind](rival, tensors, upstream)()
                except Exception:  # It fails again where it is measured, and is told there.
                    continue
        del tensors, upstream
        if where.type == "cuda":
            torch.cuda.empty_cache()


def host(case: Case, package: Any, where: torch.device) -> Row:
    """Microseconds that one call keeps the host busy: a value, a forward with gradient, a backward."""
    tensors, upstream = arguments(case, HOST_ELEMENTS, 0, "float32", where)
    tracked = [x.clone().requires_grad_() for x in tensors]
    row: Row = {"name": case.label}
    for who, function in zip(HOST_RIVALS, (ours(case, package), eager(case)), strict=True):
        backward = partial(torch.autograd.grad, function(*tracked), tracked, upstream, retain_graph=True)
        calls = (partial(function, *tensors), partial(function, *tracked), backward)
        row[who] = [host_microseconds(call, where) for call in calls]
    return row
