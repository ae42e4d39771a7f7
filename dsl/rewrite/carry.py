"""Exponentials and sines of a product or quotient that is rounded, with what the rounding loses.

In: a stabilised expression. Out: the same, with exp(a * x) as exp of a product and of its error, and
exp(x / a) likewise. `compensate` does that for exponents whose signs it knows; this is for what is left, the
exponents of a parameter that may have any sign among it: exp(-abs(beta * x)) at 80 has an error of 40 ulps if
the product was rounded before.
"""

from __future__ import annotations

from fractions import Fraction

from dsl.expr import ZERO, Apply, Expr, Number, Symbol, call, is_op, rebuild
from dsl.ops import where
from dsl.rewrite.compensate import Sum, negated, over, plus, tamed, times
from dsl.rewrite.simplify import simplify

_WITH_ERROR = {"exp": "exp_sum", "exp_high": "exp_sum_high", "turned": "turned"}
_EXACT = ("abs", "neg", "min", "max")

MOST = 4
"""So many values may be in an exponent; what is larger is left to be rounded."""


def carry_roundings(root: Expr) -> Expr:
    """The expression, its exponentials and turned sines of products with what is lost in rounding these.

    >>> a, x = Symbol("a"), Symbol("x")
    >>> error = call("product_error", a, x)
    >>> carry_roundings(call("exp", -(a * x))) is call("exp_sum", -call("product", a, x), -error)
    True
    """
    return rebuild(root, _carried)


def _carried(node: Expr) -> Expr:
    if not isinstance(node, Apply) or node.op not in _WITH_ERROR or node.args[1:] not in ((), (ZERO,)):
        return node
    total = _sum(node.args[0])
    if total is None or total[0].low is ZERO or total[1] > MOST:
        return node
    return Apply(_WITH_ERROR[node.op], simplify(total[0].high), simplify(total[0].low))


def _sum(node: Expr) -> tuple[Sum, int] | None:
    """An expression of a few values with what is lost in rounding it, and how many values; else None."""
    if isinstance(node, Number):
        return (Sum(node), 0) if _is_power_of_two(node.value) else None
    if _is_given(node):
        return Sum(node), 1
    if is_op(node, "abs"):
        return _size(node.args[0])
    parts = [_sum(arg) for arg in node.args] if is_op(node, "neg", "mul", "div", "add", "sub") else [None]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    sums, count = [each for each, _ in known], sum(each for _, each in known)
    if is_op(node, "neg"):
        return negated(sums[0]), count
    if is_op(node, "div"):
        ratio = over(*sums)
        return ratio if sums[1].low is ZERO else tamed(ratio), count
    if is_op(node, "mul"):
        return times(*sums), count
    return plus(sums[0], sums[1] if is_op(node, "add") else negated(sums[1])), count


def _size(node: Expr) -> tuple[Sum, int] | None:
    """The magnitude; that of a product is the product of magnitudes."""
    if is_op(node, "neg"):
        return _size(node.args[0])
    if is_op(node, "mul", "div"):
        return _sum(Apply(node.op, *(call("abs", arg) for arg in node.args)))  # type: ignore[attr-defined]
    found = _sum(node)
    if found is None:
        return None
    (high, low), count = (found[0].high, found[0].low), found[1]
    return Sum(call("abs", high), ZERO if low is ZERO else where(call("ge", high, 0), low, -low)), count


def _is_given(node: Expr) -> bool:
    """Whether a value is an input or parameter, or chosen among such and numbers."""
    if is_op(node, *_EXACT):
        return all(_is_given(arg) or isinstance(arg, Number) for arg in node.args)
    return isinstance(node, Symbol)


def _is_power_of_two(value: Fraction) -> bool:
    size = abs(value)
    return bool(size) and size.numerator.bit_count() == size.denominator.bit_count() == 1
