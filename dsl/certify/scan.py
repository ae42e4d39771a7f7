"""Measure a function against the exact reference.

In: a function from numpy arrays to numpy arrays, and a `Truth` (points with their exact values). Out: a
`Measurement`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsl.certify.report import Failure, Measurement
from dsl.certify.roots import near, roots
from dsl.certify.sample import is_rounded_across, kinks, sample
from dsl.evaluate import Reference, Values
from dsl.evaluate.cast import TURN
from dsl.expr import Expr
from dsl.ops import has_cast
from dsl.ulp import FORMATS, Array, Format, error_in_ulps

Function = Callable[[NDArray[Any]], NDArray[Any]]
"""What is measured: arrays of the format's carrier (bfloat16 values travel in float32) to arrays alike."""

Sizes = Callable[[Array], Array]

KEPT_FAILURES = 16
ROUNDED_ONCE = 0.51
"""Errors up to this ask for no other way of rounding in the middle."""
NEXT = 4
"""So many roundings from a kink, a comparison may be decided by one."""
GAP = 40
SEARCH_ROUNDS = 4
SEARCH_SEEDS = 8
SEARCH_STEPS = 64
MIDDLE = 2.0**64


@dataclass(frozen=True)
class Truth:
    """Points of a format with the exact values there, and the roots near which errors are absolute.

    Made once per expression and dtype, good for any number of functions. With `sizes`, which are the sums of
    the magnitudes of a result's terms, their ulps are the unit of errors, and subnormal results are counted
    apart. Points that are `left_out` count for nothing. Where something is rounded in the middle, `turned`
    gives the values if that goes the other way next to a tie: they are as good.
    """

    fmt: Format
    reference: Reference
    points: Array
    values: Values
    roots: Array
    every: bool = False
    sizes: Sizes | None = None
    left_out: Callable[[Array], NDArray[np.bool_]] | None = None
    turned: tuple[Reference, ...] = ()


def truth(
    root: Expr,
    name: str,
    dtype: str,
    parameters: Mapping[str, Fraction] | None = None,
    count: int = 100_000,
    seed: int = 0,
    every: bool = True,
    tried: Callable[[Array], Array] | None = None,
) -> Truth:
    """The exact values of an expression at a sample of a dtype's values; with `every`, all of 16-bit types.

    Without it 16-bit types are sampled too, and inputs beyond 2**64 or below 2**-64 are left out.

    `name` is the input's; `parameters` holds exact values; `tried` says which of the points
    are. Takes 2 to 100 microseconds a point.
    """
    fmt = FORMATS[dtype]
    reference = Reference(root, name, parameters)
    points = sample(fmt, count, kinks(root, name, parameters), seed, every)
    if not every:
        # A parameter times an input leaves the range where the input is at its ends.
        size = np.abs(points)
        points = points[~((size > MIDDLE) & (size < np.inf) | (size < 1 / MIDDLE) & (size > 0))]
    if tried is not None:
        points = tried(points)
    left_out = _across(root, name, parameters, dtype) if parameters else None
    if left_out is not None:
        points = points[~left_out(points)]
    values = reference(points, dtype)
    exact = values.rounded + values.rest * fmt.ulp(values.rounded)
    places = roots(reference, fmt, points, exact)
    exhaustive = every and fmt.bits <= 16
    turned = _turned(root, name, parameters) if has_cast(root) and fmt.bits <= 16 else ()
    return Truth(fmt, reference, points, values, places, exhaustive, left_out=left_out, turned=turned)


def _turned(root: Expr, name: str, parameters: Mapping[str, Fraction] | None) -> tuple[Reference, ...]:
    """The expression with what it casts a little less and a little more than it is."""
    return tuple(Reference(root, name, parameters, shift) for shift in (-TURN, TURN))


