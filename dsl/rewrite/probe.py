"""Exact evaluation at a single point, for questions that a rewrite asks while it works.

In: an expression and exact values for its symbols. Out: a ball of about 600 bits, or None where the
expression has no finite value there. `dsl.evaluate` is the full reference, with limits; this is its small,
light sibling, which the build can afford to import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any

from flint import arb, ctx, fmpq

from dsl.expr import ONE, Apply, Expr, Number, Symbol, call, is_op, postorder, rebuild, straight_line
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
        known: list[Any] = []
        for function, places, leaf in _steps(root, bits):
            if function is None:
                known.append(ball(values[leaf]) if isinstance(leaf, str) else leaf)
            elif len(places) == 2:  # most have two operands, and no need of a list of them
                left, right = places
                known.append(function(known[left], known[right]))
            else:
                known.append(function(*[known[place] for place in places]))
        result = known[-1]
        return result if isinstance(result, bool) or result.is_finite() else None
    finally:
        ctx.prec = before


@lru_cache(maxsize=64)
def _steps(root: Expr, bits: int) -> tuple[tuple[Callable[..., Any] | None, tuple[int, ...], Any], ...]:
    """What evaluating an expression does: a function of earlier places, a number's ball, or a name."""
    steps: list[tuple[Callable[..., Any] | None, tuple[int, ...], Any]] = []
    with ctx.workprec(bits):
        for node, places in straight_line(rebuild(lower(root), _complement)):
            match node:
                case Number():
                    steps.append((None, (), ball(node.value)))
                case Symbol():
                    steps.append((None, (), node.name))
                case Apply():
                    steps.append((_function(node.op), places, None))
    return tuple(steps)


def _complement(node: Expr) -> Expr:
    """1 - erf(u) as erfc(u): no number of bits holds the difference far out."""
    if is_op(node, "sub") and node.args[0] is ONE and is_op(node.args[1], "erf"):
        return call("erfc", node.args[1].args[0])
    if is_op(node, "add"):
        for one, other in (node.args, node.args[::-1]):
            if one is ONE and is_op(other, "erf"):
                return call("erfc", -other.args[0])
    return node


@cache
def _function(op: str) -> Callable[..., Any]:
    row = OPS[op]
    function = _SPECIAL.get(op, row.exact)
    assert function is not None, op
    return function


def constant_fraction(node: Expr) -> Fraction | None:
    """The value of a constant expression to about 190 digits, or None where it has no finite one."""
    if isinstance(node, Apply) and node.op in ("leading", "trailing"):
        whole = constant_fraction(node.args[0])
        if whole is None:
            return None
        leading = _to_24_bits(whole)
        return leading if node.op == "leading" else whole - leading
    ball = probe(node, {})
    if ball is None:
        return None
    mantissa, exponent = ball.mid().man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def _to_24_bits(value: Fraction) -> Fraction:
    """The nearest number with 24 significant bits, exact in float32 and in float64."""
    if not value:
        return value
    exponent = abs(value.numerator).bit_length() - value.denominator.bit_length()
    if abs(value) < Fraction(2) ** exponent:
        exponent -= 1
    scale = Fraction(2) ** (exponent - 23)
    return round(value / scale) * scale


@lru_cache(maxsize=32)
def folded(root: Expr) -> Expr:
    """The expression with its constants as numbers, each rounded once when it is used, as in a program.

    >>> from dsl.expr import call
    >>> folded(call("sqrt", 2) * 2 * Symbol("x")).args[0] is Number(constant_fraction(call("sqrt", 2) * 2))
    True
    """
    real: dict[Expr, Expr] = {}
    for node in postorder(root):
        args = [real[arg] for arg in node.args]
        foldable = isinstance(node, Apply) and OPS[node.op].result == "r" and not is_op(node, "table", "inf")
        if foldable and all(isinstance(arg, Number) for arg in args):
            value = constant_fraction(node)
            real[node] = node if value is None else Number(value)
        else:
            real[node] = Apply(node.op, *args) if isinstance(node, Apply) else node
    return real[root]


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
