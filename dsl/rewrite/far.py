"""Polynomials in 1 / x where a formula cancels far out.

In: a stabilised expression and the function it stands for. Out: the expression with everything beyond some
distance from zero replaced by a power of 1 / x times a polynomial in it, where that is needed.

x * (atan(x) / pi + 1 / 2) has a derivative that falls like 1 / x**3 on the left, as the difference of two
terms that fall like 1 / x: a thousand away six digits are gone. Whether it is so is measured, as `patch` does
at zero; only functions that fall like a power are looked at, for others cancel no better farther out.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from dsl.expr import Expr, Number, Symbol, call, symbols
from dsl.ops import where
from dsl.rewrite.faults import roundings
from dsl.rewrite.fit import Tables, fit, polynomial
from dsl.rewrite.probe import ball, probe

TOLERATED = 24.0
"""Roundings of float64 that an expression may be wrong by before it is patched."""

POINTS = (Fraction(11), Fraction(45), Fraction(180), Fraction(1443), Fraction(2**20 + 7))
"""Magnitudes at which the error is measured."""

STARTS = (2, 4, 8, 16, 32, 64)
"""Where a patch may begin."""

HIGHEST_DEGREE = 24

LARGEST_ORDER = 8


def patch_far(root: Expr, exact: Expr, input: str) -> Expr:
    """The expression, patched far out where it needs it; functions with parameters are left as they are."""
    if symbols(exact) != (input,):
        return root
    for side in (1, -1):
        order = _order(exact, input, side)
        if order is not None and _error(root, exact, input, side, finite=not order) > TOLERATED:
            root = _patched(root, exact, Symbol(input), side, order)
    return root


FAR = ((60, 61), (28, 29))
"""Powers of two between which the fall is seen, the second where the first have cancelled all digits."""


def _order(exact: Expr, input: str, side: int) -> int | None:
    """n where the function falls like x**-n, 0 where it has a limit; None where it does neither."""
    for powers in FAR:
        near, far = (probe(exact, {input: Fraction(side * 2**k)}) for k in powers)
        if near is None or far is None or not (far > 0 or far < 0):
            continue
        ratio = abs(float(near / far))
        order = round(math.log2(ratio)) if 0.9 < ratio < 2.0 ** (LARGEST_ORDER + 1) else None
        return order if order is not None and abs(ratio - 2.0**order) < 1e-9 * ratio else None
    return None


def _error(root: Expr, exact: Expr, input: str, side: int, finite: bool) -> float:
    """The worst error; with `finite` that of the numbers alone, since elsewhere the input can be held."""

    def f(x: Fraction) -> Any | None:
        return probe(exact, {input: x})

    errors = [roundings(root, f, input, side * point) for point in POINTS]
    return max((error for error in errors if not finite or math.isfinite(error)), default=0.0)


def _patched(root: Expr, exact: Expr, x: Symbol, side: int, order: int) -> Expr:
    for start in STARTS:
        tables = _tables(exact, x.name, side * start, order)
        if tables is not None:
            inverse = call("div", Number(Fraction(side * start)), x)
            value = polynomial(inverse, tables)
            for _ in range(order):
                value = value * inverse
            beyond = call("gt" if side > 0 else "lt", x, side * start)
            return where(beyond, value, root)
    return root


def _tables(exact: Expr, input: str, start: int, order: int) -> Tables | None:
    """Coefficients of f(start / z) / z**order for 0 < z < 1."""

    def g(z: Fraction) -> Any | None:
        value = probe(exact, {input: start / z})
        return None if value is None else value / ball(z) ** order

    return fit(g, Fraction(0), Fraction(1), HIGHEST_DEGREE)
