"""Roots that are no representable numbers: there relative error is unbounded, and an absolute bound stands.

In: a reference, and its values at sorted points. Out: the roots' places, as the doubles next to them.

A root shows itself as a sign change between neighbouring points, or as a dip of the absolute value; so a
pair of roots that lies between two points is missed, and its neighbourhood is then held to the relative
bound, which errs on the strict side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsl.evaluate import Reference
from dsl.ulp import FORMATS, Array, Format

NEIGHBOURHOOD = 2.0**-4
"""How far from a root, relative to it, the absolute bound may stand in for the relative one."""
MOST = 512
"""How many roots are looked for, the nearest to zero first."""
MANY = 8
"""So many roots on one side of zero go on for ever, closer together than a format's values in the end."""
_DOUBLE = FORMATS["float64"]
_CONTINUOUS = 2.0**-20
_TOUCHING = 2.0**-40


def roots(reference: Reference, fmt: Format, points: Array, exact: Array) -> Array:
    """The roots near which the relative error of a format's values is unbounded, sorted.

    `points` are sorted and `exact` the function's values there. A root that the format can represent is not
    among them, for near it the distance from the root is exact and relative accuracy can be had; nor is a
    jump from one sign to the other.
    """
    real = np.isfinite(points) & np.isfinite(exact)
    points, exact = points[real], exact[real]
    crossed = crossings(reference, points, exact)
    crossed = crossed[_is_small(reference, crossed, _CONTINUOUS)]
    touched = _dips(reference, points, exact)
    touched = touched[_is_small(reference, touched, _TOUCHING)]
    found = np.unique(np.concatenate([crossed, touched]))
    hit = (fmt.round(found) == found) & (reference(found).rounded == 0)
    result: Array = found[~hit]
    return result


def near(points: Array, places: Array) -> NDArray[np.bool_]:
    """Which points are in the neighbourhood of one of the sorted roots.

    Where one side has `MANY`, there is no end of them, and all that lies farther out counts as near.
    """
    close = np.zeros(points.shape, dtype=np.bool_)
    for place in places.tolist():
        close |= np.abs(points - place) <= NEIGHBOURHOOD * abs(place)
    for beyond, side in ((points, places[places > 0]), (-points, -places[places < 0])):
        if len(side) >= MANY:
            close |= beyond > np.sort(side)[MANY - 1]
    return close


def crossings(reference: Reference, points: Array, exact: Array) -> Array:
    """Where the function changes its sign between neighbouring points: a double beside each, by bisection.

    A bisection that meets an exact zero ends there.
    """
    sign = np.sign(exact)
    at = _nearest_to_zero(np.flatnonzero(sign[:-1] * sign[1:] < 0), points)
    low, high = _DOUBLE.order(points[at]), _DOUBLE.order(points[at + 1])
    below = sign[at]
    while np.any(high - low > 1):
        middle = low + (high - low) // 2
        found = np.sign(reference(_DOUBLE.from_order(middle)).rounded)
        low = np.where((found == below) | (found == 0), middle, low)
        high = np.where(found == below, high, middle)
    return _DOUBLE.from_order(low)


def _dips(reference: Reference, points: Array, exact: Array) -> Array:
    """Local minima of the absolute value that do not lie at a sign change, by ternary search."""
    size = np.abs(exact)
    dip = (size[1:-1] < size[:-2]) & (size[1:-1] < size[2:]) & (size[1:-1] > 0)
    alike = (np.sign(exact[:-2]) == np.sign(exact[1:-1])) & (np.sign(exact[2:]) == np.sign(exact[1:-1]))
    at = _nearest_to_zero(np.flatnonzero(dip & alike) + 1, points)
    low, high = points[at - 1], points[at + 1]
    for _ in range(60):
        third = (high - low) / 3
        left, right = low + third, high - third
        down = np.abs(reference(left).rounded) < np.abs(reference(right).rounded)
        low, high = np.where(down, low, left), np.where(down, right, high)
    return low


def _nearest_to_zero(places: NDArray[np.int64], points: Array) -> NDArray[np.int64]:
    chosen: NDArray[np.int64] = np.sort(places[np.argsort(np.abs(points[places]), kind="stable")[:MOST]])
    return chosen


def _is_small(reference: Reference, places: Array, fraction: float) -> NDArray[np.bool_]:
    """Whether the function is small at a place, compared with what it is at the neighbourhood's ends."""
    here = np.abs(reference(places).rounded)
    ends = [np.abs(reference(places * (1 + side * NEIGHBOURHOOD)).rounded) for side in (-1, 1)]
    small: NDArray[np.bool_] = here <= fraction * np.fmax(*ends)
    small &= places != 0
    return small
