"""Measurements of functions whose errors are known: made ones, and PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from dsl.certify import Truth, certify, kinks, measure, sample, truth
from dsl.expr import HALF, Expr, Number, Symbol, call
from dsl.ulp import FORMATS, Array

X = Symbol("x")
TANH = call("tanh", X)
SOFTPLUS = call("softplus", X)
MISH = X * call("tanh", SOFTPLUS)
MISH_SLOPE = call("tanh", SOFTPLUS) + X * call("sigmoid", X) * (1 - call("tanh", SOFTPLUS) ** 2)
GELU = HALF * X * (1 + call("erf", X / call("sqrt", 2)))
COUNT = 8_000


def rounded(known: Truth) -> Callable[[Any], Any]:
    """The correctly rounded function, as something to spoil."""

    def function(points: Any) -> Any:
        return known.reference(points, known.fmt.name).rounded.astype(known.fmt.carrier)

    return function


def spoilt(known: Truth, at: float, by: Callable[[Array], Array]) -> Callable[[Any], Any]:
    def function(points: Any) -> Any:
        exact = rounded(known)(points).astype(np.float64)
        return np.where(points == at, by(exact), exact).astype(known.fmt.carrier)

    return function


# The points


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits_are_all_tried(dtype: str) -> None:
    points = sample(FORMATS[dtype], 10)
    nans = 2 ** FORMATS[dtype].bits - (len(points) - 1)
    assert nans == 2 * (2 ** (FORMATS[dtype].precision - 1) - 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sample_holds_the_places_where_things_go_wrong(dtype: str) -> None:
    fmt = FORMATS[dtype]
    points = sample(fmt, COUNT, interest=[0.7])
    assert len(points) >= COUNT
    real = points[~np.isnan(points)]
    assert np.isnan(points).sum() == 1
    assert (np.diff(real) >= 0).all()
    assert (fmt.round(real) == real).all()
    kept = set(real.tolist())
    places = np.array([0.7, 1.0, -3.0, 0.5, 0.0])
    for step in (-5, 0, 1):
        assert set(fmt.neighbours(fmt.round(places), step).tolist()) <= kept
    ends = {np.inf, fmt.max, fmt.smallest, fmt.smallest_normal}
    assert ends | {-end for end in ends} <= kept
    assert np.signbit(real[real == 0]).tolist() == [True, False]
    np.testing.assert_array_equal(points, sample(fmt, COUNT, interest=[0.7]))


def test_kinks_are_found_through_arithmetic() -> None:
    found = kinks(call("clamp", 2 * X + 3, Symbol("a"), 6), "x", {"a": Fraction(-1)})
    for place in (-2.0, 1.5, 6.0, -1.0):
        assert place in found
    bent = kinks(call("where", call("gt", X**3, 2), X, 0), "x")
    assert any(abs(place - 2 ** (1 / 3)) < 1e-15 for place in bent)


# What is counted


@pytest.mark.parametrize("dtype", FORMATS)
def test_a_correctly_rounded_function_is_off_by_half(dtype: str) -> None:
    known = truth(MISH, "x", dtype, count=COUNT)
    found = measure(rounded(known), known)
    assert 0.49 < found.worst_ulp <= 0.50001
    assert (found.failed, found.flushed, found.signs, found.undecided) == (0, 0, 0, 0)
    assert found.exhaustive == (dtype in ("float16", "bfloat16"))


@pytest.mark.parametrize("dtype", FORMATS)
def test_one_wrong_value_is_found(dtype: str) -> None:
    known = truth(TANH, "x", dtype, count=COUNT)
    fmt, at = known.fmt, 1.0
    found = measure(spoilt(known, at, lambda exact: fmt.neighbours(exact, 7)), known)
    assert found.worst_input == at
    assert 6.5 <= found.worst_ulp <= 7.5
    assert fmt.order(np.array([found.got]))[0] - fmt.order(np.array([found.exact]))[0] == 7


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_failures(wrong: float) -> None:
    known = truth(TANH, "x", "float32", count=COUNT)
    found = measure(spoilt(known, 2.0, lambda exact: np.full_like(exact, wrong)), known)
    assert found.failed == 1
    assert found.failures[0].input == 2.0
    assert found.worst_ulp <= 0.5


def test_a_flushed_result_is_counted_apart() -> None:
    known = truth(MISH, "x", "float32", count=COUNT)

    def flushing(points: Any) -> Any:
        values = rounded(known)(points)
        return np.where(np.abs(values) < 2.0**-126, np.float32(0), values)

    found = measure(flushing, known)
    assert found.flushed > 10
    assert found.worst_ulp <= 0.5


def test_the_sign_of_zero_is_counted() -> None:
    known = truth(X * call("sigmoid", X), "x", "float32", count=COUNT)
    found = measure(lambda points: rounded(known)(points) + np.float32(0), known)
    assert found.signs > 10
    assert found.failed == 0
    assert found.worst_ulp <= 0.5


def test_the_search_climbs_to_the_worst() -> None:
    known = truth(TANH, "x", "float32", count=COUNT)
    peak = 3.14159274

    def wavy(points: Any) -> Any:
        exact = rounded(known)(points).astype(np.float64)
        far = np.abs(np.nan_to_num(points.astype(np.float64)) - peak)
        bump = np.rint(40 * np.exp(-((np.log2(far + 1e-30) + 20) ** 2) / 100))
        return known.fmt.neighbours(exact, bump.astype(np.int64)).astype(np.float32)

    assert measure(wavy, known).worst_ulp > measure(wavy, known, search=False).worst_ulp


# Roots


@pytest.mark.parametrize("dtype", FORMATS)
def test_a_root_that_is_no_number_is_held_to_an_absolute_bound(dtype: str) -> None:
    known = truth(MISH_SLOPE, "x", dtype, count=COUNT)
    assert known.roots == pytest.approx([-1.1924312], abs=1e-6)
    unit = known.fmt.root_unit

    def shaken(points: Any) -> Any:
        near = np.abs(points + 1.1924) < 0.05
        exact = rounded(known)(points).astype(np.float64)
        return known.fmt.round(exact + near * 3 * unit).astype(known.fmt.carrier)

    found = measure(shaken, known)
    assert found.worst_ulp <= 0.501
    assert found.near_roots is not None
    assert 2.5 <= found.near_roots <= 3.5


def test_roots_that_are_numbers_and_jumps_are_not_excused() -> None:
    assert not len(truth(X * (X - 3), "x", "float32", count=COUNT).roots)
    assert not len(truth(X - call("tanh", X), "x", "float32", count=COUNT).roots)
    jump = call("where", call("gt", X**3, 2), 1, -1)
    assert not len(truth(jump, "x", "float32", count=COUNT).roots)


def test_roots_that_only_touch_are_found() -> None:
    places = truth(1 + call("sin", 2 * X), "x", "float32", count=COUNT).roots
    for turn in range(-3, 4):
        root = (turn - 0.25) * np.pi
        assert np.abs(places - root).min() < 1e-6


# PyTorch, of which the errors are known


def torch_function(function: Callable[[torch.Tensor], torch.Tensor], dtype: str) -> Callable[[Any], Any]:
    def call_it(points: Any) -> Any:
        return function(torch.from_numpy(points).to(getattr(torch, dtype))).float().numpy()

    return call_it


TORCH = [
    (functional.gelu, GELU, "float32", 1e7, 2e7),
    (functional.mish, MISH, "float32", 100, 160),
    (torch.tanh, TANH, "float32", 0.5, 1.5),
    (functional.softsign, X / (1 + call("abs", X)), "float32", 1.4, 2),
    (functional.softplus, SOFTPLUS, "float32", 1, 3),
    (functional.gelu, GELU, "bfloat16", 254, 256),
    (functional.silu, X * call("sigmoid", X), "bfloat16", 240, 256),
]


@pytest.mark.parametrize(("function", "root", "dtype", "low", "high"), TORCH)
def test_pytorch_is_as_wrong_as_is_known(
    function: Callable[[torch.Tensor], torch.Tensor], root: Expr, dtype: str, low: float, high: float
) -> None:
    found = certify(torch_function(function, dtype), root, "x", dtype, count=30_000)
    assert low <= found.worst_ulp <= high


def test_pytorch_overflows_in_hardswish() -> None:
    root = X * call("clamp", X / 6 + HALF, 0, 1)
    found = certify(torch_function(functional.hardswish, "float32"), root, "x", "float32", count=COUNT)
    early = [failure for failure in found.failures if np.isfinite(failure.input)]
    assert early
    assert all(failure.got == np.inf and failure.input > 5.6e37 for failure in early)


def test_a_parameter_reaches_the_reference() -> None:
    root = call("where", call("gt", X, 0), X, Symbol("alpha") * (call("exp", X) - 1))
    alpha = Fraction(1, 10)
    found = certify(
        torch_function(lambda x: functional.elu(x.double(), 0.1).to(x.dtype), "float32"),
        root,
        "x",
        "float32",
        {"alpha": alpha},
        COUNT,
    )
    assert found.worst_ulp < 0.51
    assert found.failed == 0


def test_the_report_is_one_line() -> None:
    found = certify(lambda points: points, Number(2) * X, "x", "float16")
    assert str(found).startswith("float16: 2.05e+03 ulp") or "every input" in str(found)
