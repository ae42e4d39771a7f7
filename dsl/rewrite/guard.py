"""The ends of the number line: NaN in, NaN out, and limits at the infinities.

In: a stabilised expression and its input's name. Out: the same expression, arranged so that a NaN input gives a
NaN and an infinite one the function's limit, where that exists. Arithmetic does that by itself; a choice does not, because a comparison with NaN is false and picks a
side. Where turning the comparison round picks the side that carries the NaN, that is done for nothing;
otherwise the result is chosen last.
"""

from __future__ import annotations

import math
from fractions import Fraction

from dsl.expr import Apply, Expr, Number, Symbol, call, is_op, postorder, rebuild, substitute, symbols
from dsl.ieee import evaluate
from dsl.ops import where
from dsl.rewrite.probe import probe

FAR = 2**60
"""Where an algebraic function has come within float64's rounding of its limit."""


def propagate_nan(root: Expr, input: str) -> Expr:
    """The expression, NaN at a NaN input.

    >>> from dsl.expr import Symbol
    >>> x = Symbol("x")
    >>> propagate_nan(where(call("gt", x, 0), x, 0), "x") is where(call("le", x, 0), 0, x)
    True
    """
    x = Symbol(input)
    root = rebuild(root, lambda node: _turned(node, x))
    if _carries(root, x):
        return root
    return where(call("ne", x, x), x, root)


def settle_infinities(root: Expr, exact: Expr, input: str) -> Expr:
    """The stabilised expression `root`, with the limits of the function `exact` at the infinities.

    Where infinity minus infinity or infinity over infinity would be computed although the function has a
    limit, the input is held at a point where the limit is reached to within rounding; if there is no such
    point, the limit itself is chosen.
    """
    x = Symbol(input)
    for side in (1, -1):
        limits = [_limit(exact, x, side, setting) for setting in _settings(exact, x)]
        values = [_value(root, x, side * math.inf, setting) for setting in _settings(exact, x)]
        if all(limit is None or _same(value, limit) for value, limit in zip(values, limits, strict=True)):
            continue
        if any(limit is None for limit in limits):
            continue
        root = _held(root, exact, x, side, limits) or root
    return root


def _held(root: Expr, exact: Expr, x: Symbol, side: int, limits: list[float | None]) -> Expr | None:
    for far in (2**10, 2**30, FAR):
        held = substitute(root, {x: call("min" if side > 0 else "max", x, side * far)})
        settings = _settings(exact, x)
        reached = [probe(exact, {**s, x.name: Fraction(side * far)}) for s in settings]
        if all(
            value is not None and limit is not None and math.isfinite(limit) and _reaches(float(value), limit)
            for value, limit in zip(reached, limits, strict=True)
        ) and all(
            _same(_value(held, x, side * math.inf, s), limit) for s, limit in zip(settings, limits, strict=True)
        ):
            return held
    if len(set(limits)) == 1 and limits[0] is not None:
        limit = limits[0]
        end: Expr = Apply("inf") if math.isinf(limit) else Number(Fraction(limit))
        if limit < 0 and math.isinf(limit):
            end = -end
        infinity: Expr = Apply("inf") if side > 0 else -Apply("inf")
        return where(call("eq", x, infinity), end, root)
    return None


def _reaches(value: float, limit: float) -> bool:
    return abs(value - limit) <= 2.0**-54 * abs(limit) if limit else abs(value) < 5e-324


def _settings(exact: Expr, x: Symbol) -> list[dict[str, Fraction]]:
    """Values for the parameters: generic ones, so that nothing holds by accident."""
    names = [name for name in symbols(exact) if name != x.name]
    return [
        {name: Fraction(7 + 2 * i + k, 9 + k) for i, name in enumerate(names)} for k in range(2 if names else 1)
    ]


def _limit(exact: Expr, x: Symbol, side: int, setting: dict[str, Fraction]) -> float | None:
    """The limit at an infinity, as far as exact values at growing points show it; None where they do not."""
    points = [probe(exact, {**setting, x.name: Fraction(side * 2**k)}) for k in (60, 61, 120, 121)]
    if any(point is None for point in points):
        return None
    near, next_near, far, next_far = (float(point) for point in points)
    if abs(far - near) <= 1e-15 * abs(far) or max(abs(far), abs(next_far)) < 1e-30:
        return 0.0 if abs(far) < 1e-30 else far
    if abs(far) > 1e5 and abs(next_far) > 1.5 * abs(far) and abs(far) > 1e5 * abs(near):
        return math.copysign(math.inf, far) if (far > 0) == (next_far > 0) else None
    return None


def _value(root: Expr, x: Symbol, at: float, setting: dict[str, Fraction]) -> float:
    return float(evaluate(root, {**{name: float(v) for name, v in setting.items()}, x.name: at}))


def _same(value: float, limit: float | None) -> bool:
    if limit is None:
        return True
    if math.isinf(limit) or math.isinf(value):
        return value == limit
    return abs(value - limit) <= 1e-6 * max(1.0, abs(limit))


def _turned(node: Expr, x: Symbol) -> Expr:
    if not is_op(node, "where"):
        return node
    condition, then, otherwise = node.args
    opposite = _OPPOSITES.get(condition.op) if isinstance(condition, Apply) else None
    if opposite is None or x not in condition.args or _carries(otherwise, x) or not _carries(then, x):
        return node
    return where(Apply(opposite, *condition.args), otherwise, then)


def _carries(root: Expr, x: Symbol) -> bool:
    """Whether the value is NaN whenever the input is, by the rules of IEEE arithmetic."""
    known: dict[Expr, bool] = {}
    for node in postorder(root):
        if node is x:
            known[node] = True
        elif is_op(node, "where"):
            condition, then, otherwise = node.args
            known[node] = known[otherwise] if _false_at_nan(condition, known) else known[then] and known[otherwise]
        elif is_op(node, "copysign"):
            known[node] = known[node.args[0]]
        elif is_op(node, "pow"):
            known[node] = known[node.args[0]]
        else:
            known[node] = any(known[arg] for arg in node.args)
    return known[root]


def _false_at_nan(condition: Expr, known: dict[Expr, bool]) -> bool:
    return is_op(condition, "lt", "le", "gt", "ge", "eq") and any(known[arg] for arg in condition.args)


_OPPOSITES = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt", "eq": "ne"}
