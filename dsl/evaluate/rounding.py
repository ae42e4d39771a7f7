"""From a ball to a number of a format: the nearest one, and how far the exact value is from it.

In: balls. Out: the nearest value and the rest in its ulps, or the answer that the ball is still too wide.
"""

from __future__ import annotations

import math

import numpy as np
from flint import arb
from numpy.typing import NDArray

from dsl.evaluate.balls import Ball
from dsl.ulp import Array, Format

REST_ACCURACY = 2.0**-16
"""How well, in ulps, the distance from the rounded value to the exact one is known."""
Mask = NDArray[np.bool_]
_TINY = 5e-324
_EXPONENT_LIMIT = 2.0**-960
_HALF: Ball = arb(0.5)


def nearest(ball: Ball, fmt: Format, force: bool = False, sharp: bool = False) -> tuple[float, float] | None:
    """The ball's one rounding and its rest, or None where its values round differently.

    With `force`, a ball that straddles the middle between two neighbours by less than 2**-200 ulp is taken
    for the middle. With `sharp`, None too where the sign of the rest is open.
    """
    candidate = float(fmt.round(np.array([float(ball)]))[0])
    for _ in range(3):
        if math.isinf(candidate):
            return _beyond(ball, candidate, fmt, force)
        exponent = int(fmt.ulp_exponent(np.array([candidate]))[0])
        rest = (ball - arb(candidate)) * arb((1, -exponent))
        above = _upper(candidate, fmt)
        below = _upper(-candidate, fmt)
        if rest > above:
            candidate = _step(candidate, 1, fmt)
        elif rest < -below:
            candidate = _step(candidate, -1, fmt)
        else:
            inside = rest < above and rest > -below
            close = force and float(rest.rad()) < 2.0**-200
            if not inside and (rest.is_exact() or close):
                return _tie(candidate, 0.5 if rest > 0 else -0.5, fmt)
            open_sign = sharp and not close and rest.contains(0) and not rest.is_exact()
            return _finish(candidate, rest) if inside and not open_sign else None
    return None


def _tie(candidate: float, rest: float, fmt: Format) -> tuple[float, float]:
    """The even one of a value and its neighbour on the side of the rest, which is half an ulp away."""
    even = int(fmt.order(np.array([candidate]))[0]) % 2 == 0
    return (candidate, rest) if even else (_step(candidate, 1 if rest > 0 else -1, fmt), -rest)


def _upper(value: float, fmt: Format) -> Ball:
    """Half the distance to the neighbour above, in ulps of the value."""
    mantissa, _ = math.frexp(value)
    return arb(0.25) if mantissa == -0.5 and -value > fmt.smallest_normal else _HALF


def _step(value: float, direction: int, fmt: Format) -> float:
    return float(fmt.neighbours(np.array([value]), direction)[0])


def _finish(candidate: float, rest: Ball) -> tuple[float, float] | None:
    if float(rest.rad()) > REST_ACCURACY:
        return None
    sign = 1.0 if rest > 0 else -1.0 if rest < 0 else 0.0
    left = float(rest)
    if left == 0.0 or not sign:
        left = sign * _TINY
    return math.copysign(0.0, sign) if candidate == 0.0 else candidate, left


def _beyond(ball: Ball, candidate: float, fmt: Format, force: bool) -> tuple[float, float] | None:
    """The rounding of what is beyond the format's greatest value by half an ulp or more.

    The rest is then counted from the power of two that infinity stands for.
    """
    sign = 1.0 if candidate > 0 else -1.0
    ulp = fmt.emax - fmt.precision + 1
    rest = (ball - arb((int(sign), fmt.emax + 1))) * arb((1, -ulp))
    inward = rest * arb(sign)
    if inward >= -_HALF or (force and float(rest.rad()) < 2.0**-200 and not inward < -_HALF):
        return candidate, float(rest)
    if inward < -_HALF and inward > -1.5:
        rest = rest + arb(sign)
        left = float(rest)
        return (math.copysign(fmt.max, sign), left) if float(rest.rad()) <= REST_ACCURACY else None
    return None


def nearest_of_many(balls: list[Ball], fmt: Format) -> tuple[Array, Array, Mask]:
    """The roundings, the rests and a mask of what is decided, of balls that are normal in the format.

    Only a first try, with float64's arithmetic: what it leaves undecided goes to `nearest`. A rest whose sign
    is open is 0.
    """
    middles = np.array([float(ball) for ball in balls])
    rounded = fmt.round(middles)
    ulp = fmt.ulp(rounded)
    usual = np.isfinite(rounded) & (np.abs(rounded) > max(fmt.smallest_normal, _EXPONENT_LIMIT))
    rest = np.zeros_like(middles)
    radius = np.ones_like(middles)
    for place in np.flatnonzero(usual).tolist():
        difference = balls[place] - arb(float(rounded[place]))
        rest[place] = float(difference)
        radius[place] = float(difference.rad())
    rest[usual] /= ulp[usual]
    with np.errstate(over="ignore"):  # An infinite radius leaves the value undecided, as it should be.
        radius[usual] /= ulp[usual]
    rest[np.abs(rest) < radius] = 0.0
    mantissa, _ = np.frexp(rounded)
    toward_zero = (rest != 0) & (np.signbit(rest) != np.signbit(rounded))
    half = np.where(toward_zero & (np.abs(mantissa) == 0.5), 0.25, 0.5)
    decided = usual & (radius <= REST_ACCURACY) & (np.abs(rest) + 2 * radius < half - 2.0**-40)
    exact = usual & (radius == 0) & (rest == 0)
    return rounded, rest, decided | exact