def _across(
    root: Expr, name: str, parameters: Mapping[str, Fraction], dtype: str
) -> Callable[[Array], NDArray[np.bool_]] | None:
    """`is_rounded_across`, asked for points next to kinks alone; None where there is no kink."""
    kinked = np.array([place for place in kinks(root, name, parameters) if place])
    arithmetic = FORMATS["float64" if dtype == "float64" else "float32"]
    if not len(kinked):
        return None

    def left_out(points: Array) -> NDArray[np.bool_]:
        with np.errstate(invalid="ignore"):
            near_kinks = np.min(np.abs(points[:, None] / kinked[None, :] - 1), axis=1)
            found: NDArray[np.bool_] = near_kinks < NEXT * 2.0**-arithmetic.precision
        found[found] = is_rounded_across(root, name, parameters, arithmetic, points[found])
        return found

    return left_out


def measure(function: Function, known: Truth, search: bool = True) -> Measurement:
    """A function's worst errors at the points of a truth and, if `search`, in a search around the worst ones.

    >>> from dsl.expr import Symbol, call
    >>> known = truth(call("abs", Symbol("x")), "x", "float16")
    >>> print(measure(lambda x: np.abs(x) + x * 0, known))
    float16: 0 ulp at -inf, every input, 2 failed
    """
    found, errors = _compare(function, known)
    if known.every:
        return replace(found, exhaustive=True)
    points = known.points
    for _ in range(SEARCH_ROUNDS if search else 0):
        nearby = _nearby(known, points, errors)
        around = replace(known, points=nearby, values=known.reference(nearby, known.fmt.name))
        more, errors = _compare(function, around)
        points, before = nearby, found.worst_ulp
        found = _joined(found, more)
        if found.worst_ulp <= before:
            break
    return found


def certify(
    function: Function,
    root: Expr,
    name: str,
    dtype: str,
    parameters: Mapping[str, Fraction] | None = None,
    count: int = 100_000,
) -> Measurement:
    """`measure` against the `truth` of an expression."""
    with np.errstate(all="ignore"):
        return measure(function, truth(root, name, dtype, parameters, count))


def around_worst(function: Function, known: Truth, worst: float, bound: float) -> tuple[float, float]:
    """The stretch of a truth's points around an input in which errors break a bound.

    So many as `GAP` points in a row may keep it without ending the stretch. An input at which no point lies
    near that breaks it stands for itself.
    """
    _, errors = _compare(function, known)
    broken = np.flatnonzero((errors > bound) & np.isfinite(known.points))
    at = int(np.searchsorted(known.points[:-1], worst))  # NaN is the last of a sample
    ends = []
    for side in (broken[broken < at][::-1], broken[broken >= at]):
        reached = at
        for place in side.tolist():
            if abs(place - reached) > GAP:
                break
            reached = place
        ends.append(float(known.points[reached]) if reached != at or reached in side else worst)
    return min(worst, *ends), max(worst, *ends)


def _compare(function: Function, known: Truth) -> tuple[Measurement, Array]:
    """The measurement at a truth's points, and each point's error (0 where it does not count)."""
    fmt, points, exact = known.fmt, known.points, known.values
    got = np.asarray(function(points.astype(fmt.carrier))).astype(np.float64)
    errors = error_in_ulps(got, exact.rounded, exact.rest, fmt)
    if known.turned:
        exact, errors = _better(known, got, errors)
    subnormal = (exact.rounded != 0) & (np.abs(exact.rounded) < fmt.smallest_normal)
    flushed = subnormal & (got == 0)
    if known.sizes is not None:
        flushed = subnormal & (np.abs(got) < fmt.smallest_normal) & (errors > 0.5)
        errors = _in_units(errors, exact, known.sizes(points), fmt)
    failed = exact.decided & ~np.isfinite(errors)
    counted = exact.decided & ~failed & ~flushed
    absolute = near(points, known.roots) & counted
    near_errors = np.where(absolute, np.fmin(errors, _in_root_units(got, exact, fmt)), 0.0)
    errors = np.where(counted & ~absolute, errors, 0.0)
    worst, worst_near = int(np.argmax(errors)), int(np.argmax(near_errors))
    signs = exact.signed & (exact.rounded == 0) & (got == 0) & (np.signbit(exact.rounded) != np.signbit(got))
    return (
        Measurement(
            dtype=fmt.name,
            worst_ulp=float(errors[worst]),
            worst_input=float(points[worst]),
            got=float(got[worst]),
            exact=float(exact.rounded[worst]),
            tried=len(points),
            exhaustive=False,
            failures=tuple(
                Failure(float(points[at]), float(got[at]), float(exact.rounded[at]))
                for at in np.flatnonzero(failed)[:KEPT_FAILURES]
            ),
            failed=int(failed.sum()),
            flushed=int(flushed.sum()),
            signs=int(signs.sum()),
            undecided=int((~exact.decided).sum()),
            near_roots=float(near_errors[worst_near]) if absolute.any() else None,
            near_roots_input=float(points[worst_near]) if absolute.any() else None,
        ),
        errors,
    )


