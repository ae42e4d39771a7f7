"""Formats against numpy's and PyTorch's own conversions; errors against arithmetic in fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from dsl.ulp import BRINK_ULPS, FORMATS, Array, Format, error_in_ulps, round_to_odd

NARROW = ("float16", "bfloat16", "float32")


def doubles(count: int = 20_000) -> Array:
    """Doubles over all exponents that the narrow formats have, and ties between float32's values."""
    rng = np.random.default_rng(3)
    spread = np.exp2(rng.uniform(-155, 130, count)) * rng.choice([-1, 1], count)
    ties = (rng.integers(0, 2**26, count) / 2.0**26) * np.exp2(rng.integers(-150, 127, count))
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 65504.0, 65519.99, 65520.0, 3.4028235677973366e38]
    return np.concatenate([spread, ties, -ties, special])


@pytest.mark.parametrize("dtype", NARROW)
def test_rounding_is_that_of_the_libraries(dtype: str) -> None:
    values = doubles()
    with np.errstate(over="ignore"):
        if dtype == "bfloat16":
            # PyTorch rounds doubles to bfloat16 by way of float32: start from there
            values = values.astype(np.float32).astype(np.float64)
            expected = torch.from_numpy(values).to(torch.bfloat16).double().numpy()
        else:
            expected = values.astype(dtype).astype(np.float64)
    got = FORMATS[dtype].round(values)
    np.testing.assert_array_equal(got, expected)
    numbers = ~np.isnan(values)
    np.testing.assert_array_equal(np.signbit(got[numbers]), np.signbit(expected[numbers]))


@pytest.mark.parametrize("dtype", FORMATS)
def test_spacing_is_the_distance_to_the_next_value(dtype: str) -> None:
    fmt = FORMATS[dtype]
    values = np.array([0.0, fmt.smallest, fmt.smallest_normal, 1.0, 1.5, 1000.0])
    np.testing.assert_array_equal(fmt.neighbours(values, 1) - values, fmt.ulp(values))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_order_is_the_number_line(dtype: str) -> None:
    fmt = FORMATS[dtype]
    every = fmt.every_value()
    assert len(every) == 65536
    line = np.unique(every[~np.isnan(every)])
    np.testing.assert_array_equal(np.diff(fmt.order(line)), 1)
    np.testing.assert_array_equal(fmt.from_order(fmt.order(line)), line)
    assert fmt.neighbours(np.array([fmt.max]), 5)[0] == np.inf


@pytest.mark.parametrize("dtype", FORMATS)
def test_encoding_is_undone_by_decoding(dtype: str) -> None:
    fmt = FORMATS[dtype]
    values = fmt.round(doubles(500))
    np.testing.assert_array_equal(fmt.decode(fmt.encode(values)), values)


def test_wide_formats_are_not_listed() -> None:
    with pytest.raises(ValueError, match="float32"):
        FORMATS["float32"].every_value()


@pytest.mark.parametrize("dtype", NARROW)
def test_round_to_odd_makes_a_later_rounding_exact(dtype: str) -> None:
    fmt = FORMATS[dtype]
    rng = np.random.default_rng(5)
    ties = fmt.round(rng.uniform(1, 2, 200)) + fmt.ulp(np.ones(200)) / 2
    for tiny in (Fraction(1, 2**90), Fraction(-1, 2**90), Fraction(0)):
        odd = round_to_odd(ties, np.full(200, float(tiny)))
        for tie, value in zip(ties.tolist(), fmt.round(odd).tolist(), strict=True):
            exact = Fraction(tie) + tiny
            below, above = fmt.neighbours(np.array([value]), -1)[0], fmt.neighbours(np.array([value]), 1)[0]
            assert abs(exact - Fraction(value)) <= min(abs(exact - Fraction(v)) for v in (below, above))


@pytest.mark.parametrize("dtype", FORMATS)
def test_error_is_the_distance_in_fractions(dtype: str) -> None:
    fmt = FORMATS[dtype]
    rng = np.random.default_rng(7)
    rounded = fmt.round(np.exp2(rng.uniform(fmt.emin - 6, fmt.emax - 1, 300)) * rng.choice([-1, 1], 300))
    rest = rng.uniform(-0.5, 0.5, 300)
    got = fmt.neighbours(rounded, 3)
    ulp = fmt.ulp(rounded)
    errors = error_in_ulps(got, rounded, rest, fmt)
    for place in range(300):
        unit = Fraction(ulp[place])
        exact = Fraction(rounded[place]) + Fraction(rest[place]) * unit
        assert errors[place] == pytest.approx(float(abs(Fraction(got[place]) - exact) / unit), rel=1e-12)


def one_error(fmt: Format, got: float, rounded: float, rest: float = 0.0) -> float:
    return float(error_in_ulps(np.array([got]), np.array([rounded]), np.array([rest]), fmt)[0])


@pytest.mark.parametrize("dtype", FORMATS)
def test_errors_at_the_ends_of_a_format(dtype: str) -> None:
    fmt = FORMATS[dtype]
    assert one_error(fmt, 0.0, 0.0, 0.25) == 0.25
    assert one_error(fmt, fmt.smallest, 0.0) == 1.0
    assert one_error(fmt, np.nan, np.nan) == 0.0
    assert np.isnan(one_error(fmt, np.nan, 1.0))
    assert np.isnan(one_error(fmt, 1.0, np.nan))
    assert one_error(fmt, np.inf, np.inf) == 0.0
    assert one_error(fmt, -np.inf, np.inf) == np.inf
    assert one_error(fmt, np.inf, 1.0) == np.inf
    assert one_error(fmt, np.inf, fmt.max) == 1.0
    assert one_error(fmt, fmt.max, np.inf, 0.25) == 1.25
    assert one_error(fmt, np.inf, fmt.neighbours(np.array([fmt.max]), -int(BRINK_ULPS))[0]) == np.inf
