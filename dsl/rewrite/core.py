"""Lowering to core operations.

In: any expression. Out: the same function, with every operation that has a definition replaced by it.
"""

from __future__ import annotations

from dsl.expr import Apply, Expr, postorder
from dsl.ops import OPS, define


def lower(root: Expr) -> Expr:
    """The expression in core operations (`dsl.ops`, rows without a definition).

    >>> from dsl.expr import Symbol, call
    >>> lower(call("softsign", Symbol("x"))) is Symbol("x") / (1 + call("abs", Symbol("x")))
    True
    """
    done: dict[Expr, Expr] = {}
    # A definition may use operations that are themselves defined: repeat until none is left. Definitions
    # are not recursive, so the number of rounds is the depth of the table, not of the expression.
    while any(isinstance(node, Apply) and OPS[node.op].definition for node in postorder(root)):
        done.clear()
        for node in postorder(root):
            args = tuple(done[arg] for arg in node.args)
            done[node] = define(Apply(node.op, *args)) if isinstance(node, Apply) else node
        root = done[root]
    return root
