"""Expressions that say more than a value: how it is differentiated, and where chance enters.

In: a form, which is an expression with marks. Out: the expressions that it stands for, without some marks or
with none.

    stop_gradient(e)     e, whose derivative is 0
    slope(a, s)          0, whose derivative by a is s
    mode(t, e)           t in training, e in evaluation
    uniform(a, b, k)     draw number k of a definition: uniform from a to b, without b
    normal(k)            draw number k of a definition: normal with mean 0 and deviation 1

Marks are expressions like any other, so that a call of a definition that has them brings them along: inside
`2 * step(u)` the derivative that `step` gives for itself is multiplied by that of u. The derivative that a
definition gives is `stop_gradient(body) + slope(x, given)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dsl.expr import ONE, ZERO, Apply, Expr, Number, Symbol, call, is_op, postorder, rebuild, symbols
from dsl.ops import where

DRAWS = ("uniform", "normal")
"""The operations that draw."""

_NAMES = {"uniform": "u", "normal": "z"}
_DIFFERENTIATION = ("stop_gradient", "slope")
_CHANCE = ("mode", *DRAWS)


@dataclass(frozen=True)
class Draw:
    """A random number for each element: what a program calls it, its distribution, and its stream.

    The distribution is `uniform`, from 0 to 1 without 1, or `normal`, with mean 0 and deviation 1. Draws of
    different streams are independent.
    """

    name: str
    distribution: str
    stream: int


@dataclass(frozen=True)
class Trained:
    """A form in training: an expression in which every draw is a symbol, and the draws.

    `values` has for a symbol what it stands for in terms of the draw of the same name, where that is more
    than the draw. It is put in last, so that what is made of the expression takes the symbol for a number.
    """

    root: Expr
    draws: tuple[Draw, ...]
    values: Mapping[Expr, Expr]
    symbols: Mapping[Expr, Expr]

    def of(self, part: Expr) -> Expr:
        """A part of the form in training."""
        return rebuild(_training(part), lambda node: self.symbols.get(node, node))


def is_marked(root: Expr) -> bool:
    """Whether an expression has marks."""
    return any(is_op(node, *_DIFFERENTIATION, *_CHANCE) for node in postorder(root))


def is_random(root: Expr) -> bool:
    """Whether an expression is another one in training than in evaluation."""
    return any(is_op(node, "mode") for node in postorder(root))


def has_own_derivative(root: Expr) -> bool:
    """Whether the derivative is another one than that of the value."""
    return any(is_op(node, *_DIFFERENTIATION) for node in postorder(root))


def is_symmetric(root: Expr) -> bool:
    """Whether second derivatives do not depend on which comes first; given derivatives need not fit."""
    return not any(is_op(node, "slope") for node in postorder(root))


def given_slope(body: Expr, slopes: Iterable[tuple[str, Expr]]) -> Expr:
    """The form of an expression with these derivatives, by symbols, and no others.

    >>> x = Symbol("x")
    >>> plain(given_slope(x * x, [("x", ONE)])) is x * x
    True
    """
    form: Expr = Apply("stop_gradient", body)
    for name, slope in slopes:
        form = form + Apply("slope", Symbol(name), slope)
    return form


def slopes_given(form: Expr) -> tuple[Expr, dict[str, Expr]]:
    """What `given_slope` was called with; the form itself and nothing where it was not."""
    slopes: dict[str, Expr] = {}
    rest = form
    while is_op(rest, "add") and is_op(rest.args[1], "slope"):
        symbol, slope = rest.args[1].args
        if not isinstance(symbol, Symbol):
            break
        slopes[symbol.name] = slope
        rest = rest.args[0]
    if slopes and is_op(rest, "stop_gradient"):
        return rest.args[0], dict(reversed(slopes.items()))
    return form, {}


def plain(root: Expr) -> Expr:
    """An expression without the marks that say how it is differentiated; itself where it has none.

    >>> x = Symbol("x")
    >>> plain(x + ZERO) is x + ZERO
    True
    """
    return rebuild(root, _plain) if has_own_derivative(root) else root


def _plain(node: Expr) -> Expr:
    if is_op(node, "stop_gradient"):
        return node.args[0]
    if is_op(node, "slope"):
        return ZERO
    if is_op(node, "add") and node.args[1] is ZERO:
        return node.args[0]
    return node


def evaluated(form: Expr) -> Expr:
    """A form in evaluation; marks that say how it is differentiated stay."""
    return rebuild(form, lambda node: node.args[1] if is_op(node, "mode") else node)


def trained(form: Expr, taken: Iterable[str] = ()) -> Trained:
    """A form in training; marks that say how it is differentiated stay. No draw is called as in `taken`.

    >>> form = call("mode", Symbol("x") * call("uniform", 1, 3, 7), 0)
    >>> trained(form).draws
    (Draw(name='u', distribution='uniform', stream=0),)
    """
    form = _training(form)
    names = {*taken, *symbols(form)}
    found: dict[Expr, Expr] = {}
    draws: list[Draw] = []
    values: dict[Expr, Expr] = {}
    for node in postorder(form):
        if isinstance(node, Apply) and node.op in DRAWS:
            name = _free(_NAMES[node.op], names)
            draws.append(Draw(name, node.op, len(draws)))
            found[node] = Symbol(name)
            if node.op == "uniform" and node.args[:2] != (ZERO, ONE):
                values[Symbol(name)] = _spread(Symbol(name), *node.args[:2])
    return Trained(rebuild(form, lambda node: found.get(node, node)), tuple(draws), values, found)


def _training(root: Expr) -> Expr:
    return rebuild(root, lambda node: node.args[0] if is_op(node, "mode") else node)


def _free(wish: str, taken: set[str]) -> str:
    name, count = wish, 2
    while name in taken:
        name, count = f"{wish}{count}", count + 1
    taken.add(name)
    return name


def _spread(unit: Expr, low: Expr, high: Expr) -> Expr:
    """A draw from 0 to 1 as one from `low` to `high`; where rounding reaches `high`, `low` is taken.

    The product is rounded, so that a draw is the same where it would be fused with the sum and where not.
    """
    reach = high - low
    if isinstance(low, Number) and isinstance(high, Number):
        reach = Number(high.value - low.value)
    scaled = call("product", reach, unit)
    spread = scaled if low is ZERO else low + scaled
    return where(call("lt", spread, high), spread, low)
