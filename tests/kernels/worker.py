"""What runs in the process where Triton interprets kernels.

In: names, numpy arrays and plain data. Out: numpy arrays in float64. `start` comes first. The interpreter is
chosen when Triton decorates a function, hence a process of its own, started with TRITON_INTERPRET=1.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.kernels.layouts import Recipe, lay_out

PACKAGE = "shipped_kernels"
_acts: list[ModuleType] = []


def start(folder: str) -> None:
    """Import the package in `folder`, interpreted."""
    import triton.language as tl
    from triton.runtime import interpreter

    original = interpreter._convert_float

    def convert(data: Any, source: Any, target: Any, rounding: Any) -> Any:
        # The interpreter truncates here; GPUs round to nearest, ties to even, as torch does.
        if source == tl.float32 and target == tl.bfloat16:
            wide = torch.from_numpy(np.ascontiguousarray(data).view(np.float32))
            return wide.to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
        # And loses the last bits of subnormals here.
        if source == tl.bfloat16 and target == tl.float32:
            return np.ascontiguousarray(data).view(np.uint16).astype(np.uint32) << 16
        return original(data, source, target, rounding)

    interpreter._convert_float = convert
    np.seterr(all="ignore")
    torch.set_num_threads(1)
    sys.path.insert(0, folder)
    _acts.append(importlib.import_module(PACKAGE))


def evaluate(name: str, kind: str, dtype: str, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """An activation or its gradient at points, by the kernels."""
    x = torch.from_numpy(points).to(getattr(torch, dtype)).requires_grad_(kind == "gradient")
    y = getattr(_acts[0], name)(x)
    if kind == "gradient":
        (y,) = torch.autograd.grad(y, x, torch.ones_like(y))
    result: NDArray[np.float64] = y.detach().double().numpy()
    return result


def evaluate_formula(
    name: str, kind: str, dtype: str, points: NDArray[np.float64], parameters: tuple[float, ...]
) -> NDArray[np.float64]:
    """An activation or its gradient at points, by the formulas."""
    formula = _formula(name, kind)
    wide = torch.float64 if dtype == "float64" else torch.float32
    x = torch.from_numpy(points).to(getattr(torch, dtype)).to(wide)
    return _array(formula(x, *parameters).to(getattr(torch, dtype)))


def _formula(name: str, kind: str) -> Any:
    suffix = "_formula" if kind == "value" else "_grad_formula"
    return getattr(importlib.import_module(f"{PACKAGE}.{name}"), f"_{name}{suffix}")


def against_formula(
    name: str, dtype: str, recipe: Recipe, grad_recipe: Recipe, parameters: Sequence[float], seed: int
) -> dict[str, Any]:
    """Kernels on a tensor laid out by a recipe, beside the formula in float64 on a contiguous copy.

    Gives the values and gradients, computed and expected, and the strides of the input and of both results.
    """
    kind = getattr(torch, dtype)
    generator = torch.Generator().manual_seed(seed)
    x = lay_out(recipe, kind, generator).requires_grad_()
    upstream = lay_out(grad_recipe, kind, generator)
    y = getattr(_acts[0], name)(x, *parameters)
    (dx,) = torch.autograd.grad(y, x, upstream)
    wide = x.detach().double().contiguous()
    value = _formula(name, "value")(wide, *parameters)
    slope = _formula(name, "gradient")(wide, *parameters) * upstream.double().contiguous()
    plain = torch.empty_like(x.detach())
    return {
        "value": _array(y),
        "gradient": _array(dx),
        "expected value": _array(value),
        "expected gradient": _array(slope),
        "shapes": (tuple(x.shape), tuple(y.shape), tuple(dx.shape)),
        "dtypes": (str(x.dtype), str(y.dtype), str(dx.dtype)),
        "strides": (plain.stride(), y.stride(), dx.stride()),
    }


def round_trip(patterns: NDArray[np.uint32]) -> tuple[NDArray[np.uint16], NDArray[np.uint32]]:
    """float32 bit patterns through the interpreter's conversion to bfloat16, and all bfloat16 ones back."""
    import triton.language as tl
    from triton.runtime import interpreter

    narrow = interpreter._convert_float(patterns.view(np.float32), tl.float32, tl.bfloat16, None)
    every = np.arange(2**16, dtype=np.uint16)
    wide = interpreter._convert_float(every, tl.bfloat16, tl.float32, None)
    return narrow.view(np.uint16), wide.view(np.uint32)


def _array(x: Tensor) -> NDArray[np.float64]:
    result: NDArray[np.float64] = x.detach().double().contiguous().numpy()
    return result
