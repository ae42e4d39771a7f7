"""One plus or minus a sine or cosine, as a square.

In: an expression. Out: an equal one, where 1 + cos(u) is 2 * cos(u / 2)**2, and so on.

Such sums touch zero where the cosine is -1, and cancel there: 1 + sin(u) has lost all its digits at a
distance of 1e-4 from its double root. The square's base has a simple root there, to which the reduction of
the angle is relatively accurate. That of 1 + sin(u) is turned by an eighth of a circle, which has to happen
inside that reduction (`turned`).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial

from dsl.expr import HALF, ZERO, Apply, Expr, Number, call, is_op, rebuild
from dsl.rewrite.simplify import simplify

_Terms = dict[tuple[Expr, ...], Fraction]
"""A sum: coefficients by the factors of each term, in order."""

_DEEPEST = 6
"""So deep a sum is taken apart."""


def square_angles(root: Expr) -> tuple[Expr, tuple[str, ...]]:
    """The expression with every 1 + cos(u), 1 - sin(u), 1 + 2 * sin(u) * cos(u) ... as a square; the rules.

    >>> from dsl.expr import Symbol
    >>> x = Symbol("x")
    >>> square_angles(1 + call("cos", 2 * x))[0] is 2 * call("cos", x) ** 2
    True
    """
    fired: dict[str, None] = {}
    return rebuild(root, partial(_squared, fired=fired)), tuple(fired)


def _squared(node: Expr, fired: dict[str, None]) -> Expr:
    if not is_op(node, "add", "sub"):
        return node
    terms = _terms(node)
    one = terms.pop((), Fraction(0))
    if len(terms) != 1 or not one:
        return node
    ((factors, scale),) = terms.items()
    angle = _angle(factors)
    if angle is None or abs(scale) != (len(factors) * abs(one)):
        return node
    is_sine = len(factors) == 2 or is_op(factors[0], "sin")
    fired["one plus a sine" if is_sine else "one plus a cosine"] = None
    base = _base(angle, is_sine, scale / one > 0)
    return Number(2 * one) * base**2


def _angle(factors: tuple[Expr, ...]) -> Expr | None:
    """Half of u for sin(u) and cos(u), u for sin(u) * cos(u)."""
    if len(factors) == 1 and is_op(factors[0], "sin", "cos"):
        return simplify(HALF * factors[0].args[0])
    if {node.op for node in factors if isinstance(node, Apply)} == {"sin", "cos"} and len(factors) == 2:
        return factors[0].args[0] if factors[0].args == factors[1].args else None
    return None


def _base(half: Expr, is_sine: bool, plus: bool) -> Expr:
    """What is squared: half of 1 + cos(2 * u) is cos(u)**2, half of 1 + sin(2 * u) is sin(u + pi / 4)**2."""
    if not is_sine:
        return call("cos" if plus else "sin", half)
    sign = Number(Fraction(1 if plus else -1))
    rounded = is_op(half, "mul") and not any(isinstance(arg, Number) for arg in half.args)
    error = call("product_error", *half.args) if rounded else ZERO
    return call("turned", simplify(sign * half), simplify(sign * error))


def _terms(node: Expr, depth: int = _DEEPEST) -> _Terms:
    """A sum's terms; what lies deeper is a single term."""
    if isinstance(node, Number):
        return {(): node.value} if node.value else {}
    if depth and is_op(node, *_ARITHMETIC):
        assert isinstance(node, Apply)
        found = _ARITHMETIC[node.op](*(_terms(arg, depth - 1) for arg in node.args))
        if found is not None:
            return {key: value for key, value in found.items() if value}
    return {(node,): Fraction(1)}


def _sum(left: _Terms, right: _Terms) -> _Terms:
    return {key: left.get(key, Fraction(0)) + right.get(key, Fraction(0)) for key in {**left, **right}}


def _negative(terms: _Terms) -> _Terms:
    return {key: -value for key, value in terms.items()}


def _product(left: _Terms, right: _Terms) -> _Terms | None:
    """The product, unless both are sums."""
    if min(len(left), len(right)) > 1:
        return None
    return {tuple(sorted((*a, *b), key=_order)): p * q for a, p in left.items() for b, q in right.items()}


def _quotient(above: _Terms, below: _Terms) -> _Terms | None:
    """The quotient by a single term, where its factors divide out."""
    if len(below) != 1:
        return None
    ((divisors, scale),) = below.items()
    total = {}
    for key, value in above.items():
        rest = list(key)
        for factor in divisors:
            if factor not in rest:
                return None
            rest.remove(factor)
        total[tuple(rest)] = value / scale
    return total


_ARITHMETIC: dict[str, Callable[..., _Terms | None]] = {
    "add": _sum,
    "sub": lambda left, right: _sum(left, _negative(right)),
    "neg": _negative,
    "mul": _product,
    "div": _quotient,
}


def _order(node: Expr) -> str:
    return node.op if isinstance(node, Apply) else ""
