"""How large the terms are of which an expression is the sum, at given values of its nodes.

In: the balls of every node. Out: those of the sums of the magnitudes of terms. A number's size is its
magnitude; that of a sum is the sum of its operands' sizes, and products, quotients and sums over a row carry
sizes on. Of everything else the size is its magnitude again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flint import arb

from dsl.evaluate.balls import FINAL, Ball
from dsl.evaluate.columns import Column, number
from dsl.expr import Apply, Expr, Number, is_op, symbols

Begins = Callable[[Expr], bool]


def sizes(values: Mapping[Expr, Column], count: int, begins: Begins) -> dict[Expr, Column]:
    """The sizes of the nodes that `begins` names and of what these are carried on to."""
    found: dict[Expr, Column] = {}
    for node, value in values.items():
        carried = isinstance(node, Apply) and not found.keys().isdisjoint(node.args)
        if isinstance(node, Apply) and node.op in _CARRIED and (carried or begins(node)):
            own = [found.get(arg, size(values[arg])) for arg in node.args]
            if node.op == "div":
                own[1] = size(values[node.args[1]])
            found[node] = _CARRIED[node.op](own, count)
        elif begins(node):
            found[node] = size(value)
    return found


def beside_parameters(parameters: Mapping[str, Any]) -> Begins:
    """Names sums of which one operand depends on other parameters than the other: some values cancel there.

    An exponential less one is no such sum: it is another function, good for all parameters.
    """
    depends: dict[Expr, frozenset[str]] = {}

    def known(node: Expr) -> frozenset[str]:
        if node not in depends:
            depends[node] = frozenset(symbols(node)) & parameters.keys()
        return depends[node]

    def begins(node: Expr) -> bool:
        if not is_op(node, "add", "sub") or known(node.args[0]) == known(node.args[1]):
            return False
        return not any(isinstance(arg, Number) for arg in node.args) or not any(
            is_op(arg, "exp") for arg in node.args
        )

    return begins


def spread(column: Column, count: int) -> list[Any]:
    """A column with an entry for each element."""
    return column if isinstance(column, list) else [column] * count


def over(function: Callable[..., Any], args: list[Column]) -> Column:
    """A function of columns, element by element."""
    count = next((len(arg) for arg in args if isinstance(arg, list)), None)
    if count is None:
        return function(*args)
    return list(map(function, *(spread(arg, count) for arg in args)))


def size(column: Column) -> Column:
    """Magnitudes; a condition is as it is."""
    return over(lambda each: each if each is None or isinstance(each, bool) else abs(each), [column])


def total(column: list[Ball]) -> Ball:
    """A sum of balls."""
    return sum(column, arb(0))


_CARRIED: Mapping[str, Callable[[list[Column], int], Column]] = {
    "add": lambda sizes, _: over(lambda a, b: a + b, sizes),
    "sub": lambda sizes, _: over(lambda a, b: a + b, sizes),
    "mul": lambda sizes, _: over(lambda a, b: a * b, sizes),
    "div": lambda sizes, _: over(lambda a, b: a / b, sizes),
    "neg": lambda sizes, _: sizes[0],
    "abs": lambda sizes, _: sizes[0],
    "where": lambda sizes, _: over(FINAL["where"], sizes),
    "rowsum": lambda sizes, count: total(spread(sizes[0], count)),
    "rowmean": lambda sizes, count: total(spread(sizes[0], count)) / number(count),
}
"""What each operation makes of its operands' sizes."""
