"""The value of an expression without names: defaults, and constraints on them.

In: an expression over numbers. Out: an exact rational, or 50 correct digits of an irrational one.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from math import ceil, floor
from typing import Any

from dsl.expr import Apply, Expr, Number, postorder
from dsl.ops import OPS, define

DIGITS = 50
"""How many digits an irrational constant keeps: three times what float64 holds."""
_MAX_BITS = 65_536
_PRECISION = 256


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if exponent.denominator != 1:
        raise _IrrationalError
    if bits * abs(exponent.numerator) > _MAX_BITS:
        raise ValueError("the number is too large")
    return Fraction(base**exponent.numerator)


class _IrrationalError(Exception):
    """The rationals are left; the caller goes on with balls."""


_RATIONAL: dict[str, Callable[..., Fraction]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "pow": _power,
    "abs": lambda a: abs(a),
    "sign": lambda a: Fraction((a > 0) - (a < 0)),
    "max": max,
    "min": min,
    "floor": lambda a: Fraction(floor(a)),
    "ceil": lambda a: Fraction(ceil(a)),
    "round": lambda a: Fraction(round(a)),
    "clamp": lambda a, low, high: min(max(a, low), high),
    "relu": lambda a: max(a, Fraction(0)),
}

_COMPARE: dict[str, Callable[..., bool]] = {
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "not": lambda a: not a,
}


def constant(root: Expr) -> Fraction:
    """The value of a constant real expression; raises `ValueError` where there is none.

    >>> constant(Number(1) / 8)
    Fraction(1, 8)
    >>> float(constant(Apply("sqrt", Number(2)))) == 2**0.5
    True
    """
    value = _value(root)
    if not isinstance(value, Fraction):
        raise ValueError("a condition, not a number")
    return value


def holds(condition: Expr) -> bool:
    """Whether a constant condition is true; raises `ValueError` where it has no value."""
    return bool(_value(condition))


def _value(root: Expr) -> Any:
    values: dict[Expr, Any] = {}
    for node in postorder(root):
        values[node] = _step(node, [values[arg] for arg in node.args])
    return _plain(values[root])


def _plain(value: Any) -> Any:
    """A ball as a rational; what is no ball as it is."""
    return value if isinstance(value, Fraction | bool) else _rational(value)


def _step(node: Expr, args: list[Any]) -> Any:
    if isinstance(node, Number):
        return node.value
    if not isinstance(node, Apply):
        raise ValueError("it depends on a name")
    try:
        if all(isinstance(arg, Fraction) for arg in args) and node.op in _RATIONAL:
            return _RATIONAL[node.op](*args)
    except ZeroDivisionError:
        raise ValueError("division by zero") from None
    except _IrrationalError:
        pass
    if node.op in _COMPARE:
        return _COMPARE[node.op](*map(_plain, args))
    if node.op == "where":
        return args[1] if args[0] else args[2]
    from flint import arb, ctx  # Most specs have rational constants alone.

    with ctx.workprec(_PRECISION):
        balls = [arb(a.numerator) / arb(a.denominator) if isinstance(a, Fraction) else a for a in args]
        return _ball(node, balls)


def _ball(node: Apply, balls: list[Any]) -> Any:
    row = OPS.get(node.op)
    if row is not None and row.exact is not None:
        return row.exact(*balls)
    if row is None or row.definition is None:
        raise ValueError(f"'{node.op}' has no constant value here")
    placeholders = [Apply("_operand", Number(position)) for position in range(len(balls))]
    values: dict[Expr, Any] = dict(zip(placeholders, balls, strict=True))
    defined = define(Apply(node.op, *placeholders))
    for inner in postorder(defined):
        if inner not in values:
            values[inner] = _step(inner, [values[arg] for arg in inner.args])
    return values[defined]


def _rational(ball: Any) -> Fraction:
    if not ball.is_finite():
        raise ValueError("it is not a finite number")
    mantissa, exponent = ball.mid().man_exp()
    mantissa, exponent = int(mantissa), int(exponent)
    if abs(exponent) > _MAX_BITS:
        raise ValueError("the number is too large")
    exact = Fraction(mantissa) * Fraction(2) ** exponent
    with localcontext(prec=DIGITS):
        return Fraction(Decimal(exact.numerator) / Decimal(exact.denominator))
