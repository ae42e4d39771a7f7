"""Exponential tails, where what they are made of underflows before they do, or overflows.

In: a stabilised expression and the function it stands for. Out: the expression with a far interval replaced
by q(x) * exp(p*x), if it needs that.

x * tanh(exp(x)) falls like x * exp(x). At -90, exp(x) is subnormal in float32 and has lost its digits, and
with it tanh(exp(x)), but the product is a normal number. Where a function is q(x) * exp(p*x) to within
float64's rounding, with q a polynomial of degree two at most, that form is used, and the exponential
applied in halves. Both, the need and the form, are found by exact evaluation.

(exp(x) - 1) / x grows like exp(x) / x, which is a number where exp(x) is none. There the same is done, with q
over a power of x.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from flint import arb, ctx

from dsl.expr import Expr, Number, Symbol, call, is_op, postorder, substitute, symbols
from dsl.ieee import evaluate
from dsl.ops import where
from dsl.rewrite.probe import ball, probe

RATES = (Fraction(1, 2), Fraction(1), Fraction(2), Fraction(4))
"""Powers of two, so that p * x is exact."""

DIGITS = 4096
"""Bits of the exact evaluation: 1 - exp(-exp(-714)) cancels 1030 of them."""

FAR = 43
"""From p * abs(x) = 43 on: what is neglected is smaller by exp(-43); for p = 1/2, exp(-abs(x)) is normal
there in float32 still.
"""

FLOOR = (711, 712, 713, 714)
"""Where exp(-p * abs(x)) is subnormal in float64."""

BRIM = (709, 710, 712, 716, 722, 730)
"""Where exp(p * abs(x)) has just overflowed in float64."""

BEYOND = (2100, 2**70)
"""Where everything has that grows like it; the square of the last is none of float32's numbers."""

HIGHEST_POWER = 4

SUNK = 746
"""Where exp(-abs(x)) is zero in float64: a function that falls like a root of it is none yet."""


def settle_tails(root: Expr, exact: Expr, input: str) -> Expr:
    """The expression, with its exponential tails as such where it loses their digits."""
    if symbols(exact) != (input,):
        return root
    before, ctx.prec = ctx.prec, DIGITS
    try:
        for side in (1, -1):
            root = _settle(root, exact, Symbol(input), side)
            root = _settle_growth(root, exact, Symbol(input), side)
        return root
    finally:
        ctx.prec = before


def _settle(root: Expr, exact: Expr, x: Symbol, side: int) -> Expr:
    rate = next((rate for rate in RATES if _is_inaccurate(root, exact, x, side, rate)), None)
    table = None if rate is None else _polynomial(exact, x, side, rate)
    if rate is None or table is None:
        return root
    held = _hold(x, side, rate)
    half = call("exp", Number(-side * rate / 2) * held)
    slope = _horner(table, held)
    far = Fraction(side * FAR) / rate
    root = _share(root, x, half) if rate == 1 and side < 0 else root
    tail = half * half if slope is Number(1) else slope * half * half
    return where(call("gt" if side > 0 else "lt", x, Number(far)), tail, root)


def _settle_growth(root: Expr, exact: Expr, x: Symbol, side: int) -> Expr:
    """The expression with q(x) * exp(rate * abs(x)) / x**n far out, where it overflows before that does.

    Of other functions that grow as fast, those are mended that are no number where they should be infinite:
    the input is held where the function has passed all numbers.
    """
    for rate in RATES:
        if not _overflows(root, exact, x, side, rate):
            continue
        for power in range(HIGHEST_POWER + 1):
            table = _polynomial(exact, x, side, -rate, power)
            if table is not None:
                held = _hold(x, side, rate)
                half = call("exp", Number(side * rate / 2) * held)
                slope = _horner(table, held)
                tail = half if slope is Number(1) else slope * half
                for _ in range(power):
                    tail = tail / held
                far = Number(Fraction(side * FAR) / rate)
                return where(call("gt" if side > 0 else "lt", x, far), tail * half, root)
        held = substitute(root, {x: _hold(x, side, rate)})
        if not _overflows(held, exact, x, side, rate, BEYOND):
            return held
    return root


