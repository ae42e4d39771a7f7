"""Roundings in the middle: what `cast(e)` is in a format.

In: an expression with casts, a format. Out: the same with each cast an operation of balls, which gives the
number of the format that is nearest to its operand. Where a program may take the neighbour instead, the
reference is asked again, with operands shifted by what a program may be wrong.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from flint import arb

from dsl.evaluate.balls import FINAL, STRICT, Ball
from dsl.evaluate.rounding import nearest
from dsl.expr import Apply, Expr, Number, is_op, rebuild
from dsl.ulp import FORMATS, Format

TURN = Fraction(1, 20)
"""How near to the middle between two neighbours, in ulps, a 16-bit rounding may take either: the value of a
definition may be 0.55 ulp off, and so may that of a cast."""
_FORMATS = tuple(FORMATS.values())


def in_format(root: Expr, fmt: Format, shift: Fraction = Fraction(0)) -> Expr:
    """The expression, its casts to a format; `shift`, in ulps, is added to what they round.

    >>> from dsl.evaluate import evaluate
    >>> from dsl.expr import Symbol
    >>> evaluate(1 + 2 * Apply("cast", Symbol("x") / 3), "x", [1.0], "bfloat16").tolist()
    [1.671875]
    """
    place = Number(_FORMATS.index(fmt))

    def resolved(node: Expr) -> Expr:
        return Apply("nearest", node.args[0], Number(shift), place) if is_op(node, "cast") else node

    return rebuild(root, resolved)


def _nearest(final: bool, a: Ball, shift: Ball, place: Ball) -> Ball:
    if not a.is_finite() or a.is_zero():
        return a
    fmt = _FORMATS[int(float(place))]
    if not shift.is_zero():
        middle = fmt.round(np.array([float(a)]))
        a = a + shift * arb((1, int(fmt.ulp_exponent(middle)[0])))
    found = nearest(a, fmt, force=final)
    if found is not None:
        return arb(found[0])
    low, high = (nearest(end, fmt, force=True) for end in (a.lower(), a.upper()))
    return arb.nan() if low is None or high is None else arb(low[0]).union(arb(high[0]))


STRICT["nearest"] = lambda *args: _nearest(False, *args)
FINAL["nearest"] = lambda *args: _nearest(True, *args)
