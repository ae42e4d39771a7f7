"""Exact evaluation at a single point, for questions that a rewrite asks while it works.

In: an expression and exact values for its symbols. Out: a ball of about 600 bits, or None where the
expression has no finite value there. `dsl.evaluate` is the full reference, with limits; this is its small,
light sibling, which the build can afford to import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from flint import arb, ctx, fmpq

from dsl.expr import Apply, Expr, Number, Symbol, postorder
from dsl.ops import OPS
from dsl.rewrite.core import lower

BITS = 640


def ball(value: Fraction) -> Any:
    """A rational as a ball."""
    return arb(fmpq(value.numerator, value.denominator))


def probe(root: Expr, values: Mapping[str, Fraction], bits: int = BITS) -> Any | None:
    """The value of an expression at a point, evaluated with `bits`; None where it is not finite.

    >>> from dsl.expr import call
    >>> probe(call("max", Symbol("x"), 2) ** 2, {"x": Fraction(3)}) == 9
    True
    """
    before, ctx.prec = ctx.prec, bits
    try:
        known: dict[Expr, Any] = {}
        root = lower(root)
        for node in postorder(root):
            known[node] = _value(node, values, known)
        result = known[root]
        return result if isinstance(result, bool) or result.is_finite() else None
    finally:
        ctx.prec = before


def _value(node: Expr, values: Mapping[str, Fraction], known: Mapping[Expr, Any]) -> Any:
    if isinstance(node, Number):
        return ball(node.value)
    if isinstance(node, Symbol):
        return ball(values[node.name])
    assert isinstance(node, Apply)
    args = [known[arg] for arg in node.args]
    special = _SPECIAL.get(node.op)
    if special is not None:
        return special(*args)
    row = OPS[node.op]
    assert row.exact is not None, row.name
    return row.exact(*args)


def _power(a: Any, b: Any) -> Any:
    integer = b.unique_fmpz()
    return a**integer if integer is not None else a**b


def _sign(a: Any) -> Any:
    return arb(1) if a > 0 else arb(-1) if a < 0 else arb(0)


_SPECIAL: dict[str, Callable[..., Any]] = {
    "pow": _power,
    "where": lambda c, a, b: a if c else b,
    "lt": lambda a, b: bool(a < b),
    "gt": lambda a, b: bool(a > b),
    "le": lambda a, b: not a > b,
    "ge": lambda a, b: not a < b,
    "eq": lambda a, b: not (a < b or a > b),
    "ne": lambda a, b: bool(a < b or a > b),
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "not": lambda a: not a,
    "true": lambda: True,
    "false": lambda: False,
    "max": lambda a, b: a if a > b else b,
    "min": lambda a, b: a if a < b else b,
    "sign": _sign,
    "copysign": lambda a, b: -abs(a) if b < 0 else abs(a),
    "floor": lambda a: a.floor(),
    "ceil": lambda a: a.ceil(),
    "round": lambda a: (a + arb(0.5)).floor(),
    "cbrt": lambda a: _sign(a) * abs(a).root(3) if a != 0 else arb(0),
}
