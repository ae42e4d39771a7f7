"""Derivatives that a definition gives itself, and `stop_gradient`: what is differentiated, and how."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.testing import assert_close

from dsl.build import build
from dsl.certify.sample import sample
from dsl.evaluate import evaluate
from dsl.pipeline import derive
from dsl.resolve import activations
from dsl.show import show_activation
from dsl.ulp import FORMATS

ROOT = Path(__file__).resolve().parents[1]
SPECS = """
ste(x) = x + stop_gradient(round(x) - x)
spiking(x; k = 4) = where(x >= 0, 1, 0)
  gradient = k * s * (1 - s)
  with s = sigmoid(k * x)
fragile(x) = x
  gradient = log(1 + exp(x)) - x
called(x) = 2 * ste(3 * x) + spiking(x, k = 2)
gate(a, b) = a * b
  gradient a = sigmoid(b) * a
half(a, b) = stop_gradient(sigmoid(a)) * b * a
partly(x) = x * x + slope(x**2, 1)
tanh_like(x) = spiking(x) * tanh(x)
soft_step(x; learn t = 0.5) = where(x >= t, 1, 0)
  gradient = s * (1 - s)
  gradient t = -s
  with s = sigmoid(x - t)
both(a, b) = (gate(a, b), a * stop_gradient(b))
leaky(x; learn w[channel] = 0.25) = where(x > 0, x, w * x)
  gradient w = min(x, 0) / 2
