"""The exact reference for functions of rows: an expression with reductions, at the elements of one row.

In: an `Expr` whose reductions are of `dsl.ops`, a row of each tensor, the parameters' exact values. Out:
`Values`, an entry per element, and the sizes of the terms of which a gradient is the sum.

Evaluation is in balls, of the whole row at once, with more precision until every element rounds to one
number. What still overlaps zero at the last precision counts as zero, and equal elements have exactly their
value for a mean. An element of which that gives nothing (an infinity less another) is not decided.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray

from dsl.evaluate import GUARD_BITS, LAST_PRECISIONS, PRECISIONS, Values
from dsl.evaluate.balls import FINAL, STRICT, Ball
from dsl.evaluate.columns import Column, expand, number, precision
from dsl.evaluate.rounding import nearest, nearest_of_many
from dsl.evaluate.terms import Begins, over, size, sizes, spread, total
from dsl.expr import Apply, Expr, Number, Symbol, is_op, postorder
from dsl.ops import REDUCTIONS
from dsl.program import GRAD, LENGTH
from dsl.ulp import FORMATS, Array, Format

CANCELLED = 4
"""How many times a sum its greatest term is where the sum cancels: two bits are lost, and more."""
SIZE_BITS = 64
"""The precision of sizes: they are units, of which the first digits are enough."""


def _is_gradient(node: Expr) -> bool:
    return node is Symbol(GRAD)


class RowReference:
    """An expression's exact values at the elements of a row.

    `parameters` gives every name that is no tensor an exact value.

    >>> from dsl.expr import call
    >>> x = Symbol("x")
    >>> softmax = RowReference(call("exp", x) / call("rowsum", call("exp", x)), {})
    >>> softmax({"x": np.array([0.0, 0.0, -np.inf])}, "float32").rounded.tolist()
    [0.5, 0.5, 0.0]
    """

    def __init__(self, root: Expr, parameters: Mapping[str, Fraction]) -> None:
        self._nodes = tuple(postorder(expand(root)))
        self._parameters = dict(parameters)

    def __call__(self, row: Mapping[str, Array], dtype: str = "float64") -> Values:
        """The values at the elements, rounded to the format of a dtype's name."""
        fmt = FORMATS[dtype]
        count = len(next(iter(row.values())))
        found = Values(
            np.full(count, np.nan),
            np.zeros(count),
            np.zeros(count, dtype=np.bool_),
            np.zeros(count, dtype=np.bool_),
        )
        ladder = [(bits, False) for bits in (fmt.precision + GUARD_BITS, *PRECISIONS)]
        for bits, final in (*ladder, (LAST_PRECISIONS[0], True)):
            with precision(bits):
                balls = spread(self._columns(row, count, FINAL if final else STRICT)[-1], count)
                _round(found, balls, fmt, final)
            open_ = [place for place in np.flatnonzero(~found.decided) if not balls[place].is_nan()]
            if not open_:
                break
        return found

    def sizes(self, row: Mapping[str, Array], begins: Begins = _is_gradient) -> Array:
        """For each element the sum of the magnitudes of what the incoming gradient's elements give to it.

        It is the unit in which the errors of a gradient are told: the terms of a sum are rounded, and where
        they cancel, a result in its own ulps says more about the row than about the kernel. For other
        `begins` see `dsl.evaluate.terms`.
        """
        count = len(next(iter(row.values())))
        with precision(SIZE_BITS):
            values = dict(zip(self._nodes, self._columns(row, count, FINAL), strict=True))
            carried = sizes(values, count, begins)
            last = self._nodes[-1]
            found = spread(carried.get(last, size(values[last])), count)
            return np.array([float(ball) for ball in found])

    def cancels(self, row: Mapping[str, Array]) -> NDArray[np.bool_]:
        """At which elements a sum is less than a quarter of its terms, if it has no gradient in it.

        There a formula has a root on its way to the result, at a number of the row that is no input: the
        distance from it has the error of that number's rounding, and a number that is itself a sum over the
        row is as large as its terms. The logarithm of what is near one is such a place, too.
        """
        count = len(next(iter(row.values())))
        found = np.zeros(count, dtype=np.bool_)
        linear: set[Expr] = set()
        with precision(SIZE_BITS):
            values = dict(zip(self._nodes, self._columns(row, count, FINAL), strict=True))
            carried = sizes(values, count, lambda node: is_op(node, "rowsum", "rowmean"))
            for node in self._nodes:
                if node is Symbol(GRAD) or any(arg in linear for arg in node.args):
                    linear.add(node)
                elif isinstance(node, Apply) and node.op in _TERMS:
                    terms = [carried.get(each, size(values[each])) for each in _TERMS[node.op](node)]
                    parts = [spread(each, count) for each in (values[node], *(terms or [arb(1)]))]
                    found |= np.array([_is_small(*each) for each in zip(*parts, strict=True)])
        return found

    def _columns(
        self, row: Mapping[str, Array], count: int, table: Mapping[str, Callable[..., Any]]
    ) -> list[Column]:
        """The balls of every node: a list of one for each element, or one that holds for all."""
        known: dict[Expr, Column] = {}
        for node in self._nodes:
            if isinstance(node, Number):
                known[node] = number(node.value)
            elif isinstance(node, Symbol):
                known[node] = self._symbol(node.name, row, count)
            else:
                assert isinstance(node, Apply)
                args = [known[arg] for arg in node.args]
                if node.op in REDUCTIONS:
                    known[node] = _REDUCED[node.op](spread(args[0], count))
                else:
                    known[node] = over(table[node.op], args)
        return list(known.values())

    def _symbol(self, name: str, row: Mapping[str, Array], count: int) -> Column:
        if name in row:
            return [arb(value) for value in row[name].tolist()]
        return arb(count) if name == LENGTH else number(self._parameters[name])


