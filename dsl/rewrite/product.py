"""Products and quotients of expressions, in an order that neither overflows nor underflows early.

In: factors. Out: expressions, or the frozen `Product` that the cases of a function are compared by.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from dsl.expr import ONE, Apply, Expr, Number, Symbol, call, is_op
from dsl.rewrite.field import constant_value, exact_root


@dataclass(frozen=True)
class Product:
    """coefficient * product(above) / product(below) * product(exp tails), each factor with its power."""

    coefficient: Fraction
    constants: tuple[tuple[Expr, int], ...]
    """Constants such as pi that multiply the whole, with their powers."""
    above: tuple[tuple[Expr, int], ...]
    below: tuple[tuple[Expr, int], ...]
    tails: tuple[tuple[int, int], ...]
    """Exponential generators (their indices) that multiply the whole, with powers in their units."""
    safe_below: bool = True
    """Whether every denominator is bounded away from zero and from overflow."""
    unresolved: tuple[str, ...] = ()
    positive: bool = False
    """Whether every factor is known to be positive, so that the coefficient has the sign."""
    small: bool = False
    """Whether everything but the tails is at most one in magnitude."""


def root_of(node: Expr) -> Expr:
    if isinstance(node, Number):
        root = exact_root(node.value)
        if root is not None:
            return Number(root)
    return call("sqrt", node)


def add(a: Expr, b: Expr) -> Expr:
    if isinstance(b, Apply) and b.op == "neg":
        return a - b.args[0]
    if isinstance(a, Apply) and a.op == "neg":
        return b - a.args[0]
    return a + b


def times(a: Expr, b: Expr) -> Expr:
    if a is ONE:
        return b
    if b is ONE:
        return a
    if isinstance(a, Apply) and a.op == "neg":
        return -times(a.args[0], b)
    if isinstance(b, Apply) and b.op == "neg":
        return -times(a, b.args[0])
    return a * b


def raised(node: Expr, n: int) -> Expr:
    return ONE if n == 0 else node if n == 1 else call("pow", node, n)


def multiply(factors: Iterable[Expr]) -> Expr:
    result: Expr = ONE
    for factor in factors:
        result = factor if result is ONE else result * factor
    return result


def divided(
    coefficient: Fraction,
    constants: Iterable[tuple[Expr, int]],
    above: list[Expr],
    below: list[Expr],
    safe_below: bool,
) -> Expr:
    """coefficient * constants * product(above) / product(below), in an order that overflows late.

    Where the denominator may be large, one factor of the numerator is divided by each of its factors before
    the others are multiplied in.
    """
    if not below:
        return scaled_by(coefficient, constants, above)
    if safe_below:
        large = [factor for factor in above if may_be_large(factor)]
        small = [factor for factor in above if not may_be_large(factor)]
        if not large or not small:
            return call("ratio", scaled_by(coefficient, constants, above), multiply(below))
        quotient = call("ratio", multiply(small), multiply(below))
        return scaled_by(coefficient, constants, [*large, quotient])
    above, quotients = sorted(above, key=may_be_large), []
    for factor in below:
        quotients.append(call("div", above.pop() if above else ONE, factor))
    return scaled_by(coefficient, constants, [*above, *quotients])


def scaled_by(coefficient: Fraction, constants: Iterable[tuple[Expr, int]], factors: Sequence[Expr]) -> Expr:
    """coefficient * constants * product(factors), the constants gathered so that they fold into one.

    What makes the product smaller is multiplied in first, what makes it larger last: then no partial product
    overflows if the whole does not.
    """
    constants = tuple(constants)
    size = abs(coefficient)
    for node, power in constants:
        size *= Fraction(float(constant_value(node))) ** power
    above = multiply(raised(c, n) for c, n in constants if n > 0)
    below = multiply(raised(c, -n) for c, n in constants if n < 0)
    constant = scaled(abs(coefficient), above)
    constant = constant if below is ONE else constant / below
    if not factors:
        value = constant
    elif constant is ONE:
        value = multiply(factors)
    elif size < 1 and isinstance(constant, Number):
        value = multiply([scaled(constant.value, factors[0]), *factors[1:]])
    elif size < 1:
        value = multiply([constant * factors[0], *factors[1:]])
    else:
        value = constant * multiply(factors)
    return -value if coefficient < 0 else value


def scaled(coefficient: Fraction, node: Expr) -> Expr:
    if coefficient == 1:
        return node
    if coefficient == -1:
        return -node
    sum_of = node.args if isinstance(node, Apply) and node.op in ("add", "sub") else ()
    if abs(coefficient) < 1 and sum_of and (may_be_large(node) or all(map(_has_coefficient, sum_of))):
        # A sum near the end of the range, halved after it was rounded to infinity, would stay infinite.
        a, b = (_folded(coefficient, arg) for arg in sum_of)
        return add(a, b) if is_op(node, "add") else add(a, -b)
    return Number(coefficient) if node is ONE else Number(coefficient) * node


def _has_coefficient(node: Expr) -> bool:
    """Whether a number that multiplies the node costs nothing."""
    return isinstance(node, Number) or (is_op(node, "mul") and isinstance(node.args[0], Number))


def _folded(coefficient: Fraction, node: Expr) -> Expr:
    """The node times a number, which its own coefficient takes up."""
    if isinstance(node, Number):
        return Number(coefficient * node.value)
    if is_op(node, "mul") and isinstance(node.args[0], Number):
        return scaled(coefficient * node.args[0].value, node.args[1])
    return scaled(coefficient, node)


def may_be_large(node: Expr) -> bool:
    """Whether a value may come near the end of the range: arithmetic on an input that nothing bounds."""
    pending = [node]
    while pending:
        part = pending.pop()
        if isinstance(part, Symbol) and part.name[0] != "%":
            return True
        if is_op(part, "add", "sub", "mul", "neg", "sqrt", "abs", "where"):
            pending.extend(part.args)
        elif is_op(part, "max", "min"):
            # One bound holds one side only; an interval is max(min(x, c), -c).
            pending.extend(arg for arg in part.args if not is_op(arg, "max", "min", "abs"))
    return False
