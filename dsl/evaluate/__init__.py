"""The exact reference: the real function that a spec denotes, correctly rounded at any point.

In: an `Expr` over one input, the parameters' exact values, points (any floating-point numbers, infinities,
NaN and both zeros included). Out: `Values`.

Evaluation is in balls (Arb), of which every point gets as much precision as it takes until the ball rounds
to one number. Rigorous, with these exceptions, each of which needs agreement to hundreds of bits before it
is believed: two quantities that still overlap at 2560 bits count as equal (in a condition, in `floor`); a
value within 2**-200 ulp of a tie at the last precision counts as that tie; an exponential too great for
Arb's exponents counts as greater than all else; and limits (`dsl.evaluate.limits` says how). What still
cannot be decided says so.

>>> from dsl.expr import Symbol, call
>>> x = Symbol("x")
>>> evaluate(x * call("tanh", call("softplus", x)), "x", np.array([0.5, -np.inf]), "float32").tolist()
[0.37524521350860596, -0.0]
>>> evaluate(call("sin", x) / x, "x", np.array([0.0])).tolist()
[1.0]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from flint import arb
from numpy.typing import ArrayLike, NDArray

from dsl.evaluate.balls import Ball
from dsl.evaluate.cast import in_format
from dsl.evaluate.columns import Columns, precision
from dsl.evaluate.limits import UNKNOWN, limit, sign_beside_zero
from dsl.evaluate.rounding import nearest, nearest_of_many
from dsl.expr import Expr
from dsl.ops import has_cast
from dsl.ulp import FORMATS, Array, Format, round_to_odd

GUARD_BITS = 36
"""Precision at the first try, beyond the format's own."""
PRECISIONS = (160, 320, 640, 1280)
"""The precisions after the first."""
LAST_PRECISIONS = (2560, 5120, 10240)
"""The precisions at which overlapping quantities count as equal."""
MOST_LIMITS = 256
"""Finite singular points of one call whose limits are taken, at up to a tenth of a second each; a function
with more is singular everywhere, and the others stay undecided."""
CHUNK = 2048
"""Points evaluated together, which bounds the memory that balls take."""


@dataclass(frozen=True)
class Values:
    """Exact values: `rounded + rest` ulps of `rounded`, in one format, an entry per point.

    `rounded` is correctly rounded, ties to even; `rest` has the sign of what rounding left over and is 0
    only where nothing was (or where its sign is beyond deciding). Where the function has no value, `rounded`
    is NaN. `decided` is False where the reference failed to find the value. `signed` says that the sign of
    a zero means something: the result underflowed, or the zero is a limit that is reached from that side.
    """

    rounded: Array
    rest: Array
    decided: NDArray[np.bool_]
    signed: NDArray[np.bool_]


class Reference:
    """An expression's exact values, on demand.

    `name` is the input's; `parameters` gives every other name an exact value. Raises KeyError where one is
    missing. A cast is to the format that values are asked for in, its operand shifted by `shift` of its ulps.
    """

    def __init__(
        self,
        root: Expr,
        name: str,
        parameters: Mapping[str, Fraction] | None = None,
        shift: Fraction = Fraction(0),
    ) -> None:
        self._root, self._shift = root, shift
        self._columns = Columns(root, name, parameters or {})
        self._casts: dict[str, Columns] | None = {} if has_cast(root) else None

    def __call__(self, points: ArrayLike, dtype: str = "float64") -> Values:
        """The values at points, rounded to the format of a dtype's name; arrays keep their shape."""
        given = np.asarray(points, dtype=np.float64)
        job = self._run(given.reshape(-1), FORMATS[dtype])
        return Values(
            job.rounded.reshape(given.shape),
            job.rest.reshape(given.shape),
            job.decided.reshape(given.shape),
            job.signed.reshape(given.shape),
        )

    def odd(self, points: ArrayLike) -> Array:
        """The values in float64, rounded to odd: rounding these to 32 or 16 bits rounds the exact ones."""
        given = np.asarray(points, dtype=np.float64)
        flat = given.reshape(-1)
        job = self._run(flat, FORMATS["float64"])
        doubtful = np.flatnonzero((job.rest == 0) & _is_a_tie(job.rounded))
        job.rest[doubtful] = self._run(flat[doubtful], FORMATS["float64"], sharp=True).rest
        return round_to_odd(job.rounded, job.rest).reshape(given.shape)

    def _in(self, fmt: Format) -> Columns:
        """The columns, with what they cast cast to a format."""
        if self._casts is None:
            return self._columns
        if fmt.name not in self._casts:
            root = in_format(self._root, fmt, self._shift)
            self._casts[fmt.name] = Columns(root, self._columns.name, self._columns.parameters)
        return self._casts[fmt.name]

    def _run(self, points: Array, fmt: Format, sharp: bool = False) -> _Job:
        job = _Job(self._in(fmt), points, fmt, sharp)
        for start in range(0, len(points), CHUNK):
            job.run(np.arange(start, min(start + CHUNK, len(points))))
        return job


def _is_a_tie(values: Array) -> NDArray[np.bool_]:
    """Which doubles lie where the rounding to a narrower format changes."""
    tie = np.zeros(values.shape, dtype=np.bool_)
    below, above = np.nextafter(values, -np.inf), np.nextafter(values, np.inf)
    for fmt in (FORMATS["float16"], FORMATS["bfloat16"], FORMATS["float32"]):
        tie |= fmt.round(below) != fmt.round(above)
    return tie & np.isfinite(values)


