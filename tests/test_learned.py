"""Learnable parameters in PyTorch: the shipped activations that have some, against the same in plain torch.

The kernels run in Triton's interpreter, in a process of its own that one of the tests starts: there the tests of
values, gradients and layouts compare the kernels.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dsl.build import build

ROOT = Path(__file__).resolve().parents[1]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

Plain = Callable[..., Tensor]


def _srelu(x: Tensor, t_r: Tensor, a_r: Tensor, t_l: Tensor, a_l: Tensor) -> Tensor:
    inner = torch.where(x > t_l, x, t_l + a_l * (x - t_l))
    return torch.where(x >= t_r, t_r + a_r * (x - t_r), inner)


def _xielu(x: Tensor, alpha_p: Tensor, alpha_n: Tensor) -> Tensor:
    p, n = functional.softplus(alpha_p), 0.5 + functional.softplus(alpha_n)
    return torch.where(x > 0, p * x * x + 0.5 * x, (torch.expm1(x.clamp(max=0)) - x) * n + 0.5 * x)


def _pau(x: Tensor, *entries: Tensor) -> Tensor:
    top = sum(c * x**k for k, c in enumerate(entries[:6]))
    below = sum(c * x**k for k, c in enumerate(entries[6:], 1))
    return top / (1 + below.abs())  # type: ignore[union-attr, operator]


PLAIN: dict[str, Plain] = {
    "prelu": lambda x, w: torch.where(x > 0, x, w * x),
    "swish_beta": lambda x, b: x * torch.sigmoid(b * x),
    "acon_c": lambda x, p, q, b: (p - q) * x * torch.sigmoid(b * (p - q) * x) + q * x,
    "aptx": lambda x, a, b, c: (a + torch.tanh(b * x)) * c * x,
    "pelu": lambda x, a, b: torch.where(x >= 0, a / b * x, a * torch.expm1(x.clamp(max=0) / b)),
    "mpelu": lambda x, a, b: torch.where(x > 0, x, a * torch.expm1(b * x.clamp(max=0))),
    "srelu": _srelu,
    "xielu": _xielu,
    "snake_channel": lambda x, a: x + torch.sin(a * x) ** 2 / a,
    "snake_beta": lambda x, a, b: x + torch.sin(x * torch.exp(a)) ** 2 / (torch.exp(b) + 1e-9),
    "dyt": lambda x, a, w, b: w * torch.tanh(a * x) + b,
    "starrelu": lambda x, s, b: s * functional.relu(x) ** 2 + b,
    "tent": lambda x, d: functional.relu(d - x.abs()),
    "pau": _pau,
}
"""Each activation of the input and the entries of its parameters, which broadcast."""

TOLERANCE = {torch.float16: 4e-3, torch.bfloat16: 3e-2, torch.float32: 2e-5, torch.float64: 1e-11}


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("learned")
    build([ROOT / "specs" / "learnable.act"], folder / "learning")
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("learning")
    finally:
        sys.path.remove(str(folder))


def operator(acts: ModuleType, name: str) -> Any:
    return importlib.import_module(f"{acts.__name__}.{name}")._operator


def layer(acts: ModuleType, name: str) -> type[torch.nn.Module]:
    module = importlib.import_module(f"{acts.__name__}.{name}")
    (found,) = (v for n in module.__all__ if isinstance(v := getattr(module, n), type))
    return found  # type: ignore[no-any-return]


def normal(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


def parameters(acts: ModuleType, name: str, channels: int, dtype: torch.dtype) -> list[Tensor]:
    """The initial values, each a little off."""
    made = layer(acts, name)
    count = {"num_parameters": channels} if "channel" in operator(acts, name).learned.values() else {}
    return [
        (p.detach().double() * (1 + 0.1 * torch.arange(p.numel())) + 0.01 * i).to(dtype)
        for i, p in enumerate(made(**count).parameters(), 1)
    ]


def plain(acts: ModuleType, name: str, x: Tensor, learned: list[Tensor], dim: int = 1) -> Tensor:
    entries: list[Tensor] = []
    for extent, p in zip(operator(acts, name).learned.values(), learned, strict=True):
        if extent == "channel" and p.numel() > 1:
            shape = [1] * x.dim()
            shape[dim] = -1
            entries.append(p.view(shape))
        elif extent == "channel":
            entries.append(p.reshape(()))
        else:
            entries += p.unbind()
    return PLAIN[name](x, *entries)


def check(
    acts: ModuleType,
    name: str,
    x: Tensor,
    learned: list[Tensor],
    dim: int = 1,
    wanted: list[bool] | None = None,
    outer: Tensor | None = None,
) -> None:
    """Value and gradients, types and shapes, against plain torch in float64."""
    wanted = wanted or [True] * (1 + len(learned))
    extra = {"dim": dim} if "channel" in operator(acts, name).learned.values() else {}
    ours = [t.detach().requires_grad_(w) for t, w in zip((x, *learned), wanted, strict=True)]
    theirs = [
        t.detach().double().clone().requires_grad_(w) for t, w in zip((x, *learned), wanted, strict=True)
    ]
    y = getattr(acts, name)(*ours, **extra)
    expected = plain(acts, name, theirs[0], theirs[1:], dim)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert y.requires_grad == any(wanted)
    tolerance = TOLERANCE[x.dtype]
    close(y, expected, tolerance)
    if not any(wanted):
        return
    outer = normal(tuple(y.shape), y.dtype, 3) if outer is None else outer
    found = torch.autograd.grad(y, [t for t in ours if t.requires_grad], outer)
    exact = torch.autograd.grad(expected, [t for t in theirs if t.requires_grad], outer.double())
    for t, dt, right in zip((t for t in ours if t.requires_grad), found, exact, strict=True):
        assert (dt.shape, dt.dtype) == (t.shape, t.dtype)
        scale = max(1.0, float(right.abs().max())) if right.numel() else 1.0
        close(dt / scale, right / scale, 4 * max(tolerance, TOLERANCE[t.dtype]))


def close(got: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(got.double(), expected.double(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", PLAIN)
def test_values_and_gradients(name: str, acts: ModuleType) -> None:
    for dtype in TOLERANCE:
        for p_dtype in (dtype, torch.float32):
            x = normal((4, 3, 5), dtype, 1)
            check(acts, name, x, parameters(acts, name, 3, p_dtype))


def layouts() -> Iterator[tuple[Tensor, int]]:
    yield normal((2, 5, 6, 7), torch.float32, 1), 5
    yield normal((2, 5, 6, 7), torch.float32, 1).to(memory_format=torch.channels_last), 5
    yield normal((2, 3, 20, 20), torch.float32, 2), 3
    yield normal((3, 2, 1500), torch.float32, 2), 2
    yield normal((700, 5), torch.float32, 3), 5
    yield normal((5, 700), torch.float32, 3).t(), 5
    yield normal((8, 10), torch.float32, 4)[::2, 1::2], 5
    yield normal((4, 1), torch.float32, 4).expand(4, 5), 5
    yield normal((4, 5), torch.float32, 4), 1
    yield normal((3000,), torch.float32, 5), 1
    yield normal((), torch.float32, 5), 1
    yield normal((0, 5), torch.float32, 5), 5
    yield normal((2, 5, 0), torch.float32, 5), 5
    yield normal((2, 3, 5), torch.float32, 6).permute(0, 2, 1), 5
    yield normal((5, 1, 9), torch.float32, 6), 1


@pytest.mark.parametrize("name", ["prelu", "dyt", "pau", "xielu"])
def test_layouts(name: str, acts: ModuleType) -> None:
    for x, channels in layouts():
        learned = parameters(acts, name, channels, torch.float32)
        check(acts, name, x, learned)
        check(acts, name, x, learned, wanted=[False] + [True] * len(learned))
        check(acts, name, x, learned, wanted=[True] + [False] * len(learned))
        check(acts, name, x, learned, outer=torch.ones(()).expand(x.shape))
