"""Roundings in the middle: `cast(e)` from the spec to kernels and formulas, and how it is measured."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from dsl.build import build
from dsl.certify import measure, truth
from dsl.derive import derivative
from dsl.evaluate import evaluate
from dsl.expr import ONE, Apply, Expr, Symbol, call, postorder
from dsl.pipeline import compile_activation
from dsl.project import read_project
from dsl.rewrite.cast import around_casts
from dsl.ulp import FORMATS
from tests.strategies import expressions

X = Symbol("x")
SPEC = """
swiglu_rounded(gate, up) = cast(silu(gate)) * up
  packed halves

in_turns(gate, up) = cast(silu(gate)) * up
  packed interleaved

silu(x) = x * sigmoid(x)

quick(x) = x * cast(sigmoid(1.702 * x))

third(x; scale = 1.0) = cast(1 / 3) * x + cast(scale / 3)

twice(x) = cast(1 + cast(exp(x)))

both(x) = (cast(x / 3), x - cast(tanh(x)))
"""
NARROW = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("cast")
    (folder / "cast.act").write_text(SPEC, encoding="utf-8")
    build([folder / "cast.act"], folder / "casting")
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("casting")
    finally:
        sys.path.remove(str(folder))


def every(dtype: torch.dtype) -> torch.Tensor:
    return torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(dtype)


def same(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Where bits are alike, or both are NaN."""
    return (one.view(torch.int16) == other.view(torch.int16)) | (one.isnan() & other.isnan())


# -- the compiler ------------------------------------------------------------------------------------------


@given(expressions())
def test_what_is_cut_comes_together_again(root: Expr) -> None:
    casting = Apply("cast", root) * root + Apply("cast", Apply("cast", root) + X)
    assert around_casts(casting, lambda part, _: part) is casting


def test_nothing_is_rewritten_across_a_cast() -> None:
    parts: list[Expr] = []

    def stable(part: Expr, _: tuple[str, ...]) -> Expr:
        parts.append(part)
        return part

    inner = Apply("cast", call("exp", X))
    around_casts(call("log", inner) - X * inner, stable)
    assert parts == [call("exp", X), call("log", Symbol("_cast1")) - X * Symbol("_cast1")]


def test_the_derivative_passes_through() -> None:
    assert derivative(Apply("cast", 3 * X), "x") is derivative(3 * X, "x")
    assert derivative(Apply("cast", X), "x") is ONE


def test_a_program_rounds_a_constant_where_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "f.act"
    file.write_text("f(x) = cast(1 / 3) * x\n", encoding="utf-8")
    (activation,) = read_project([file]).checked().activations
    function = compile_activation(activation).program.forward
    values = (*(step.value for step in function.steps), function.result)
    assert any(node.op == "cast" for node in postorder(*values) if isinstance(node, Apply))


@pytest.mark.parametrize(
    "text",
    [
        "f(x) = cast(x) / rowsum(exp(x))",
        "f(x; learn a = 1) = cast(a * x)",
        "f(x) = cast(x + a)\n  with a = uniform(0, 1) in training, 0 in eval",
        "f(x) = x\n  domain cast(x) > 0",
        "f(x) = cast(x)\nmodel m() = linear(3, 4) -> f -> linear(4, 3)",
    ],
)
def test_where_nothing_can_be_rounded_yet(text: str, tmp_path: Path) -> None:
    file = tmp_path / "f.act"
    file.write_text(text + "\n", encoding="utf-8")
    assert [error.code for error in read_project([file]).errors] == ["E0190"]


# -- the exact reference -----------------------------------------------------------------------------------


@given(st.sampled_from(list(FORMATS)), st.integers(-(2**60), 2**60), st.integers(-40, 20))
def test_the_reference_rounds_in_the_middle(dtype: str, numerator: int, exponent: int) -> None:
    """2 * cast(x / 3) - x / 3 and the like are exact, but for the one rounding."""
    fmt = FORMATS[dtype]
    (x,) = fmt.round(np.array([float(Fraction(numerator) * Fraction(2) ** (exponent - 60))])).tolist()
    (rounded,) = evaluate(X / 3, "x", [x], dtype).tolist()
    found = evaluate(Apply("cast", X / 3) * 2**20 - X * 2**18, "x", [x], dtype)
    if np.isfinite(rounded):
        exact = Fraction(rounded) * 2**20 - Fraction(x) * 2**18
        expected = evaluate(
            X * 0 + exact.numerator * call("pow", 2, 0) / exact.denominator, "x", [1.0], dtype
        )
        assert found.tolist() == expected.tolist()


def test_next_to_a_tie_either_neighbour_is_right() -> None:
    root = Apply("cast", X + Fraction(1, 100) * X * X) * 3
    known = truth(root, "x", "float16")
    fmt = FORMATS["float16"]

    def rounds(shift: float) -> float:
        def function(points: np.ndarray) -> np.ndarray:
            x = points.astype(np.float64)
            inner = x + x * x / 100
            inner += shift * fmt.ulp(fmt.round(inner))
            return fmt.round(3 * fmt.round(inner))

        with np.errstate(all="ignore"):
            return measure(function, known).worst_ulp

    assert rounds(0) <= 0.5
    assert rounds(0.04) <= 0.5
    assert rounds(0.2) > 0.8


