"""How wrong a program is, measured in float64 against exact values.

In: an expression of the targets' vocabulary and the function it stands for. Out: at how many of a few points,
near zero and far out, it has lost all but a few digits, with float32's range; its error at a point.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from dsl.expr import Expr, symbols
from dsl.ieee import evaluate
from dsl.rewrite.probe import ball, folded, probe

POINTS = (1e-4, 1e-2, 0.5, 3.0, 20.0, 80.0, 200.0, 1e3, 1e6, 1e12, 1e18, 1e20, 1e30, 1e38)
"""Magnitudes, tried with both signs."""

TOLERATED = 1e-9

LEAST = 1e-290
"""What is smaller has lost digits in float64 however it is computed."""


def count_faults(root: Expr, exact: Expr, input: str, positive: frozenset[str] = frozenset()) -> int:
    """The number of points at which `root` is off, with generic parameters, of both signs if they may be."""
    names = [name for name in symbols(exact) if name != input]
    setting = {name: Fraction(7 + 2 * i, 9) for i, name in enumerate(names)}
    turned = {name: value if name in positive else -value for name, value in setting.items()}
    return sum(
        _is_off(root, exact, {**each, input: Fraction(at)})
        for each in ([setting] if turned == setting else [setting, turned])
        for magnitude in POINTS
        for at in (magnitude, -magnitude)
    )


def _is_off(root: Expr, exact: Expr, setting: dict[str, Fraction]) -> bool:
    value = probe(exact, setting)
    if value is None or not abs(float(value)) < 3e38:
        return False
    tiny = abs(float(value)) < 1e-36
    if tiny and len(setting) == 1:  # without parameters the input is held where there is nothing left
        return False
    got = evaluate(root, {name: float(each) for name, each in setting.items()}, narrow=True)
    allowed = 1e-36 if tiny else TOLERATED * abs(float(value))
    return math.isnan(got) or abs(got - float(value)) > allowed


def roundings(root: Expr, f: Callable[[Fraction], Any | None], input: str, point: Fraction) -> float:
    """The error, in units of float64's rounding, at the float64 number next to a point; `f` is exact.

    Zero where the function has no value or one too small for float64, infinite where the program gives no
    number.
    """
    at = float(point)
    want = f(Fraction(at))
    if want is None or abs(float(want)) < LEAST:
        return 0.0
    got = evaluate(folded(root), {input: at})
    if not math.isfinite(got):
        return math.inf
    return float(abs(ball(Fraction(got)) - want) / abs(want)) * 2.0**53