def _better(known: Truth, got: Array, errors: Array) -> tuple[Values, Array]:
    """The exact values and the errors, those of what was rounded the other way where they are the lesser."""
    exact, fmt = known.values, known.fmt
    off = np.flatnonzero(~(errors <= ROUNDED_ONCE) & exact.decided)
    for reference in known.turned if len(off) else ():
        found = reference(known.points[off], fmt.name)
        others = error_in_ulps(got[off], found.rounded, found.rest, fmt)
        chosen = found.decided & (others < np.nan_to_num(errors[off], nan=np.inf))
        at = off[chosen]
        exact = Values(
            _put(exact.rounded, at, found.rounded[chosen]),
            _put(exact.rest, at, found.rest[chosen]),
            exact.decided,
            _put(exact.signed, at, found.signed[chosen]),
        )
        errors = _put(errors, at, others[chosen])
    return exact, errors


def _put(column: NDArray[Any], places: NDArray[np.int64], values: NDArray[Any]) -> NDArray[Any]:
    """A column with other values at some places."""
    changed = column.copy()
    changed[places] = values
    return changed


def _in_units(errors: Array, exact: Values, sizes: Array, fmt: Format) -> Array:
    """Errors in ulps of results as such of sizes, if these are finite and greater."""
    size = np.fmax(np.abs(exact.rounded), np.where(np.isfinite(sizes), sizes, 0.0))
    steps = fmt.ulp_exponent(exact.rounded) - fmt.ulp_exponent(size)
    return np.where(errors == 0, 0.0, errors * np.exp2(steps.astype(np.float64)))


def _in_root_units(got: Array, exact: Values, fmt: Format) -> Array:
    """|got - exact| in halves of the format's epsilon."""
    with np.errstate(invalid="ignore", over="ignore"):
        difference = (got - exact.rounded) - exact.rest * fmt.ulp(exact.rounded)
        absolute: Array = np.abs(difference) / fmt.root_unit
    return absolute


def _nearby(known: Truth, points: Array, errors: Array) -> Array:
    """New points around the worst ones: their neighbours, and steps away that grow by powers of two."""
    steps = np.unique(np.concatenate([np.arange(SEARCH_STEPS), 2 ** np.arange(known.fmt.precision - 2)]))
    seeds = points[np.argsort(errors)[-SEARCH_SEEDS:]]
    places = known.fmt.order(seeds)[:, None] + np.concatenate([-steps, steps])[None, :]
    found = np.unique(known.fmt.from_order(places.reshape(-1)))
    return found if known.left_out is None else found[~known.left_out(found)]


def _joined(one: Measurement, other: Measurement) -> Measurement:
    """Two measurements of the same function as one."""
    worst = other if other.worst_ulp > one.worst_ulp else one
    near_worst = max(one, other, key=lambda part: -1.0 if part.near_roots is None else part.near_roots)
    return replace(
        worst,
        tried=one.tried + other.tried,
        failures=(one.failures + other.failures)[:KEPT_FAILURES],
        failed=one.failed + other.failed,
        flushed=one.flushed + other.flushed,
        signs=one.signs + other.signs,
        undecided=one.undecided + other.undecided,
        near_roots=near_worst.near_roots,
        near_roots_input=near_worst.near_roots_input,
    )