def _overflows(
    root: Expr, exact: Expr, x: Symbol, side: int, rate: Fraction, places: tuple[int, ...] = BRIM + BEYOND
) -> bool:
    """Whether the expression is no number, or not the right infinity, where exp(rate * abs(x)) is none."""
    for place in places:
        at = side * Fraction(place) / rate
        got = evaluate(root, {x.name: float(at)}, narrow=place in BEYOND)
        value = None if math.isfinite(got) else probe(exact, {x.name: at}, DIGITS)
        if value is not None and abs(value) > 2.0**1000 and got != float(value):
            return True
    return False


def _hold(x: Symbol, side: int, rate: Fraction) -> Expr:
    """The input, no farther out than where its exponential is 0, or infinity, in every type."""
    return call("min" if side > 0 else "max", x, Number(Fraction(side * 2048) / rate))


def _horner(table: list[Fraction], x: Expr) -> Expr:
    """A polynomial of coefficients, lowest first."""
    slope: Expr = Number(table[-1])
    for coefficient in reversed(table[:-1]):
        slope = x if slope is Number(1) else slope * x
        if coefficient:
            slope = slope + Number(coefficient) if coefficient > 0 else slope - Number(-coefficient)
    return slope


def _share(root: Expr, x: Symbol, half: Expr) -> Expr:
    """The expression with exp(x), or exp of x held far out, as the square of the tail's exponential."""
    held = {node for node in postorder(root) if is_op(node, "max") and node.args[0] is x} | {x}
    return substitute(root, {call("exp", node): half * half for node in held})


def _is_inaccurate(root: Expr, exact: Expr, x: Symbol, side: int, rate: Fraction) -> bool:
    """Whether the expression loses digits of a normal number where exp(-rate * abs(x)) is subnormal."""
    places = [floor / rate for floor in FLOOR]
    for place in (*places, Fraction(SUNK)) if rate < 1 else places:
        at = float(side * place)
        value = probe(exact, {x.name: Fraction(at)}, DIGITS)
        if value is None or not 2.0**-1022 < abs(float(value)) < 2.0**-500:
            continue
        if abs(evaluate(root, {x.name: at}) - float(value)) > 2.0**-49 * abs(float(value)):
            return True
    return False


def _polynomial(exact: Expr, x: Symbol, side: int, rate: Fraction, power: int = 0) -> list[Fraction] | None:
    """The coefficients of q, lowest first, if the function is q(x) * exp(-rate * |x|) / x**power far out."""

    def q(size: int) -> Any | None:
        value = probe(exact, {x.name: Fraction(side * size)}, DIGITS)
        return None if value is None else value * (ball(rate) * size).exp() * (side * size) ** power

    nodes = [int(FAR * scale / abs(rate)) for scale in (1, 2, 3)]
    values = [q(node) for node in nodes]
    if any(value is None for value in values):
        return None
    exact_table = _quadratic([side * node for node in nodes], values)
    if not all(math.isfinite(float(c)) for c in exact_table):
        return None
    table = [_simple(c) for c in exact_table]
    while len(table) > 1 and not table[-1]:
        table.pop()
    for node in (nodes[0] + 1, 2 * nodes[0] + 7, 5 * nodes[0]):
        value = q(node)
        fitted = sum((ball(c) * (side * node) ** k for k, c in enumerate(table)), arb(0))
        if value is None or not abs(fitted - value) <= abs(value) * 2.0**-52:
            return None
    return table


def _quadratic(nodes: list[int], values: list[Any]) -> list[Any]:
    """The polynomial of degree two through three points."""
    (a, b, c), (u, v, w) = nodes, values
    first, second = (v - u) / (b - a), (w - v) / (c - b)
    top = (second - first) / (c - a)
    return [u - first * a + top * a * b, first - top * (a + b), top]


def _simple(value: Any) -> Fraction:
    """A coefficient: the simple rational that it is to within what was neglected, or float64's nearest."""
    measured = Fraction(float(value))
    near = measured.limit_denominator(720)
    return near if abs(float(value - ball(near))) < 1e-15 else measured
