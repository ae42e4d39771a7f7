"""Polynomials where a formula still cancels at zero.

In: a stabilised expression and the function it stands for. Out: the expression with an interval around zero
replaced by a polynomial, if it needs one.

Some functions have no closed form that is accurate near zero: x - tanh(x), (exp(x) - 1 - x) / x**2. Whether
that is so is measured: the expression in float64 against exact values, at points closing in on zero. Where
the error is many roundings, f(x) / x**k is interpolated at Chebyshev's nodes in exact arithmetic (which is
within a small factor of the best polynomial there is), in x*x where the function is even or odd, once for
each precision, and the fit's own error is checked between the nodes. That also gives a removable
singularity its value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from flint import arb, ctx

from dsl.expr import ONE, Apply, Expr, Number, Symbol, call, symbols
from dsl.ieee import evaluate
from dsl.ops import where
from dsl.rewrite.probe import BITS, ball, probe

EXPONENTS = (*range(12), 14, 17, 20, 24, 28, 33, 40, 50)
STEPS = (Fraction(7, 5), Fraction(9, 8), Fraction(15, 8))
"""The points are these times 2**-k, on both sides."""

TOLERATED = 24.0
"""Roundings of float64 that an expression may be wrong by before it is patched."""

WANTED = 6.0
"""Roundings that it may be wrong by where the patch ends."""

WIDEST = Fraction(2)
"""The widest interval is |x| < 2."""

NARROWEST = Fraction(1, 2**10)
"""The narrowest interval."""

PRECISIONS = (2.0**-17, 2.0**-26, 2.0**-55)
"""Relative errors of the fits for 16-bit types, float32 and float64."""

HIGHEST_DEGREE = 32


@dataclass(frozen=True)
class Patch:
    """f(x) = x**order * polynomial(z) for |x| < radius, z = x*x if `even`, else x."""

    radius: Fraction
    order: int
    even: bool
    tables: tuple[tuple[Fraction, ...], ...]

    def apply(self, root: Expr, x: Symbol) -> Expr:
        """The expression with the patch in place."""
        z = x * x if self.even else x
        fit = Apply("fit", z, *(Apply("table", *map(Number, table)) for table in self.tables))
        factors: list[Expr] = [x] * (self.order % 2) + [x * x] * (self.order // 2)
        value: Expr = ONE
        for factor in [*factors, fit]:
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


def _radius(root: Expr, f: Callable[[Fraction], Any | None], input: str) -> Fraction | None:
    """Where the expression is accurate enough again, seen from zero; None if it is accurate at zero."""
    errors = {}
    for k in EXPONENTS:
        points = [sign * step / 2**k for sign in (1, -1) for step in STEPS]
        errors[k] = max(_roundings(root, f, input, point) for point in points)
    if max(errors[k] for k in EXPONENTS[3:]) <= TOLERATED and not _is_wrong_at_zero(root, f, input):
        return None
    first = next((k for k in reversed(EXPONENTS) if errors[k] > WANTED), EXPONENTS[-1])
    for k in reversed([k for k in EXPONENTS if k < first]):
        if errors[k] <= WANTED:
            radius: Fraction = max(STEPS[0] / 2**k, NARROWEST)
            return radius
    return WIDEST


def _is_wrong_at_zero(root: Expr, f: Callable[[Fraction], Any | None], input: str) -> bool:
    """Whether the program gives NaN at zero although the function has a limit there."""
    if not math.isnan(evaluate(root, {input: 0.0})):
        return False
    near = [f(Fraction(sign, 2**80)) for sign in (1, -1)]
    if near[0] is None or near[1] is None:
        return False
    return abs(float(near[0] - near[1])) <= max(1e-20, 1e-15 * abs(float(near[0])))


def _roundings(root: Expr, f: Callable[[Fraction], Any | None], input: str, point: Fraction) -> float:
    """The expression's error in float64 in units of the rounding, at a point that float64 holds."""
    at = float(point)
    want = f(Fraction(at))
    if want is None or float(want) == 0.0:
        return 0.0
    got = evaluate(root, {input: at})
    if not math.isfinite(got):
        return math.inf
    return float(abs(ball(Fraction(got)) - want) / abs(want)) * 2.0**53


def _order(f: Callable[[Fraction], Any | None]) -> int | None:
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


def _parity(f: Callable[[Fraction], Any | None]) -> int:
    """1 for an even function, -1 for an odd one, 0 for others, seen at a few points."""
    pairs = [(f(x), f(-x)) for x in (Fraction(1, 3), Fraction(5, 7), Fraction(1, 1000))]
    for sign in (1, -1):
        if all(a is not None and b is not None and abs(float(a - sign * b)) <= 1e-100 for a, b in pairs):
            return sign
    return 0


def _fits(
    f: Callable[[Fraction], Any | None], order: int, even: bool, radius: Fraction
) -> tuple[tuple[Fraction, ...], ...] | None:
    low = Fraction(0) if even else -radius
    high = radius * radius if even else radius

    def g(z: Fraction) -> Any | None:
        x = _root(z) if even else z
        value = f(x)
        return None if value is None else value / ball(x) ** order

    tables = []
    degree = 1
    for tolerance in PRECISIONS:
        while True:
            table = _interpolate(g, low, high, degree)
            if table is None or degree > HIGHEST_DEGREE:
                return None
            if _error(g, table, low, high) <= tolerance:
                break
            degree += 1
        tables.append(tuple(_fraction(c) for c in table))
    return tuple(tables)


def _root(z: Fraction) -> Fraction:
    """A square root to 300 bits: where f is taken need not be exact, only known."""
    return Fraction(math.isqrt(int(z * 2**600)), 2**300)


def _nodes(low: Fraction, high: Fraction, count: int) -> list[Fraction]:
    return [
        (low + high) / 2 + (high - low) / 2 * Fraction(math.cos(math.pi * (2 * i + 1) / (2 * count)))
        for i in range(count)
    ]


def _interpolate(
    g: Callable[[Fraction], Any | None], low: Fraction, high: Fraction, degree: int
) -> list[Any] | None:
    """The coefficients, lowest first, of the polynomial through Chebyshev's nodes (Newton's differences)."""
    nodes = _nodes(low, high, degree + 1)
    differences = [value for value in map(g, nodes) if value is not None]
    if len(differences) < len(nodes):
        return None
    for level in range(1, len(nodes)):
        for i in range(len(nodes) - 1, level - 1, -1):
            differences[i] = (differences[i] - differences[i - 1]) / ball(nodes[i] - nodes[i - level])
    table = [differences[-1]]
    for i in range(len(nodes) - 2, -1, -1):
        shifted = [arb(0), *table]
        for j, c in enumerate(table):
            shifted[j] -= c * ball(nodes[i])
        shifted[0] += differences[i]
        table = shifted
    return table


def _error(g: Callable[[Fraction], Any | None], table: list[Any], low: Fraction, high: Fraction) -> float:
    """The greatest relative error between the nodes, at the extrema that lie between them and the ends."""
    count = 2 * len(table) + 1
    points = [*_nodes(low, high, count), high, low if low else high / 2**20]
    worst = 0.0
    for z in points:
        want = g(z)
        if want is None or not float(want):
            return math.inf
        got = arb(0)
        for c in reversed(table):
            got = got * ball(z) + c
        worst = max(worst, float(abs(got - want) / abs(want)))
    return worst


def _fraction(value: Any) -> Fraction:
    """A coefficient in float64, which every target's literal holds."""
    return Fraction(float(value))
