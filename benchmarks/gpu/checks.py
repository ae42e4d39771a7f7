"""Checks of a generated package on a GPU: accuracy, layouts, compilers, graphs, streams, great tensors.

In: a package and a file of exact values. Out: rows of plain data; what is wrong, as text.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dsl.ulp import FORMATS
from gpu.truth import KINDS, TruthFile

BOUNDS = {
    ("float16", "value"): 1.0,
    ("bfloat16", "value"): 1.0,
    ("float32", "value"): 8.0,
    ("float64", "value"): 8.0,
    ("float16", "gradient"): 1.5,
    ("bfloat16", "gradient"): 1.5,
    ("float32", "gradient"): 16.0,
    ("float64", "gradient"): 16.0,
}
"""The greatest errors in ulps."""
TOLERANCE = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-19, "float64": 2.0**-44}
"""For comparisons of layouts with the CPU, which are not about accuracy."""
_BLOCK = 16
"""A count that this divides takes one launch, and so half as long to compile."""


def load(package: str, folder: str) -> Any:
    """The package, imported from a folder."""
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module(package)


def guarded(label: str, check: Callable[[], str | None]) -> tuple[str, str | None]:
    """A check's label and what is wrong, exceptions included."""
    try:
        return label, check()
    except Exception as error:
        return label, _told(error)


