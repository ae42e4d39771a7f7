"""An expression made ready to be evaluated on many points at once, in balls.

In: an `Expr`, the names of its inputs. Out: `Columns`, whose `values` maps a list of balls to a list of
balls. Nodes are evaluated one at a time over all points (a `map` per node), so Python's own cost per point
and node is a tenth of a microsecond; shared nodes are evaluated once. Both sides of a `where` are evaluated
and one is selected per point: a ball that is indeterminate on the other side does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from functools import cached_property
from itertools import repeat
from typing import Any

from flint import arb, ctx, fmpq

from dsl.evaluate.balls import BEYOND, FINAL, OUTSIDE, SATURATING, STRICT, Ball, saturated
from dsl.evaluate.cancel import cancelled
from dsl.expr import Apply, Expr, Number, Symbol, is_op, postorder, rebuild
from dsl.ops import define

Column = Any
"""A list with an entry per point, or one entry that holds for all points."""


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """Arb's working precision, for the time of a block."""
    before = ctx.prec
    ctx.prec = bits
    try:
        yield
    finally:
        ctx.prec = before


def number(value: Fraction | int) -> Ball:
    """A rational as a ball, at the working precision."""
    value = Fraction(value)
    return arb(fmpq(value.numerator, value.denominator))


def expand(root: Expr) -> Expr:
    """The expression in operations that balls have, the others replaced by their definitions."""
    while True:
        expanded = rebuild(root, lambda node: node if _has_balls(node) else define(node))
        if expanded is root:
            return root
        root = expanded


def _has_balls(node: Expr) -> bool:
    return not isinstance(node, Apply) or node.op in STRICT


class Columns:
    """An expression over one input, and parameters with exact values.

    Raises KeyError where the expression holds a name that is neither.
    """

    def __init__(self, root: Expr, name: str, parameters: Mapping[str, Fraction]) -> None:
        self.root = expand(root)
        self.name = name
        self.parameters = dict(parameters)
        self._nodes = tuple(postorder(self.root))
        self._place = {node: place for place, node in enumerate(self._nodes)}
        self._last = self._last_uses()
        for node in self._nodes:
            if isinstance(node, Symbol) and node.name != name:
                self.parameters[node.name]  # an unknown name shows itself here and not at a point
            elif isinstance(node, Apply) and node.op not in STRICT:
                raise KeyError(node.op)

    @cached_property
    def reduced(self) -> Columns | None:
        """The same function with its rational parts reduced; None where that is too large."""
        root = cancelled(self.root)
        return None if root is None else Columns(root, self.name, self.parameters)

    def _last_uses(self) -> dict[int, list[int]]:
        """For each place, the operands that nothing after it uses."""
        last = {self._place[arg]: place for place, node in enumerate(self._nodes) for arg in node.args}
        gone: dict[int, list[int]] = {}
        for operand, place in last.items():
            gone.setdefault(place, []).append(operand)
        return gone

    def values(
        self, points: list[Ball], final: bool = False, frozen: Mapping[Expr, bool] | None = None
    ) -> list[Ball]:
        """The balls at the points, at the working precision; `frozen` conditions are as given."""
        table = FINAL if final else STRICT
        columns: list[Column] = [None] * len(self._nodes)
        beyond: set[int] = set()
        for place, node in enumerate(self._nodes):
            args = [columns[self._place[arg]] for arg in node.args]
            if frozen and node in frozen:
                columns[place] = frozen[node]
            else:
                columns[place] = self._leaf(node, points) if not args else _apply(table[_op(node)], args)
            if final and is_op(node, *SATURATING) and isinstance(columns[place], list):
                _saturate(columns[place], args[0], beyond)
            for operand in self._last.get(place, ()):
                columns[operand] = None
        return _spread(columns[-1], len(points))

    def conditions(self, point: Ball) -> dict[Expr, bool]:
        """The conditions of the expression that are decided at a point, each with its answer there."""
        values: list[Any] = []
        for node in self._nodes:
            args = [values[self._place[arg]] for arg in node.args]
            values.append(self._leaf(node, point) if not args else FINAL[_op(node)](*args))
        return {
            node: value for node, value in zip(self._nodes, values, strict=True) if isinstance(value, bool)
        }

    def outside(self, points: list[Ball], frozen: Mapping[Expr, bool] | None = None) -> list[bool]:
        """Whether each point is certainly outside the expression's real domain."""
        values: list[Column] = []
        flags: list[Column] = []
        for node in self._nodes:
            places = [self._place[arg] for arg in node.args]
            args, doubts = [values[at] for at in places], [flags[at] for at in places]
            if frozen and node in frozen:
                values.append(frozen[node])
                flags.append(False)
                continue
            values.append(self._leaf(node, points) if not args else _apply(FINAL[_op(node)], args))
            if not args:
                flags.append(False)
            elif _op(node) == "where":
                flags.append(_apply(_where_outside, [args[0], *doubts]))
            else:
                inside: Callable[..., bool] = OUTSIDE.get(_op(node), _nowhere)
                flags.append(_apply(_or, [_apply(inside, args), *doubts]))
        return _spread(flags[-1], len(points))

    def _leaf(self, node: Expr, points: Column) -> Column:
        if isinstance(node, Number):
            return number(node.value)
        if isinstance(node, Symbol):
            return points if node.name == self.name else number(self.parameters[node.name])
        return STRICT[_op(node)]()


def _op(node: Expr) -> str:
    assert isinstance(node, Apply)
    return node.op


def _apply(function: Callable[..., Any], args: list[Column]) -> Column:
    if not any(isinstance(arg, list) for arg in args):
        return function(*args)
    return list(map(function, *(arg if isinstance(arg, list) else repeat(arg) for arg in args)))


def _saturate(values: list[Ball], of: list[Ball], beyond: set[int]) -> None:
    """Replace, in place, the exponentials that are too great; `beyond` are the points where one already was.

    Of two at one point nothing is known, for what they stand for may differ.
    """
    for place, value in enumerate(values):
        instead = None if value.is_finite() and value > 0 else saturated(value, of[place])
        if instead is not None:
            values[place] = arb.nan() if instead is BEYOND and place in beyond else instead
            beyond.add(place)


def _spread(column: Column, count: int) -> list[Any]:
    return column if isinstance(column, list) else [column] * count


def _nowhere(*args: Ball) -> bool:
    return False


def _or(*flags: bool) -> bool:
    return any(flags)


def _where_outside(chosen: bool | None, condition: bool, then: bool, otherwise: bool) -> bool:
    return condition or (then and otherwise if chosen is None else then if chosen else otherwise)
