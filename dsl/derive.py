"""Symbolic differentiation on the DAG.

In: an expression and the name to differentiate by. Out: the derivative, as an expression. Every node is
visited once and its derivative refers to the node itself, so the result is linear in the input's size. The
derivative is of the real function, taken before any stabilising; at a kink it is that of the branch whose
condition holds (`docs/language.md`, "Derivatives").

>>> from dsl.expr import Symbol
>>> derivative(Symbol("x") ** 2, "x") is 2 * Symbol("x")
True
"""

from __future__ import annotations

from dsl.expr import ONE, ZERO, Apply, Expr, Number, Symbol, call, postorder
from dsl.ops import OPS, log, where
from dsl.rewrite.core import lower


def derivative(root: Expr, name: str) -> Expr:
    """The derivative of `root` with respect to the symbol `name`."""
    root = lower(root)
    slope: dict[Expr, Expr] = {}
    for node in postorder(root):
        slope[node] = _slope(node, name, slope)
    return slope[root]


def _slope(node: Expr, name: str, slope: dict[Expr, Expr]) -> Expr:
    if isinstance(node, Symbol):
        return ONE if node.name == name else ZERO
    if not isinstance(node, Apply) or OPS[node.op].result == "b":
        return ZERO
    rule = _RULES.get(node.op)
    if rule is not None:
        return rule(node, slope)
    partials = OPS[node.op].partials
    assert partials is not None, f"{node.op} has neither partials nor a definition"
    total: Expr = ZERO
    for arg, partial in zip(node.args, partials(*node.args), strict=True):
        total = _add(total, _mul(partial, slope[arg]))
    return total


def _add(a: Expr, b: Expr) -> Expr:
    return b if a is ZERO else a if b is ZERO else a + b


def _mul(a: Expr, b: Expr) -> Expr:
    if a is ZERO or b is ZERO:
        return ZERO
    return b if a is ONE else a if b is ONE else a * b


def _choose(condition: Expr, then: Expr, otherwise: Expr) -> Expr:
    return then if then is otherwise else where(condition, then, otherwise)


def _where(node: Apply, slope: dict[Expr, Expr]) -> Expr:
    condition, then, otherwise = node.args
    return _choose(condition, slope[then], slope[otherwise])


def _max(node: Apply, slope: dict[Expr, Expr]) -> Expr:
    a, b = node.args
    return _choose(call("gt", a, b), slope[a], slope[b])


def _min(node: Apply, slope: dict[Expr, Expr]) -> Expr:
    a, b = node.args
    return _choose(call("lt", a, b), slope[a], slope[b])


def _mode(node: Apply, slope: dict[Expr, Expr]) -> Expr:
    training, evaluation = (slope[arg] for arg in node.args)
    return training if training is evaluation else call("mode", training, evaluation)


def _quotient(node: Apply, slope: dict[Expr, Expr]) -> Expr:
    a, b = node.args
    if slope[b] is ZERO:
        return ZERO if slope[a] is ZERO else slope[a] / b
    return (_mul(slope[a], b) - _mul(a, slope[b])) / b**2


def _power(node: Apply, slope: dict[Expr, Expr]) -> Expr:
    base, exponent = node.args
    total: Expr = ZERO
    if slope[base] is not ZERO:
        total = _mul(_mul(exponent, _reduced_power(base, exponent)), slope[base])
    if slope[exponent] is not ZERO:
        total = _add(total, _mul(node * log(base), slope[exponent]))
    return total


def _reduced_power(base: Expr, exponent: Expr) -> Expr:
    if not isinstance(exponent, Number):
        return base ** (exponent - 1)
    reduced = exponent.value - 1
    return ONE if reduced == 0 else base if reduced == 1 else base ** Number(reduced)


# Operations whose derivative is not a sum of partials: a choice keeps only the branch that was taken, so
# that an infinite slope on the other side is never multiplied by zero.
_RULES = {"where": _where, "max": _max, "min": _min, "div": _quotient, "pow": _power, "mode": _mode}
