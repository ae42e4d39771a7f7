"""Decaying exponentials as two factors, neither of which underflows.

In: a stabilised expression. Out: the same, where `q * t * t` with t = exp(u / 2) has become
`q * exp_high(u) * exp_low(u)`.

`emit` applies a decaying exponential last and in halves, because exp(-90) is subnormal in float32 and 90 *
exp(-90) is not. The square of a rounded number doubles its error, and a half costs as much as the whole. So
the halves become a factor that carries the digits and a power of two that carries the rest of the exponent,
which is exact; in 16 bits they stay halves, for which one instruction serves both.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial

from dsl.expr import ONE, Apply, Expr, Number, Symbol, is_op, postorder, rebuild, substitute
from dsl.ops import where
from dsl.rewrite.probe import constant_fraction

_HALF = Symbol("%half")
"""Stands for the exponential while the expression is searched for its squares."""


def factor_exponentials(root: Expr) -> Expr:
    """The expression with every decaying exponential that is only used squared as two factors.

    >>> from dsl.expr import call
    >>> x = Symbol("x")
    >>> t = call("exp", Number(Fraction(-1, 2)) * call("abs", x))
    >>> u = -call("abs", x)
    >>> factor_exponentials(x * t * t) is x * call("exp_high", u) * call("exp_low", u)
    True
    """
    for node in list(postorder(root)):
        if is_op(node, "exp", "exp_sum") and _decays(node.args[0]):
            marked = rebuild(substitute(root, {node: _HALF}), partial(_factored, half=node))
            if all(each is not _HALF for each in postorder(marked)):
                root = marked
    return root


def _factored(node: Expr, half: Expr) -> Expr:
    """A product with the square of the half, or of a choice between it and 1, with the factors instead."""
    if not is_op(node, "mul"):
        return node
    a, b = node.args
    if a is b and _is_carrier(a):
        return _applied(ONE, a, half)
    if is_op(a, "mul") and a.args[1] is b and _is_carrier(b):
        return _applied(a.args[0], b, half)
    return node


def _is_carrier(node: Expr) -> bool:
    return node is _HALF or (is_op(node, "where") and set(node.args[1:]) == {ONE, _HALF})


def _applied(value: Expr, carrier: Expr, half: Expr) -> Expr:
    """The value times both factors, where the carrier has the half; where it has 1, the value."""
    assert isinstance(half, Apply)
    exponent = [_doubled(arg) for arg in half.args]
    high, low = Apply(f"{half.op}_high", *exponent), Apply("exp_low", exponent[0])
    scaled = (high if value is ONE else value * high) * low
    if carrier is _HALF:
        return scaled
    condition, then, _ = carrier.args
    return where(condition, *((value, scaled) if then is ONE else (scaled, value)))


def _doubled(node: Expr) -> Expr:
    """Twice an expression, which rounds nothing."""
    sign, node = (-1, node.args[0]) if is_op(node, "neg") else (1, node)
    scale = Fraction(2 * sign)
    if is_op(node, "mul") and isinstance(node.args[0], Number):
        scale, node = scale * node.args[0].value, node.args[1]
    return node if scale == 1 else -node if scale == -1 else Number(scale) * node


def _decays(node: Expr) -> bool:
    """Whether an exponent is certainly not positive."""
    if is_op(node, "neg"):
        return _is_nonnegative(node.args[0])
    return is_op(node, "mul") and _is_negative(node.args[0]) and _is_nonnegative(node.args[1])


def _is_negative(node: Expr) -> bool:
    return isinstance(node, Number) and node.value < 0


def _is_nonnegative(node: Expr) -> bool:
    if is_op(node, "abs", "exp"):
        return True
    if is_op(node, "mul", "product") and node.args[0] is node.args[1]:
        return True
    if is_op(node, "mul", "product", "add", "min", "max"):
        return all(_is_nonnegative(arg) for arg in node.args)
    value = None if any(isinstance(each, Symbol) for each in postorder(node)) else constant_fraction(node)
    return value is not None and value >= 0
