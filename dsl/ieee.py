"""Expressions and programs in Python's floats, with IEEE arithmetic's infinities and NaN.

In: an expression or a program of the targets' vocabulary, and values for its names. Out: a float. This is for
what happens at zero, at the infinities and at NaN, where no target differs; accuracy is measured on the
targets themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache
from operator import add, mul, neg, sub
from typing import Any

from flint import arb, ctx

from dsl.expr import Apply, Expr, Number, Symbol, straight_line
from dsl.program import Function

FLOAT32_MAX = 3.4028234663852886e38
FLOAT32_MIN = 1.401298464324817e-45
EXP_SHIFT = 698.0
"""Below minus this, float64's exponential is taken in two factors."""


def run(function: Function, values: Mapping[str, float]) -> float:
    """The value of a program in Python's floats, with IEEE arithmetic's infinities and NaN."""
    names: dict[str, Any] = dict(values)
    names |= {c.name: tuple(map(float, c.table)) if c.table else float(c.value) for c in function.constants}
    for step in function.steps:
        names[step.name] = evaluate(step.value, names)
    return float(evaluate(function.result, names))


def evaluate(root: Expr, names: Mapping[str, Any], narrow: bool = False) -> Any:
    """The value of an expression in the targets' vocabulary (or of a condition).

    With `narrow`, values beyond float32's range become infinite or zero, as they do there.
    """
    done: list[Any] = []
    value: Any
    for function, places, leaf in _steps(root):
        if function is not None:
            try:
                if len(places) == 2:  # most have two operands, and no need of a list of them
                    left, right = places
                    value = function(done[left], done[right])
                else:
                    value = function(*[done[place] for place in places])
            except OverflowError:
                value = math.inf
            except ValueError:
                value = math.nan
            if narrow and isinstance(value, float):
                value = _narrowed(value)
        else:
            value = names[leaf] if isinstance(leaf, str) else leaf
        done.append(value)
    return done[-1]


@lru_cache(maxsize=64)
def _steps(root: Expr) -> tuple[tuple[Callable[..., Any] | None, tuple[int, ...], float | str], ...]:
    """What evaluating an expression does: a function of earlier places, a number, or a name."""
    steps: list[tuple[Callable[..., Any] | None, tuple[int, ...], float | str]] = []
    for node, places in straight_line(root):
        match node:
            case Number():
                steps.append((None, (), _float(node)))
            case Symbol():
                steps.append((None, (), node.name))
            case Apply():
                steps.append((_FLOAT[node.op], places, 0.0))
    return tuple(steps)


def _narrowed(value: float) -> float:
    if abs(value) > FLOAT32_MAX:
        return math.copysign(math.inf, value)
    return value * 0.0 if abs(value) < FLOAT32_MIN else value


def _float(node: Number) -> float:
    try:
        return float(node.value)
    except OverflowError:
        return math.inf if node.value > 0 else -math.inf


def _divide(a: float, b: float) -> float:
    if b != 0 or math.isnan(a):
        return a / b if b != 0 else math.nan
    return math.nan if a == 0 else math.copysign(math.inf, a) * math.copysign(1.0, b)


def _log(x: float) -> float:
    return -math.inf if x == 0 else math.log(x)


def _log1p(x: float) -> float:
    return -math.inf if x == -1 else math.log1p(x)


def _erfcx(x: float) -> float:
    if not x < 1e8:
        return 0.5641895835477563 / x
    with ctx.workprec(160):
        return float((arb(x) ** 2).exp() * arb(x).erfc()) if x > -27 else math.inf


def _exp_error(t: float, high: float, low: float) -> float:
    if not abs(high) < EXP_SHIFT:
        return 0.0
    with ctx.workprec(160):
        return float((arb(high) + arb(low)).exp() - arb(t))


def _turned(a: float, b: float) -> float:
    if not math.isfinite(a):
        return math.nan
    with ctx.workprec(160 + max(0, math.frexp(a)[1])):
        return float((arb(a) + arb(b) + arb.pi() / 4).sin())


def _shifted(u: float) -> float:
    return u + EXP_SHIFT if u < -EXP_SHIFT else u


def _extremum(pick: Callable[[float, float], float]) -> Callable[[float, float], float]:
    return lambda a, b: math.nan if a != a or b != b else pick(a, b)


def _whole(rounding: Callable[[float], int]) -> Callable[[float], float]:
    return lambda x: float(rounding(x)) if math.isfinite(x) else x


def _product_error(a: float, b: float) -> float:
    return float(Fraction(a) * Fraction(b) - Fraction(a * b)) if math.isfinite(a * b) else 0.0


def _sum_error(a: float, b: float) -> float:
    return float(Fraction(a) + Fraction(b) - Fraction(a + b)) if math.isfinite(a + b) else 0.0


def _horner(z: float, coefficients: tuple[float, ...]) -> float:
    value = 0.0
    for c in reversed(coefficients):
        value = value * z + c
    return value


def _power(a: float, b: float) -> float:
    if a == 0 and b < 0:
        return math.inf
    return math.pow(a, b)


_FLOAT: Mapping[str, Callable[..., Any]] = {
    "add": add,
    "sub": sub,
    "mul": mul,
    "product": mul,
    "div": _divide,
    "ratio": _divide,
    "neg": neg,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "not": lambda a: not a,
    "where": lambda condition, a, b: a if condition else b,
    "inf": lambda: math.inf,
    "abs": abs,
    "sign": lambda x: x if x != x else float((x > 0) - (x < 0)),
    "max": _extremum(max),
    "min": _extremum(min),
    "floor": _whole(math.floor),
    "ceil": _whole(math.ceil),
    "round": _whole(round),
    "sqrt": math.sqrt,
    "cbrt": math.cbrt,
    "pow": _power,
    "pow_sum": lambda a, b, c: _power(a, b + c),
    "exp": math.exp,
    "exp_sum": lambda hi, lo: math.exp(hi) * math.exp(lo) if abs(hi) < 1024 else math.exp(hi),
    "exp_high": lambda u: math.exp(_shifted(u)),
    "exp_low": lambda u: math.exp(-EXP_SHIFT) if u < -EXP_SHIFT else 1.0,
    "exp_sum_high": lambda hi, lo: math.exp(_shifted(hi)) * math.exp(lo) if abs(hi) < 1024 else math.exp(hi),
    "exp_error": _exp_error,
    "turned": _turned,
    "expm1": math.expm1,
    "log": _log,
    "log1p": _log1p,
    "log1p_unit": _log1p,
    "sin": math.sin,
    "cos": math.cos,
    "asin": math.asin,
    "acos": math.acos,
    "atan": math.atan,
    "erf": math.erf,
    "erfcx": _erfcx,
    "mills": lambda u: _erfcx(u * 0.5**0.5),
    "product_error": _product_error,
    "sum_error": _sum_error,
    "copysign": math.copysign,
    "fit": lambda z, fast, single, double: _horner(z, double),
    "table": lambda *coefficients: coefficients,
    "leading": lambda x: x,
    "trailing": lambda x: 0.0,
    "pi": lambda: math.pi,
    "e": lambda: math.e,
    "precise": lambda condition: condition,
    "cast": lambda x: x,
    "true": lambda: True,
    "false": lambda: False,
}