def _round(found: Values, balls: list[Ball], fmt: Format, final: bool) -> None:
    """Fill in what balls decide."""
    rounded, rest, sure = nearest_of_many(balls, fmt)
    fresh = sure & ~found.decided
    found.rounded[fresh], found.rest[fresh], found.decided[fresh] = rounded[fresh], rest[fresh], True
    for place in np.flatnonzero(~found.decided).tolist():
        ball = balls[place]
        one: tuple[float, float] | None = None
        if ball.is_zero() or (final and ball.is_finite() and ball.contains(0)):
            one = 0.0, 0.0
        elif ball.is_finite():
            one = nearest(ball, fmt, final)
        elif ball.is_exact() and not ball.is_nan():
            one = float(ball), 0.0
        if one is not None:
            found.rounded[place], found.rest[place], found.decided[place] = *one, True


def _is_small(result: Ball, *terms: Ball) -> bool:
    return any(abs(result) * CANCELLED < term for term in terms)


def _alike(column: list[Ball]) -> bool:
    first = column[0]
    return bool(first.is_exact() and all(each.is_exact() and each == first for each in column))


def _mean(column: list[Ball]) -> Ball:
    return column[0] if _alike(column) else sum(column, arb(0)) / len(column)


def _variance(column: list[Ball]) -> Ball:
    if _alike(column):
        return arb(0)
    mean = _mean(column)
    return sum(((each - mean) ** 2 for each in column), arb(0)) / len(column)


_TERMS: Mapping[str, Callable[[Expr], tuple[Expr, ...]]] = {
    "add": lambda node: node.args,
    "sub": lambda node: node.args,
    "log": lambda node: (),
}
"""Operations that have roots where no operand has one, and their terms; of one that has none it is one."""

_REDUCED: Mapping[str, Callable[[list[Ball]], Ball]] = {
    "rowsum": total,
    "rowmean": _mean,
    "rowvar": _variance,
    "rowmax": lambda column: reduce(FINAL["max"], column),
    "rowmin": lambda column: reduce(FINAL["min"], column),
}
"""What each reduction makes of a row's balls."""
