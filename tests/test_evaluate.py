"""The exact reference against fractions, against Arb at a thousand bits, and on what mathematics says."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from flint import arb
from hypothesis import given, settings
from hypothesis import strategies as st

from dsl.evaluate import Reference, evaluate
from dsl.evaluate.columns import precision
from dsl.expr import HALF, ONE, PI, Expr, Number, Symbol, call
from dsl.ops import OPS, REDUCTIONS, define
from dsl.ulp import FORMATS, Array

X = Symbol("x")
INF = np.inf
TENTH = Number(Fraction(1, 10))

exp, log, sin = call("exp", X), call("log", X), call("sin", X)
mish = X * call("tanh", call("softplus", X))
gelu = HALF * X * (1 + call("erf", X / call("sqrt", 2)))


def bits_of_float32(count: int, seed: int = 0) -> Array:
    patterns = np.random.default_rng(seed).integers(0, 2**32, count, dtype=np.uint32)
    with np.errstate(invalid="ignore"):
        return patterns.view(np.float32).astype(np.float64)


def same(got: Array, expected: object) -> None:
    np.testing.assert_array_equal(got, np.array(expected, dtype=np.float64))


# Rounding


@pytest.mark.parametrize("dtype", FORMATS)
def test_rational_functions_are_rounded_as_fractions_are(dtype: str) -> None:
    fmt = FORMATS[dtype]
    root = (X**2 - 3 * X + TENTH) / (X**2 + Fraction(1, 3))
    points = fmt.round(np.random.default_rng(1).uniform(-8, 8, 300))
    values = Reference(root, "x")(points, dtype)
    assert values.decided.all()
    for point, rounded, rest in zip(points.tolist(), values.rounded, values.rest, strict=True):
        x = Fraction(point)
        exact = (x**2 - 3 * x + Fraction(1, 10)) / (x**2 + Fraction(1, 3))
        near = [Fraction(float(fmt.neighbours(np.array([rounded]), step)[0])) for step in (-1, 0, 1)]
        assert min(near, key=lambda value: abs(value - exact)) == near[1]
        ulp = Fraction(float(fmt.ulp(np.array([rounded]))[0]))
        assert float((exact - near[1]) / ulp) == pytest.approx(rest, abs=2e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("root", [mish, gelu, X / (1 + call("abs", X)), 1 - call("tanh", X) ** 2])
def test_a_narrow_format_is_the_double_rounded_to_odd_and_then_rounded(root: Expr, dtype: str) -> None:
    reference, fmt = Reference(root, "x"), FORMATS[dtype]
    points = fmt.round(np.concatenate([bits_of_float32(300), np.linspace(-20, 20, 300)]))
    same(fmt.round(reference.odd(points)), reference(points, dtype).rounded)


def test_the_hardest_double_for_the_exponential() -> None:
    # Lefevre and Muller's worst case: 59 equal bits follow the rounding bit
    point = 7.541752774995959e-10
    values = Reference(exp, "x")([point])
    with precision(1000):
        exact = arb(point).exp()
        middle = (arb(values.rounded[0].item()) + arb(np.nextafter(values.rounded[0], 2).item())) / 2
        under = arb(np.nextafter(values.rounded[0], 0).item())
        assert exact < middle
        assert exact > (under + arb(values.rounded[0].item())) / 2
        assert abs(abs(float((exact - arb(values.rounded[0].item())) * 2**52)) - 0.5) < 2**-50


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
@settings(max_examples=150, deadline=None)
def test_mish_is_what_arb_says_at_three_thousand_bits(point: float) -> None:
    (rounded,) = evaluate(mish, "x", [point])
    with precision(3000):
        x = arb(point)
        assert rounded == float(x * (1 + x.exp()).log().tanh())


@given(st.fractions(min_value=-100, max_value=100, max_denominator=1000), st.floats(-100, 100))
@settings(max_examples=50, deadline=None)
def test_parameters_are_exact(alpha: Fraction, point: float) -> None:
    assert evaluate(X * Symbol("a"), "x", [point], parameters={"a": alpha})[0] == float(
        Fraction(point) * alpha
    )


def test_a_tie_that_no_precision_proves_goes_to_the_even_neighbour() -> None:
    point, alpha = 75.14924451093567, Fraction(
        341, 131
    )  # the product is a tie, 1 / 131 never a finite binary
    for sign in (1, -1):
        (rounded,) = evaluate(X * Symbol("a"), "x", [sign * point], parameters={"a": alpha})
        assert rounded == sign * float(Fraction(point) * alpha)


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(KeyError, match="beta"):
        Reference(X * Symbol("beta"), "x")


def test_arrays_keep_their_shape() -> None:
    assert evaluate(exp, "x", np.zeros((2, 3))).shape == (2, 3)
    assert evaluate(exp, "x", 0.0).shape == ()
    assert evaluate(ONE, "x", np.zeros(4)).tolist() == [1, 1, 1, 1]


# Cancellation, overflow, underflow


def test_cancellation_only_takes_more_bits() -> None:
    same(evaluate(1 + call("erf", X), "x", [-12.0]), [1.3562611692059042e-64])
    same(evaluate((exp - 1 - X) / X**2, "x", [5e-324, 1e-300, 1e-8]), [0.5, 0.5, 0.5000000016666667])
    same(
        evaluate(call("log", 1 + exp), "x", [1e38, -1e38, 700.0, -700.0]),
        [1e38, 0, 700, 9.859676543759771e-305],
    )


def test_what_cannot_be_resolved_underflows() -> None:
    for dtype in FORMATS:
        same(evaluate(gelu, "x", [-1e30, -1e300], dtype), [0.0, 0.0])
        same(evaluate(1 - call("tanh", X) ** 2, "x", [1e30], dtype), [0.0])


def test_signs_survive_underflow() -> None:
    values = Reference(X * call("sigmoid", X), "x")([-1000.0, -1e30])
    assert np.signbit(values.rounded).all()
    assert values.signed.all()
    assert (values.rounded == 0).all()


def test_halves_of_the_smallest_subnormal_are_no_ties() -> None:
    # x sigmoid(x) is a little more than x / 2
    same(evaluate(X * call("sigmoid", X), "x", [5e-324, -5e-324]), [5e-324, -0.0])


def test_towers_of_exponentials_end() -> None:
    tower = call("exp", call("exp", exp))
    same(evaluate(tower, "x", [100.0, 1e38, -1e38]), [INF, INF, np.e])
    same(evaluate(1 / (1 + tower), "x", [100.0, 1e38]), [0.0, 0.0])
    same(evaluate(call("log", 1 + call("exp", exp)), "x", [500.0, 2774.6]), [np.exp(500.0), INF])


@pytest.mark.parametrize("dtype", FORMATS)
def test_the_brink_of_overflow(dtype: str) -> None:
    fmt = FORMATS[dtype]
    half = fmt.ulp(np.array([fmt.max]))[0] / 2
    step = Number(Fraction(half)) * X
    top = Number(Fraction(fmt.max))
    values = Reference(top + step, "x")([0.0, 0.5, 1.0, 1.5, 3.0], dtype)
    same(values.rounded, [fmt.max, fmt.max, INF, INF, INF])
    same(values.rest, [0, 0.25, -0.5, -0.25, 0.5])


def test_a_tower_may_stand_on_both_sides_of_a_quotient() -> None:
    e = call("exp", 2 * exp)
    same(evaluate((e - 1) / (e + 1), "x", [5.0, 1e5, 3e38, INF]), [1, 1, 1, 1])
    same(evaluate(X * exp * e / (e + 1) ** 2, "x", [1e5, 3e38, INF]), [0, 0, 0])
    # the derivative of the first, in which two products of size e**2 cancel
    slope = (2 * exp * e * (e + 1) - (e - 1) * 2 * exp * e) / (e + 1) ** 2
    same(evaluate(1 + X * slope, "x", [1e5, 3e38, INF]), [1, 1, 1])
    # of two different towers nothing is known, and nothing is claimed
    assert not Reference(call("exp", exp + X) / call("exp", exp), "x")([1e300]).decided[0]


# Limits, singularities, domains

SPECIALS = [
    (mish, [-INF, INF], [0, INF]),
    (gelu, [-INF, INF], [0, INF]),
    (X / (1 + call("abs", X)), [-INF, INF], [-1, 1]),
    (sin, [-INF, INF], [np.nan, np.nan]),
    (sin / X, [0.0, -0.0, INF], [1, 1, 0]),
    (call("sin", PI * X) ** 2, [INF, 3.0], [np.nan, 0]),
    (X + sin**2, [-INF, INF], [-INF, INF]),
    (X * sin, [INF], [np.nan]),
    (X - call("floor", X), [INF, 2.5, -2.5], [np.nan, 0.5, 0.5]),
    ((exp - 1) / X, [0.0], [1]),
    ((1 - call("cos", X)) / X**2, [0.0], [0.5]),
    ((X**2 - 1) / (X - 1), [1.0], [2]),
    (call("sin", PI * X) / (X - 1), [1.0], [-np.pi]),
    (1 / X, [0.0, INF, -INF], [np.nan, 0, -0.0]),
    (1 / X**2, [0.0], [INF]),
    (log, [0.0, -1.0, INF, -INF], [-INF, np.nan, INF, np.nan]),
    (X * log, [0.0, -1e-300], [0, np.nan]),
    (call("sqrt", X), [0.0, -1.0, 4.0], [0, np.nan, 2]),
    (HALF / call("sqrt", X), [0.0], [INF]),
    (X / call("sqrt", X**2), [0.0, 5.0, -5.0], [np.nan, 1, -1]),
    (call("exp", -1 / X**2), [0.0], [0]),
    (X**X, [0.0, -1.0, -0.5, 2.0], [1, -1, np.nan, 4]),
    (X ** Fraction(1, 3), [0.0, 8.0, -8.0], [0, 2, np.nan]),
    (call("cbrt", X), [0.0, 8.0, -8.0], [0, 2, -2]),
    ((1 + 1 / X) ** X, [INF, -INF, 0.0], [np.e, np.e, 1]),
    (1 / log, [0.0, 1.0, INF], [0, np.nan, 0]),
    (call("log", log), [INF, 1.0], [INF, -INF]),
    (call("atanh", X), [1.0, -1.0, 2.0], [INF, -INF, np.nan]),
    (call("asin", X), [1.0, 1.5], [np.pi / 2, np.nan]),
    (call("floor", exp), [-INF, 1e30, np.log(2)], [0, INF, 1]),
]


@pytest.mark.parametrize(("root", "points", "expected"), SPECIALS)
def test_values_at_special_points(root: Expr, points: list[float], expected: list[float]) -> None:
    values = Reference(root, "x")(points)
    assert values.decided.all()
    same(values.rounded, expected)


def test_nan_comes_out_where_one_went_in() -> None:
    for root in (X, ONE, call("relu", X), call("where", call("gt", X, 0), 1, 0)):
        assert np.isnan(evaluate(root, "x", [np.nan])[0])


def test_zeros_have_the_sign_of_the_side() -> None:
    for root in (X, mish, gelu, sin, X**3):
        assert np.signbit(evaluate(root, "x", [0.0, -0.0])).tolist() == [False, True]
    assert np.signbit(evaluate(mish, "x", [-INF])).tolist() == [True]
    assert np.signbit(evaluate(gelu, "x", [-INF])).tolist() == [True]
    steep = X * (1 + call("tanh", X + X**3))
    assert np.signbit(evaluate(steep, "x", [-INF])).tolist() == [True]
    assert not Reference(call("relu", X), "x")([-0.0]).signed[0]


# Conditions


def test_where_takes_the_branch_alone() -> None:
    root = call("where", call("gt", X, 0), log, call("exp", call("exp", -X)))
    same(evaluate(root, "x", [1.0, -2.0, 0.0]), [0, evaluate(call("exp", exp), "x", [2.0])[0], np.e])


def test_a_singularity_belongs_to_its_branch() -> None:
    root = call("where", call("gt", X, 0), 2, sin / X)
    same(evaluate(root, "x", [0.0, 1e-300]), [1, 2])


def test_conditions_are_exact() -> None:
    third = call("where", call("gt", X * TENTH, Number(Fraction(3, 10))), 1, 0)
    same(evaluate(third, "x", [3.0, np.nextafter(3, 4), np.nextafter(3, 2)]), [0, 1, 0])
    circle = call("eq", sin**2 + call("cos", X) ** 2, 1)
    same(evaluate(call("where", circle, 1, 0), "x", [1.0, 2.0]), [1, 1])
    both = call("and", call("ge", X, -1), call("not", call("gt", X, 1)))
    same(evaluate(call("where", both, 1, 0), "x", [-1.0, 1.0, 1.5]), [1, 1, 0])


def test_steps_are_exact() -> None:
    points = [0.5, 1.5, 2.5, -0.5, -1.5, 0.49999999999999994, 1e300]
    same(evaluate(call("round", X), "x", points), np.round(points))
    same(evaluate(call("floor", X), "x", points), np.floor(points))
    same(evaluate(call("ceil", X), "x", points), np.ceil(points))
    same(evaluate(call("floor", call("log2", X)), "x", [8.0, 7.999999, 1024.0]), [3, 2, 10])
    same(evaluate(call("round", call("log2", X) / 2), "x", [8.0, 2.0, 32.0]), [2, 0, 2])
    same(evaluate(call("sign", X), "x", [-3.0, 0.0, 5e-324]), [-1, 0, 1])


def test_powers_of_what_may_be_zero() -> None:
    # tanh(softplus(-1e4)) is known as 0 within 2**-80 only, which its square must survive
    squared = 1 - call("tanh", call("softplus", X)) ** 2
    same(evaluate(squared, "x", [-1e4, -1e300]), [1, 1])


def test_functions_that_are_singular_everywhere_come_back_undecided() -> None:
    values = Reference(1 / call("max", X, 0), "x")(np.linspace(-2, -1, 1000))
    assert np.isnan(values.rounded).all()
    assert not values.decided.any()


# The table


def test_every_operation_can_be_evaluated() -> None:
    # Which have a value per dtype, and no exact one.
    approximations = {"fit", "table", "exp_high", "exp_low", "exp_sum_high", "precise"}
    # Of rows, and of forms: they are compiled away, or evaluated where a whole row is there.
    elsewhere = {*REDUCTIONS, "rowpeak", "stop_gradient", "slope", "mode", "uniform", "normal"}
    for name, row in OPS.items():
        if name in approximations | elsewhere:
            continue
        leaves = {"r": Number(Fraction(1, 2)), "b": call("true")}
        node = call(name, *(leaves[sort] for sort in row.sorts[: row.arity]))
        root = node if row.result == "r" else call("where", node, 1, 0)
        assert Reference(root, "x")([1.0]).decided.all(), name


UNARY = [name for name, row in OPS.items() if row.sorts == "r:r" and row.definition is not None]


@pytest.mark.parametrize("name", UNARY)
def test_a_row_is_its_definition(name: str) -> None:
    points = [0.25, -0.25, 0.75, 1.5, 3.0, -3.0, 40.0]
    node = call(name, X)
    same(evaluate(node, "x", points), evaluate(define(node), "x", points))


def test_depth_is_no_obstacle() -> None:
    root: Expr = X
    for _ in range(10_000):
        root = call("sin", root) + 1
    same(evaluate(root, "x", [1.0]), [1.9345632107520243])
