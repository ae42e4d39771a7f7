"""Times on a GPU: a copy, our kernels, PyTorch's, and what torch.compile makes of PyTorch's.

In: a package. Out: rows of milliseconds, and of microseconds of the host.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor
from triton.testing import do_bench

ELEMENTS = 64 * 128 * 126 * 126
DTYPES = ("bfloat16", "float32")
Function = Callable[[Tensor], Tensor]

PLAIN: dict[str, Function] = {
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "tanhexp": lambda x: x * torch.tanh(torch.exp(x)),
    "squareplus": lambda x: (x + torch.sqrt(x * x + 4)) / 2,
    "bent_identity": lambda x: (torch.sqrt(x * x + 1) - 1) / 2 + x,
    "snake": lambda x: x + torch.sin(x) ** 2,
}
"""What someone would write who has no such function in PyTorch."""


def peer(name: str, facts: Mapping[str, Any]) -> Function | None:
    """The same function as PyTorch has it, or as one would write it."""
    for target, arguments in facts["references"]:
        module, _, attribute = target.rpartition(".")
        function = getattr(importlib.import_module(module), attribute)
        missing = {"threshold": (1.0, 0.0)} if attribute == "threshold" else {}
        positional = missing.get(attribute, ())
        return lambda x: function(x, *positional, **arguments)
    return PLAIN.get(name)


def warm(name: str, facts: Mapping[str, Any]) -> None:
    """Fill the compiler's caches on disk for `throughput`."""
    function = peer(name, facts)
    if function is None:
        return
    for dtype in DTYPES:
        x = torch.randn(ELEMENTS, device="cuda").to(getattr(torch, dtype))
        _compiled(function)(x)
        x.requires_grad_()
        y = _compiled(function)(x)
        torch.autograd.grad(y, x, torch.ones_like(y))
        del x, y
        torch.cuda.empty_cache()


def _compiled(function: Function) -> Function:
    torch._dynamo.reset()
    compiled: Function = torch.compile(function, dynamic=False)
    return compiled


def copies() -> dict[str, float]:
    """Milliseconds of a copy in each dtype."""
    found = {}
    for dtype in DTYPES:
        x = torch.randn(ELEMENTS, device="cuda").to(getattr(torch, dtype))
        y = torch.empty_like(x)
        found[dtype] = _bench(partial(y.copy_, x))
    return found


def throughput(
    acts: Any, name: str, facts: Mapping[str, Any], copy: Mapping[str, float]
) -> Iterator[dict[str, Any]]:
    """Milliseconds forward and backward in each dtype, and the fraction of a copy's rate that we reach."""
    ours = getattr(acts, name)
    theirs = peer(name, facts)
    for dtype in DTYPES:
        torch.cuda.empty_cache()
        torch.manual_seed(0)
        x = torch.randn(ELEMENTS, device="cuda").to(getattr(torch, dtype))
        candidates: dict[str, Function | None] = {"ours": ours, "eager": theirs}
        candidates["compile"] = _compiled(theirs) if theirs else None
        times = {who: _attempt(partial(_forward, f, x)) for who, f in candidates.items() if f}
        yield _row(name, dtype, "value", times, copy[dtype])
        x.requires_grad_()
        times = {who: _attempt(partial(_backward, f, x)) for who, f in candidates.items() if f}
        yield _row(name, dtype, "gradient", times, 1.5 * copy[dtype])


def _row(name: str, dtype: str, kind: str, times: Mapping[str, Any], roof: float) -> dict[str, Any]:
    row = {"name": name, "dtype": dtype, "kind": kind, "roof": roof, **times}
    if isinstance(times["ours"], float):
        row["fraction"] = roof / times["ours"]
    return row


def _attempt(measurement: Callable[[], float]) -> float | str:
    try:
        return measurement()
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]


def _forward(function: Function, x: Tensor) -> float:
    with torch.no_grad():
        return _bench(lambda: function(x))


def _backward(function: Function, x: Tensor) -> float:
    y = function(x)
    upstream = torch.randn_like(y)
    return _bench(lambda: torch.autograd.grad(y, x, upstream, retain_graph=True))


def _bench(call: Callable[[], object]) -> float:
    result: float = do_bench(call, warmup=15, rep=60, return_mode="median")
    return result


def host(acts: Any, name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Microseconds that one call keeps the host busy on 4096 elements: ours and PyTorch's."""
    theirs = peer(name, facts)
    x = torch.randn(4096, device="cuda")
    tracked = x.clone().requires_grad_()
    row: dict[str, Any] = {"name": name}
    for who, function in (("ours", getattr(acts, name)), ("eager", theirs)):
        if function is None:
            continue
        y = function(tracked)
        upstream = torch.ones_like(y)
        row[f"{who} without gradient"] = _busy(partial(function, x))
        row[f"{who} with gradient"] = _busy(partial(function, tracked))
        row[f"{who} backward"] = _busy(partial(torch.autograd.grad, y, tracked, upstream, retain_graph=True))
    return row


def _busy(call: Callable[[], object]) -> float:
    times = []
    for _ in range(9):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(300):
            call()
        times.append((time.perf_counter() - start) / 300)
    return 1e6 * median(times)
