"""Polynomials where a formula cancels away from zero: beside its roots, and wherever else it is measured to.

In: a stabilised expression and the function it stands for. Out: the expression with intervals replaced by
polynomials, where it needs them.

The derivative of x * sigmoid(x) vanishes at -1.278..., where two terms cancel that no rewriting makes one. An
input next to the root knows its distance from it if the root is taken in two parts, d = (x - hi) - lo: the
difference of neighbours is exact. Then f = d * P(d), with a polynomial P that is fitted to f / d. Where a
program is wrong by many roundings without a root, the polynomial is f itself, about a centre of few bits.

In 16 bits nothing of this is wanted: the arithmetic there has 13 bits more than the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from dsl.expr import Apply, Expr, Number, Symbol, call, symbols
from dsl.ops import where
from dsl.rewrite.faults import roundings
from dsl.rewrite.fit import Exact, Tables, fit, polynomial
from dsl.rewrite.probe import ball, probe

GRID = tuple(Fraction(16 * k + 7, 64) for k in range(80))
"""Where errors and changes of sign are looked for, on both sides of zero: every quarter, up to 20."""

TOLERATED = 24.0
"""Roundings of float64 that an expression may be wrong by before it is patched."""

WANTED = 4.0
"""Roundings that it may be wrong by where a patch ends."""

RADII = tuple(Fraction(round(2048 * 1.25**k / 2**6), 2048) for k in range(20))
"""Distances at which a patch may end: from 1/64 to about 1."""

MOST = 4
"""So many patches at most: a function that wants more is not mended by polynomials."""

HIGHEST_DEGREE = 24

_QUICK_BITS = 128
_CLOSE = Fraction(1, 2**110)
_DISTANCES = tuple(Fraction(step, 3 * 2**k) for k in (4, 6, 9, 14, 20) for step in (1, -1, 8, -8))
"""In thirds, so that a sum with a root of few bits is rounded."""


@dataclass(frozen=True)
class Patch:
    """f = d**order * polynomial(d) for |d| < radius, d = x - centre; the order is 1 at a root, else 0."""

    centre: Fraction
    radius: Fraction
    order: int
    tables: Tables

    def apply(self, root: Expr, x: Symbol) -> Expr:
        """The expression with the patch in place."""
        high = _rounded(self.centre, 24)
        distance: Expr = x - Number(high)
        if self.centre != high:
            distance = distance - Number(_rounded(self.centre - high, 53))
        value = polynomial(distance, self.tables)
        inside = Apply("precise", call("lt", call("abs", distance), Number(self.radius)))
        return where(inside, distance * value if self.order else value, root)


def patch_elsewhere(root: Expr, exact: Expr, input: str) -> Expr:
    """The expression, patched where it is inaccurate; functions with parameters are left as they are."""
    if symbols(exact) != (input,):
        return root
    patches = list(find_patches(root, exact, input))
    for patch in patches if len(patches) <= MOST else ():
        root = patch.apply(root, Symbol(input))
    return root


def find_patches(root: Expr, exact: Expr, input: str) -> Iterator[Patch]:
    """What an expression needs away from zero, in order."""

    def f(x: Fraction) -> Any | None:
        value = probe(exact, {input: x}, _QUICK_BITS)
        return value if value is not None and value.rel_accuracy_bits() > 70 else probe(exact, {input: x})

    def error(x: Fraction) -> float:
        return roundings(root, f, input, x)

    points = [-x for x in reversed(GRID)] + list(GRID)
    values = [f(x) for x in points]
    signs = [0 if value is None else (value > 0) - (value < 0) for value in values]
    crossings = [(a, b) for (a, s), (b, t) in pairwise(zip(points, signs, strict=True)) if s * t < 0]
    if len(crossings) > MOST:
        return
    centres = [_bisected(f, a, b) for a, b in crossings]
    roots = [r for r in centres if r is not None and max(error(r + d) for d in _DISTANCES) > TOLERATED]
    covered: list[Patch] = []
    for r in roots:
        covered += _patch(f, error, r, 1)
    bad = [x for x in points if not any(_covers(patch, x) for patch in covered) and error(x) > TOLERATED]
    for low, high in _runs(bad):
        centre = Fraction(round((low + high) * 8), 16)
        covered += _patch(f, error, centre, 0)
    yield from covered


def _patch(f: Exact, error: Callable[[Fraction], float], centre: Fraction, order: int) -> list[Patch]:
    """The widest patch about a centre that is worth having; none where no polynomial fits."""

    def g(d: Fraction) -> Any | None:
        value = f(centre + d)
        return None if value is None else value / ball(d) ** order

    def is_off(r: Fraction) -> bool:
        return max(error(centre + sign * r * step) for sign in (1, -1) for step in _JITTER) > WANTED

    wide = next((i for i in reversed(range(len(RADII))) if is_off(RADII[i])), 0)
    for i in range(min(wide + 2, len(RADII) - 1), 1, -2):
        tables = fit(g, -RADII[i], RADII[i], HIGHEST_DEGREE)
        if tables is not None:
            _, single, double = tables
            return [Patch(centre, RADII[i], order, (single, single, double))]
    return []


_JITTER = (Fraction(1), Fraction(19, 18), Fraction(10, 9), Fraction(7, 6))


def _covers(patch: Patch, x: Fraction) -> bool:
    return abs(x - patch.centre) < patch.radius


def _runs(points: list[Fraction]) -> list[tuple[Fraction, Fraction]]:
    """Neighbouring points as intervals."""
    runs: list[tuple[Fraction, Fraction]] = []
    for x in points:
        if runs and x - runs[-1][1] <= Fraction(1, 2):
            runs[-1] = (runs[-1][0], x)
        else:
            runs.append((x, x))
    return runs


def _bisected(f: Exact, low: Fraction, high: Fraction) -> Fraction | None:
    """The root between two points of different sign; None where the function jumps instead, or is at zero."""
    first, last = f(low), f(high)
    if first is None or last is None:
        return None
    below, wide = first > 0, max(abs(float(first)), abs(float(last)))
    while high - low > _CLOSE * abs(high):
        if max(abs(low), abs(high)) < _CLOSE:  # at zero, which has patches of its own: this would never end
            return None
        middle = (low + high) / 2
        value = f(middle)
        if value is None or not (value > 0 or value < 0):
            return None if value is None else middle
        low, high = (middle, high) if (value > 0) == below else (low, middle)
    value = f(high)
    return high if value is not None and abs(float(value)) < 2.0**-60 * wide else None


def _rounded(value: Fraction, bits: int) -> Fraction:
    """The nearest number of so many bits."""
    if not value:
        return value
    exponent = math.frexp(float(value))[1]
    scale = Fraction(2) ** (bits - exponent)
    return round(value * scale) / scale
