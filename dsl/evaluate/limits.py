"""Limits by approach: the value at infinities, at removable singularities, at the edge of a domain.

In: `Columns` and a point. Out: a `Limit`. The function is evaluated, in balls as tight as it takes, ever
nearer to the point (at distances 2**-64 to 2**-2048; for infinities, out to 2**2048, at fractional points
of two irregular sequences so that a period cannot hide), and the sequence is classified.

Rigorous: each sampled ball, and "outside the domain". Not rigorous, being drawn from six samples a side:
that the sequence goes on as it began. What is claimed needs strong evidence: a limit's samples agree to 100
bits; what goes to zero does so by a constant factor at least at each doubling of the exponent, what goes to
infinity does so by steps that do not shrink. Whatever is in between (an oscillation, 2 + 1/log(x)) is
reported as no limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from flint import arb

from dsl.evaluate.balls import Ball
from dsl.evaluate.columns import Columns, precision
from dsl.expr import Expr

SCALES = (64, 128, 256, 512, 1024, 2048)
"""The exponents of the distances."""
NEAR_SCALES = (1, 2, 3, 4, 6)
"""Distances from which the sign of a zero may still be read where the far ones cannot tell."""
AGREEMENT = 100
"""How many bits the last samples of a convergent sequence share."""
_MULTIPLIERS = (161803398874989484820458683436563811772, 115470053837925152901829756100391491130)
_MULTIPLIER_DIGITS = 10**38


@dataclass(frozen=True)
class Limit:
    """A limit: a ball (perhaps infinite), None where there is none, and the sign of a zero (0: unknown)."""

    value: Ball | None
    sign: int = 0
    outside: bool = False


NONE = Limit(None)
UNKNOWN = Limit(None)
"""No limit was found, for want of samples: there may be one."""
OUTSIDE = Limit(None, outside=True)


def limit(columns: Columns, point: float) -> Limit:
    """The limit of the expression at a point, an infinity included, over the part of its domain around it.

    From both sides where both are in the domain, and then they must agree; else from the side that is.
    Conditions stay as they are at the point, so that the limit is that of the branch which holds there.
    """
    if math.isinf(point):
        return _agreeing([_Approach(columns, point, 0.0, which).limit() for which in (0, 1)])
    with precision(4 * SCALES[-1]):
        branch = columns.conditions(arb(point))
    return _agreeing([_Approach(columns, point, side, 0, branch).limit() for side in (1.0, -1.0)])


def sign_beside_zero(columns: Columns, side: float) -> int:
    """The sign with which the expression comes to zero from right or left of 0, by `side`.

    0 where it is zero there, where it jumps to its zero, as a sign does, and where nothing is known.
    """
    approach = _Approach(columns, 0.0, side, 0)
    samples = [sample for scale in SCALES if (sample := approach.sample(scale)) is not None]
    return _sign([*samples]) if len(samples) == len(SCALES) and _vanishes(samples) else 0


def _agreeing(sides: list[Limit]) -> Limit:
    """What the sides say together; a side outside the domain says nothing."""
    inside = [side for side in sides if not side.outside]
    if not inside:
        return OUTSIDE
    first = inside[0]
    if any(side is UNKNOWN for side in inside):
        return UNKNOWN
    if any(side.value is None or not _equal(first.value, side.value) for side in inside):
        return NONE
    return Limit(first.value, first.sign if all(side.sign == first.sign for side in inside) else 0)


def _equal(a: Ball, b: Ball) -> bool:
    return _close(a, b) if a.is_finite() and b.is_finite() else bool(a == b)


@dataclass(frozen=True)
class _Approach:
    """A sequence of points toward a point: from one side, or to an infinity by one of two multipliers."""

    columns: Columns
    point: float
    side: float
    which: int
    branch: Mapping[Expr, bool] | None = None

    def limit(self) -> Limit:
        samples = []
        for scale in SCALES:
            sample = self.sample(scale)
            if sample is None:
                return OUTSIDE
            samples.append(sample)
        if not all(sample.is_finite() for sample in samples):
            return _beyond(samples)
        value = _classify(samples)
        if value is None or not value.is_zero():
            return Limit(value)
        near = [self.sample(scale, resolve=True) for scale in NEAR_SCALES] if math.isinf(self.point) else []
        return Limit(value, _sign([*near, *samples]))

    def sample(self, scale: int, resolve: bool = False) -> Ball | None:
        """The expression at a distance, to 100 bits; None outside the domain.

        Indeterminate where so many bits cannot be had. What is less than the distance squared may have fewer
        bits, unless `resolve`.
        """
        for bits in (2 * scale + 200, 4 * scale + 400, 8 * scale + 800, 32 * scale + 1600):
            with precision(bits):
                at = [self._place(scale)]
                (sample,) = self.columns.values(at, bits > 32 * scale, self.branch)
                if not sample.is_finite() and self.columns.outside(at, self.branch)[0]:
                    return None
                small = not resolve and abs(sample) < arb((1, -2 * scale - 64))
                if small or sample.rel_accuracy_bits() >= AGREEMENT + 20:
                    return sample
        return arb.nan() if sample.is_finite() else sample  # too wide to tell anything

    def _place(self, scale: int) -> Ball:
        """An exact point at distance 2**-scale (relative, unless the point is 0), or near 2**scale."""
        if math.isinf(self.point):
            numerator = (_MULTIPLIERS[self.which] << (scale + 64)) // _MULTIPLIER_DIGITS
            return arb((numerator if self.point > 0 else -numerator, -64))
        unit = arb((1 if self.side > 0 else -1, -scale))
        return unit if self.point == 0 else arb(self.point) + unit * abs(arb(self.point))


def _sign(samples: list[Ball | None]) -> int:
    """The sign of the last sample that has one for certain."""
    told = [sample for sample in samples if sample is not None and not sample.contains(0)]
    return 0 if not told else 1 if told[-1] > 0 else -1


def _beyond(samples: list[Ball]) -> Limit:
    """The limit where some samples are infinite: that infinity, if all the later ones are."""
    last = samples[-1]
    infinite = last in (arb.pos_inf(), arb.neg_inf())
    return Limit(last) if infinite and all(sample == last for sample in samples[-3:]) else UNKNOWN


def _classify(samples: list[Ball]) -> Ball | None:
    last = samples[-1]
    if _vanishes(samples):
        return arb(0)
    if _grows(samples):
        return arb.pos_inf()
    if _grows([-sample for sample in samples]):
        return arb.neg_inf()
    if _close(samples[-2], last):
        return _snap(last)
    return None


def _grows(samples: list[Ball]) -> bool:
    """Whether samples go to infinity, at least as log(log(x)) does: by steps that do not shrink."""
    steps = [after - before for before, after in pairwise(samples[1:])]
    steady = all(after > before * 0.99 for before, after in pairwise(steps))
    by_factor = all(after > before * 1.4 for before, after in pairwise(samples[1:]))
    return bool(samples[1] > 0 and ((steps[0] > 0 and steady) or by_factor))


def _vanishes(samples: list[Ball]) -> bool:
    if all(sample.is_zero() for sample in samples):
        return True
    by_distance = all(
        abs(sample) < arb((1, -scale // 8)) for sample, scale in zip(samples[-3:], SCALES[-3:], strict=True)
    )
    by_factor = all(abs(after) < abs(before) * 0.75 for before, after in pairwise(samples[1:]))
    return by_distance or by_factor


def _close(a: Ball, b: Ball) -> bool:
    difference = abs(a - b)
    return bool(difference <= abs(b) * arb((1, -AGREEMENT))) or bool((a - b).is_zero())


def _snap(value: Ball) -> Ball:
    """The double within 2**-AGREEMENT of a limit, which is then the limit."""
    nearest = arb(float(value))
    return nearest if nearest.is_finite() and _close(value, nearest) else value
