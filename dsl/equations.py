"""What the stages of the compiler made, as equations to be typeset.

In: an activation, expressions, a function of a program. Out: `Equations`: a left side and a right side each,
the result first and what it is written with below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from dsl.activation import Activation
from dsl.expr import ONE, TWO, Apply, Expr, Symbol
from dsl.parse import parse
from dsl.program import Function
from dsl.show import share
from dsl.typeset import as_written


@dataclass(frozen=True)
class Equations:
    """Left and right sides, for `dsl.typeset`."""

    rows: tuple[tuple[Expr, Expr], ...]


def written(activation: Activation) -> Equations:
    """The definition as its author wrote it: calls as calls, the author's names.

    >>> from dsl.resolve import activations
    >>> from dsl.show import show_expr
    >>> (gated,) = activations("gated(x) = x * u  with u = sigmoid(x)")
    >>> [show_expr(right) for _, right in written(gated).rows]
    ['x * u', 'sigmoid(x)']
    """
    (definition,) = parse(f"{activation.name}({', '.join(activation.inputs)}) = {activation.formula}")
    rows = [(_function(activation), as_written(definition.body))]
    for clause in definition.clause("with"):
        assert clause.name is not None
        terms = [as_written(term) for term in clause.terms]
        value = terms[0] if len(terms) == 1 else Apply("where", Apply("text:training"), *terms)
        rows.append((Symbol(clause.name.text), value))
    return Equations(tuple(rows))


def stage(activation: Activation, roots: Sequence[Expr]) -> tuple[Equations, ...]:
    """The value and its derivatives after a stage; what occurs twice has a name."""
    taken = (*activation.variables, *(parameter.name for parameter in activation.parameters))
    found = []
    for left, root in zip(_lefts(activation), roots, strict=False):
        steps, results = share({"result": root}, activation.names, taken)
        rows = [(left, results["result"]), *((Symbol(step.name), step.value) for step in steps)]
        found.append(Equations(tuple(rows)))
    return tuple(found)


def program(activation: Activation, functions: Sequence[Function]) -> tuple[Equations, ...]:
    """The functions of a program: constants and steps in the order of evaluation."""
    lefts = dict(zip(activation.labels, _lefts(activation), strict=True))
    return tuple(_steps(lefts[function.name], function) for function in functions)


def _steps(left: Expr, function: Function) -> Equations:
    rows = [(left, function.result)]
    rows += [(Symbol(each.name), Apply(f"text:{each.meaning}")) for each in function.constants]
    rows += [(Symbol(step.name), step.value) for step in function.steps]
    return Equations(tuple(rows))


def _function(activation: Activation) -> Expr:
    return Apply(activation.name, *map(Symbol, activation.inputs))


def _lefts(activation: Activation) -> list[Expr]:
    """The left sides of the value and the derivatives, in the order of `Activation.labels`."""
    value = _function(activation)
    if len(activation.variables) == 1:
        return [value, *(Apply(activation.name + "′" * order, *value.args) for order in (1, 2))]
    name, inputs = Symbol(activation.name), [*map(Symbol, activation.variables)]
    first = [Apply("partial", name, each, ONE) for each in inputs]
    second = [Apply("partial", name, *pair, TWO) for pair in combinations_with_replacement(inputs, 2)]
    return [value, *first, *second]
