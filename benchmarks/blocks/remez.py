"""Best polynomial approximation in exact arithmetic: a function and an interval in, rounded coefficients out.

The error that is made small is `weight(x) * (base(x) + factor(x) * P(variable(x)) - f(x))`; with the weight
1 / f it is the relative error. The exchange runs on balls of 300 bits, and the coefficients are rounded one
by one, the lowest first, with the others fitted again each time.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flint import arb, arb_mat, ctx

Real = Callable[[arb], arb]

ctx.prec = 300


def _one(x: arb) -> arb:
    return arb(1)


def _zero(x: arb) -> arb:
    return arb(0)


def _same(x: arb) -> arb:
    return x


@dataclass(frozen=True)
class Problem:
    """What to approximate: f on [low, high] by base + factor * P(variable), times the weight."""

    f: Real
    low: arb
    high: arb
    degree: int
    weight: Real = _one
    base: Real = _zero
    factor: Real = _one
    variable: Real = _same


@dataclass(frozen=True)
class Fit:
    """Coefficients, lowest degree first, and the worst weighted error that they leave."""

    coefficients: tuple[float, ...]
    error: float


def to_float32(value: float) -> float:
    """The float32 nearest to a double.

    >>> to_float32(0.1)
    0.10000000149011612
    """
    result: float = struct.unpack("f", struct.pack("f", value))[0]
    return result


def _chebyshev(problem: Problem, count: int) -> list[arb]:
    middle, half = (problem.low + problem.high) / 2, (problem.high - problem.low) / 2
    return [middle - half * (arb.pi() * (2 * i + 1) / (2 * count)).cos() for i in range(count)]


def _exchange(problem: Problem, fixed: Sequence[float], rounds: int, grid: int) -> tuple[list[arb], float]:
    """Remez: the free coefficients (those after `fixed`) with the least worst error."""
    free = range(len(fixed), problem.degree + 1)
    count = len(free) + 1
    points = _chebyshev(problem, grid)
    rows, targets = [], []
    for x in points:
        t, scale = problem.variable(x), problem.factor(x) * problem.weight(x)
        # The error is to alternate where P itself is compared with its target: a change of sign in the
        # factor (x in x * P(x) on both sides of 0) is not an alternation.
        sign = -1 if scale * t ** len(fixed) < 0 else 1
        scale *= sign
        known = sum((arb(c) * t**k for k, c in enumerate(fixed)), arb(0))
        rows.append([scale * t**k for k in free])
        targets.append((problem.f(x) - problem.base(x)) * problem.weight(x) * sign - scale * known)
    chosen = [round((1 - math.cos(math.pi * i / max(count - 1, 1))) / 2 * (grid - 1)) for i in range(count)]
    best: list[arb] = []
    least = math.inf
    for _ in range(rounds):
        solution: list[arb] = []
        if free:
            system = arb_mat([rows[i] + [arb((-1) ** k)] for k, i in enumerate(chosen)])
            answer = system.solve(arb_mat([[targets[i]] for i in chosen]))
            solution = [answer[k, 0].mid() for k in range(len(free))]
        errors = [
            float(targets[i] - sum((c * r for c, r in zip(solution, rows[i], strict=True)), arb(0)))
            for i in range(grid)
        ]
        worst = max(abs(e) for e in errors)
        if worst < least:
            best, least = solution, worst
        extrema = _alternating(errors)
        while len(extrema) > count:
            extrema = _drop(extrema, errors, len(extrema) - count)
        if len(extrema) < count or extrema == chosen:
            break
        chosen = extrema
    return best, least


def _alternating(errors: Sequence[float]) -> list[int]:
    """One extremum of each run of equal sign."""
    result: list[int] = []
    for i, e in enumerate(errors):
        if result and (errors[result[-1]] > 0) == (e > 0):
            if abs(e) > abs(errors[result[-1]]):
                result[-1] = i
        else:
            result.append(i)
    return result


def _drop(extrema: list[int], errors: Sequence[float], excess: int) -> list[int]:
    """Without the least extremum: an end goes alone, an inner one with its smaller neighbour."""
    last = len(extrema) - 1
    k = min((0, last) if excess == 1 else range(last + 1), key=lambda j: abs(errors[extrema[j]]))
    if k in (0, last):
        return extrema[:k] + extrema[k + 1 :]
    other = k - 1 if abs(errors[extrema[k - 1]]) < abs(errors[extrema[k + 1]]) else k + 1
    return [i for j, i in enumerate(extrema) if j not in (k, other)]


def fit(problem: Problem, rounding: Callable[[float], float] = to_float32, grid: int = 800) -> Fit:
    """The rounded polynomial with the least worst error that rounding in sequence finds.

    >>> third = fit(Problem(lambda x: x.exp(), arb(-1), arb(1), 3))
    >>> third.error < 0.0056
    True
    """
    fixed: list[float] = []
    while len(fixed) <= problem.degree:
        solution, _ = _exchange(problem, fixed, 30, grid)
        fixed.append(rounding(float(solution[0])))
    return Fit(tuple(fixed), _exchange(problem, fixed, 1, grid)[1])
