"""Exponentials and sines of a product or quotient that is rounded, with what the rounding loses.

In: a stabilised expression. Out: the same, with exp(a * x) as exp of a product and of its error, and
exp(x / a) likewise. `compensate` does that for exponents whose signs it knows; this is for what is left, the
exponents of a parameter that may have any sign among it: exp(-abs(beta * x)) at 80 has an error of 40 ulps if
the product was rounded before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

from dsl.expr import ZERO, Apply, Expr, Number, Symbol, call, is_op, rebuild
from dsl.rewrite.compensate import Sum, over, times
from dsl.rewrite.simplify import simplify

_WITH_ERROR = {"exp": "exp_sum", "exp_high": "exp_sum_high", "turned": "turned"}
_SUMS: Mapping[str, Callable[[Sum, Sum], Sum]] = {"mul": times, "div": lambda a, b: over(a, b.high)}
_EXACT = ("abs", "neg", "min", "max")


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
    scale, op, operands = _multiple(node.args[0])
    if not operands or not _is_power_of_two(scale):
        return node
    total = _SUMS[op](*(Sum(operand) for operand in operands))
    high, low = (simplify(Number(scale) * part) for part in (total.high, total.low))
    return Apply(_WITH_ERROR[node.op], high, low)


def _multiple(node: Expr) -> tuple[Fraction, str, tuple[Expr, ...]]:
    """A multiple of a product or quotient of what is given, or of its size; no operands if it is none."""
    if is_op(node, "neg"):
        scale, op, operands = _multiple(node.args[0])
        return -scale, op, operands
    if is_op(node, "mul") and isinstance(node.args[0], Number):
        scale, op, operands = _multiple(node.args[1])
        return scale * node.args[0].value, op, operands
    if is_op(node, "abs"):
        scale, op, operands = _multiple(node.args[0])
        return abs(scale), op, tuple(call("abs", each) for each in operands)
    if is_op(node, "mul", "div") and all(map(_is_given, node.args)):
        return Fraction(1), node.op, node.args  # type: ignore[attr-defined]
    return Fraction(1), "", ()


def _is_given(node: Expr) -> bool:
    """Whether a value is an input or parameter, or chosen among such and numbers."""
    if is_op(node, *_EXACT):
        return all(_is_given(arg) or isinstance(arg, Number) for arg in node.args)
    return isinstance(node, Symbol)


def _is_power_of_two(value: Fraction) -> bool:
    size = abs(value)
    return bool(size) and size.numerator.bit_count() == size.denominator.bit_count() == 1