def _told(error: Exception) -> str:
    """An exception and where it came from, on one line."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]} ({places})"


def accuracy(acts: Any, truth: TruthFile, name: str, device: str) -> list[dict[str, Any]]:
    """The errors of an activation and its gradient in every dtype, against the exact values."""
    rows = []
    for dtype in FORMATS:
        if device == "cpu" and dtype == "bfloat16":
            continue  # Triton's interpreter truncates where a GPU rounds
        for kind in KINDS:
            row: dict[str, Any] = {"name": name, "dtype": dtype, "kind": kind}
            try:
                known = truth(name, kind, dtype)
                row |= known.compare(evaluate(getattr(acts, name), kind, dtype, known.points, device))
                row["wrong"] = _wrong(row)
            except Exception as error:
                row["wrong"] = _told(error)
            rows.append(row)
    return rows


def evaluate(function: Any, kind: str, dtype: str, points: Any, device: str) -> Any:
    """An activation or its gradient at points given in float64."""
    padded = np.concatenate([points, np.ones(-len(points) % _BLOCK)])
    x = torch.from_numpy(padded).to(getattr(torch, dtype)).to(device)
    x.requires_grad_(kind == "gradient")
    y = function(x)
    if kind == "gradient":
        (y,) = torch.autograd.grad(y, x, torch.ones_like(y))
    return y.detach().double().cpu().numpy()[: len(points)]


def _wrong(row: dict[str, Any]) -> str | None:
    wrong = []
    bound = BOUNDS[row["dtype"], row["kind"]]
    if row["failed"]:
        wrong.append(f"{row['failed']} wrong infinities or NaN (input, got, exact): {row['failures']}")
    if row["ulp"] > bound:
        wrong.append(f"{row['ulp']:.3g} ulp at {row['at']!r}")
    if row["near roots"] > 2 * bound:
        wrong.append(f"{row['near roots']:.3g} half epsilons near a root")
    if row["signs"]:
        wrong.append(f"{row['signs']} zeros of the wrong sign")
    return "; ".join(wrong) or None


LAYOUTS: dict[str, Callable[[], Tensor]] = {
    "empty": lambda: torch.empty(0, 3),
    "scalar": lambda: torch.tensor(0.3),
    "one": lambda: torch.tensor([-0.7]),
    "odd": lambda: torch.linspace(-9, 9, 100_003),
    "sliced": lambda: torch.randn(600, 80)[::2, 1::3],
    "transposed": lambda: torch.randn(400, 51).t(),
    "permuted": lambda: torch.randn(20, 30, 40).permute(2, 0, 1),
    "channels_last": lambda: torch.randn(4, 6, 16, 16).to(memory_format=torch.channels_last),
    "expanded": lambda: torch.randn(300, 1).expand(300, 40),
    "one element offset": lambda: torch.randn(5000)[1:],
    "three elements offset": lambda: torch.randn(4099)[3:],
}
GRADIENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "of ones, stride 0": lambda y: torch.ones((), dtype=y.dtype).expand(y.shape),
    "transposed": lambda y: torch.randn(y.shape[::-1]).to(y.dtype).permute(tuple(range(y.dim())[::-1])),
}


def layouts(acts: Any, name: str, device: str, dtypes: tuple[str, ...]) -> Iterator[tuple[str, str | None]]:
    """Every layout of input and gradient against the same on the CPU in float64."""
    function = getattr(acts, name)
    for dtype in dtypes:
        for layout, make in LAYOUTS.items():
            for upstream, make_gradient in GRADIENTS.items():
                label = f"{name}, {dtype}: {layout} input, gradient {upstream}"
                yield guarded(
                    label,
                    lambda make=make, make_gradient=make_gradient, dtype=dtype: _layout(  # type: ignore[misc]
                        function, make, make_gradient, dtype, device
                    ),
                )


def _moved(x: Tensor, dtype: torch.dtype, device: str) -> Tensor:
    """The same values, strides and offset in a dtype and on a device."""
    reach = 1 + sum(stride * (size - 1) for stride, size in zip(x.stride(), x.shape, strict=True))
    reach = x.storage_offset() + (reach if x.numel() else 0)
    storage = torch.as_strided(x, (reach,), (1,), 0).to(device, dtype)
    return storage.as_strided(x.shape, x.stride(), x.storage_offset())


def _layout(function: Any, make: Any, make_gradient: Any, dtype: str, device: str) -> str | None:
    torch.manual_seed(0)
    kind = getattr(torch, dtype)
    base = _moved(make(), kind, "cpu")
    x = _moved(base, kind, device).requires_grad_()
    y = function(x)
    upstream = make_gradient(base)
    (dx,) = torch.autograd.grad(y, x, _moved(upstream, kind, device))
    wide = base.double().requires_grad_()
    expected = function(wide)
    (expected_dx,) = torch.autograd.grad(expected, wide, upstream.double())
    plain = torch.empty_like(base)
    for label, got, want in (("value", y, expected), ("gradient", dx, expected_dx)):
        if got.stride() != plain.stride() or got.dtype != kind or got.device != x.device:
            return f"{label}: strides {got.stride()}, {got.dtype}, {got.device}"
        message = close(got, want, dtype)
        if message:
            return f"{label}: {message}"
    return None


def close(got: Tensor, expected: Tensor, dtype: str) -> str | None:
    """What differs beyond tolerance, if anything."""
    tolerance = TOLERANCE[dtype]
    difference = (got.detach().double().cpu() - expected.detach().double().cpu()).abs()
    allowed = tolerance * (1 + expected.detach().double().cpu().abs())
    bad = ~(difference <= allowed)
    return f"{int(bad.sum())} of {bad.numel()} differ, by up to {difference.max():.3g}" if bad.any() else None


def compiled(acts: Any, name: str, device: str) -> Iterator[tuple[str, str | None]]:
    """Value and gradient under torch.compile(fullgraph=True), beside the kernels'."""
    function = getattr(acts, name)

    def check(dtype: str) -> str | None:
        torch.manual_seed(0)
        x = (3 * torch.randn(64, 1024)).to(getattr(torch, dtype)).to(device).requires_grad_()
        torch._dynamo.reset()
        fused = torch.compile(lambda x: function(x) * 2, fullgraph=True, dynamic=False)
        y, expected = fused(x), function(x) * 2
        upstream = torch.randn_like(y)
        (dx,) = torch.autograd.grad(y, x, upstream)
        (expected_dx,) = torch.autograd.grad(expected, x, upstream)
        return close(y, expected, dtype) or close(dx, expected_dx, dtype)

    for dtype in ("float32", "bfloat16"):
        yield guarded(f"{name}, {dtype}: torch.compile", lambda dtype=dtype: check(dtype))  # type: ignore[misc]


