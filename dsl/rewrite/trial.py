"""How a program with parameters fares: these small, large and negative, the input near zero and far out.

In: an expression of the targets' vocabulary and the function it stands for. Out: at how many points it is
wrong. It is for choosing among ways to write a function, of which the one that is right most often is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Any

from dsl.expr import Expr, Symbol
from dsl.ieee import evaluate
from dsl.rewrite.guard import Freedom, all_signs, exactly, limit_at

MAGNITUDES = (1e-30, 1e-8, 1e-4, 1e-2, 0.3, 1.25, 5.0, 21.5, 87.0, 200.0, 3e4, 1e12, 1e30, 3e38)
"""Where a program is tried, on both sides of zero, beside the infinities."""

TOLERATED = 1e-9
"""An error relative to the value, of arithmetic in float64: half of the digits are not lost to rounding.

Beside a root, at 1e-6 of it, terms that cancel lose 1e-10.
"""

ROUNDED = Fraction(1, 2**48)
"""How much a few roundings may change an input or a parameter."""

SMALLEST = 1e-36
"""What is smaller is near the end of float32's range, and may be zero."""


def best(root: Expr, others: Callable[[], Iterable[Expr]], exact: Expr, input: str, freedom: Freedom) -> Expr:
    """The first that is right at every point that is tried, of `root` and others; else what is right at most.

    `others` are made one by one, as far as they are needed.
    """
    settings = all_signs(exact, Symbol(input), freedom)
    wrong = count_wrong(root, exact, input, settings)
    if not wrong:
        return root
    for other in others():
        count = count_wrong(other, exact, input, settings)
        if count < wrong:
            root, wrong = other, count
        if not wrong:
            break
    return root


def count_wrong(root: Expr, exact: Expr, input: str, settings: Iterable[Mapping[str, Fraction]]) -> int:
    """The number of points, over all settings of the parameters, at which `root` is wrong.

    >>> from dsl.expr import call
    >>> x = Symbol("x")
    >>> count_wrong(call("exp", x) - 1, call("expm1", x), "x", [{}]) > 0
    True
    """
    x = Symbol(input)
    return sum(
        _is_wrong(root, exact, x, setting, at)
        for i, setting in enumerate(settings)
        for at in (*_POINTS, *(_beside_roots(exact, input, tuple(setting.items())) if i < WITH_ROOTS else ()))
    )


_POINTS = tuple(sign * magnitude for magnitude in (*MAGNITUDES, math.inf) for sign in (1, -1))

WITH_ROOTS = 2
"""In so many settings, inputs beside the function's roots are tried as well."""


@lru_cache(maxsize=256)
def _beside_roots(exact: Expr, input: str, setting: tuple[tuple[str, Fraction], ...]) -> tuple[float, ...]:
    """Inputs at which the function is small for its size, since its terms cancel: 1e-6 beside each root."""
    found: list[float] = []
    for sign in (1, -1):
        places = [Fraction(sign * magnitude) for magnitude in MAGNITUDES if 1e-3 < magnitude < 1e3]
        values = [exactly(exact, {**dict(setting), input: place}) for place in places]
        for (low, at_low), (high, at_high) in pairwise(zip(places, values, strict=True)):
            if at_low is None or at_high is None or not (at_low * at_high < 0):
                continue
            root = _bisected(lambda place: exactly(exact, {**dict(setting), input: place}), low, high)
            found += [float(root * (1 + beside)) for beside in (Fraction(1, 10**6), -Fraction(1, 10**6))]
    return tuple(found)


def _bisected(f: Callable[[Fraction], Any], low: Fraction, high: Fraction) -> Fraction:
    below = f(low) < 0
    for _ in range(40):
        middle = (low + high) / 2
        value = f(middle)
        if value is None or value == 0:
            return middle
        low, high = (middle, high) if (value < 0) == below else (low, middle)
    return low


def _overflows(at: float, setting: Mapping[str, Fraction]) -> bool:
    """Whether the input times or by a parameter is beyond float32."""
    size = max((abs(value) for value in setting.values()), default=Fraction(1))
    least = min((abs(value) for value in setting.values() if value), default=Fraction(1))
    return math.isfinite(at) and abs(at) * float(max(size, 1 / least)) > 3e38


def _is_wrong(root: Expr, exact: Expr, x: Symbol, setting: Mapping[str, Fraction], at: float) -> bool:
    want = None if _overflows(at, setting) else _expected(exact, x, setting, at)
    if want is None:
        return False
    values = {name: float(value) for name, value in setting.items()}
    got = evaluate(root, {**values, x.name: at}, narrow=True)
    if math.isinf(want) or not math.isfinite(got):
        return bool(got != want)
    error = abs(got - want)
    if error <= max(SMALLEST, TOLERATED * abs(want)):
        return False
    return math.isinf(at) or abs(_beside(exact, x, setting, at) - want) <= TOLERATED * abs(want)


def _beside(exact: Expr, x: Symbol, setting: Mapping[str, Fraction], at: float) -> float:
    """The value at an input a little larger: far out, where a * x is rounded, sin(a * x) is any number."""
    value = exactly(exact, {**setting, x.name: Fraction(at) * (1 + ROUNDED)})
    return math.inf if value is None else float(value)


def _expected(exact: Expr, x: Symbol, setting: Mapping[str, Fraction], at: float) -> float | None:
    """The value, or the limit at an infinity, where there is one that float32 holds."""
    if math.isinf(at):
        return limit_at(exact, x, 1 if at > 0 else -1, dict(setting))
    value = exactly(exact, {**setting, x.name: Fraction(at)})
    return None if value is None or abs(float(value)) > 3.3e38 else float(value)
