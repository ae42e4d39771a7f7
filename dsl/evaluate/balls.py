"""What each operation does to balls: the exact side of `dsl.ops`, three-valued where a ball cannot tell.

In: Arb balls, or conditions (True, False, None for "cannot tell yet"). Out: the same. A result that is not
known is a wide ball or an indeterminate one, which more precision may resolve.

`STRICT` claims nothing that the balls do not prove. `FINAL` is for the last precision, thousands of bits:
there, quantities that still overlap count as equal. There, too, an exponential too great for Arb's exponents
is replaced by a number greater than all that can be held (by infinity, if it is the exponential of such).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flint import arb

from dsl.ops import OPS

Ball = Any
"""An `arb`; python-flint's stubs make it untyped for us."""

_HALF: Ball = arb(0.5)
_BETWEEN: Ball = arb(0, 1)
_GREAT: Ball = arb((1, 1000))


def _lt(a: Ball, b: Ball) -> bool | None:
    return True if a < b else False if a >= b else None


def _le(a: Ball, b: Ball) -> bool | None:
    return True if a <= b else False if a > b else None


def _gt(a: Ball, b: Ball) -> bool | None:
    return _lt(b, a)


def _ge(a: Ball, b: Ball) -> bool | None:
    return _le(b, a)


def _eq(a: Ball, b: Ball) -> bool | None:
    return True if a == b else False if a != b else None


def _ne(a: Ball, b: Ball) -> bool | None:
    return _not(_eq(a, b))


def _and(a: bool | None, b: bool | None) -> bool | None:
    return False if a is False or b is False else None if a is None or b is None else True


def _or(a: bool | None, b: bool | None) -> bool | None:
    return True if a is True or b is True else None if a is None or b is None else False


def _not(a: bool | None) -> bool | None:
    return None if a is None else not a


def _where(condition: bool | None, then: Ball, otherwise: Ball) -> Ball:
    return then.union(otherwise) if condition is None else then if condition else otherwise


def _max(a: Ball, b: Ball) -> Ball:
    return a if a > b else b if b >= a else a.max(b)


def _min(a: Ball, b: Ball) -> Ball:
    return a if a < b else b if b <= a else a.min(b)


def _sign(a: Ball) -> Ball:
    return arb(1) if a > 0 else arb(-1) if a < 0 else arb(0) if a.is_zero() else _BETWEEN


def _pow(a: Ball, b: Ball) -> Ball:
    if b.is_integer() and b > 0 and a.contains(0):
        return _BETWEEN * a.abs_upper() ** b if not a.is_zero() else a  # which Arb leaves indeterminate
    return a**b


def _copysign(a: Ball, b: Ball) -> Ball:
    return abs(a) if b >= 0 else -abs(a) if b < 0 else _BETWEEN * abs(a)


def _cbrt(a: Ball) -> Ball:
    if a > 0:
        return a.root(3)
    return -((-a).root(3)) if a < 0 else a if a.is_zero() else _BETWEEN * a.abs_upper().root(3)


def _round(a: Ball) -> Ball:
    shifted = a + _HALF
    nearest = shifted.floor()
    if shifted.is_exact() and shifted == nearest and not (nearest * _HALF).is_integer():
        return nearest - 1  # a tie, and the upper neighbour is odd
    return nearest


STRICT: dict[str, Callable[..., Any]] = {
    **{name: row.exact for name, row in OPS.items() if row.exact is not None},
    "lt": _lt,
    "le": _le,
    "gt": _gt,
    "ge": _ge,
    "eq": _eq,
    "ne": _ne,
    "and": _and,
    "or": _or,
    "not": _not,
    "where": _where,
    "true": lambda: True,
    "false": lambda: False,
    "pow": _pow,
    "copysign": _copysign,
    "max": _max,
    "min": _min,
    "sign": _sign,
    "cbrt": _cbrt,
    "floor": lambda a: a.floor(),
    "ceil": lambda a: a.ceil(),
    "round": _round,
}
"""The operations that balls have, by name; every other one is evaluated through its definition."""


def _same(a: Ball, b: Ball) -> bool:
    return bool(a.is_finite() and b.is_finite() and a.overlaps(b))


def _snap(a: Ball) -> Ball:
    """The integer that a tiny ball contains, if it does."""
    return a if a.is_exact() or not a.contains_integer() else arb((a.mid() + _HALF).floor().mid())


def _with_ties(strict: Callable[..., Any], tie: bool) -> Callable[..., Any]:
    def compare(a: Ball, b: Ball) -> bool | None:
        answer: bool | None = strict(a, b)
        return tie if answer is None and _same(a, b) else answer

    return compare


def _within_one(a: Ball, inverse: Callable[[Ball], Ball]) -> Ball:
    """An inverse sine or cosine of what overlaps with 1 or -1, as tanh does far out, and is no more."""
    low, high = a.lower(), a.upper()
    if not a.is_finite() or abs(a) < 1 or low > 1 or high < -1:
        return inverse(a)
    return inverse(low if low > -1 else arb(-1)).union(
        inverse(high if high < 1 else arb(1))
    )  # it is monotone


FINAL: dict[str, Callable[..., Any]] = {
    **STRICT,
    "lt": _with_ties(_lt, False),
    "le": _with_ties(_le, True),
    "gt": _with_ties(_gt, False),
    "ge": _with_ties(_ge, True),
    "eq": _with_ties(_eq, True),
    "ne": _with_ties(_ne, False),
    "sign": lambda a: arb(0) if a.is_finite() and a.contains(0) else _sign(a),
    "cbrt": lambda a: _cbrt(_snap(a)),
    "asin": lambda a: _within_one(a, arb.asin),
    "acos": lambda a: _within_one(a, arb.acos),
    "floor": lambda a: _snap(a).floor(),
    "ceil": lambda a: _snap(a).ceil(),
    "round": lambda a: _round(_snap(a * 2) / 2),
}
"""`STRICT`, but for what overlaps at the last precision."""

SATURATING = ("exp", "expm1")
"""What may grow beyond Arb's exponents."""
BEYOND: Ball = arb((1, 2**200_000))
"""Stands for an exponential that Arb cannot hold: greater than all that it can, at the precisions in use."""
_TOWER: Ball = arb((1, 2**100_000))


def saturated(value: Ball, of: Ball) -> Ball | None:
    """What stands for an exponential of a ball, if Arb could not hold it; else None."""
    if of > _GREAT and (not value.is_finite() or value.contains(0)):
        return arb.pos_inf() if of > _TOWER else BEYOND
    return None


OUTSIDE: dict[str, Callable[..., bool]] = {
    "log": lambda a: bool(a < 0),
    "log1p": lambda a: bool(a < -1),
    "log2": lambda a: bool(a < 0),
    "log10": lambda a: bool(a < 0),
    "sqrt": lambda a: bool(a < 0),
    "rsqrt": lambda a: bool(a < 0),
    "asin": lambda a: bool(abs(a) > 1),
    "acos": lambda a: bool(abs(a) > 1),
    "atanh": lambda a: bool(abs(a) > 1),
    "acosh": lambda a: bool(a < 1),
    "pow": lambda a, b: bool(a < 0) and b.is_finite() and not b.contains_integer(),
}
"""Whether the operands are certainly outside the real domain; the operations not named have none."""