"""


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("gradient")
    (folder / "own.act").write_text(SPECS)
    build([ROOT / "specs" / "straight_through.act", folder / "own.act"], folder / "given")
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("given")
    finally:
        sys.path.remove(str(folder))


def test_the_value_is_the_formula_and_the_gradient_is_what_was_given(acts: ModuleType) -> None:
    x = torch.linspace(-3, 3, 25, dtype=torch.float64, requires_grad=True)
    s = torch.sigmoid(2 * x.detach())
    spike = 2 * s * (1 - s)
    within = (x.detach().abs() <= 1).double()
    for function, value, slope in (
        (acts.ste, x.round(), torch.ones_like(x)),
        (acts.binary_step, (x >= 0).double(), within),
        (acts.called, 2 * (3 * x).round() + (x >= 0).double(), 6 + spike),
        (acts.partly, x * x, 4 * x),
        (acts.fake_quantize, ((16 * x).round() / 16).clamp(-1, 1), within),
    ):
        y = function(x)
        assert_close(y, value.detach())
        assert_close(torch.autograd.grad(y.sum(), x)[0], slope.detach())


def test_the_second_derivative_is_that_of_the_gradient(acts: ModuleType) -> None:
    x = torch.randn(9, dtype=torch.float64)
    s = torch.sigmoid(4 * x)

    def slope(x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = grad(lambda x: acts.spiking(x).sum())(x)
        return found

    assert_close(grad(lambda x: slope(x).sum())(x), 16 * s * (1 - s) * (1 - 2 * s))
    assert torch.autograd.gradcheck(slope, x.requires_grad_())


def test_a_gradient_is_made_stable(acts: ModuleType) -> None:
    """log(1 + exp(x)) - x is 0 at 50 as it is typed, and infinite at 1000."""
    x = torch.tensor([50.0, 1000.0, -1000.0, float("inf")], requires_grad=True)
    (dx,) = torch.autograd.grad(acts.fragile(x).sum(), x)
    assert_close(dx, torch.tensor([1.9287498e-22, 0.0, 1000.0, 0.0]), rtol=1e-6, atol=0)


def test_by_one_input_of_two(acts: ModuleType) -> None:
    """Second derivatives then depend on the order, in reverse mode and in forward mode."""
    a, b = torch.randn(2, 4, dtype=torch.float64)

    def slopes(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found: tuple[torch.Tensor, ...] = grad(lambda a, b: acts.gate(a, b).sum(), argnums=(0, 1))(a, b)
        return found

    s = torch.sigmoid(b)
    assert_close(slopes(a, b), (s * a, a))
    expected = ((s, a * s * (1 - s)), (torch.ones(4).double(), torch.zeros(4).double()))
    for jacobian in (jacrev, jacfwd):
        found = jacobian(slopes, argnums=(0, 1))(a, b)
        for row, known in zip(found, expected, strict=True):
            for matrix, diagonal in zip(row, known, strict=True):
                assert_close(matrix, torch.diag(diagonal))
    ours, theirs = (
        hessian(lambda a, b, f=f: f(a, b).sum(), argnums=(0, 1))(a, b)
        for f in (acts.half, lambda a, b: torch.sigmoid(a).detach() * b * a)
    )
    assert_close(ours, theirs)


def test_in_several_outputs(acts: ModuleType) -> None:
    """Each output has the derivatives of what it calls, and second ones that depend on the order."""
    a, b = torch.randn(2, 4, dtype=torch.float64)
    weight = torch.randn(2, dtype=torch.float64)

    def slopes(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
        def total(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            first, second = acts.both(a, b)
            result: torch.Tensor = (weight[0] * first + weight[1] * second).sum()
            return result

        found: tuple[torch.Tensor, ...] = grad(total, argnums=(0, 1))(a, b)
        return found

    s = torch.sigmoid(b)
    assert_close(acts.both(a, b), (a * b, a * b))
    assert_close(slopes(a, b), (weight[0] * s * a + weight[1] * b, weight[0] * a))
    first = weight[0] * s, weight[0] * a * s * (1 - s)
    expected = (first, (weight[0].expand(4), torch.zeros(4).double()))
    for jacobian in (jacrev, jacfwd):
        for row, known in zip(jacobian(slopes, argnums=(0, 1))(a, b), expected, strict=True):
            assert_close(row, tuple(map(torch.diag, known)))
    torch._dynamo.reset()
    leaves = a.requires_grad_(), b.requires_grad_()
    compiled = torch.compile(acts.both, fullgraph=True, backend="aot_eager")
    ours, eager = (
        torch.autograd.grad([each.sum() for each in function(a, b)], leaves)
        for function in (compiled, acts.both)
    )
    assert_close(ours, eager)


def test_by_a_learnable_parameter(acts: ModuleType) -> None:
    """A second derivative by both depends on the order here."""
    x = torch.randn(6, dtype=torch.float64)
    t = torch.tensor([0.5], dtype=torch.float64)
    s = torch.sigmoid(x - t)

    def slopes(x: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found: tuple[torch.Tensor, ...] = grad(lambda x, t: acts.soft_step(x, t).sum(), argnums=(0, 1))(x, t)
        return found

    assert_close(acts.soft_step(x, t), (x >= t).double())
    assert_close(slopes(x, t), (s * (1 - s), -s.sum().view(1)))
    bend = s * (1 - s) * (1 - 2 * s)
    for jacobian in (jacrev, jacfwd):
        by_x, by_t = jacobian(slopes, argnums=(0, 1))(x, t)
        assert_close(by_x, (torch.diag(bend), -bend[:, None]))
        assert_close(by_t, (-(s * (1 - s))[None], (s * (1 - s)).sum().view(1, 1)))
    layer = acts.Leaky(3)
    rows = torch.randn(5, 3)
    layer(rows).sum().backward()
    assert_close(layer.w.grad, rows.clamp(max=0).sum(0) / 2)


def test_compiled(acts: ModuleType) -> None:
    torch._dynamo.reset()
    x = torch.linspace(-2, 2, 11, requires_grad=True)
    y = torch.compile(lambda x: acts.called(x), fullgraph=True, backend="aot_eager")(x)
    assert_close(y, acts.called(x))
    ours, eager = (torch.autograd.grad(each.sum(), x)[0] for each in (y, acts.called(x)))
    assert_close(ours, eager)


def test_under_the_transforms_of_a_compiler(acts: ModuleType) -> None:
    """Dynamo differentiates a formula by itself there: it must find the derivative that was given."""
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)
    for transform in (
        lambda x: jvp(acts.spiking, (x,), (torch.ones_like(x),)),
        lambda x: hessian(lambda x: acts.spiking(x).sum())(x),
        lambda x: vmap(grad(acts.ste))(x),
    ):
        torch._dynamo.reset()
        found = torch.compile(transform, fullgraph=True, backend="aot_eager")(x)
        assert_close(found, transform(x))
    torch._dynamo.reset()
    rows = torch.compile(lambda x: vmap(acts.gate)(x, x), backend="eager")  # not compiled, but right
    assert_close(rows(x), x * x)
    with pytest.raises(torch._dynamo.exc.Unsupported, match=r"gate: torch\.compile takes its own derivative"):
        torch.compile(lambda x: vmap(acts.gate)(x, x), fullgraph=True, backend="eager")(x)


def test_certificates_are_of_the_gradient_that_was_given() -> None:
    (spiking,) = (each for each in activations(SPECS) if each.name == "spiking")
    points = sample(FORMATS["float32"], 200, ())
    given = {each.name: each.default for each in spiking.parameters if each.default is not None}
    (same,) = activations("same(x; k = 4) = k * sigmoid(k * x) * (1 - sigmoid(k * x))")
    ours = evaluate(derive(spiking)[1], "x", points, "float32", given)
    exact = evaluate(same.body, "x", points, "float32", given)
    assert (ours == exact)[points == points].all()


@pytest.mark.parametrize("name", [each.name for each in activations(SPECS)])
def test_shown_it_can_be_read_again(name: str) -> None:
    (activation,) = (each for each in activations(SPECS) if each.name == name)
    (again,) = activations(show_activation(activation))
    assert (again.outputs, again.forms) == (activation.outputs, activation.forms)
