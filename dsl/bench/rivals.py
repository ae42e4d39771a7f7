"""The functions that a benchmark compares: the generated one, and what a user might use instead.

In: a `Case` and a generated package. Out: `Rival`s, or None where a library does not have the operator. A
library that is not installed, or that fails, is told by `versions`; neither is an error.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from dsl.bench.case import Case

Function = Callable[..., Tensor]


@dataclass(frozen=True)
class Rival:
    """A function, the context that it runs in, and whether its gradient is its own work."""

    function: Function
    context: Callable[[], AbstractContextManager[Any]] = nullcontext
    gradient: bool = True


def rivals(case: Case, package: Any, names: Collection[str] = ()) -> dict[str, Callable[[], Rival | None]]:
    """What makes each rival, by its name, or each of those named; ours is `dslgen`."""
    found: dict[str, Callable[[], Rival | None]] = {
        "dslgen": lambda: Rival(ours(case, package)),
        "eager": lambda: Rival(eager(case)),
        "compile": lambda: Rival(compiled(case)),
    }
    found |= {name: partial(make, case) for name, make in _LIBRARIES.items()}
    wanted = [name for name in found if not names or name in names]
    return {name: found[name] for name in wanted if name not in _LIBRARIES or _version(name)[0]}


def ours(case: Case, package: Any) -> Function:
    """The generated function, with its parameters at their defaults."""
    function = getattr(package, case.name)
    if case.packed:  # the other inputs come before the parameters, which have defaults
        return function  # type: ignore[no-any-return]
    parameters = case.parameters
    return lambda *tensors: function(*tensors, *parameters)


def eager(case: Case) -> Function:
    """PyTorch's own function, or the formula as it is typed."""
    if not case.reference:
        return plain(case)
    module, _, name = case.reference.rpartition(".")
    function = getattr(importlib.import_module(module), name)
    fixed = dict(case.arguments)
    try:
        function(torch.zeros(case.inputs), **fixed)
    except TypeError:  # Some of PyTorch's functions have no defaults.
        return lambda x: function(x, *case.parameters, **fixed)
    return lambda x: function(x, **fixed)


def plain(case: Case) -> Function:
    """The formula as it is typed, in torch operations."""
    scope: dict[str, Any] = {"torch": torch}
    exec(case.plain, scope)
    function: Function = scope["plain"]
    return function


def compiled(case: Case) -> Function:
    """What torch.compile makes of `eager`, for one shape."""
    torch._dynamo.reset()
    # A backward pass that is timed runs many times, so that its buffers must stay.
    torch._functorch.config.donated_buffer = False
    function: Function = torch.compile(eager(case), dynamic=False)
    return function


_MODULES = {"liger": "liger_kernel.ops", "flaggems": "flag_gems", "helion": "helion"}
_DISTRIBUTIONS = {"liger": "liger-kernel", "flaggems": "flag_gems", "helion": "helion"}


def versions() -> dict[str, str]:
    """The libraries' versions, or why there is none."""
    return {name: _version(name)[1] for name in _MODULES}


@cache
def _version(name: str) -> tuple[bool, str]:
    try:
        found = version(_DISTRIBUTIONS[name])
    except PackageNotFoundError:
        return False, "not installed"
    try:
        importlib.import_module(_MODULES[name])
    except Exception as error:  # A library made for other versions may raise anything.
        said = str(error).partition(" (/")[0]  # where it lies on this machine is of no use elsewhere
        return False, f"{found}, whose import raised {type(error).__name__}: {said}"[:300]
    return True, found


def _liger(case: Case) -> Rival | None:
    """Liger-Kernel's function of that class name; of two inputs, the one that computes the same."""
    ops = importlib.import_module("liger_kernel.ops")
    if case.inputs == 1:
        function = getattr(ops, f"Liger{case.class_name}Function", None)
        return None if function is None else Rival(function.apply)
    found = liger_gate(case)
    if found is None or not hasattr(ops, found[0]):
        return None
    apply, in_order = getattr(ops, found[0]).apply, found[1]

    def call(*tensors: Tensor) -> Tensor:
        rows = [x.view(-1, _LIGER_ROW) if x.numel() % _LIGER_ROW == 0 else x for x in tensors]
        result: Tensor = apply(*(rows if in_order else reversed(rows)))
        return result.view_as(tensors[0])

    return Rival(call)


