"""The gradient of a function of rows, in reverse mode.

In: an expression with reductions. Out: for each input what the incoming gradient makes of it, an expression
over the inputs and that gradient. Between reductions a function is elementwise, and derived as one: what
comes back to an element is the gradient times the derivative. What comes back to a number of the row is the
sum of that over the row; the gradient of a reduction goes to all elements alike, or to the greatest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dsl.derive import derivative
from dsl.expr import ONE, TWO, ZERO, Apply, Expr, Symbol, call, postorder, substitute
from dsl.ops import REDUCTIONS, where
from dsl.program import GRAD
from dsl.rewrite.core import lower
from dsl.rewrite.simplify import simplify
from dsl.rows.extent import LENGTH_OF_ROW, Extent


def gradients(root: Expr, inputs: Sequence[str]) -> tuple[Expr, ...]:
    """The incoming gradient times the derivatives of `root`, for each input.

    >>> from dsl.show import show_expr
    >>> show_expr(gradients(call("rowsum", Symbol("x") ** 2), ["x"])[0])
    'rowsum(_grad) * (2 * x)'
    """
    root = lower(root)
    extent = Extent([*inputs, GRAD])
    back: dict[Expr, Expr] = {}
    _through(root, Symbol(GRAD), inputs, extent, back)
    for node in reversed(list(postorder(root))):
        if node not in back or not isinstance(node, Apply):
            continue
        if node.op in REDUCTIONS:
            (operand,) = node.args
            _through(operand, _RULES[node.op](operand, node, back[node]), inputs, extent, back)
        else:
            _into(node, back[node], inputs, extent, back)
    return tuple(back.get(Symbol(name), ZERO) for name in inputs)


def _through(
    root: Expr, adjoint: Expr, inputs: Sequence[str], extent: Extent, back: dict[Expr, Expr]
) -> None:
    """Add to `back` what the elements of an expression, each with its gradient, give to its operands."""
    if extent.varies(root):
        _into(root, adjoint, inputs, extent, back)
    elif extent.of_row(root):
        whole = _over_row(adjoint, extent)
        back[root] = back[root] + whole if root in back else whole


def _into(root: Expr, adjoint: Expr, inputs: Sequence[str], extent: Extent, back: dict[Expr, Expr]) -> None:
    """Add to `back` what the gradient of an expression gives to its inputs and to the numbers of the row."""
    flat, numbers = extent.flat(root)
    own = set(postorder(flat))
    for leaf in (*map(_symbol, numbers), *(symbol for symbol in map(Symbol, inputs) if symbol in own)):
        slope = substitute(simplify(derivative(flat, leaf.name)), numbers)
        if slope is ZERO:
            continue
        part = adjoint if slope is ONE else adjoint * slope
        node = numbers.get(leaf, leaf)
        if leaf in numbers and extent.varies(root):
            part = _over_row(part, extent)
        back[node] = back[node] + part if node in back else part


def _symbol(node: Expr) -> Symbol:
    assert isinstance(node, Symbol)
    return node


def _over_row(part: Expr, extent: Extent) -> Expr:
    return call("rowsum", part) if extent.varies(part) else part * LENGTH_OF_ROW


Rule = Callable[[Expr, Expr, Expr], Expr]
"""What the gradient of a reduction gives to each element: of the operand, the reduction and its gradient."""


def _greatest(operand: Expr, node: Expr, adjoint: Expr) -> Expr:
    """Equal ones share, as torch.amax has it."""
    at = call("eq", operand, node)
    return where(at, adjoint / call("rowsum", where(at, 1, 0)), 0)


def _variance(operand: Expr, node: Expr, adjoint: Expr) -> Expr:
    return adjoint * (TWO * (operand - call("rowmean", operand))) / LENGTH_OF_ROW


_RULES: dict[str, Rule] = {
    "rowsum": lambda operand, node, adjoint: adjoint,
    "rowmean": lambda operand, node, adjoint: adjoint / LENGTH_OF_ROW,
    "rowmax": _greatest,
    "rowmin": _greatest,
    "rowvar": _variance,
}
