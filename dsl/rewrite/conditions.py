"""Conditions, decided where they are exact.

In: a comparison. Out: an equal condition that floating point decides without rounding: `x + 3 < 6` as
`x < 3`, `max(x, 0) < 6` as `x < 6`. A kink is then exactly where the mathematics has it.
"""

from __future__ import annotations

from fractions import Fraction

from dsl.expr import Apply, Expr, Number, call, is_op
from dsl.rewrite.simplify import FALSE, TRUE, simplify

_FLIPPED = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le", "eq": "eq", "ne": "ne"}
_TESTS = {
    "lt": Fraction.__lt__,
    "gt": Fraction.__gt__,
    "le": Fraction.__le__,
    "ge": Fraction.__ge__,
    "eq": Fraction.__eq__,
    "ne": Fraction.__ne__,
}


def settle(condition: Expr) -> Expr:
    """The condition with its comparisons solved for what they compare, as far as that is exact.

    >>> from dsl.expr import Symbol
    >>> x = Symbol("x")
    >>> settle(call("lt", x + 3, 6)) is call("lt", x, 3)
    True
    >>> settle(call("lt", call("max", 2 * x, 0), 6)) is call("lt", x, 3)
    True
    """
    if is_op(condition, "and", "or", "not"):
        assert isinstance(condition, Apply)
        return simplify(Apply(condition.op, *(settle(arg) for arg in condition.args)))
    if not is_op(condition, *_FLIPPED):
        return condition
    assert isinstance(condition, Apply)
    op, (left, right) = condition.op, condition.args
    if isinstance(left, Number) and not isinstance(right, Number):
        op, left, right = _FLIPPED[op], right, left
    while isinstance(right, Number):
        step = _step(op, left, right.value)
        if step is None:
            return call(op, left, right)
        if isinstance(step, bool):
            return TRUE if step else FALSE
        op, left, right = step[0], step[1], Number(step[2])
    return call(op, left, right)


def _step(op: str, left: Expr, limit: Fraction) -> tuple[str, Expr, Fraction] | bool | None:
    if isinstance(left, Number):
        return bool(_TESTS[op](left.value, limit))
    if not isinstance(left, Apply) or len(left.args) > 2:
        return None
    if left.op == "neg":
        return _FLIPPED[op], left.args[0], -limit
    if len(left.args) == 1:
        return None
    a, b = left.args
    if left.op in ("max", "min"):
        return _extreme(op, left.op, *((b, a) if isinstance(a, Number) else (a, b)), limit)
    if isinstance(b, Number):
        return _solved_left(op, left.op, a, b.value, limit)
    return _solved_right(op, left.op, a.value, b, limit) if isinstance(a, Number) else None


def _solved_left(
    op: str, arithmetic: str, a: Expr, b: Fraction, limit: Fraction
) -> tuple[str, Expr, Fraction] | None:
    if arithmetic == "add":
        return op, a, limit - b
    if arithmetic == "sub":
        return op, a, limit + b
    if arithmetic == "mul" and b:
        return (op if b > 0 else _FLIPPED[op]), a, limit / b
    if arithmetic == "div" and b:
        return (op if b > 0 else _FLIPPED[op]), a, limit * b
    return None


def _solved_right(
    op: str, arithmetic: str, a: Fraction, b: Expr, limit: Fraction
) -> tuple[str, Expr, Fraction] | None:
    if arithmetic == "sub":
        return _FLIPPED[op], b, a - limit
    return _solved_left(op, arithmetic, b, a, limit) if arithmetic in ("add", "mul") else None


def _extreme(
    op: str, extreme: str, inner: Expr, bound: Expr, limit: Fraction
) -> tuple[str, Expr, Fraction] | bool | None:
    """max(u, c) < d is u < d if c < d, and false otherwise; and so on."""
    if not isinstance(bound, Number) or op in ("eq", "ne"):
        return None
    bound_passes = bool(_TESTS[op](bound.value, limit))
    needs_both = (extreme == "max") == (op in ("lt", "le"))
    if bound_passes == needs_both:
        return op, inner, limit
    return bound_passes
