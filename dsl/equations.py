"""What the stages of the compiler made, as equations to be typeset.

In: an activation, expressions, a function of a program. Out: `Equations`: a left side and a right side each,
the result first and what it is written with below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    slopes = dict(zip(activation.variables, _lefts(activation)[1:], strict=False))
    for clause in definition.clause("gradient"):
        by = activation.input if clause.name is None else clause.name.text
        rows.append((slopes[by], as_written(clause.terms[0])))
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
    if activation.random:
        lefts |= {f"training_{label}": _in_training(left) for label, left in lefts.items()}
    return tuple(_steps(lefts[function.name], function) for function in functions)


def _in_training(left: Expr) -> Expr:
    return Apply("index", left, Apply("text:training"))


def _steps(left: Expr, function: Function) -> Equations:
    rows = [(left, function.result)]
    rows += [(Symbol(each.name), Apply(f"text:{each.meaning}")) for each in function.constants]
    rows += [(Symbol(step.name), step.value) for step in function.steps]
    return Equations(tuple(rows))


def _function(activation: Activation) -> Expr:
    return Apply(activation.name, *map(Symbol, activation.inputs))


def _lefts(activation: Activation) -> list[Expr]:
    """The left sides of the values and the derivatives, in the order of `Activation.labels`."""
    if not activation.others:
        return _lefts_of(activation, activation.name)
    numbers = range(1, len(activation.outputs) + 1)
    return [left for number in numbers for left in _lefts_of(activation, f"{activation.name}[{number}]")]


def _lefts_of(activation: Activation, name: str) -> list[Expr]:
    """Those of one output."""
    value = Apply(name, *map(Symbol, activation.inputs))
    if len(activation.variables) == 1:
        return [value, *(Apply(name + "′" * order, *value.args) for order in (1, 2))]
    variables = [*map(Symbol, activation.variables)]
    first = [Apply("partial", Symbol(name), each, ONE) for each in variables]
    # What is differentiated by last stands first: it matters where a definition gives derivatives itself.
    pairs = activation.pairs if activation.symmetric else [(b, a) for a, b in activation.pairs]
    second = [Apply("partial", Symbol(name), variables[a], variables[b], TWO) for a, b in pairs]
    return [value, *first, *second]
