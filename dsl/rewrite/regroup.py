"""Functions with parameters in them, written so that their derivatives can be made stable.

In: an expression of an input and parameters, before derivatives are taken. Out: the same function. The
derivative of tanh(x) * exp(a * x) / (1 + exp(a * x)) by the rule for quotients mixes what grows with x and
what grows with a * x, and nothing takes them apart again. That of tanh(x) * (exp(a * x) / (1 + exp(a * x)))
does not.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial

from dsl.expr import ONE, Apply, Expr, Number, Symbol, call, is_op, postorder, rebuild, substitute, symbols
from dsl.rewrite.probe import probe
from dsl.rewrite.quantities import free_name, named, quantities
from dsl.rewrite.separate import separate

_ALGEBRA = frozenset("add sub mul div neg pow abs sign max min where inf".split())
_ROOTS = ("sqrt", "cbrt")


def regroup(exact: Expr, input: str) -> Expr:
    """The same function; in products of functions of the input and such of a quantity, each with its like.

    >>> from dsl.show import show_expr
    >>> x, w = Symbol("x"), Symbol("a") * Symbol("x")
    >>> show_expr(regroup(call("tanh", x) * call("exp", w) / (1 + call("exp", w)), "x"))
    'tanh(x) * (exp(a * x) / (1 + exp(a * x)))'
    """
    x = Symbol(input)
    exact = rebuild(rebuild(exact, partial(_as_exponential, input=input)), _without_largest)
    for quantity in quantities(exact, x):
        name = free_name(exact)
        shown = named(exact, quantity, Symbol(name))
        if shown is not None and quantity.parameter.name not in symbols(shown) and _is_mixed(shown):
            apart = separate(shown, (input, name), lambda part, _: part)
            exact = substitute(apart, {Symbol(name): quantity.value})
    return exact


def _as_exponential(node: Expr, input: str) -> Expr:
    """A power as an exponential, if it is of a number, or of what is positive to that of a parameter or root.

    Of sigmoid(x) a logarithm is stable.
    """
    if not is_op(node, "pow"):
        return node
    base, power = node.args
    if input not in symbols(base) and input in symbols(power) and not _is_negative(base):
        return call("exp", power * call("log", base))
    if input in symbols(power) or (isinstance(power, Number) and power.value.denominator in (1, 2)):
        return node
    generic = {each: Fraction(7 + 2 * i, 9) for i, each in enumerate(symbols(base)) if each != input}
    values = [probe(base, {**generic, input: at}) for at in _EVERYWHERE]
    if input not in symbols(base) or not all(value is not None and value > 0 for value in values):
        return node
    if isinstance(power, Number) and all(
        is_op(node, *_ALGEBRA, *_ROOTS) for node in postorder(base) if node.args
    ):
        return node  # which is no better known as an exponential
    return call("exp", power * call("log", base))


def _is_negative(base: Expr) -> bool:
    return isinstance(base, Number) and base.value <= 0


_EVERYWHERE = tuple(Fraction(sign * at) for at in (0, 1, 10, 100, 10**4) for sign in (1, -1))


def _without_largest(node: Expr) -> Expr:
    """log(exp(u) + exp(v)) as u + log(1 + exp(v - u)), where parameters say which is the larger."""
    if not is_op(node, "log") or not is_op(node.args[0], "add"):
        return node
    terms = _terms(node.args[0])
    exponents = [term.args[0] for term in terms if is_op(term, "exp")]
    if len(exponents) < len(terms) or len(symbols(node)) == 1:
        return node
    first, *others = exponents
    rest: Expr = ONE
    for each in others:
        rest = rest + call("exp", each - first)
    return first + call("log", rest)


def _terms(root: Expr) -> list[Expr]:
    return [*_terms(root.args[0]), *_terms(root.args[1])] if is_op(root, "add") else [root]


def _is_mixed(root: Expr) -> bool:
    """Whether more than algebra is done both to one and to the other of two inputs."""
    functions = [
        node for node in postorder(root) if isinstance(node, Apply) and node.args and node.op not in _ALGEBRA
    ]
    return len({symbols(node) for node in functions if len(symbols(node)) == 1}) > 1
