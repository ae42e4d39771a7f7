"""Activations of several inputs in the compiler: what is treated as a function of one input."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest

from dsl.evaluate import Reference
from dsl.expr import Expr, Symbol, call, is_op, postorder, substitute
from dsl.ieee import evaluate, run
from dsl.pipeline import compile_joint, compile_learned, derive_joint
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
    "y * sigmoid(x * y)",
    "softplus(2 * x + tanh(x) * y) - x",
    "where(x * y > 1, exp(x * y), 0)",
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


def test_one_mixture_is_treated_as_an_input() -> None:
    inner = call("tanh", X) * Y
    root = call("exp", inner) / (1 + call("exp", inner))
    found, (factor, (part, name)) = treated(root)
    total = Symbol(name)
    assert factor == (call("tanh", X), "x")
    assert part is call("exp", total) / (1 + call("exp", total))
    assert found is substitute(part, {total: inner})


@pytest.mark.parametrize(
    "formula", ["1 / (x * y)", "max(x * y, 0)", "exp(x * y) * x + exp(x)", "exp(x) / (exp(x) + exp(y))"]
)
def test_algebra_and_inputs_beside_are_no_mixture(formula: str) -> None:
    for part, name in treated(body(formula))[1]:
        assert name in ("x", "y") or is_op(part, "exp")


def test_deep_mixtures_are_fast() -> None:
    root: Expr = X * Y
    for _ in range(100):
        root = call("sin", root + X) * call("exp", root)
    treated(root)


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
        ("log(1 + exp(x * y)) + y", {"x": 1000.0, "y": 1000.0}, 1001000.0),
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


LEARNED = (
    ("gate * sigmoid(beta * gate) * up", {"gate": -800.0, "up": 2.0, "beta": 3.0}),
    ("gate * sigmoid(beta * gate) * up", {"gate": 1e30, "up": 2.0, "beta": -1e30}),
    ("gate * sigmoid(beta * gate) * up", {"gate": 1e-3, "up": -4.0, "beta": 250.0}),
    ("up * softplus(beta * gate) / beta", {"gate": 700.0, "up": 0.5, "beta": 2.0}),
    ("up * softplus(beta) + softplus(gate)", {"gate": 900.0, "up": 0.5, "beta": 1000.0}),
    ("up * sigmoid(beta * gate + up)", {"gate": -500.0, "up": 3.0, "beta": 4.0}),
    ("softplus(beta + beta * gate * up)", {"gate": 60.0, "up": 40.0, "beta": 4.0}),
)


@pytest.mark.parametrize(("formula", "point"), LEARNED)
def test_functions_of_inputs_and_parameters_are_stable(formula: str, point: dict[str, float]) -> None:
    """The value and every first derivative, where the formula as it is written overflows."""
    (activation,) = activations(f"f(gate, up; learn beta = 1.0) = {formula}\n")
    (program,) = compile_learned(activation).program.outputs
    given = {name: Fraction(value) for name, value in point.items()}
    for function, root in zip((program.forward, *program.gradients), derive_joint(activation), strict=False):
        held = {name: value for name, value in given.items() if name != "gate"}
        exact = Reference(root, "gate", held)(np.array([point["gate"]])).rounded[0]
        assert run(function, point) == pytest.approx(exact, rel=1e-9, abs=1e-300)


def test_second_derivatives_that_vanish_are_left_out() -> None:
    (activation,) = activations("f(x, y) = x * sigmoid(y)\n")
    assert list(compile_joint(activation).program.outputs[0].curvatures) == [(0, 1), (1, 1)]


def test_a_domain_holds_for_derivatives_too() -> None:
    (activation,) = activations("f(x, y) = x * log(y)\n  domain y > 0\n")
    (program,) = compile_joint(activation).program.outputs
    outside = {"x": 1.0, "y": -1.0}
    assert all(str(run(function, outside)) == "nan" for function in program.functions)
