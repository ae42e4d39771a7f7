"""The stabiliser: exact in exact arithmetic, whatever it is given; and stable where the formula is not."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsl.derive import derivative
from dsl.expr import Expr, Number, Symbol, call, postorder, size
from dsl.ieee import evaluate, run
from dsl.resolve import activations
from dsl.rewrite.core import lower
from dsl.rewrite.guard import propagate_nan, settle_ends
from dsl.rewrite.patch import patch_at_zero
from dsl.rewrite.probe import probe
from dsl.rewrite.simplify import simplify
from dsl.rewrite.stabilise import stabilise
from dsl.rewrite.tail import settle_tails
from dsl.schedule import schedule

x = Symbol("x")
NUMBERS = st.sampled_from([Fraction(n) for n in ("1", "2", "3", "1/2", "-1", "-2", "1.702", "0.044715")])
POINTS = [Fraction(k, 8) for k in (-90, -33, -11, -4, -1, 1, 3, 9, 21, 65)]


def spec(text: str) -> Expr:
    """The body of f(x) = text."""
    (one,) = activations(f"f(x) = {text}")
    return one.body


def program(text: str) -> Expr:
    """The value as the pipeline would schedule it."""
    exact = spec(text)
    root = settle_ends(stabilise(exact, "x").value, exact, "x")
    return propagate_nan(patch_at_zero(root, exact, "x"), "x")


def expressions() -> st.SearchStrategy[Expr]:
    """Expressions of the kind that activations are made of."""
    leaves = st.one_of(st.just(x), st.just(x), NUMBERS.map(Number))
    unary = ("exp", "tanh", "sigmoid", "softplus", "erf", "abs", "atan", "sin", "relu", "neg", "sign")

    def extend(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
        return st.one_of(
            st.builds(call, st.sampled_from(unary), inner),
            st.builds(call, st.sampled_from(("add", "sub", "mul", "max", "min")), inner, inner),
            st.builds(lambda a: call("sqrt", 1 + a * a), inner),
            st.builds(lambda a: a / (1 + call("exp", -a)), inner),
            st.builds(lambda a, b, c: call("where", call("gt", a, 0), b, c), inner, inner, inner),
        )

    return st.recursive(leaves, extend, max_leaves=6)


def agree(left: Expr, right: Expr) -> None:
    for point in POINTS:
        a, b = (probe(root, {"x": point}) for root in (left, right))
        if a is not None and abs(a) < 1e60:  # beyond, a tower of exponentials outruns any precision
            assert b is not None, point
            assert abs(a - b) <= 1e-30 * (1 + abs(a)), (point, a, b)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(expressions())
def test_equals_what_it_was_given(root: Expr) -> None:
    agree(root, stabilise(root, "x").value)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(expressions())
def test_derivatives_equal_what_they_were_given(root: Expr) -> None:
    slope = derivative(root, "x")
    agree(slope, stabilise(slope, "x").value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(expressions())
def test_the_pipeline_makes_a_program_of_anything(root: Expr) -> None:
    exact = simplify(lower(root))
    for function in (exact, simplify(derivative(exact, "x"))):
        value = settle_ends(stabilise(function, "x").value, function, "x")
        value = patch_at_zero(settle_tails(value, function, "x"), function, "x")
        run(schedule("f", propagate_nan(value, "x"), "x"), {"x": 0.5})


SPELLINGS = [
    [
        "log(1 + exp(x))",
        "softplus(x)",
        "max(x, 0) + log1p(exp(-abs(x)))",
        "-log(sigmoid(-x))",
        "log(exp(x) + 1)",
    ],
    [
        "1 / (1 + exp(-x))",
        "sigmoid(x)",
        "exp(x) / (1 + exp(x))",
        "0.5 * (1 + tanh(x / 2))",
        "1 - sigmoid(-x)",
    ],
    [
        "tanh(x)",
        "(exp(x) - exp(-x)) / (exp(x) + exp(-x))",
        "2 * sigmoid(2 * x) - 1",
        "1 - 2 / (exp(2 * x) + 1)",
    ],
    [
        "x * tanh(softplus(x))",
        "x * ((1 + exp(x))**2 - 1) / ((1 + exp(x))**2 + 1)",
        "x * tanh(log(1 + exp(x)))",
    ],
    ["0.5 * x * (1 + erf(x / sqrt(2)))", "x * (1 - erfc(x / sqrt(2)) / 2)", "x * 0.5 * erfc(-x / sqrt(2))"],
    ["x / (1 + abs(x))", "softsign(x)", "where(x > 0, x / (1 + x), x / (1 - x))"],
]


@pytest.mark.parametrize("spellings", SPELLINGS, ids=lambda group: group[0])
def test_every_spelling_gives_a_program_as_good(spellings: list[str]) -> None:
    reference = spec(spellings[0])
    for text in spellings:
        root = program(text)
        for point in (1e-30, 1e-5, 0.3, 1.0, 5.0, 20.0, 88.0, 300.0, 1e10, 1e30):
            for at in (point, -point):
                exact = probe(reference, {"x": Fraction(at)})
                if exact is None or abs(float(exact)) < 1e-290:
                    continue
                got = evaluate(root, {"x": at})
                assert got == pytest.approx(float(exact), rel=3e-15), (text, at)


def test_spellings_of_one_function_meet_in_one_program() -> None:
    for group in SPELLINGS[:5]:
        forms = {stabilise(spec(text), "x").value for text in group if "max(" not in text}
        assert len(forms) == 1, group[0]


@pytest.mark.parametrize(
    "text",
    [
        "(exp(x) - 1) / x",
        "sin(x) / x",
        "x - tanh(x)",
        "(1 - cos(x)) / x**2",
        "x - sin(x)",
        "log(1 + x**2) / x",
    ],
)
def test_zero_is_patched_where_nothing_else_helps(text: str) -> None:
    exact, root = spec(text), program(text)
    for k in range(0, 200, 3):
        for at in (1.3 * 2.0**-k, -1.3 * 2.0**-k):
            value = probe(exact, {"x": Fraction(at)})
            assert value is not None
            if abs(float(value)) > 1e-300:
                assert evaluate(root, {"x": at}) == pytest.approx(float(value), rel=4e-15), at
    assert math.isfinite(evaluate(root, {"x": 0.0}))


@pytest.mark.parametrize(
    ("text", "at_minus", "at_plus"),
    [
        ("x * tanh(softplus(x))", 0.0, math.inf),
        ("x / (1 + abs(x))", -1.0, 1.0),
        ("0.5 * x * (1 + erf(x / sqrt(2)))", 0.0, math.inf),
        ("x * exp(-x**2)", 0.0, 0.0),
        ("x**2 / (1 + x**2)", 1.0, 1.0),
        ("x * tanh(exp(x))", 0.0, math.inf),
        ("atan(x)", -math.pi / 2, math.pi / 2),
    ],
)
def test_infinities_have_the_limit(text: str, at_minus: float, at_plus: float) -> None:
    root = program(text)
    assert evaluate(root, {"x": -math.inf}, narrow=True) == pytest.approx(at_minus)
    assert evaluate(root, {"x": math.inf}, narrow=True) == pytest.approx(at_plus)
    assert math.isnan(evaluate(root, {"x": math.nan}))


def test_derivatives_stay_linear_and_depth_is_no_limit() -> None:
    root: Expr = x
    for k in range(2500):
        root = call("sin", root) + Number(k + 2) * x
    first = derivative(root, "x")
    second = derivative(first, "x")
    assert size(second) < 12 * size(root)
    assert sum(1 for _ in postorder(stabilise(first, "x").value)) > 0
