"""What the oldest PyTorch that is supported needs, as far as a newer one can show it."""

from __future__ import annotations

import importlib
import sys
from fractions import Fraction
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.testing import assert_close

from dsl.build import build

SPECS = """
plain(x) = x * sigmoid(x)
gated(a, b) = a * sigmoid(b)
both(a, b) = (a * sigmoid(b), a + b)
hot(x; learn beta = 1.5) = x * sigmoid(beta * x)
weighed(a, b; learn beta = 1.5) = a * sigmoid(beta * b)
rows(x) = exp(x - rowmax(x)) / rowsum(exp(x - rowmax(x)))
chance(x) = x * k
  with k = uniform(0.5, 1.5) in training, 1 in eval
"""

SEED = torch.ones(1, dtype=torch.int64)
ARGUMENTS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "plain": ("_operator", ()),
    "gated": ("_operator", (torch.ones(2, 3),)),
    "both": ("_operator", (torch.ones(2, 3),)),
    "hot": ("_operator", (torch.ones(2, 3),)),
    "weighed": ("_operator", (torch.ones(2, 3), torch.ones(2, 3))),
    "rows": ("_operator", (-1,)),
    "chance": ("_training_operator", (SEED,)),
}
"""Where the Function is that compilers trace, and what it takes beside the input."""


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    folder = tmp_path_factory.mktemp("older")
    (folder / "all.act").write_text(SPECS, encoding="utf-8")
    build([folder / "all.act"], folder / "older")
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("older")
    finally:
        sys.path.remove(str(folder))


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_traced_result_goes_through_no_idle_conversion(name: str, acts: ModuleType) -> None:
    """Torch 2.11 compiles a Function whose result `to` gave back as it was to one without gradients."""
    idle: list[torch.dtype] = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if func is Tensor.to and result is args[0]:
                idle.append(result.dtype)
            return result

    where, rest = ARGUMENTS[name]
    traced = getattr(importlib.import_module(f"{acts.__name__}.{name}"), where)._traced
    with Watch():
        traced.apply(torch.randn(2, 3, requires_grad=True), *rest)
    assert not idle


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_error_of_a_product_under_vmap(dtype: torch.dtype, acts: ModuleType) -> None:
    """It is exact for numbers of any size, without views in another type, which torch 2.11 cannot batch."""
    error = importlib.import_module(f"{acts.__name__}._math").product_error_torch
    reach = 100 if dtype is torch.float32 else 950
    generator = torch.Generator().manual_seed(1)
    exponents, parts = (torch.rand(2, 4000, dtype=torch.float64, generator=generator) for _ in "ab")
    a, b = torch.ldexp(1 + parts, (reach * (2 * exponents - 1)).int()).to(dtype)
    a[0], b[0] = 0.99 * torch.finfo(dtype).max, 0.3
    kept = (a * b).isfinite() & (torch.log2(a * b) > -0.8 * reach)
    a, b = a[kept], -b[kept]
    products = zip(a.tolist(), b.tolist(), (a * b).tolist(), strict=True)
    exact = [float(Fraction(x) * Fraction(y) - Fraction(p)) for x, y, p in products]
    assert_close(torch.vmap(error)(a, b), torch.tensor(exact, dtype=dtype), rtol=0, atol=0)
    targets = {str(node.target) for node in make_fx(torch.vmap(error))(a, b).graph.nodes}
    assert "aten.view.dtype" not in targets
    slopes = torch.vmap(torch.func.grad(error, (0, 1)))(a, b)
    assert not any(slope.any() for slope in slopes)
