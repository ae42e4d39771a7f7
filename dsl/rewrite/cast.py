"""Roundings in the middle, at which an expression is cut: nothing is rewritten across a cast.

In: an expression with casts, and what makes expressions without any stable. Out: the expression with the
operand of every cast made stable by itself, and what is around casts made stable with a name in the place of
each, as if it were an input. What a cast gives is no function that could be expanded, cancelled or carried to
a limit.
"""

from __future__ import annotations

from collections.abc import Callable

from dsl.expr import Apply, Expr, Symbol, is_op, postorder, substitute

Stable = Callable[[Expr, tuple[str, ...]], Expr]
"""What makes an expression stable; the names of the casts in it come with it."""


def around_casts(root: Expr, stable: Stable) -> Expr:
    """`root`, each part between casts as `stable` makes it.

    >>> x = Symbol("x")
    >>> seen = []
    >>> around_casts(x * Apply("cast", 2 * x), lambda part, names: (seen.append(part), part)[1]) is x * Apply(
    ...     "cast", 2 * x
    ... )
    True
    >>> seen == [2 * x, x * Symbol("_cast1")]
    True
    """
    named: dict[Expr, Expr] = {}
    made: dict[Expr, Expr] = {}

    def part(node: Expr) -> Expr:
        cut = substitute(node, named)
        names = tuple(each.name for each in postorder(cut) if isinstance(each, Symbol) and each in made)
        return substitute(stable(cut, names), made)

    for node in postorder(root):
        if is_op(node, "cast"):
            operand = part(node.args[0])
            named[node] = Symbol(f"_cast{len(named) + 1}")
            made[named[node]] = Apply("cast", operand)
    return part(root)
