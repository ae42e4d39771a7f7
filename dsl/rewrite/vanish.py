"""Products with a decaying exponential, which are zero where the exponential is.

In: a stabilised expression. Out: the expression whose products with an exponential are zero where that is far
below all that floating point holds. x * exp(-abs(beta * x)) is infinity times zero at infinity. Where beta is
a number, the input can be held at a point from which on the product is zero (`guard`); where beta is a
parameter of any size and sign there is no such point, but the exponent itself tells.
"""

from __future__ import annotations

from dsl.expr import ZERO, Apply, Expr, Number, Symbol, call, is_op, postorder
from dsl.ops import where

NOTHING = -1024
"""exp(-1024) is 2**-1477: zero in float64, though it be multiplied by anything that a function grows to."""

_EXPONENTIALS = ("exp", "exp_high", "exp_sum", "exp_sum_high")


def vanish(root: Expr, input: str) -> Expr:
    """The expression, its products zero where their exponentials are.

    >>> x = Symbol("x")
    >>> vanish(x * call("exp", x), "x") is where(call("lt", x, NOTHING), 0, x * call("exp", x))
    True
    """
    x = Symbol(input)
    inner = {arg for node in postorder(root) if is_op(node, "mul") for arg in node.args if is_op(arg, "mul")}
    done: dict[Expr, Expr] = {}
    for node in postorder(root):
        args = tuple(done[arg] for arg in node.args)
        value = Apply(node.op, *args) if isinstance(node, Apply) else node
        done[node] = value if node in inner else _zero_in_time(value, x)
    return done[root]


def _zero_in_time(node: Expr, x: Expr) -> Expr:
    """A product of an exponential and something that grows, zero where the exponential is."""
    factors = [_base(each) for each in _factors(node)]
    exponents = [each.args[0] for each in factors if is_op(each, *_EXPONENTIALS)]
    others = (each for each in factors if not is_op(each, *_EXPONENTIALS, "exp_low"))
    if not exponents or not any(_depends(each, x) for each in others):
        return node
    return where(call("lt", exponents[0], NOTHING), ZERO, node)


def _base(factor: Expr) -> Expr:
    """What a whole power is the power of: it is zero where its base is."""
    if is_op(factor, "pow") and isinstance(factor.args[1], Number) and factor.args[1].value >= 1:
        return factor.args[0]
    return factor


def annul(root: Expr, input: str) -> Expr:
    """The expression, its multiples of the input zero where their other factors are.

    (alpha - 1) * x has no value at infinity if alpha is 1, though alpha is a parameter that may be.
    """
    x = Symbol(input)
    inner = {arg for node in postorder(root) if is_op(node, "mul") for arg in node.args if is_op(arg, "mul")}
    done: dict[Expr, Expr] = {}
    for node in postorder(root):
        args = tuple(done[arg] for arg in node.args)
        value = Apply(node.op, *args) if isinstance(node, Apply) else node
        done[node] = value if node in inner else _zero_with_factor(value, x)
    return done[root]


def _zero_with_factor(node: Expr, x: Expr) -> Expr:
    factors = _factors(node)
    others = [each for each in factors if each is not x and is_op(each, "add", "sub")]
    if x not in factors or len(others) != 1:
        return node
    return where(call("eq", others[0], 0), ZERO, node)


def _depends(root: Expr, x: Expr) -> bool:
    return any(node is x for node in postorder(root))


def _factors(root: Expr) -> list[Expr]:
    found, stack = [], [root]
    while stack:
        node = stack.pop()
        if is_op(node, "mul"):
            stack.extend(node.args)
        else:
            found.append(node)
    return found
