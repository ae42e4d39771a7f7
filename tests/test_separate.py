"""Activations of several inputs in the compiler: what is treated as a function of one input."""

from __future__ import annotations

import random

import pytest

from dsl.expr import Expr, Symbol, call, postorder, substitute
from dsl.ieee import evaluate, run
from dsl.pipeline import compile_joint, derive_joint
from dsl.resolve import activations
from dsl.rewrite.core import lower
from dsl.rewrite.separate import separate

X, Y = Symbol("x"), Symbol("y")

FORMULAS = (
    "x * exp(x) * y",
    "exp(x) * y / (2 * x * (1 + y**2))",
    "-(x / (3 - y))",
    "tanh(x) - (y - tanh(x)) + 1",
    "softplus(x + y)",
    "softplus(1 - x - y) * y + sigmoid(x + y - 2)",
    "(x + y) * sigmoid(x + y) * (y + 1)",
    "sqrt(1 + x**2 + y**2)",
    "where(x > 0.5, x * y, max(x, y))",
    "min(x, 2) * sigmoid(x) * (clamp(y, -1, 1) + 1)",
    "x - y",
)


def body(formula: str) -> Expr:
    (activation,) = activations(f"f(x, y) = {formula}\n")
    return lower(activation.body)


def treated(root: Expr) -> tuple[Expr, list[tuple[Expr, str]]]:
    seen: list[tuple[Expr, str]] = []

    def treat(part: Expr, name: str) -> Expr:
        seen.append((part, name))
        return part

    return separate(root, ("x", "y"), treat), seen


def points() -> list[dict[str, float]]:
    source = random.Random(1)
    return [{"x": source.uniform(-3, 3), "y": source.uniform(-3, 3)} for _ in range(50)]


@pytest.mark.parametrize("formula", FORMULAS)
def test_the_function_stays_the_same(formula: str) -> None:
    root = body(formula)
    found, _ = treated(root)
    for point in points():
        assert evaluate(found, point) == pytest.approx(evaluate(root, point), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("formula", FORMULAS)
def test_what_is_treated_has_one_input(formula: str) -> None:
    for part, name in treated(body(formula))[1]:
        used = {node.name for node in postorder(part) if isinstance(node, Symbol)}
        assert used == {name}


def test_factors_of_one_input_are_treated_together() -> None:
    root = call("exp", X) * Y * (X + 1) / (Y + 2)
    assert treated(root)[1] == [(call("exp", X) * (X + 1), "x"), (Y / (Y + 2), "y")]


def test_one_sum_is_treated_as_an_input() -> None:
    root = call("exp", X - Y) / (1 + call("exp", Y - X))
    found, ((part, name),) = treated(root)
    total = Symbol(name)
    assert part is call("exp", total) / (1 + call("exp", -total))
    assert found is substitute(part, {total: X - Y})


def test_a_name_that_is_taken_is_not_taken_again() -> None:
    root = body("softplus(x + y)") * Symbol("total")
    _, ((_, name),) = treated(root)
    assert name == "total_"


def test_products_in_which_nothing_can_be_separated_end() -> None:
    root: Expr = X * Y + 1
    for _ in range(200):
        root = root * root + X * Y
    assert treated(root)[1] == []


@pytest.mark.parametrize("formula", FORMULAS)
def test_programs_compute_the_value_and_its_derivatives(formula: str) -> None:
    (activation,) = activations(f"f(x, y) = {formula}\n")
    exact = derive_joint(activation)
    (program,) = compile_joint(activation).program.outputs
    functions = [program.forward, *program.gradients]
    pairs = [(0, 0), (0, 1), (1, 1)]
    for point in points():
        for function, root in zip(functions, exact, strict=False):
            assert run(function, point) == pytest.approx(evaluate(root, point), rel=1e-9, abs=1e-9)
        for pair, root in zip(pairs, exact[3:], strict=True):
            curvature = program.curvatures.get(pair)
            got = 0.0 if curvature is None else run(curvature, point)
            assert got == pytest.approx(evaluate(root, point), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize(
    ("formula", "point", "expected"),
    [
        ("log(1 + exp(x)) * y", {"x": 1000.0, "y": 2.0}, 2000.0),
        ("log(1 + exp(x + y))", {"x": 800.0, "y": 200.0}, 1000.0),
        ("log(1 + exp(x)) + y", {"x": 1000.0, "y": -1000.0}, 0.0),
        ("x / (1 + exp(-x)) * y", {"x": float("-inf"), "y": 3.0}, -0.0),
        ("x / (1 + exp(-x)) * y", {"x": float("nan"), "y": 3.0}, float("nan")),
        ("where(x > 0, 1, 0) * y", {"x": float("nan"), "y": 3.0}, float("nan")),
    ],
)
def test_each_factor_is_stable(formula: str, point: dict[str, float], expected: float) -> None:
    (activation,) = activations(f"f(x, y) = {formula}\n")
    assert run(compile_joint(activation).program.outputs[0].forward, point) == pytest.approx(
        expected, nan_ok=True
    )


def test_second_derivatives_that_vanish_are_left_out() -> None:
    (activation,) = activations("f(x, y) = x * sigmoid(y)\n")
    assert list(compile_joint(activation).program.outputs[0].curvatures) == [(0, 1), (1, 1)]


def test_a_domain_holds_for_derivatives_too() -> None:
    (activation,) = activations("f(x, y) = x * log(y)\n  domain y > 0\n")
    (program,) = compile_joint(activation).program.outputs
    outside = {"x": 1.0, "y": -1.0}
    assert all(str(run(function, outside)) == "nan" for function in program.functions)
