"""The stabiliser: exact in exact arithmetic, whatever it is given; and stable where the formula is not."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsl.derive import derivative
from dsl.expr import Expr, Number, Symbol, call, is_op, postorder, size
from dsl.ieee import evaluate, run
from dsl.pipeline import Stages, stages
from dsl.resolve import activations
from dsl.rewrite.angles import square_angles
from dsl.rewrite.core import lower
from dsl.rewrite.far import patch_far
from dsl.rewrite.faults import roundings
from dsl.rewrite.guard import limit_at, propagate_nan, settle_ends
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


def error(text: str, at: float) -> float:
    """The error of the value as the pipeline would schedule it, in roundings of float64."""
    exact = spec(text)
    return roundings(program(text), lambda point: probe(exact, {"x": point}, 1024), "x", Fraction(at))


@pytest.mark.parametrize("at", [-6.5, -5.0, -3.0, -1.0, 2.0])
@pytest.mark.parametrize("text", ["exp(-2 * exp(-x))", "x * exp(-exp(-x))", "exp(-x) * exp(-3 * exp(-x))"])
def test_the_inner_of_two_exponentials_keeps_its_digits(text: str, at: float) -> None:
    assert error(text, at) < 8


def test_an_inner_exponential_beside_a_constant_stays_single() -> None:
    root = program("1 + exp(-exp(x))")
    assert not any(is_op(node, "exp_error") for node in postorder(root))


def test_a_growing_exponential_of_a_sum_divides_out() -> None:
    assert error("x / (1 - x * exp(-(x + exp(x))))", -100.0) < 16


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("exp(-1 / (1 - x**2))", 0.9938),
        ("exp(-x**2 / (1 + abs(x)))", 71.3),
        ("exp(-2 * x * sigmoid(x) / 7)", 308.57),
        ("(1 + exp(-x))**(-0.3)", -259.5),
        ("x * exp(-sqrt(1 + x**2))", -81.7),
        ("exp(-sqrt(abs(x)))", 5123.7),
        ("exp(-sqrt(abs(x)))", 0.0),
    ],
)
def test_an_exponent_carries_what_its_quotients_and_roots_lose(text: str, at: float) -> None:
    (activation,) = activations(f"f(x) = {text}")
    root = stages(activation).stabilised[0]
    assert roundings(root, lambda point: probe(activation.body, {"x": point}), "x", Fraction(at)) < 8


@pytest.mark.parametrize("at", [0.3, -2.7, 16777217.0, -6e24, 1.5e26, -3e38])
@pytest.mark.parametrize(
    "text",
    [
        "x / cbrt(1 + abs(x)**3)",
        "x * (1 + x**2)**(-1/3)",
        "x * (1 + abs(x)**2.5)**(-0.4)",
        "asin(x / (1 + abs(x)))",
        "x / sqrt(1 + log(1 + x**2))",
        "x / (1 + log(1 + abs(x)))",
        "atan(x) / x",
        "sqrt(1 + 3 * abs(x)) - 1",
    ],
)
def test_powers_and_logarithms_far_out(text: str, at: float) -> None:
    """Of the derivative too, whose terms cancel to the leading one."""
    (activation,) = activations(f"f(x) = {text}")
    made = stages(activation)
    for root, exact in zip(made.stabilised[:2], made.simplified[:2], strict=True):
        want = probe(exact, {"x": Fraction(at)}, 2048)
        assert want is not None
        got = evaluate(root, {"x": at}, narrow=True)
        assert math.isclose(got, float(want), rel_tol=1e-14, abs_tol=1e-36)


@pytest.mark.parametrize("text", ["1 / log(2 + x**2)", "sqrt(log(2 + x**2))", "cbrt(x)", "x * sin(x)"])
def test_limits_of_what_is_slow(text: str) -> None:
    want = {"1": 0.0, "s": math.inf, "c": math.inf, "x": None}[text[0]]
    assert limit_at(spec(text), x, 1, {}) == want


@pytest.mark.parametrize("at", [-25.0, -1.5, 12.0, 21.0, 90.0])
@pytest.mark.parametrize("text", ["asin(tanh(x))", "acos(tanh(x))"])
def test_an_arc_sine_next_to_one(text: str, at: float) -> None:
    assert error(text, at) < 16


@pytest.mark.parametrize("at", [5.0, 82.0, 1e4, 1e9])
def test_what_cancels_to_a_limit_far_out_is_a_polynomial_in_the_inverse(at: float) -> None:
    exact = derivative(lower(spec("exp(-x**2) / erfc(x)")), "x")
    root = patch_far(stabilise(exact, "x").value, exact, "x")
    want = probe(exact, {"x": Fraction(at)}, 1024)
    assert want is not None
    assert math.isclose(evaluate(root, {"x": at}), float(want), rel_tol=1e-13)


@pytest.mark.parametrize("at", [-1e19, -300.0, -20.0, -0.5, 0.25])
def test_a_logarithm_of_a_gaussian_s_tail(at: float) -> None:
    assert error("log(erfc(-x))", at) < 16


@pytest.mark.parametrize("distance", [0.1, 1e-3, 1e-6])
@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("1 + cos(2 * x)", math.pi / 2),
        ("3 - 3 * cos(x)", 2 * math.pi),
        ("-1 - sin(x)", -math.pi / 2),
        ("1 - sin(4 * x)", math.pi / 8),
        ("1 + 2 * sin(x) * cos(x)", -math.pi / 4),
    ],
)
def test_a_sum_that_touches_zero_is_a_square(text: str, root: float, distance: float) -> None:
    assert error(text, root + distance) < 16
    assert error(text, root - distance) < 16


def test_a_sum_that_only_looks_like_a_square_is_left() -> None:
    for text in ("1 + 2 * cos(x)", "1 + sin(x) * cos(x)", "1 + 2 * sin(x) * cos(2 * x)", "x + cos(x)"):
        exact = simplify(lower(spec(text)))
        assert square_angles(exact) == (exact, ())


@pytest.mark.parametrize("text", ["x + sin(2 * x)", "x * cos(4 * x)", "x + cos(2 * x) / 2"])
def test_a_double_angle_does_not_overflow(text: str) -> None:
    exact, root = spec(text), program(text)
    for at in (3e38, -3e38):
        want = probe(exact, {"x": Fraction(at)})
        got = evaluate(root, {"x": at}, narrow=True)
        assert want is not None
        assert abs(got - float(want)) <= 1e-6 * abs(float(want))


@pytest.mark.parametrize("at", [-3e38, -1e20, -0.5, 0.5, 1e20, 3e38])
def test_a_logarithm_of_a_difference_with_a_root(at: float) -> None:
    got = evaluate(program("log(x + sqrt(x**2 + 1))"), {"x": at}, narrow=True)
    assert math.isclose(got, math.asinh(at), rel_tol=1e-14)
    assert evaluate(program("log(x + sqrt(x**2 + 1))"), {"x": -math.inf}) == -math.inf


def test_a_polynomial_of_great_degree_is_kept() -> None:
    text = "1"
    for k in range(250):
        text = f"({text}) * x + {k % 7 + 1}"
    assert error(text, 0.5) < 8


@pytest.mark.parametrize("at", [-3.0, -20.0, -4080.0, -5e8, -1e12])
def test_what_cancels_far_out_is_a_polynomial_in_the_inverse(at: float) -> None:
    exact = simplify(derivative(lower(spec("x * (atan(x) / pi + 1 / 2)")), "x"))
    plain = stabilise(exact, "x").value
    root = settle_ends(patch_far(plain, exact, "x"), exact, "x")
    assert root is not plain
    assert roundings(root, lambda point: probe(exact, {"x": point}), "x", Fraction(at)) < 16


def test_what_does_not_cancel_far_out_is_left() -> None:
    exact = spec("1 / (1 + x**2)")
    root = stabilise(exact, "x").value
    assert patch_far(root, exact, "x") is root


def test_a_factor_below_one_is_taken_up_by_coefficients() -> None:
    assert evaluate(program("0.5 * (4 * exp(0.5 * x) - 3)"), {"x": 175.0}, narrow=True) < 3e38


PARAMETRIC = [
    ("f(x; a = 1.0) = tanh(a * x) * log(1 + exp(x))", ["0.01", "0.87", "3.5", "-2"], 500.0),
    ("f(x; a = 1.0) = x * sigmoid(a * x)", ["0.001", "1", "-0.5", "20"], 500.0),
    ("f(x; a = 1.0) = x * tanh(a * exp(x))", ["0.6", "0.001", "-1"], 10.0),
]


@pytest.mark.parametrize(("text", "values", "largest"), PARAMETRIC)
@pytest.mark.parametrize("kind", [0, 1])
def test_parameters_of_any_size_and_sign(text: str, values: list[str], largest: float, kind: int) -> None:
    """In float32's range: quantities of unknown signs, and how far out a limit is reached."""
    (activation,) = activations(text)
    made = stages(activation)
    assert isinstance(made, Stages)
    root, exact = made.stabilised[kind], made.simplified[kind]
    for value in map(Fraction, values):
        for at in (-3e4, -200.0, -21.5, -1.25, -1e-5, 1e-5, 0.75, 9.5, largest / 3, largest):
            expected = probe(exact, {"a": value, "x": Fraction(at)})
            assert expected is not None
            got = evaluate(root, {"a": float(value), "x": at}, narrow=True)
            assert math.isclose(got, float(expected), rel_tol=1e-10, abs_tol=1e-36), (value, at)