def evaluate(
    root: Expr,
    name: str,
    points: ArrayLike,
    dtype: str = "float64",
    parameters: Mapping[str, Fraction] | None = None,
) -> Array:
    """The expression's correctly rounded values at points, NaN where it has none.

    >>> from dsl.expr import Symbol
    >>> evaluate(1 / Symbol("x") ** 2, "x", [0.0, 3.0], "float16").tolist()
    [inf, 0.111083984375]
    """
    return Reference(root, name, parameters)(points, dtype).rounded


class _Job:
    """The state of one evaluation: the results so far, filled in as points are decided."""

    def __init__(self, columns: Columns, points: Array, fmt: Format, sharp: bool = False) -> None:
        self.columns, self.points, self.fmt, self.sharp = columns, points, fmt, sharp
        self.limits_left = MOST_LIMITS
        self.rounded = np.full(points.shape, np.nan)
        self.rest = np.zeros(points.shape)
        self.decided = np.zeros(points.shape, dtype=np.bool_)
        self.signed = np.zeros(points.shape, dtype=np.bool_)

    def run(self, places: NDArray[np.int64]) -> None:
        """Decide the points at some places."""
        self.decided[places[np.isnan(self.points[places])]] = True
        for place in places[np.isinf(self.points[places])].tolist():
            self._take_limit(place)
        left = places[np.isfinite(self.points[places])]
        left = self._round(left, self.fmt.precision + GUARD_BITS)
        left = self._drop_outside(left)
        for bits in PRECISIONS:
            left = self._round(left, bits)
        left = self._drop_outside(left)
        if len(left) and self.columns.reduced is not None:
            for bits in (PRECISIONS[0], PRECISIONS[-1], LAST_PRECISIONS[0]):
                left = self._round(left, bits, bits == LAST_PRECISIONS[0], columns=self.columns.reduced)
        for bits in LAST_PRECISIONS:
            left = self._round(left, bits, final=True, force=bits == LAST_PRECISIONS[-1])
        singular = left[self._lost(left)][: self.limits_left]
        self.limits_left -= len(singular)
        for place in singular.tolist():
            self._take_limit(place)

    def _round(
        self,
        places: NDArray[np.int64],
        bits: int,
        final: bool = False,
        force: bool = False,
        columns: Columns | None = None,
    ) -> NDArray[np.int64]:
        """Try to decide points at a precision; the places of those that are still open."""
        if not len(places):
            return places
        with precision(bits):
            balls = (columns or self.columns).values(self._points(places), final)
            rounded, rest, sure = nearest_of_many(balls, self.fmt)
            sure &= (rest != 0) | (not self.sharp)
            self.rounded[places[sure]] = rounded[sure]
            self.rest[places[sure]] = rest[sure]
            self.decided[places[sure]] = True
            for index in np.flatnonzero(~sure).tolist():
                self._round_one(int(places[index]), balls[index], force)
        return places[~self.decided[places]]

    def _round_one(self, place: int, ball: Ball, force: bool = False) -> None:
        if ball.is_zero():
            self._store(place, 0.0, 0.0)
            if self.points[place] == 0:
                self._sign_zero(place, sign_beside_zero(self.columns, np.copysign(1.0, self.points[place])))
        elif ball.is_finite():
            found = nearest(ball, self.fmt, force, self.sharp)
            if found is not None:
                self._store(place, *found)
                self.signed[place] = found[0] == 0 and found[1] != 0
        elif ball.is_exact() and not ball.is_nan():
            self._store(place, float(ball), 0.0)

    def _take_limit(self, place: int) -> None:
        point = float(self.points[place])
        found = limit(self.columns, point)
        if found is UNKNOWN and self.columns.reduced is not None:
            found = limit(self.columns.reduced, point)
        if found.value is None:
            self._store(place, np.nan, 0.0)
            self.decided[place] = found is not UNKNOWN
            return
        with precision(2 * LAST_PRECISIONS[0]):
            if found.value.is_zero():
                self._store(place, 0.0, 0.0)
                self._sign_zero(place, found.sign)
            else:
                self._round_one(place, found.value, force=True)

    def _store(self, place: int, rounded: float, rest: float) -> None:
        self.rounded[place], self.rest[place], self.decided[place] = rounded, rest, True

    def _sign_zero(self, place: int, sign: int) -> None:
        self.rounded[place] = np.copysign(0.0, float(sign or 1))
        self.signed[place] = sign != 0

    def _drop_outside(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Decide, as NaN, the points that are certainly outside the domain; the places of the others."""
        lost = places[self._lost(places)]
        if len(lost):
            with precision(self.fmt.precision + GUARD_BITS):
                outside = self.columns.outside(self._points(lost))
            self.decided[lost[np.array(outside)]] = True
        return places[~self.decided[places]]

    def _lost(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the points have no finite ball at a modest precision."""
        if not len(places):
            return np.zeros(0, dtype=np.bool_)
        with precision(PRECISIONS[-1]):
            return np.array(
                [not ball.is_finite() for ball in self.columns.values(self._points(places), True)]
            )

    def _points(self, places: NDArray[np.int64]) -> list[Ball]:
        return [arb(value) for value in self.points[places].tolist()]
