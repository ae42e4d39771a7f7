"""Functions with parameters in them: as functions of a parameter times the input, or of both apart."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsl.expr import Apply, Expr, Symbol, call, postorder, symbols
from dsl.ieee import evaluate
from dsl.parse import parse_all
from dsl.pipeline import Stages, stages
from dsl.resolve import resolve
from dsl.rewrite.carry import carry_roundings
from dsl.rewrite.guard import Freedom, all_signs
from dsl.rewrite.probe import probe
from dsl.rewrite.quantities import Quantity, scale
from dsl.rewrite.regroup import regroup
from dsl.rewrite.simplify import simplify
from dsl.rewrite.trial import best, count_wrong

X, A, W = Symbol("x"), Symbol("a"), Symbol("w")


def compiled(text: str) -> Stages:
    definitions, _, _ = parse_all(text)
    made = stages(resolve(definitions)[0])
    assert isinstance(made, Stages)
    return made


STRANGERS = [
    "f(x; a = 1.0) = x * sigmoid(a * x)**2",
    "f(x; a = 0.5) = a * tanh(x / a) + (1 - a) * x",
    "f(x; a = 1.0) = log(1 + exp(a * x)) - log(2)",
    "f(x; a = 1.0) = x * exp(-a * x**2)",
    "f(x; a = 1.0) = sqrt(x**2 + a**2) - a",
    "f(x; a = 1.0) = tanh(x) * exp(a * x) / (1 + exp(a * x))",
    "f(x; a = 1.0) = x / sqrt(1 + a * a * x * x)",
    "f(x; a = 1.0) = sigmoid(x)**a",
    "f(x; a = 0.25) = log(exp(a * x) + exp(x))",
    "f(x; a = 1.5, c = 0.3) = x * tanh(a * softplus(c * x))",
    "f(x) = x * 2**x / (1 + 2**x)",
    "f(x) = 1 / (1 + exp(-x))**(1/3)",
]
"""Written naively, and right with parameters small, large and negative."""


@pytest.mark.parametrize("text", STRANGERS)
def test_strangers_are_right_with_parameters_of_any_size_and_sign(text: str) -> None:
    made = compiled(text)
    for root, exact in list(zip(made.stabilised, made.simplified, strict=True))[:2]:
        settings = all_signs(exact, X, Freedom())
        assert count_wrong(root, exact, "x", settings) == 0


@pytest.mark.parametrize("at", [-100.0, -40.0, 40.0, 100.0])
def test_signs_of_two_parameters_in_exponents_are_told_apart(at: float) -> None:
    made = compiled(
        "f(x; a = 0.75, b = 1.25) = (exp(a*x) - exp(-b*x)) / (exp(a*x) + exp(-b*x) + 2) * log(1 + x**2)"
    )
    values = {"a": 0.75, "b": 1.25, "x": at}
    want = probe(made.simplified[1], {name: Fraction(value) for name, value in values.items()})
    assert want is not None
    assert math.isclose(evaluate(made.stabilised[1], values, narrow=True), float(want), rel_tol=1e-9)


@pytest.mark.parametrize(
    ("root", "divides", "expected"),
    [
        (X * call("exp", A * X), False, (-1, True, W * call("exp", W))),
        (A * call("tanh", X / A), True, (1, True, call("tanh", W))),
        (X / (1 + call("abs", A * X)), False, (-1, True, W / (1 + call("abs", W)))),
        (call("sqrt", X**2 + A**2), True, (1, False, call("sqrt", W**2 + 1))),
        (call("exp", A * X) + X, False, None),
        (call("max", X, A), True, None),
        (X + 1, False, None),
    ],
)
def test_a_function_of_one_quantity(
    root: Expr, divides: bool, expected: tuple[int, bool, Expr] | None
) -> None:
    found = scale(simplify(root), Quantity(X, A, divides), "w")
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert (found.degree, found.odd, found.function) == (*expected[:2], simplify(expected[2]))


SIGNED = st.sampled_from([Fraction(-5, 2), Fraction(-1, 3), Fraction(1, 7), Fraction(4)])


def homogeneous() -> st.SearchStrategy[Expr]:
    """Expressions of a and x, of which many are a power of a times a function of a * x."""
    leaves = st.sampled_from([X, A, A * X, call("tanh", A * X), call("abs", A * X), Fraction(3) * X])
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(lambda a, b: a * b, inner, inner),
            st.builds(lambda a, b: a + b, inner, inner),
            st.builds(lambda a, b: call("where", call("eq", a, b), a, b), inner, inner),
            st.builds(lambda a: call("abs", a), inner),
            st.builds(lambda a: call("sign", a) * a, inner),
        ),
        max_leaves=5,
    )


@given(homogeneous(), SIGNED, SIGNED)
def test_what_is_scaled_is_the_same_function(root: Expr, a: Fraction, x: Fraction) -> None:
    found = scale(root, Quantity(X, A, False), "w")
    if found is not None:
        factor = abs(a) ** found.degree * (-1 if found.odd and a < 0 else 1)
        got = probe(found.function, {"w": a * x})
        want = probe(root, {"a": a, "x": x})
        assert got is not None
        assert want is not None
        assert abs(float(want) - float(factor) * float(got)) <= 1e-12 * abs(float(want))


@pytest.mark.parametrize(
    "root",
    [
        call("tanh", X) * call("exp", A * X) / (1 + call("exp", A * X)),
        call("log", call("exp", A * X) + call("exp", X)),
        (1 / (1 + call("exp", -X))) ** A,
    ],
)
def test_what_is_regrouped_is_the_same_function(root: Expr) -> None:
    regrouped = regroup(root, "x")
    assert regrouped is not root
    for at in (-3, Fraction(1, 3), 20):
        for a in (Fraction(-2), Fraction(5, 7)):
            got, want = (probe(each, {"x": Fraction(at), "a": a}) for each in (regrouped, root))
            assert got is not None
            assert want is not None
            assert abs(float(got - want)) <= 1e-100 * abs(float(want))


def test_what_is_of_one_quantity_is_not_regrouped() -> None:
    for root in (X / (1 + call("exp", A * X)), call("log", 1 + call("exp", A * X)), X**A):
        assert regroup(root, "x") is root


@pytest.mark.parametrize("at", [-70.0, -31.7, 5.3, 80.0])
def test_exponents_carry_the_rounding_of_their_product(at: float) -> None:
    root = carry_roundings(call("exp", -call("abs", A * X)))
    value = 1.1
    exact = probe(call("exp", -call("abs", A * X)), {"a": Fraction(value), "x": Fraction(at)})
    assert exact is not None
    got = evaluate(root, {"a": value, "x": at})
    assert math.isclose(got, float(exact), rel_tol=3e-16)


@pytest.mark.parametrize("width", [2.0, 0.5, 0.75])
@pytest.mark.parametrize("beside", [1e-3, 1e-7])
def test_a_root_that_depends_on_a_parameter(width: float, beside: float) -> None:
    made = compiled("f(x; width = 2) = x * exp(-x**2 / width)\n  require width > 0")
    at = math.sqrt(width / 2) * (1 + beside)
    want = probe(made.simplified[1], {"width": Fraction(width), "x": Fraction(at)})
    assert want is not None
    assert math.isclose(evaluate(made.stabilised[1], {"width": width, "x": at}), float(want), rel_tol=1e-15)


@pytest.mark.parametrize("at", [-8.3, 5.1, 37.3])
def test_an_exponent_by_a_parameter_carries_its_rounding(at: float) -> None:
    made = compiled("f(x; width = 2) = x * exp(-x**2 / width)\n  require width > 0")
    want = probe(made.simplified[0], {"width": Fraction(3), "x": Fraction(at)})
    assert want is not None
    assert math.isclose(evaluate(made.stabilised[0], {"width": 3.0, "x": at}), float(want), rel_tol=1e-15)


@pytest.mark.parametrize("at", [-93.1, 41.7])
def test_so_do_those_of_differences(at: float) -> None:
    u = -call("abs", A * X * (Symbol("p") - Symbol("q")))
    values = {"a": 1.1, "x": at, "p": 1.3, "q": 0.7}
    exact = probe(call("exp", u), {name: Fraction(value) for name, value in values.items()})
    assert exact is not None
    assert math.isclose(evaluate(carry_roundings(call("exp", u)), values), float(exact), rel_tol=4e-16)


@pytest.mark.parametrize("root", [call("exp", 3 * (A * X)), call("exp", A * X * A * X * A), call("exp", X)])
def test_only_products_of_what_is_given_are_carried(root: Expr) -> None:
    assert carry_roundings(root) is root


def test_the_first_that_is_right_everywhere_is_taken() -> None:
    wrong, right = call("exp", X) - 1, call("expm1", X)
    assert best(right, lambda: pytest.fail("not needed"), right, "x", Freedom()) is right
    assert best(wrong, lambda: [wrong, right], right, "x", Freedom()) is right
    assert best(wrong, lambda: [X], right, "x", Freedom()) is wrong


def test_a_sign_is_taken_only_where_nothing_else_is_right() -> None:
    made = compiled("f(x; a = 1.0) = x * sigmoid(a * x)")
    conditions = [
        node.args[0]
        for root in made.stabilised
        for node in postorder(root)
        if isinstance(node, Apply) and node.op == "where"
    ]
    assert all(symbols(each) != ("a",) for each in conditions)
