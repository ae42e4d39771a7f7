"""Exact simplification: arithmetic on numbers, identities, choices that are already made.

In: any expression. Out: the same real function, smaller or equal. Each rule looks at one node whose operands
are already simple, so the pass is linear.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from dsl.expr import ONE, ZERO, Apply, Expr, Number, expr, is_op, rebuild_all

_MAX_EXACT_POWER = 64


def simplify(root: Expr) -> Expr:
    """The expression with constants folded and trivial operations removed.

    >>> from dsl.expr import Symbol
    >>> simplify(0 + 1 * Symbol("x") ** 1) is Symbol("x")
    True
    """
    return simplify_all((root,))[0]


def simplify_all(roots: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """`simplify` for several roots that share."""
    return rebuild_all(roots, _step)


def simplify_top(node: Expr) -> Expr:
    """A node simplified; its operands stay as they are."""
    return _step(node)


def _step(node: Expr) -> Expr:
    if not isinstance(node, Apply):
        return node
    rule = _RULES.get(node.op)
    return node if rule is None else rule(*node.args) or node


def _add(a: Expr, b: Expr) -> Expr | None:
    if isinstance(a, Number) and isinstance(b, Number):
        return Number(a.value + b.value)
    if a is ZERO:
        return b
    if b is ZERO:
        return a
    if isinstance(b, Apply) and b.op == "neg":
        return _step(a - b.args[0])
    if isinstance(a, Apply) and a.op == "add" and isinstance(b, Number) and isinstance(a.args[0], Number):
        return _step(Number(a.args[0].value + b.value) + a.args[1])
    if isinstance(a, Apply) and a.op == "sub" and isinstance(b, Number) and isinstance(a.args[0], Number):
        return _step(Number(a.args[0].value + b.value) - a.args[1])
    return None


def _sub(a: Expr, b: Expr) -> Expr | None:
    if isinstance(a, Number) and isinstance(b, Number):
        return Number(a.value - b.value)
    if b is ZERO:
        return a
    if a is ZERO:
        return _step(-b)
    if a is b:
        return ZERO
    if isinstance(b, Apply) and b.op == "neg":
        return _step(a + b.args[0])
    return None


def _mul(a: Expr, b: Expr) -> Expr | None:
    if isinstance(a, Number) and isinstance(b, Number):
        return Number(a.value * b.value)
    if a is ZERO or b is ZERO:
        return ZERO
    if isinstance(a, Apply) and a.op == "neg":
        return _step(-_step(a.args[0] * b))
    if isinstance(b, Apply) and b.op == "neg":
        return _step(-_step(a * b.args[0]))
    for one, other in ((a, b), (b, a)):
        if one is ONE:
            return other
        if isinstance(one, Number) and one.value == -1:
            return _step(-other)
        if isinstance(one, Number) and is_op(other, "mul") and isinstance(other.args[0], Number):
            return _step(Number(one.value * other.args[0].value) * other.args[1])
        if isinstance(one, Number) and isinstance(other, Apply) and other.op == "neg":
            return _step(Number(-one.value) * other.args[0])
    return None


def _div(a: Expr, b: Expr) -> Expr | None:
    if isinstance(b, Number) and b.value:
        return _step(a * Number(1 / b.value)) if isinstance(a, Number) else a if b is ONE else None
    if is_op(a, "neg"):
        return _step(-(_step(a.args[0] / b)))
    return ZERO if a is ZERO and not isinstance(b, Number) else None


def _neg(a: Expr) -> Expr | None:
    if isinstance(a, Number):
        return Number(-a.value)
    if is_op(a, "neg"):
        return a.args[0]
    if is_op(a, "mul") and isinstance(a.args[0], Number):
        return _step(Number(-a.args[0].value) * a.args[1])
    return None


def _pow(a: Expr, b: Expr) -> Expr | None:
    if not isinstance(b, Number):
        return None
    if b is ONE:
        return a
    if b is ZERO:
        return ONE
    if isinstance(a, Number) and b.value.denominator == 1 and abs(b.value) <= _MAX_EXACT_POWER and a.value:
        return Number(Fraction(a.value) ** int(b.value))
    return None


def _where(condition: Expr, then: Expr, otherwise: Expr) -> Expr | None:
    if then is otherwise:
        return then
    if is_op(condition, "true"):
        return then
    if is_op(condition, "false"):
        return otherwise
    return None


def _compare(test: Callable[[Fraction, Fraction], bool]) -> Callable[[Expr, Expr], Expr | None]:
    def rule(a: Expr, b: Expr) -> Expr | None:
        if isinstance(a, Number) and isinstance(b, Number):
            return TRUE if test(a.value, b.value) else FALSE
        return None

    return rule


def _and(a: Expr, b: Expr) -> Expr | None:
    if FALSE in (a, b):
        return FALSE
    return b if a is TRUE else a if b is TRUE else None


def _or(a: Expr, b: Expr) -> Expr | None:
    if TRUE in (a, b):
        return TRUE
    return b if a is FALSE else a if b is FALSE else None


def _not(a: Expr) -> Expr | None:
    return FALSE if a is TRUE else TRUE if a is FALSE else None


def _fold(test: Callable[[Fraction, Fraction], bool]) -> Callable[[Expr, Expr], Expr | None]:
    def rule(a: Expr, b: Expr) -> Expr | None:
        if a is b:
            return a
        if isinstance(a, Number) and isinstance(b, Number):
            return a if test(a.value, b.value) else b
        return None

    return rule


def _abs(a: Expr) -> Expr | None:
    return expr(abs(a.value)) if isinstance(a, Number) else None


def _sign(a: Expr) -> Expr | None:
    return expr((a.value > 0) - (a.value < 0)) if isinstance(a, Number) else None


TRUE = Apply("true")
FALSE = Apply("false")

_RULES: dict[str, Callable[..., Expr | None]] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "neg": _neg,
    "pow": _pow,
    "where": _where,
    "lt": _compare(Fraction.__lt__),
    "le": _compare(Fraction.__le__),
    "gt": _compare(Fraction.__gt__),
    "ge": _compare(Fraction.__ge__),
    "eq": _compare(Fraction.__eq__),
    "ne": _compare(Fraction.__ne__),
    "and": _and,
    "or": _or,
    "not": _not,
    "max": _fold(Fraction.__gt__),
    "min": _fold(Fraction.__lt__),
    "abs": _abs,
    "sign": _sign,
}