# -- what is generated -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", NARROW.values(), ids=list(NARROW))
def test_a_framework_that_rounds_there_has_the_same_bits(acts: ModuleType, dtype: torch.dtype) -> None:
    """But for where PyTorch's own silu is wrong: far below zero, where its sigmoid has underflowed."""
    gate = every(dtype)
    up = torch.randn(gate.shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    ours = acts.swiglu_rounded(gate, up)
    assert same(ours, acts.silu(gate) * up).all()
    silu = functional.silu(gate)
    differing = ~same(silu, acts.silu(gate))
    assert (same(ours, silu * up) | differing).all()
    assert differing.sum() <= 20
    assert not same(ours, ((gate.float() * torch.sigmoid(gate.float())) * up.float()).to(dtype)).all()
    packed = torch.cat((gate, up))
    assert same(acts.swiglu_rounded(packed), ours).all()
    assert same(acts.in_turns(torch.stack((gate, up), 1).reshape(-1)), ours).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wide_types_are_not_rounded(acts: ModuleType, dtype: torch.dtype) -> None:
    x = torch.linspace(-9, 9, 101, dtype=dtype)
    torch.testing.assert_close(acts.quick(x), x * torch.sigmoid(1.702 * x))
    assert torch.equal(acts.swiglu_rounded(x, x), acts.silu(x) * x)


@pytest.mark.parametrize("dtype", NARROW.values(), ids=list(NARROW))
def test_constants_and_casts_in_casts(acts: ModuleType, dtype: torch.dtype) -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(1)).to(dtype)
    third = torch.tensor(1 / 3).to(dtype).float()
    assert torch.equal(acts.third(x), (third * x.float() + third).to(dtype))
    assert torch.equal(acts.twice(x), 1 + torch.exp(x))
    one, other = acts.both(x)
    assert torch.equal(one, x / 3)
    assert torch.equal(other, x - torch.tanh(x))


def test_gradients_are_those_without_rounding(acts: ModuleType) -> None:
    gate = torch.randn(500).bfloat16().requires_grad_()
    up = torch.randn(500).bfloat16().requires_grad_()
    grad = torch.randn(500).bfloat16()
    by_gate, by_up = torch.autograd.grad(acts.swiglu_rounded(gate, up), (gate, up), grad)
    assert torch.equal(by_up, grad * acts.silu(gate))
    (slope,) = torch.autograd.grad(acts.silu(wide := gate.detach().double().requires_grad_()).sum(), wide)
    exact = grad.double() * up.double() * slope
    torch.testing.assert_close(by_gate.double(), exact, rtol=2.0**-8, atol=1e-30)
    x = torch.randn(50, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(acts.quick, x)
    assert torch.autograd.gradcheck(acts.swiglu_rounded, (x, x.detach().flip(0).requires_grad_()))


def test_the_type_is_known_where_all_inputs_are_broadcast(acts: ModuleType) -> None:
    gate = torch.randn(40, 1).half().requires_grad_()
    up = torch.randn(1, 50).half().requires_grad_()
    y = acts.swiglu_rounded(gate, up)
    assert torch.equal(y, acts.silu(gate) * up)
    y.sum().backward()
    assert gate.grad is not None
    assert up.grad is not None
    assert (gate.grad.shape, up.grad.shape) == (gate.shape, up.shape)


@pytest.mark.parametrize("dtype", NARROW.values(), ids=list(NARROW))
def test_compiled_code_rounds_too(acts: ModuleType, dtype: torch.dtype) -> None:
    """Inductor, left to itself, removes a conversion to 16 bits and back."""
    gate = every(dtype)
    up = torch.randn(gate.shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    run = torch.compile(lambda gate, up: (acts.swiglu_rounded(gate, up), acts.quick(gate)), fullgraph=True)
    for found, expected in zip(run(gate, up), (acts.swiglu_rounded(gate, up), acts.quick(gate)), strict=True):
        assert same(found, expected).all()
    x = torch.randn(300).to(dtype)
    slope = torch.compile(torch.func.grad(lambda x: acts.quick(x).sum()), fullgraph=True)
    torch.testing.assert_close(slope(x), torch.func.grad(lambda x: acts.quick(x).sum())(x))


KERNELS = """
import sys
from dsl import interpret
interpret.start(sys.argv[1], "casting")
import torch, casting
from casting import _runtime
for dtype in (torch.float16, torch.bfloat16):
    x = torch.randn(3000, generator=torch.Generator().manual_seed(0)).to(dtype)
    up = x.flip(0).contiguous()
    silu = casting.silu(x)
    assert torch.equal(casting.swiglu_rounded(x, up), silu * up)
    assert torch.equal(casting.in_turns(torch.stack((x, up), 1).reshape(-1)), silu * up)
    assert torch.equal(casting.both(x)[0], x / 3)
    g, u = x.clone().requires_grad_(), up.clone().requires_grad_()
    casting.swiglu_rounded(g, u).backward(up)
    assert torch.equal(u.grad, silu * up)
    packed = torch.stack((x, up), 1).reshape(-1).requires_grad_()
    casting.in_turns(packed).backward(up)
    assert torch.equal(packed.grad[1::2], silu * up)
    assert torch.equal(packed.grad[::2], g.grad)
"""


def test_kernels_round_to_the_type_of_their_output(acts: ModuleType) -> None:
    folder = Path(str(acts.__file__)).parents[1]
    run = subprocess.run(
        [sys.executable, "-c", KERNELS, str(folder)], capture_output=True, text=True, check=False, timeout=300
    )
    assert run.returncode == 0, run.stderr