def per_activation(
    package: str, folder: str, path: str, name: str, device: str, compiling: bool, deep: bool
) -> tuple[list[dict[str, Any]], list[tuple[str, str | None]]]:
    """All checks of one activation; runs in a process of its own, as compiling is what takes the time."""
    import warnings

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    acts = load(package, folder)
    rows = accuracy(acts, TruthFile(Path(path)), name, device)
    dtypes = tuple(FORMATS) if deep else ("float32",)
    found = list(layouts(acts, name, device, dtypes))
    if compiling:
        found += compiled(acts, name, device)
    return rows, found


def device_checks(acts: Any, name: str, great: bool) -> Iterator[tuple[str, str | None]]:
    """What only a device has: graphs, streams, tensors beyond 2^31 elements."""
    function = getattr(acts, name)
    yield guarded(f"{name}: CUDA graph", lambda: _graph(function))
    yield guarded(f"{name}: another stream", lambda: _stream(function))
    yield guarded(f"{name}: another stream, current device set", lambda: _stream(function, True))
    if great:
        yield guarded(f"{name}: 2^31 + 4099 elements", lambda: _great(function))
        yield guarded(f"{name}: a view that reaches beyond 2^31 elements", lambda: _far(function))
    torch.cuda.empty_cache()


def _graph(function: Any) -> str | None:
    x = torch.randn(10_007, device="cuda", requires_grad=True)
    upstream = torch.randn_like(x)

    def step() -> tuple[Tensor, Tensor]:
        y = function(x)
        return y.detach(), torch.autograd.grad(y, x, upstream)[0]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y, dx = step()
    for seed in range(3):
        torch.manual_seed(seed)
        with torch.no_grad():
            x.copy_(4 * torch.randn_like(x))
        graph.replay()
        expected, expected_dx = step()
        if not (torch.equal(y, expected) and torch.equal(dx, expected_dx)):
            return f"replay {seed} differs"
    return None


def _stream(function: Any, with_device: bool = False) -> str | None:
    """A kernel that did not wait for its own stream would see the zeros."""
    side = torch.cuda.Stream()
    n = 1 << 26
    source = torch.randn(n, device="cuda")
    expected = function(source)
    torch.cuda.synchronize()
    context = torch.cuda.device(0) if with_device else nullcontext()
    for _ in range(3):
        with context, torch.cuda.stream(side):
            x = torch.zeros(n, device="cuda")
            for _ in range(20):
                x.copy_(source)
            y = function(x)
        side.synchronize()
        if not torch.equal(y, expected):
            return "the kernel ran before its stream reached it"
    return None


def _great(function: Any) -> str | None:
    n = 2**31 + 4099
    x = torch.empty(n, device="cuda", dtype=torch.bfloat16)
    piece = 2**26
    pattern = 4 * torch.randn(piece, device="cuda", dtype=torch.bfloat16)
    for start in range(0, n, piece):
        x[start : start + piece] = pattern[: min(piece, n - start)]
    x.requires_grad_()
    y = function(x)
    (dx,) = torch.autograd.grad(y, x, torch.ones((), device="cuda", dtype=x.dtype).expand(n))
    small = pattern.clone().requires_grad_()
    expected = function(small)
    (expected_dx,) = torch.autograd.grad(expected, small, torch.ones_like(small))
    for start in range(0, n, piece):
        size = min(piece, n - start)
        if not torch.equal(y[start : start + size], expected[:size]):
            return f"the value differs from element {start} on"
        if not torch.equal(dx[start : start + size], expected_dx[:size]):
            return f"the gradient differs from element {start} on"
    return None


def _far(function: Any) -> str | None:
    big = torch.zeros(2**31 + 2**20, device="cuda", dtype=torch.bfloat16)
    x = big[:: 2**16]
    x.copy_(torch.linspace(-6, 6, x.numel()))
    return None if torch.equal(function(x), function(x.clone())) else "the values differ"