_LIGER_ROW = 8192
"""Elements of a row: Liger-Kernel's gates take a row to a program, and none of more than 65,536."""


def liger_gate(case: Case) -> tuple[str, bool] | None:
    """Which of Liger-Kernel's gates a case of two tensors is, and whether it takes them in the same order."""
    if case.inputs != 2 or case.packed:
        return None
    function = plain(case)
    for name, gate in LIGER_GATES.items():
        if _same(function, gate):
            return name, True
        if _same(lambda a, b: function(b, a), gate):
            return name, False
    return None


LIGER_GATES: dict[str, Function] = {
    "LigerSiLUMulFunction": lambda a, b: torch.nn.functional.silu(a) * b,
    "LigerGELUMulFunction": lambda a, b: torch.nn.functional.gelu(a, approximate="tanh") * b,
}
"""Liger-Kernel's gates, which are called for the products in them, and what they compute."""


def _same(one: Function, other: Function) -> bool:
    """Whether two functions of two tensors are the same, as far as a few numbers tell."""
    generator = torch.Generator().manual_seed(0)
    a, b = 8 * torch.randn(2, 64, dtype=torch.float64, generator=generator)
    return torch.allclose(one(a, b), other(a, b))


def _flaggems(case: Case) -> Rival | None:
    """PyTorch's function over FlagGems' kernels, where that is one operator and FlagGems has it."""
    if case.inputs > 1 and not case.packed:
        return None
    gems = importlib.import_module("flag_gems")
    whole, inside = _operators(case)
    has = inside & {row[0].partition(".")[0] for row in gems._FULL_CONFIG} - _COMMON
    if not case.reference or len(whole) != 1 or not has:
        return None
    return Rival(eager(case), gems.use_gems, any(name.endswith("_backward") for name in has))


_COMMON = frozenset(
    "add clone copy_ detach div empty empty_like fill_ mul ones_like sub to zero_ zeros".split()
)
"""Operators that are part of many, and say nothing about one."""


@cache
def _operators(case: Case) -> tuple[frozenset[str], frozenset[str]]:
    """The operators that PyTorch's function calls itself, and all that run in it and in its backward pass."""
    function = eager(case)
    x = torch.zeros(8, requires_grad=True)
    with profile(activities=[ProfilerActivity.CPU]) as forward:
        y = function(x)
    with profile(activities=[ProfilerActivity.CPU]) as backward:
        torch.autograd.grad(y, x, torch.ones_like(y))
    events = [event for event in forward.events() or () if event.name.startswith("aten::")]
    whole = frozenset(event.name[6:] for event in events if event.cpu_parent is None)
    both = [*events, *(event for event in backward.events() or () if event.name.startswith("aten::"))]
    return whole, frozenset(event.name[6:] for event in both)


_HELION = """\
import helion
import helion.language as hl
import torch


{plain}


def configured(size, warps):
    @helion.kernel(config=helion.Config(block_sizes=[size], num_warps=warps), static_shapes=True)
    def kernel(x: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(x)
        for tile in hl.tile(x.numel()):
            out[tile] = plain(x[tile])
        return out

    return kernel
"""
_HELION_BYTES, _HELION_WARPS = 8192, 8
"""A tile's size as Helion's authors publish it for Hopper: its own search takes minutes for each kernel."""


def _helion(case: Case) -> Rival | None:
    """The typed formula as Helion's kernel, untuned; it has no gradient, and one input."""
    if case.inputs > 1:
        return None
    kernels: dict[int, Function] = {}

    def call(x: Tensor) -> Tensor:
        size = x.element_size()
        if size not in kernels:
            kernels[size] = _helion_module(case).configured(_HELION_BYTES // size, _HELION_WARPS)
        return kernels[size](x)

    return Rival(call, gradient=False)


def _helion_module(case: Case) -> Any:
    """Helion reads its kernels' source, so that they must lie in a file."""
    folder = Path(tempfile.mkdtemp(prefix="dslgen-bench-"))
    path = folder / f"helion_{case.name}.py"
    path.write_text(_HELION.format(plain=case.plain), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where it looks up what a kernel's source names
    spec.loader.exec_module(module)
    return module


_LIBRARIES: dict[str, Callable[[Case], Rival | None]] = {
    "liger": _liger,
    "flaggems": _flaggems,
    "helion": _helion,
}
