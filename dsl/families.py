"""Curves of what one curve does not show: functions of several inputs, of several outputs, of rows.

In: an activation, a stretch of its first input. Out: `Family`: exact values, a curve for each of some second
inputs, for each output, or for each element of a short row, one element of which moves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce

import numpy as np

from dsl.activation import Activation, as_numbers
from dsl.evaluate import Reference
from dsl.expr import Apply, Expr, Number, Symbol, call, postorder
from dsl.settings import defaults
from dsl.ulp import Array

GATES = (-2, -1, 0, 1, 2)
"""What the second input is where an activation has several, and the others are 1."""
BESIDE = (-1, 0, 1, 2)
"""What stands in a row beside the element that moves: enough for one to stand out by two deviations."""
POINTS = 801


@dataclass(frozen=True)
class Curve:
    """Exact values along the first input, NaN where there is none or it is infinite."""

    label: str
    x: Array
    y: Array


@dataclass(frozen=True)
class Family:
    """Curves that belong together; `note` says along what they are drawn."""

    note: str
    curves: tuple[Curve, ...]


def has_family(activation: Activation) -> bool:
    """Whether a family is what there is to draw of an activation, and no single curve."""
    return activation.joint or activation.dim is not None


def family(activation: Activation, low: float, high: float, points: int = POINTS) -> Family:
    """The curves of an activation whose parameters all have defaults, for low <= x <= high.

    Learnable ones are at their initial values.

    >>> from dsl.resolve import activations
    >>> (softmax,) = activations("softmax(x) = exp(x) / rowsum(exp(x))")
    >>> found = family(softmax, -1, 1, 3)
    >>> found.note, [curve.label for curve in found.curves]
    ('along one element x of the row (x, -1, 0, 1, 2)', ['x', '-1', '0', '1', '2'])
    >>> round(float(sum(curve.y[1] for curve in found.curves)), 12)
    1.0
    """
    activation, x = as_numbers(activation), np.linspace(low, high, points)
    note, members = (_elements if activation.dim is not None else _gates_or_outputs)(activation)
    first, *others = activation.inputs
    fixed = {**(defaults(activation) or {}), **dict.fromkeys(others, Fraction(1))}
    return Family(
        note,
        tuple(Curve(label, x, _along(root, first, {**fixed, **more}, x)) for label, root, more in members),
    )


_Member = tuple[str, Expr, Mapping[str, Fraction]]


def _gates_or_outputs(activation: Activation) -> tuple[str, list[_Member]]:
    first, *others = activation.inputs
    if not others:
        outputs = enumerate(activation.outputs, 1)
        return f"along {first}, of all outputs", [(f"output {n}", root, {}) for n, root in outputs]
    second, *rest = others
    note = f"along {first}, for some values of {second}"
    note += f", {' and '.join(rest)} at 1" if rest else ""
    note += "; the first output" if activation.others else ""
    return note, [(f"{second} = {gate}", activation.body, {second: Fraction(gate)}) for gate in GATES]


def _elements(activation: Activation) -> tuple[str, list[_Member]]:
    first, *others = activation.inputs
    row = [Symbol(first), *map(Number, BESIDE)]
    shown = ", ".join((first, *map(str, BESIDE)))
    note = f"along one element {first} of the row ({shown})"
    note += f", {' and '.join(others)} at 1" if others else ""
    roots = on_row(activation.body, first, row)
    names = (first, *map(str, BESIDE))
    return note, [(name, root, {}) for name, root in zip(names, roots, strict=True)]


def _along(root: Expr, name: str, values: Mapping[str, Fraction], x: Array) -> Array:
    found = Reference(root, name, values)(x).rounded
    return np.where(np.isfinite(found), found, np.nan)


# A row of so few elements is written out, and then is an expression like any other.


def _sum(terms: Sequence[Expr]) -> Expr:
    return reduce(lambda a, b: a + b, terms)


def _mean(terms: Sequence[Expr]) -> Expr:
    return _sum(terms) / len(terms)


def _variance(terms: Sequence[Expr]) -> Expr:
    middle = _mean(terms)
    return _mean([(each - middle) ** 2 for each in terms])


_REDUCED = {
    "rowsum": _sum,
    "rowmean": _mean,
    "rowmax": lambda terms: reduce(lambda a, b: call("max", a, b), terms),
    "rowmin": lambda terms: reduce(lambda a, b: call("min", a, b), terms),
    "rowvar": _variance,
}


def on_row(root: Expr, name: str, row: Sequence[Expr]) -> list[Expr]:
    """An expression with reductions at each element of a row, written out; `name` is the input that has it.

    >>> from dsl.show import show_expr
    >>> x = Symbol("x")
    >>> [show_expr(each) for each in on_row(x / call("rowsum", x), "x", [x, Symbol("y")])]
    ['x / (x + y)', 'y / (x + y)']
    """
    places: dict[Expr, list[Expr]] = {}
    for node in postorder(root):
        if not isinstance(node, Apply):
            places[node] = list(row) if node == Symbol(name) else [node] * len(row)
        elif node.op in _REDUCED:
            places[node] = [_REDUCED[node.op](places[node.args[0]])] * len(row)
        else:
            columns = [places[arg] for arg in node.args]
            places[node] = [Apply(node.op, *(column[at] for column in columns)) for at in range(len(row))]
    return places[root]
