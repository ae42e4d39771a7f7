"""Patches away from zero: beside roots, and wherever a program is measured to be wrong."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product
from typing import Any

import pytest
from flint import ctx
from hypothesis import given, settings
from hypothesis import strategies as st

from dsl.derive import derivative
from dsl.expr import Expr, Number, Symbol, call, postorder
from dsl.rewrite.core import lower
from dsl.rewrite.factors import factor_exponentials
from dsl.rewrite.faults import roundings
from dsl.rewrite.fit import PRECISIONS, fit
from dsl.rewrite.probe import ball, probe
from dsl.rewrite.roots import find_patches, patch_elsewhere
from dsl.rewrite.simplify import simplify
from dsl.rewrite.stabilise import stabilise

x = Symbol("x")
SILU = x * call("sigmoid", x)


def error(root: Expr, exact: Expr, at: Fraction) -> float:
    return roundings(root, lambda point: probe(exact, {"x": point}), "x", at)


def gradient(value: Expr) -> Expr:
    return simplify(derivative(lower(value), "x"))


@pytest.mark.parametrize("value", [SILU, x * call("tanh", call("softplus", x)), x * call("sigmoid", 3 * x)])
def test_a_derivative_keeps_its_digits_beside_its_root(value: Expr) -> None:
    exact = gradient(value)
    plain = stabilise(exact, "x").value
    patched = patch_elsewhere(plain, exact, "x")
    (patch,) = find_patches(plain, exact, "x")
    beside = [patch.centre + patch.radius * sign / 2**k for k in range(1, 24) for sign in (1, -1)]
    assert max(error(plain, exact, at) for at in beside) > 1e4
    assert max(error(patched, exact, at) for at in beside) < 8
    assert patch.order == 1


def test_a_root_that_the_program_has_exactly_needs_nothing() -> None:
    exact = (x - 3) * call("exp", -call("abs", x))
    assert list(find_patches(exact, exact, "x")) == []


def test_a_jump_is_no_root() -> None:
    exact = call("where", call("gt", x, Fraction(5, 7)), call("exp", x), -call("exp", -x))
    assert list(find_patches(exact, exact, "x")) == []


def test_a_jump_at_zero_is_looked_for_in_finite_time() -> None:
    """The interval that holds it shrinks for ever, if its width is compared with its place."""
    exact = call("where", call("ge", x, 0), -call("exp", -x), call("exp", x))
    assert list(find_patches(exact, exact, "x")) == []


def test_what_cancels_without_a_root_is_patched_too() -> None:
    # 1e6 is added and taken away again: six digits are lost wherever the sum is small.
    lossy = (call("exp", -(x**2)) + 1000) - 1000
    exact = call("exp", -(x**2))
    narrow = call("where", call("lt", call("abs", x - 5), 1), lossy, exact)
    (patch,) = find_patches(narrow, exact, "x")
    assert patch.order == 0
    assert abs(patch.centre - 5) < 1
    assert error(patch_elsewhere(narrow, exact, "x"), exact, patch.centre + Fraction(1, 7)) < 8


def test_functions_with_parameters_and_with_many_roots_are_left_alone() -> None:
    for exact in (x * call("sigmoid", Symbol("beta") * x) - 1, call("sin", 3 * x)):
        assert patch_elsewhere(exact, exact, "x") is exact


@given(st.integers(-40, 40), st.integers(1, 12), st.sampled_from(["exp", "tanh", "sin", "atan"]))
@settings(max_examples=25, deadline=None)
def test_fits_are_as_good_as_they_say(centre: int, width: int, function: str) -> None:
    low = Fraction(centre, 8)
    high = low + Fraction(width, 8)
    exact = 3 + call(function, x / 4)

    def f(at: Fraction) -> Any:
        return probe(exact, {"x": at})

    tables = fit(f, low, high)
    assert tables is not None
    for (table, precision), k in product(zip(tables, PRECISIONS, strict=True), range(33)):
        with ctx.workprec(300):
            at = low + (high - low) * k / 32
            want = f(at)
            got = sum((ball(c * at**n) for n, c in enumerate(table)), ball(Fraction(0)))
            # Coefficients are rounded to float64, which counts where a polynomial far from zero cancels.
            rounding = 2.0**-53 * sum(abs(float(c * at**n)) for n, c in enumerate(table))
            assert abs(float(got - want)) <= 1.5 * precision * abs(float(want)) + 2 * rounding


def test_a_fit_is_refused_where_no_polynomial_serves() -> None:
    def kinked(at: Fraction) -> Any:
        return ball(1 + abs(at))

    assert fit(kinked, Fraction(-1), Fraction(1)) is None


def operations(root: Expr) -> set[str]:
    return {node.op for node in postorder(root) if hasattr(node, "op")}


def test_exponentials_are_halved_only_where_they_decay() -> None:
    half = call("exp", Number(Fraction(-1, 2)) * call("abs", x))
    decaying = x * half * half
    assert operations(factor_exponentials(decaying)) >= {"exp_high", "exp_low"}
    growing = call("exp", Number(Fraction(1, 2)) * x)
    assert factor_exponentials(growing * growing) is growing * growing
    alone = decaying + half  # The half is wanted for itself too: two exponentials would cost more.
    assert factor_exponentials(alone) is alone


@given(st.floats(-700, 700))
@settings(deadline=None)
def test_the_two_factors_are_the_exponential(at: float) -> None:
    from dsl.ieee import evaluate

    half = call("exp", Number(Fraction(-1, 2)) * call("abs", x))
    side = call("where", call("ge", x, 0), 1, half)
    for root in (x * half * half, x * side * side, 1 / (1 + half * half)):
        factored = factor_exponentials(root)
        assert factored is not root
        assert math.isclose(
            evaluate(root, {"x": at}), evaluate(factored, {"x": at}), rel_tol=1e-13, abs_tol=1e-300
        )
