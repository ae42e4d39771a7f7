"""Exponentials and sines of a product that is rounded, with what the rounding loses.

In: a stabilised expression. Out: the same, with exp(a * x) as exp of a product and of its error. `compensate`
does that for exponents whose signs it knows; this is for what is left, the exponents of a parameter that may
have any sign among it: exp(-abs(beta * x)) at 80 has an error of 40 ulps if the product was rounded before.
"""

from __future__ import annotations

from fractions import Fraction

from dsl.expr import ZERO, Apply, Expr, Number, Symbol, call, is_op, rebuild
from dsl.rewrite.simplify import simplify

_WITH_ERROR = {"exp": "exp_sum", "exp_high": "exp_sum_high", "turned": "turned"}
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
    scale, factors = _scaled_product(node.args[0])
    if not factors or not _is_power_of_two(scale):
        return node
    high, low = (simplify(Number(scale) * call(op, *factors)) for op in ("product", "product_error"))
    return Apply(_WITH_ERROR[node.op], high, low)


def _scaled_product(node: Expr) -> tuple[Fraction, tuple[Expr, ...]]:
    """A multiple of a product of two things that are given, or of its size; no factors if it is none."""
    if is_op(node, "neg"):
        scale, factors = _scaled_product(node.args[0])
        return -scale, factors
    if is_op(node, "mul") and isinstance(node.args[0], Number):
        scale, factors = _scaled_product(node.args[1])
        return scale * node.args[0].value, factors
    if is_op(node, "abs"):
        scale, factors = _scaled_product(node.args[0])
        return abs(scale), tuple(call("abs", each) for each in factors)
    if is_op(node, "mul") and all(map(_is_given, node.args)):
        return Fraction(1), node.args
    return Fraction(1), ()


def _is_given(node: Expr) -> bool:
    """Whether a value is an input or parameter, or chosen among such and numbers."""
    if is_op(node, *_EXACT):
        return all(_is_given(arg) or isinstance(arg, Number) for arg in node.args)
    return isinstance(node, Symbol)


def _is_power_of_two(value: Fraction) -> bool:
    size = abs(value)
    return bool(size) and size.numerator.bit_count() == size.denominator.bit_count() == 1
