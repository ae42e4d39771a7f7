"""What is measured of a function of rows: hard rows of several lengths, against exact values.

In: an expression with reductions, the inputs' names. Out: `RowTruth`s, and the `Measurement` of a function
against them with the row in which its error is worst.

The unit of a value's error is the ulp of the exact result. A gradient is a sum over the row of what each
element of the incoming one gives, and its unit the ulp of the sum of the magnitudes of these terms. Where a
sum in the formula cancels, as in the distance from a mean, and that makes the result (these magnitudes) less
than a quarter of the row's greatest, there is a root nearby: there stands the lesser of this error and of
that in halves of epsilon of the greatest. Subnormal results are counted apart, and rows are left out in which
the function has no value at some element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dsl.certify.report import Failure, Measurement
from dsl.certify.scan import KEPT_FAILURES
from dsl.evaluate import Values
from dsl.evaluate.rows import CANCELLED, RowReference
from dsl.expr import Expr
from dsl.program import GRAD
from dsl.ulp import FORMATS, Array, Format, error_in_ulps

LENGTHS = (1, 2, 17, 1000)
"""How long rows are that fit on chip."""
LONG = 17_001
"""Elements of a row that does not, in any type."""

Rng = np.random.Generator
RowFunction = Callable[[Mapping[str, Array]], Array]
"""What is measured: tensors by name, of shape (rows, length), to a result alike."""


def _normal(scale: float, offset: float = 0.0) -> Callable[[Rng, int], Array]:
    return lambda rng, count: offset + scale * rng.normal(size=count)


def _one(value: float, others: float | None = None) -> Callable[[Rng, int], Array]:
    """One element of a value, the others as given, or normal."""

    def make(rng: Rng, count: int) -> Array:
        row = rng.normal(size=count) if others is None else np.full(count, others)
        row[count // 2] = value
        return row

    return make


def _alternating(size: float) -> Callable[[Rng, int], Array]:
    return lambda rng, count: size * np.where(np.arange(count) % 2, -1.0, 1.0)


FAMILIES: Mapping[str, Callable[[Rng, int], Array]] = {
    "normal": _normal(1.0),
    "normal times 2**-10": _normal(2.0**-10),
    "normal times 30": _normal(30.0),
    "normal times 1000": _normal(1000.0),
    "1000 and a normal": _normal(1.0, 1000.0),
    "one of 30000": _one(30000.0),
    "one of 0.5 in -infinity": _one(0.5, -np.inf),
    "all 0.75": lambda rng, count: np.full(count, 0.75),
    "all 0": lambda rng, count: np.zeros(count),
    "30000 and -30000 in turns": _alternating(30000.0),
    "normal times 2**-20": _normal(2.0**-20),
}
"""The rows of the first input, by what they hold; those of other inputs and gradients are normal."""
LONG_FAMILIES = ("normal", "1000 and a normal", "one of 30000")
"""Those that are tried in rows that do not fit on chip."""


@dataclass(frozen=True)
class RowTruth:
    """Rows of one length with what is exact there, in arrays of shape (rows, length).

    `unit` has the exponents of the ulps that errors are told in; `near` are results beside a root, whose
    errors are in halves of epsilon of the row's greatest, of which `greatest` has one for each row.
    """

    fmt: Format
    tensors: Mapping[str, Array]
    exact: Values
    unit: NDArray[np.int64]
    near: NDArray[np.bool_]
    greatest: Array
    names: tuple[str, ...]

    def case(self, place: int) -> str:
        """The row of an element, and which of it that is."""
        row, column = divmod(place, self.near.shape[1])
        return f"{self.names[row]}, element {column + 1} of {self.near.shape[1]:,}"


@dataclass(frozen=True)
class Found:
    """A measurement, the row of its worst error, and that of its first failure, if there is one."""

    measurement: Measurement
    case: str


def row_truths(
    root: Expr, inputs: Sequence[str], dtype: str, parameters: Mapping[str, Fraction], gradient: bool
) -> Iterator[RowTruth]:
    """The exact values of an expression over hard rows, a batch for each length; takes a second or a few."""
    reference = RowReference(root, parameters)
    for length in (*LENGTHS, LONG):
        names = LONG_FAMILIES if length == LONG else tuple(FAMILIES)
        yield _truth(reference, inputs, FORMATS[dtype], names, length, gradient)


def _truth(
    reference: RowReference,
    inputs: Sequence[str],
    fmt: Format,
    names: tuple[str, ...],
    length: int,
    gradient: bool,
) -> RowTruth:
    rng = np.random.default_rng(length)
    first, *others = (*inputs, *([GRAD] if gradient else []))
    tensors = {first: fmt.round(np.stack([FAMILIES[name](rng, length) for name in names]))}
    tensors |= {name: fmt.round(rng.normal(size=(len(names), length))) for name in others}
    rows = [{name: tensor[place] for name, tensor in tensors.items()} for place, _ in enumerate(names)]
    exact = _stacked([reference(row, fmt.name) for row in rows])
    exact.decided[:] = exact.decided.all(axis=1, keepdims=True)
    size = np.where(np.isfinite(exact.rounded), np.abs(exact.rounded), 0.0)
    if gradient:
        size = np.fmax(size, np.stack([np.nan_to_num(reference.sizes(row), posinf=0.0) for row in rows]))
    greatest = size.max(axis=1, keepdims=True)
    near = np.stack([reference.cancels(row) for row in rows]) & (size * CANCELLED < greatest)
    return RowTruth(fmt, tensors, exact, fmt.ulp_exponent(size), near, greatest, names)


def _stacked(rows: Sequence[Values]) -> Values:
    return Values(
        np.stack([each.rounded for each in rows]),
        np.stack([each.rest for each in rows]),
        np.stack([each.decided for each in rows]),
        np.stack([each.signed for each in rows]),
    )


def measure_rows(function: RowFunction, truths: Sequence[RowTruth]) -> Found:
    """A function's worst errors over the rows of truths.

    >>> from dsl.expr import Symbol, call
    >>> truths = [*row_truths(call("rowmax", Symbol("x")), ["x"], "float16", {}, False)]
    >>> found = measure_rows(lambda rows: np.broadcast_to(rows["x"][:, :1], rows["x"].shape), truths)
    >>> found.measurement.worst_ulp > 1000, found.case  # a failure comes before the worst error
    (True, 'one of 0.5 in -infinity, element 1 of 2')
    """
    parts = [_compare(function, each) for each in truths]
    worst = max(parts, key=lambda part: part.measurement.worst_ulp)
    near = [each.measurement for each in parts if each.measurement.near_roots is not None]
    near_worst = max(near, key=lambda each: each.near_roots or 0.0, default=None)
    failing = next((part for part in parts if part.measurement.failed), None)
    every = [part.measurement for part in parts]
    return Found(
        Measurement(
            dtype=worst.measurement.dtype,
            worst_ulp=worst.measurement.worst_ulp,
            worst_input=worst.measurement.worst_input,
            got=worst.measurement.got,
            exact=worst.measurement.exact,
            tried=sum(each.tried for each in every),
            exhaustive=False,
            failures=tuple(failure for each in every for failure in each.failures)[:KEPT_FAILURES],
            failed=sum(each.failed for each in every),
            flushed=sum(each.flushed for each in every),
            undecided=sum(each.undecided for each in every),
            near_roots=None if near_worst is None else near_worst.near_roots,
            near_roots_input=None if near_worst is None else near_worst.near_roots_input,
        ),
        worst.case if failing is None else failing.case,
    )


def _compare(function: RowFunction, known: RowTruth) -> Found:
    """The measurement over the rows of one length; its case is that of a failure, if there is one."""
    fmt, exact = known.fmt, known.exact
    x = next(iter(known.tensors.values()))
    got = np.asarray(function(known.tensors)).astype(np.float64)
    own = error_in_ulps(got, exact.rounded, exact.rest, fmt)
    numbers = np.isfinite(got) & np.isfinite(exact.rounded)
    failed = exact.decided & ~numbers & ~np.isfinite(own)
    with np.errstate(over="ignore", invalid="ignore"):
        difference = (got - exact.rounded) - exact.rest * fmt.ulp(exact.rounded)
        errors = np.where(numbers, np.abs(difference) / np.exp2(known.unit.astype(np.float64)), own)
        absolute = np.abs(difference) / (fmt.root_unit * known.greatest)
        small = np.fmax(np.abs(exact.rounded), np.abs(got)) < fmt.smallest_normal
        flushed = exact.decided & small & (exact.rounded != 0) & (errors > 0.5)
        counted = exact.decided & ~failed & ~flushed
        near_errors = np.where(counted & known.near, np.fmin(errors, absolute), 0.0)
        errors = np.where(counted & ~known.near, errors, 0.0)
    worst, worst_near = int(np.argmax(errors)), int(np.argmax(near_errors))
    lost = np.flatnonzero(failed)
    measurement = Measurement(
        dtype=fmt.name,
        worst_ulp=float(errors.flat[worst]),
        worst_input=float(x.flat[worst]),
        got=float(got.flat[worst]),
        exact=float(exact.rounded.flat[worst]),
        tried=int(exact.decided.sum()),
        exhaustive=False,
        failures=tuple(
            Failure(float(x.flat[at]), float(got.flat[at]), float(exact.rounded.flat[at]))
            for at in lost[:KEPT_FAILURES]
        ),
        failed=int(failed.sum()),
        flushed=int(flushed.sum()),
        undecided=int((~exact.decided).sum()),
        near_roots=float(near_errors.flat[worst_near]) if known.near.any() else None,
        near_roots_input=float(x.flat[worst_near]) if known.near.any() else None,
    )
    return Found(measurement, known.case(int(lost[0]) if len(lost) else worst))
