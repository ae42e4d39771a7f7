"""Functions of inputs whose parameters may have any value: what depends on parameters alone is set apart.

In: an expression of inputs and parameters, and what makes one stable in an input. Out: the same function.
Of several inputs, what depends on one alone is treated as a function of that one is (`separate`). Terms and
factors without the input are taken out, and functions of parameters alone, such as softplus(alpha), are made
stable in these and stand as parameters of their own in what is left. What is left of weight * tanh(x) + bias
depends on no parameter, and can have all that such a function gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce

from dsl.expr import (
    ONE,
    ZERO,
    Apply,
    Expr,
    Symbol,
    call,
    is_op,
    postorder,
    rebuild,
    size,
    substitute,
    symbols,
)
from dsl.ops import where
from dsl.rewrite.separate import ALGEBRA, Treatment, is_algebra, is_whole_power, separate
from dsl.rewrite.simplify import simplify

_MOST = 4
"""So many names, and a quotient of polynomials with coefficients of their own is better left as it is."""

_FACTORS = 16
"""Products of more factors are left in their order: a square of squares has no end of them."""

_GROWTH = 2
"""So much larger a normal form of algebra may be than what it stands for."""


def stable_in_all(
    root: Expr,
    inputs: Sequence[str],
    positive: frozenset[str],
    treat: Callable[[Expr, str, frozenset[str]], Expr],
    own: Treatment,
) -> Expr:
    """`root`, each part of one of its inputs as `stable_in` makes it; `treat` also takes that input's name.

    >>> x, y, w = map(Symbol, "xyw")
    >>> function = w * call("tanh", x) * y
    >>> stable_in_all(function, "xy", frozenset(), lambda part, *_: part, lambda part, _: part) is function
    True
    """

    def stable(part: Expr, input: str) -> Expr:
        return stable_in(part, input, positive, lambda rest, known: treat(rest, input, known), own)

    root = _gathered(root, inputs) if len(inputs) > 1 else root
    return simplify(separate(root, inputs, stable, lambda part: _of_parameters(part, own)))


def _gathered(root: Expr, inputs: Sequence[str]) -> Expr:
    """The expression, in each product the parameters before the inputs, and these in their order.

    A derivative by beta has y * x where the value has beta * x * y; so both have x * y, as one quantity.
    """
    within: dict[Expr, frozenset[int]] = {Symbol(name): frozenset([i]) for i, name in enumerate(inputs)}
    parts: dict[Expr, tuple[Expr, tuple[Expr, ...]]] = {}
    one: Expr = ONE

    def step(node: Expr) -> Expr:
        within.setdefault(node, frozenset().union(*(within[arg] for arg in node.args)))
        parts[node] = (ONE, (node,)) if within[node] else (node, ())
        if not is_op(node, "mul"):
            return node
        (p, xs), (q, ys) = (parts[arg] for arg in node.args)
        factors = tuple(sorted((*xs, *ys), key=lambda each: sorted(within[each])))
        if len(factors) > _FACTORS:
            return node
        factor = _times(p, q)
        made = _times(factor, reduce(_times, factors, one))
        within[made], parts[made] = within[node], (factor, factors)
        return made

    return rebuild(root, step)


def stable_in(
    root: Expr,
    input: str,
    positive: frozenset[str],
    treat: Callable[[Expr, frozenset[str]], Expr],
    own: Treatment,
) -> Expr:
    """`root`, stable in its input for all values of its parameters, of which some are known to be positive.

    `treat` makes an expression of the input and parameters so, given the positive ones; `own` one of a single
    parameter.

    >>> x, w = Symbol("x"), Symbol("w")
    >>> stable_in(w * call("tanh", x), "x", frozenset(), lambda part, _: part, lambda part, _: part)
    ... # doctest: +ELLIPSIS
    Apply(mul, 2 args)
    """
    x = Symbol(input)
    terms, rest = _terms(root, x)
    factor, function = _factored(terms, x)
    result = _times(
        _of_parameters(factor, own), _treated(function, lambda part: _of_input(part, x, positive, treat, own))
    )
    return simplify(result if rest is ZERO else result + _of_parameters(rest, own))


def _of_parameters(root: Expr, own: Treatment) -> Expr:
    """An expression without the input, stable in each parameter."""
    return simplify(separate(root, symbols(root), own)) if symbols(root) else root


def _of_input(
    root: Expr,
    x: Symbol,
    positive: frozenset[str],
    treat: Callable[[Expr, frozenset[str]], Expr],
    own: Treatment,
) -> Expr:
    """An expression of the input and parameters, functions of these alone as parameters of their own."""
    if x not in set(postorder(root)):
        return _of_parameters(root, own)
    hidden = _hidden(root, x)
    shown = simplify(substitute(root, {node: symbol for symbol, node in hidden.items()}))
    known = positive | {symbol.name for symbol, node in hidden.items() if is_op(node, "exp", "sqrt")}
    given: dict[Expr, Expr] = {symbol: _of_parameters(node, own) for symbol, node in hidden.items()}
    return substitute(shown if _is_plain(shown) else _smaller(shown, treat(shown, known)), given)


def _treated(function: Expr, treat: Callable[[Expr], Expr]) -> Expr:
    """The function as `treat` makes it; its other side alone, if it is 0 on one and has no parameters."""
    if is_op(function, "where") and ZERO in function.args[1:] and len(symbols(function)) == 1:
        condition, *sides = function.args
        return where(condition, *(side if side is ZERO else treat(side) for side in sides))
    return treat(function)


def _is_plain(root: Expr) -> bool:
    """Whether a function is arithmetic with so many parameters that a normal form does not help."""
    return len(symbols(root)) > _MOST and is_algebra(root)


def _smaller(function: Expr, treated: Expr) -> Expr:
    """The treated expression; the function itself where it is algebra that the treatment made much larger."""
    return function if is_algebra(function) and size(treated) > _GROWTH * size(function) else treated


def _hidden(root: Expr, x: Expr) -> dict[Symbol, Expr]:
    """What stands for one parameter, by the symbols that replace it.

    That is functions of parameters that are more than arithmetic, and sums of parameters that occur in no
    other way.
    """
    free = _free(root, x)
    found = dict.fromkeys(each for node in free for each in _functions(node))
    names, taken = _names(), set(symbols(root))
    hidden = {Symbol(next(name for name in names if name not in taken)): node for node in found}
    shown = substitute(root, {node: symbol for symbol, node in hidden.items()})
    for node in dict.fromkeys(each for part in _free(shown, x) for each in _sums(part)):
        symbol = Symbol(next(name for name in names if name not in taken))
        replaced = substitute(shown, {node: symbol})
        if not set(symbols(node)) & set(symbols(replaced)):
            known: dict[Expr, Expr] = dict(hidden.items())
            shown, hidden[symbol] = replaced, substitute(node, known)
    return hidden


def _free(root: Expr, x: Expr) -> list[Expr]:
    """The largest parts of an expression that do not depend on the input."""
    inside = _depends(root, x)
    return list(
        dict.fromkeys(arg for node in postorder(root) if inside[node] for arg in node.args if not inside[arg])
    )


def _sums(root: Expr) -> Iterator[Expr]:
    """The sums of several parameters in an expression of parameters, the largest first."""
    stack = [root]
    while stack:
        node = stack.pop()
        if is_op(node, "add", "sub") and len(symbols(node)) > 1:
            yield node
        stack.extend(reversed(node.args))


def _functions(root: Expr) -> Iterator[Expr]:
    """The largest parts of an expression that apply more than arithmetic to a parameter."""
    stack = [root]
    while stack:
        node = stack.pop()
        if not node.args:
            continue
        if is_op(node, *ALGEBRA) or is_whole_power(node):
            stack.extend(reversed(node.args))
        elif symbols(node):
            yield node


def _names() -> Iterator[str]:
    count = 0
    while True:
        count += 1
        yield f"given{count}"


def _depends(root: Expr, x: Expr) -> dict[Expr, bool]:
    found: dict[Expr, bool] = {}
    for node in postorder(root):
        found[node] = node is x or any(found[arg] for arg in node.args)
    return found


def _terms(root: Expr, x: Expr) -> tuple[Expr, Expr]:
    """A sum as terms with the input and such of parameters alone, if these are not in the others.

    In alpha * exp(x) - alpha the terms belong together.
    """
    terms, rest = _split(root, x)
    apart = terms is not ZERO and symbols(rest) and not set(symbols(rest)) & set(symbols(terms))
    return (terms, rest) if apart else (root, ZERO)


def _split(root: Expr, x: Expr) -> tuple[Expr, Expr]:
    inside = _depends(root, x)
    done: dict[Expr, tuple[Expr, Expr]] = {}
    for node in postorder(root):
        if not inside[node]:
            done[node] = (ZERO, node) if symbols(node) else (node, ZERO)
        elif is_op(node, "add", "sub"):
            (a, b), (c, d) = (done[arg] for arg in node.args)
            done[node] = _joined(node, a, c), _joined(node, b, d)
        else:
            done[node] = node, ZERO
    return done[root]


def _joined(node: Expr, a: Expr, b: Expr) -> Expr:
    assert isinstance(node, Apply)
    if b is ZERO:
        return a
    if a is ZERO:
        return b if node.op == "add" else -b
    return Apply(node.op, a, b)


def _factored(root: Expr, x: Expr) -> tuple[Expr, Expr]:
    """A product as a factor without the input and what is left; a choice of a multiple or 0 is a product."""
    inside = _depends(root, x)
    done: dict[Expr, tuple[Expr, Expr]] = {}
    for node in postorder(root):
        if not inside[node]:
            done[node] = node, ONE
        elif is_op(node, "mul", "div"):
            (a, b), (c, d) = (done[arg] for arg in node.args)
            done[node] = (_times(a, c), _times(b, d)) if is_op(node, "mul") else (_over(a, c), _over(b, d))
        elif is_op(node, "neg"):
            factor, function = done[node.args[0]]
            done[node] = factor, -function
        elif is_op(node, "where") and ZERO in node.args[1:]:
            condition, then, otherwise = node.args
            factor, function = done[otherwise if then is ZERO else then]
            chosen = (ZERO, function) if then is ZERO else (function, ZERO)
            done[node] = factor, where(condition, *chosen)
        else:
            done[node] = ONE, node
    factor, function = done[root]
    return (factor, function) if symbols(factor) else (ONE, root)


def _times(a: Expr, b: Expr) -> Expr:
    return b if a is ONE else a if b is ONE else a * b


def _over(a: Expr, b: Expr) -> Expr:
    return a if b is ONE else call("div", a, b)
