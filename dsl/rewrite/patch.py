"""Polynomials where a formula still cancels at zero.

In: a stabilised expression and the function it stands for. Out: the expression with an interval around zero
replaced by a polynomial, if it needs one.

Some functions have no closed form that is accurate near zero: x - tanh(x), (exp(x) - 1 - x) / x**2. Whether
that is so is measured: the expression in float64 against exact values, at points closing in on zero. Where
the error is many roundings, a polynomial is fitted to f(x) / x**k, in x*x where the function is even or odd.
That also gives a removable singularity its value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from flint import ctx

from dsl.expr import ONE, Expr, Number, Symbol, call, symbols
from dsl.ieee import evaluate
from dsl.ops import where
from dsl.rewrite.faults import roundings
from dsl.rewrite.fit import Exact, Tables, fit, polynomial
from dsl.rewrite.probe import BITS, ball, probe

EXPONENTS = (*range(12), 14, 17, 20, 24, 28, 33, 40, 50)
STEPS = (Fraction(7, 5), Fraction(9, 8), Fraction(15, 8))
"""The points are these times 2**-k, on both sides."""

TOLERATED = 24.0
"""Roundings of float64 that an expression may be wrong by before it is patched."""

WANTED = 4.0
"""Roundings that it may be wrong by where the patch ends."""

MARGIN = Fraction(5, 4)
"""How much wider a patch is than the points say: between them errors are worse."""

WIDEST = Fraction(2)
"""The widest interval is |x| < 2."""

NARROWEST = Fraction(1, 2**10)
"""The narrowest interval."""


@dataclass(frozen=True)
class Patch:
    """f(x) = x**order * polynomial(z) for |x| < radius, z = x*x if `even`, else x."""

    radius: Fraction
    order: int
    even: bool
    tables: Tables

    def apply(self, root: Expr, x: Symbol) -> Expr:
        """The expression with the patch in place."""
        z = x * x if self.even else x
        factors: list[Expr] = [x] * (self.order % 2) + [x * x] * (self.order // 2)
        value: Expr = ONE
        for factor in [*factors, polynomial(z, self.tables)]:
            value = factor if value is ONE else value * factor
        return where(call("lt", call("abs", x), Number(self.radius)), value, root)


def patch_at_zero(root: Expr, exact: Expr, input: str) -> Expr:
    """The expression, patched around zero if it is inaccurate there; functions with parameters are left."""
    if symbols(exact) != (input,):
        return root
    found = find_patch(root, exact, input)
    return root if found is None else found.apply(root, Symbol(input))


def find_patch(root: Expr, exact: Expr, input: str) -> Patch | None:
    """What an expression needs around zero, or None if nothing or if nothing helps."""

    def f(x: Fraction) -> Any | None:
        return probe(exact, {input: x})

    before, ctx.prec = ctx.prec, BITS
    try:
        radius = _radius(root, f, input)
        order = None if radius is None else _order(f)
        if radius is None or order is None:
            return None
        even = _parity(f) == (-1) ** order
        while radius >= NARROWEST:
            tables = _fits(f, order, even, radius)
            if tables is not None:
                return Patch(radius, order, even, tables)
            radius /= 2
        return None
    finally:
        ctx.prec = before


def _radius(root: Expr, f: Exact, input: str) -> Fraction | None:
    """Where the expression is accurate enough again, seen from zero; None if it is accurate at zero."""
    errors = {}
    for k in EXPONENTS:
        points = [sign * step / 2**k for sign in (1, -1) for step in STEPS]
        errors[k] = max(roundings(root, f, input, point) for point in points)
    if max(errors[k] for k in EXPONENTS[3:]) <= TOLERATED and not _is_wrong_at_zero(root, f, input):
        return None
    first = next((k for k in reversed(EXPONENTS) if errors[k] > WANTED), EXPONENTS[-1])
    for k in reversed([k for k in EXPONENTS if k < first]):
        if errors[k] <= WANTED:
            radius: Fraction = max(MARGIN * STEPS[0] / 2**k, NARROWEST)
            return radius
    return WIDEST


def _is_wrong_at_zero(root: Expr, f: Exact, input: str) -> bool:
    """Whether the program gives NaN at zero although the function has a limit there."""
    if not math.isnan(evaluate(root, {input: 0.0})):
        return False
    near = [f(Fraction(sign, 2**80)) for sign in (1, -1)]
    if near[0] is None or near[1] is None:
        return False
    return abs(float(near[0] - near[1])) <= max(1e-20, 1e-15 * abs(float(near[0])))


def _order(f: Exact) -> int | None:
    """The order of the zero at zero."""
    near, nearer = f(Fraction(1, 2**60)), f(Fraction(1, 2**61))
    if near is None or nearer is None or not (nearer > 0 or nearer < 0):
        return None
    growth = abs(float(near / nearer))
    if not 2.0**-1 < growth < 2.0**13:
        return None
    slope = math.log2(growth)
    order = round(slope)
    return order if abs(slope - order) < 1e-3 and 0 <= order <= 12 else None


def _parity(f: Exact) -> int:
    """1 for an even function, -1 for an odd one, 0 for others, seen at a few points."""
    pairs = [(f(x), f(-x)) for x in (Fraction(1, 3), Fraction(5, 7), Fraction(1, 1000))]
    for sign in (1, -1):
        if all(a is not None and b is not None and abs(float(a - sign * b)) <= 1e-100 for a, b in pairs):
            return sign
    return 0


def _fits(f: Exact, order: int, even: bool, radius: Fraction) -> Tables | None:
    low = Fraction(0) if even else -radius
    high = radius * radius if even else radius

    def g(z: Fraction) -> Any | None:
        x = _root(z) if even else z
        value = f(x)
        return None if value is None else value / ball(x) ** order

    return fit(g, low, high)


def _root(z: Fraction) -> Fraction:
    """A square root to 300 bits: where f is taken need not be exact, only known."""
    return Fraction(math.isqrt(int(z * 2**600)), 2**300)
