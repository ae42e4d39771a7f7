"""Polynomials fitted to a function on an interval, in exact arithmetic.

In: a function of rationals to balls, an interval. Out: coefficients, a table for each precision.

The function's Chebyshev series is taken from its values at Chebyshev's nodes and cut where what follows is
below the precision; that is within a small factor of the best polynomial there is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from flint import arb, arb_poly, ctx, fmpq

from dsl.expr import Apply, Expr, Number
from dsl.rewrite.probe import ball

Exact = Callable[[Fraction], Any | None]
"""A function's exact value as a ball, None where it has none."""

Tables = tuple[tuple[Fraction, ...], ...]
"""Coefficients, lowest first, for each of `PRECISIONS`."""

PRECISIONS = (2.0**-17, 2.0**-26, 2.0**-55)
"""Relative errors of the fits for 16-bit types, float32 and float64."""

HIGHEST_DEGREE = 32

SPARE = 6
"""Coefficients beyond the highest degree, which must be negligible for a fit to be believed."""

WORKING_BITS = 256


def fit(g: Exact, low: Fraction, high: Fraction, highest: int = HIGHEST_DEGREE) -> Tables | None:
    """The coefficients for each precision; None where no polynomial of so high a degree will do."""
    before, ctx.prec = ctx.prec, max(ctx.prec, WORKING_BITS)
    try:
        series = _series(g, low, high, highest + SPARE)
        if series is None:
            return None
        coefficients, least = series
        sizes = [abs(float(c)) for c in coefficients]
        tables = []
        for precision in PRECISIONS:
            allowed = precision * least
            degree = next(n for n in range(1, len(sizes) + 1) if sum(sizes[n + 1 :]) <= allowed)
            if degree > highest:
                return None
            table = _monomials(coefficients[: degree + 1], low, high)
            if table is None:
                return None
            tables.append(table)
        return tuple(tables)
    finally:
        ctx.prec = before


def polynomial(z: Expr, tables: Tables) -> Expr:
    """The fitted polynomial at z."""
    return Apply("fit", z, *(Apply("table", *map(Number, table)) for table in tables))


def _series(g: Exact, low: Fraction, high: Fraction, count: int) -> tuple[list[Any], float] | None:
    """The first coefficients of the Chebyshev series on the interval, and the least value of |g| seen."""
    angles = [arb(fmpq(2 * i + 1, 2 * count)) for i in range(count)]
    values = [g((low + high) / 2 + (high - low) / 2 * _rational(angle.cos_pi())) for angle in angles]
    if any(value is None for value in values):
        return None
    least = min(abs(float(value)) for value in values if value is not None)
    if not least > 0.0:
        return None
    scaled = [value * arb(fmpq(2, count)) for value in values if value is not None]
    cosines = [(arb(fmpq(i, 2 * count))).cos_pi() for i in range(4 * count)]
    series = [
        sum((v * cosines[(2 * i + 1) * k % (4 * count)] for i, v in enumerate(scaled)), arb(0))
        for k in range(count)
    ]
    return [series[0] / 2, *series[1:]], least


def _monomials(series: list[Any], low: Fraction, high: Fraction) -> tuple[Fraction, ...] | None:
    """A Chebyshev series as coefficients of powers, in float64, which every target's literal holds.

    None where one is too large for that.
    """
    middle, half = ball(low + high) / 2, ball(high - low) / 2
    t = arb_poly([-middle / half, 1 / half])
    before, current, total = arb_poly([1]), t, arb_poly([series[0]])
    for c in series[1:]:
        total += c * current
        before, current = current, 2 * t * current - before
    values = [float(total[k]) for k in range(len(series))]
    return tuple(map(Fraction, values)) if all(map(math.isfinite, values)) else None


def _rational(value: Any) -> Fraction:
    """A ball's midpoint to 200 bits: where a function is taken need not be exact, only known."""
    return Fraction(int((value * 2**200).floor().mid().unique_fmpz()), 2**200)
