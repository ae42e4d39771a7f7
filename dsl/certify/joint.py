"""What is measured of an activation of several inputs: each in turn, against a few values of the others.

In: an `Activation`. Out: `Sweep`s, and the exact expression of every kind of result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsl.activation import Activation
from dsl.certify.roots import NEIGHBOURHOOD
from dsl.certify.scan import Function, Truth
from dsl.evaluate import Reference
from dsl.evaluate.rows import RowReference
from dsl.evaluate.terms import Begins
from dsl.expr import Expr, Symbol, is_op, postorder, symbols

OTHERS = tuple(map(Fraction, ("1", "-3/4", "5/2")))
"""What the other inputs are meanwhile: numbers of all formats, of which one rounds nothing by itself.

They are small: a factor that is subnormal has lost digits, and a large one beside it shows that.
"""


@dataclass(frozen=True)
class Sweep:
    """The input that takes all values, and what the others are."""

    name: str
    others: Mapping[str, Fraction]

    @property
    def first(self) -> bool:
        """Whether the others have the first of the values, at which no factor of a gate is zero."""
        return set(self.others.values()) <= {OTHERS[0]}

    def point(self, inputs: tuple[str, ...], value: float) -> tuple[float, ...]:
        """All inputs, in their order, where this one has a value."""
        return tuple(value if name == self.name else float(self.others[name]) for name in inputs)


def sweeps(inputs: tuple[str, ...], root: Expr) -> Iterator[Sweep]:
    """Every input in turn that an expression depends on, at each of a few values of the others.

    Of a constant the first input is taken.

    >>> from dsl.expr import Symbol
    >>> for sweep in sweeps(("x", "u"), Symbol("u")):
    ...     print(sweep.name, *sweep.others.values())
    u 1
    u -3/4
    u 5/2
    """
    used = [name for name in inputs if name in symbols(root)]
    for name in used or inputs[:1]:
        others = [other for other in inputs if other != name]
        for value in OTHERS if others else OTHERS[:1]:
            yield Sweep(name, dict.fromkeys(others, value))


def is_beside_a_root(sweep: Sweep, root: Expr, parameters: Mapping[str, Fraction]) -> bool:
    """Whether one of the others' values happens to lie next to a root in that input.

    All that the sweep then shows is how near the root is; what a function is worth there, the sweep of that
    input shows.

    >>> from dsl.expr import Symbol
    >>> x, u = Symbol("x"), Symbol("u")
    >>> [is_beside_a_root(each, u * (x - Fraction(51, 50)), {}) for each in sweeps(("x", "u"), u * x)][3:]
    [True, False, False]
    """
    for name, value in sweep.others.items():
        rest = {other: own for other, own in sweep.others.items() if other != name}
        reference = Reference(root, name, {**parameters, **rest, sweep.name: Fraction(1)})
        near = float(value) * np.array([1 - NEIGHBOURHOOD, 1.0, 1 + NEIGHBOURHOOD])
        below, here, above = np.abs(reference(near).rounded)
        if 0 < 2 * here < max(below, above):
            return True
    return False


def finite(function: Function, known: Truth) -> Function:
    """A function that is right at the infinities, for measuring what it is elsewhere.

    Beside another input that makes a factor zero, the limit is zero; a product of floating-point numbers is
    NaN there, which is what PyTorch gives, and what the language says.
    """
    ends = np.array([-np.inf, np.inf])
    limits = known.reference(ends, known.fmt.name).rounded

    def excused(points: NDArray[Any]) -> NDArray[Any]:
        found = np.asarray(function(points))
        for end, limit in zip(ends, limits, strict=True):
            found = np.where(points == end, limit, found)
        return found

    return excused


def is_flat(known: Truth) -> bool:
    """Whether a sweep's exact values are all alike, since the others make a factor of its input zero."""
    one, other = known.reference(np.array([1.0, 2.0]), known.fmt.name).rounded
    return bool(one == other)


def in_terms(known: Truth, sweep: Sweep, root: Expr, parameters: Mapping[str, Fraction]) -> Truth:
    """The exact values, with the sizes of terms where sums mix inputs: some values of these cancel.

    x + f(y) is zero along a curve, beside which f(y) has the error that it has. What is rounded in the middle
    is an input, too.
    """
    begins = beside_inputs((sweep.name, *sweep.others))
    if not any(begins(node) for node in postorder(root)):
        return known
    reference = RowReference(root, {**parameters, **sweep.others})
    return replace(known, sizes=lambda points: reference.sizes({sweep.name: points}, begins))


def beside_inputs(names: Iterable[str]) -> Begins:
    """Names sums of which one operand depends on other inputs than the other, a cast being one."""
    inputs = {*map(Symbol, names)}

    def mixed(root: Expr) -> set[Expr]:
        found, stack = set(), [root]
        while stack:
            node = stack.pop()
            if node in inputs or is_op(node, "cast"):
                found.add(node)
            else:
                stack += node.args
        return found

    def begins(node: Expr) -> bool:
        if not is_op(node, "add", "sub"):
            return False
        one, other = map(mixed, node.args)
        return len(one | other) > 1 and one != other

    return begins


def kinds(activation: Activation) -> tuple[str, ...]:
    """What is measured: every output's value, and its derivative by every input."""
    return tuple(label for label in activation.labels if not label.startswith("curvature"))


def place(activation: Activation, kind: str) -> tuple[int, int | None]:
    """The output that a kind of result is of, and the input that it is the derivative by, if it is one."""
    each = 1 + len(activation.inputs)
    output, row = divmod(kinds(activation).index(kind), each)
    return output, row - 1 if row else None
