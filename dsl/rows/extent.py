"""What differs from element to element of a row, and what is one number for a whole row.

In: the names of the tensors that have an element for each place. Out: an answer for each expression.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dsl.expr import Expr, Symbol, is_op, substitute
from dsl.ops import REDUCTIONS
from dsl.program import LENGTH

LENGTH_OF_ROW = Symbol(LENGTH)
"""The number of elements of a row."""


def elementwise_part(root: Expr) -> Iterator[Expr]:
    """The nodes of an expression, operands first, down to its reductions, which are not entered.

    >>> from dsl.expr import call
    >>> x = Symbol("x")
    >>> len(list(elementwise_part(x / call("rowsum", call("exp", x)))))
    3
    """
    seen: set[Expr] = set()
    stack: list[tuple[Expr, bool]] = [(root, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            if not is_op(node, *REDUCTIONS):
                stack.extend((arg, False) for arg in reversed(node.args) if arg not in seen)


class Extent:
    """Which expressions vary within a row, given the names of the tensors that do."""

    def __init__(self, elements: Iterable[str]) -> None:
        self._elements = {Symbol(name) for name in elements}
        self._known: dict[Expr, bool] = {}

    def varies(self, root: Expr) -> bool:
        """Whether an expression differs from element to element of a row.

        >>> from dsl.expr import call
        >>> x, extent = Symbol("x"), Extent(["x"])
        >>> extent.varies(x * 2), extent.varies(call("rowsum", x) * 2)
        (True, False)
        """
        if root not in self._known:
            for node in elementwise_part(root):
                own = node in self._elements
                below = not is_op(node, *REDUCTIONS) and any(self._known[arg] for arg in node.args)
                self._known[node] = own or below
        return self._known[root]

    def of_row(self, root: Expr) -> bool:
        """Whether an expression is a number of the row that the row's elements make, and no parameter."""
        return not self.varies(root) and any(is_op(node, *REDUCTIONS) for node in elementwise_part(root))

    def flat(self, root: Expr) -> tuple[Expr, dict[Expr, Expr]]:
        """An expression with a symbol for every number of the row in it, and what these stand for.

        Such a number is a reduction, or, in an expression that varies within the row, what reductions make.

        >>> from dsl.expr import call
        >>> x, extent = Symbol("x"), Extent(["x"])
        >>> extent.flat(x - call("rowsum", x) / LENGTH_OF_ROW)[0] is x - Symbol("_row0")
        True
        """
        varies = self.varies(root)
        given: dict[Expr, Expr] = {}
        numbers: dict[Expr, Expr] = {}
        stack, seen = [root], {root}
        while stack:
            node = stack.pop()
            if is_op(node, *REDUCTIONS) or (varies and self.of_row(node)):
                symbol = Symbol(f"_row{len(given)}")
                given[node], numbers[symbol] = symbol, node
                continue
            fresh = [arg for arg in node.args if arg not in seen]
            seen.update(fresh)
            stack.extend(reversed(fresh))
        return (substitute(root, given) if given else root), numbers