@pytest.mark.parametrize("k", [0.7, -0.7, 0.001, 100.0])
def test_a_limit_that_depends_on_the_sign_of_a_parameter(k: float) -> None:
    (activation,) = activations("f(x; k = 1.0) = x * (exp(k*x) - exp(-k*x)) / (exp(k*x) + exp(-k*x) + 1)")
    made = stages(activation)
    assert isinstance(made, Stages)
    for at in (-math.inf, -1e30, 1e30, math.inf):
        gradient = evaluate(made.stabilised[1], {"k": k, "x": at}, narrow=True)
        assert gradient == math.copysign(1.0, k * at)


@pytest.mark.parametrize(
    "text", ["(exp(x) - 1) / x", "exp(x) / (1 + abs(x))", "(exp(x) - exp(-x)) / (2 * x)"]
)
def test_what_grows_a_little_slower_than_an_exponential(text: str) -> None:
    """It is a number where the exponential is none, and infinite, not no number, where it is."""
    (activation,) = activations(f"f(x) = {text}")
    made = stages(activation)
    assert isinstance(made, Stages)
    for exact, root in zip(made.simplified[:2], made.stabilised[:2], strict=True):
        for at in (50.0, 700.0, 709.5, 711.0, 713.5):
            expected = probe(exact, {"x": Fraction(at)})
            assert expected is not None
            assert math.isclose(evaluate(root, {"x": at}), float(expected), rel_tol=1e-12), at
        for at in (2000.0, 1e5, 1e20, 1e30, math.inf):
            assert evaluate(root, {"x": at}, narrow=True) == math.inf, at


@pytest.mark.parametrize("at", [-60.0, -85.0, -95.0, -170.0])
def test_a_root_of_a_tail_lives_longer_than_the_tail(at: float) -> None:
    exact = spec("sqrt(log(1 + exp(x)))")
    root = settle_tails(stabilise(exact, "x").value, exact, "x")
    assert math.isclose(evaluate(root, {"x": at}, narrow=True), math.exp(at / 2), rel_tol=1e-12)


def test_a_root_of_few_bits_is_patched() -> None:
    """x / 2 + (x + 2) / 2 is rounded beside -1, although sums of few bits are exact."""
    (activation,) = activations("f(x) = x / 2 * clamp(x + 2, 0, 2)")
    gradient = stages(activation).stabilised[1]
    assert evaluate(gradient, {"x": math.nextafter(-1.0, 0)}) == 2.0**-53


def test_one_quotient_that_overflows_is_taken_apart() -> None:
    exact = simplify(derivative(lower(spec("x * (1 + 0.5 * x / sqrt(1 + x**2)) / 2")), "x"))
    got = evaluate(stabilise(exact, "x").value, {"x": -1e8}, narrow=True)
    assert math.isclose(got, 0.25, rel_tol=1e-9)
