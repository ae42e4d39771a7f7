"""Certificates as data: what was measured of a program, the bounds it is held to, and the file that keeps it.

In: rows, which `dsl.assess` measures. Out: `Certificate`; the lock file's text and back; a certificate as the
header of a generated module shows it; what breaks a bound. Imports nothing that a build could do without: a
build reads the lock and measures nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from html import escape
from pathlib import Path
from textwrap import fill
from typing import Any

from dsl.activation import Bound
from dsl.files import read_text
from dsl.show import show_number

DTYPES = ("float32", "float64", "float16", "bfloat16")
KINDS = ("value", "gradient")
MAKERS = {"kernel": "Triton kernel", "formula": "torch formula"}
"""Whose errors are measured: the kernel, in Triton's interpreter, and the formula that runs on a CPU."""

DEFAULT_BOUNDS: Mapping[str, tuple[float, float]] = {
    "float32": (4.0, 8.0),
    "float64": (8.0, 8.0),
    "float16": (0.55, 1.0),
    "bfloat16": (0.55, 1.0),
}
"""The greatest errors in ulps, of the value and of the gradient, where a spec has no `accuracy` clause."""
JOINT_BOUNDS: Mapping[str, tuple[float, float]] = {
    "float32": (5.0, 9.0),
    "float64": (9.0, 9.0),
    "float16": (0.55, 3.0),
    "bfloat16": (0.55, 3.0),
}
"""The same for several inputs: a factor's error meets another's, and beside its root it is multiplied."""
LEARNED_BOUNDS: Mapping[str, tuple[float, float]] = {
    "float32": (5.0, 5.0),
    "float64": (5.0, 6.0),
    "float16": (0.51, 0.51),
    "bfloat16": (0.51, 0.51),
}
"""The same with learnable parameters; their gradients count with those of the input."""
ROW_BOUNDS: Mapping[str, tuple[float, float]] = {
    "float32": (8.5, 5.0),
    "float64": (6.5, 5.0),
    "float16": (0.51, 0.51),
    "bfloat16": (0.51, 0.51),
}
"""The same over rows, of which sums have as many roundings as a tree is high."""
SUMMED = "gradient summed"
"""The kind of a learnable parameter's gradients as they are, sums over elements."""
SUM_BOUND = 0.51
"""Their greatest error, whatever a clause says of the terms: in ulps of the sum of the terms' magnitudes."""
BOUNDS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "": DEFAULT_BOUNDS,
    "joint": JOINT_BOUNDS,
    "learned": LEARNED_BOUNDS,
    "rows": ROW_BOUNDS,
}
"""The bounds by what an activation is: of one input, of several, with learnable parameters, over rows."""
NEAR_ROOTS = {"float32": 4.0, "float64": 4.0, "float16": 1.0, "bfloat16": 1.0}
"""The greatest errors beside a root that is no representable number, in halves of epsilon."""
HALF_EPSILON = {"float32": "2**-24", "float64": "2**-53", "float16": "2**-11", "bfloat16": "2**-8"}

FORMAT = 1
"""The version of the lock file's layout."""
NOT_CERTIFIED = "Not certified: run `dslgen certify`."


class LockError(Exception):
    """The lock file cannot be used; the message says why."""


class ToolsMissing(Exception):
    """A package that measuring needs is not there; the message says what to install."""


@dataclass(frozen=True)
class Row:
    """The errors of one of the `MAKERS`, in one dtype, of the value or the gradient.

    As in `dsl.certify.Measurement`. `failure` is the first NaN or infinity in a wrong place, as input,
    computed and exact value; `interval` is where the errors around the worst one broke the bound that stood
    when they were measured. `parameters` is the setting of the worst error, if that is not the defaults. Of
    several inputs, `point` has all where the error is worst. The kinds are then "value" and "gradient_NAME"
    for each input, and of several outputs they end in the output's number. `of` says what the activation is
    (see `BOUNDS`), and `case` what was tried where that is no input alone: a row, a sum, one of a vector.
    """

    by: str
    dtype: str
    kind: str
    worst_ulp: float
    worst_input: float
    tried: int
    exhaustive: bool
    near_roots: float | None = None
    near_roots_input: float | None = None
    flushed: int = 0
    signs: int = 0
    undecided: int = 0
    failed: int = 0
    failure: tuple[float, ...] | None = None
    interval: tuple[float, ...] | None = None
    parameters: str = ""
    point: tuple[float, ...] | None = None
    of: str = ""
    case: str = ""

    @property
    def sort(self) -> str:
        """Which of `BOUNDS` stands."""
        return self.of or ("joint" if self.point is not None else "")

    @property
    def tries(self) -> str:
        """How many inputs were tried."""
        return "every input" if self.exhaustive else f"{self.tried:,} sampled"


@dataclass(frozen=True)
class Certificate:
    """What was measured of one activation: `digest` says of which code, `samples` how many points."""

    name: str
    digest: str
    samples: int
    parameters: str
    rows: tuple[Row, ...]

    def row(self, by: str, dtype: str, kind: str) -> Row | None:
        """One of the rows."""
        return next((row for row in self.rows if (row.by, row.dtype, row.kind) == (by, dtype, kind)), None)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of its rows, in their order."""
        return tuple(dict.fromkeys(row.kind for row in sorted(self.rows, key=_order)))

    def worst(self, by: str, dtype: str, side: str) -> Row | None:
        """The worst of the values' rows or of the gradients'."""
        rows = [row for row in self.rows if (row.by, row.dtype, _side(row.kind)) == (by, dtype, side)]
        return max(rows, key=lambda row: (row.failed > 0, row.worst_ulp), default=None)

    def __str__(self) -> str:
        return table(self)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return f"<pre>{escape(table(self))}</pre>"


def _side(kind: str) -> str:
    """Of which of `KINDS` a kind is."""
    return next(side for side in KINDS if kind.startswith(side))


def show_parameters(values: Mapping[str, Fraction]) -> str:
    """Parameters as text.

    >>> show_parameters({"alpha": Fraction(1, 2)})
    'alpha = 0.5'
    """
    return ", ".join(f"{name} = {_decimal(value)}" for name, value in values.items())


def _decimal(value: Fraction) -> str:
    return show_number(value) if value.denominator < 10**9 else repr(float(value))


def show_settings(settings: Sequence[Mapping[str, Fraction]]) -> str:
    """The settings that errors were measured at: the first whole, of others what is different.

    >>> show_settings([{"a": Fraction(1), "b": Fraction(20)}, {"a": Fraction(-1), "b": Fraction(20)}])
    'a = 1, b = 20; also a = -1'
    """
    first, *others = settings
    changes = [
        show_parameters({key: value for key, value in each.items() if first[key] != value}) for each in others
    ]
    return "; also ".join([show_parameters(first), *([", or ".join(changes)] if changes else [])])


def round_up(value: float) -> float:
    """An error in four significant digits, never less than it is, so that the lock keeps still.

    >>> round_up(1.23412), round_up(0.0), round_up(17000001.0)
    (1.235, 0.0, 17010000.0)
    """
    if value == 0 or not math.isfinite(value):
        return value
    places = 3 - math.floor(math.log10(value))
    scale = Fraction(10) ** places
    return float(math.ceil(Fraction(value) * scale) / scale)


# The lock file


def show_lock(certificates: Mapping[str, Certificate]) -> str:
    """The lock file's text: sorted, a row a line, the same bytes for the same certificates."""
    blocks = [
        f"  {json.dumps(name)}: {show_certificate(each)}" for name, each in sorted(certificates.items())
    ]
    body = ",\n".join(blocks)
    return f'{{\n"format": {FORMAT},\n"certificates": {{\n{body}\n}}\n}}\n'


def show_certificate(certificate: Certificate) -> str:
    """A certificate as the lock has it, and as the digest of a build takes it in."""
    head = {
        "digest": certificate.digest,
        "parameters": certificate.parameters,
        "samples": certificate.samples,
    }
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    rows = ",\n".join(
        f"      {json.dumps(_flat(row), sort_keys=True)}" for row in sorted(certificate.rows, key=_order)
    )
    return "{\n    " + ",\n    ".join([*lines, f'"rows": [\n{rows}\n    ]']) + "\n  }"


def read_lock(path: Path) -> dict[str, Certificate]:
    """The certificates of a lock file by name; none where there is no file.

    Raises `LockError` for a file that is none of ours.
    """
    text = read_text(path)
    if text is None:
        return {}
    try:
        data = json.loads(text)
        if data["format"] != FORMAT:
            raise LockError(
                f"{path} has format {data['format']}, not {FORMAT}: remove it and run dslgen certify"
            )
        return {name: _certificate(name, entry) for name, entry in data["certificates"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LockError(
            f"{path} is no lock of certificates ({error}): remove it and run dslgen certify"
        ) from None


def _order(row: Row) -> tuple[int, int, str, int, str]:
    output = re.search(r"\d*$", row.kind)
    number = output[0] if output else ""
    side = KINDS.index(_side(row.kind))
    return tuple(MAKERS).index(row.by), DTYPES.index(row.dtype), number, side, row.kind.replace(" ", "~")


_DEFAULTS: Mapping[str, Any] = {field.name: field.default for field in fields(Row)}


def _flat(row: Row) -> dict[str, Any]:
    """A row as JSON has it: what is as usual left out, infinities and NaN as text."""
    return {key: _encode(value) for key, value in vars(row).items() if value != _DEFAULTS[key]}


def _encode(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_encode(each) for each in value]
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _certificate(name: str, entry: Mapping[str, Any]) -> Certificate:
    rows = tuple(Row(**{key: _decode(key, value) for key, value in row.items()}) for row in entry["rows"])
    return Certificate(name, entry["digest"], entry["samples"], entry["parameters"], rows)


_WORDS = ("by", "dtype", "kind", "parameters", "of", "case")


def _decode(key: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(float(each) for each in value)
    return float(value) if isinstance(value, str) and key not in _WORDS else value


# Text


def accuracy(certificate: Certificate) -> str:
    """A certificate as plain text, for the header of a generated module."""
    lines = ["The worst errors found against exact values, in ulps (found, not proved):", ""]
    labels = {kind: _label(kind) for kind in certificate.kinds}
    longest = max((len(_worst(row)) for row in certificate.rows), default=0)
    widths = (max(12, *(len(label) + 2 for label in labels.values())), 10, max(28, longest + 2))
    head = ("", "", *MAKERS.values())
    lines.append(_line(head, widths))
    for dtype in DTYPES:
        for kind, label in labels.items():
            found = [certificate.row(by, dtype, kind) for by in MAKERS]
            cells = ["" if row is None else _worst(row) for row in found]
            lines.append(_line((label, dtype, *cells), widths))
    lines.append("")
    lines += _notes(certificate)
    return "\n".join(lines)


def _label(kind: str) -> str:
    """What a kind is called in a header.

    >>> [_label(kind) for kind in ("value", "gradient", "gradient_gate", "value_2", "gradient summed")]
    ['value', 'derivative', 'by gate', 'value 2', 'sums']
    """
    if kind in _LABELS:
        return _LABELS[kind]
    return kind.replace("gradient_", "by ").replace("value_", "value ")


_LABELS = {"gradient": "derivative", SUMMED: "sums"}


def _worst(row: Row) -> str:
    return f"{_ulps(row.worst_ulp)} at {_place(row)}{'*' if row.parameters else ''}"


def _place(row: Row) -> str:
    if row.of == "rows":
        return f"{_short(row.worst_input)} in {row.case.split(', ')[0]}"
    if row.kind == SUMMED:
        return row.case.removeprefix("by ").split()[0]
    if row.point is None:
        return _short(row.worst_input)
    return f"({', '.join(map(_short, row.point))})"


def _line(cells: tuple[str, ...], widths: tuple[int, ...]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
    return "".join([*padded, *cells[len(widths) :]]).rstrip()


def _notes(certificate: Certificate) -> Iterator[str]:
    sampled = [row.tried for row in certificate.rows if not row.exhaustive]
    sort = next((row.of for row in certificate.rows), "")
    several = any(row.point is not None and len(row.point) > 1 for row in certificate.rows)
    if sort in _TRIED:
        in_turn = " Each input varies in turn, at a few values of the others." if several else ""
        yield fill(_TRIED[sort].format(min(sampled, default=0)) + in_turn, 100)
    elif several:
        yield "Tried: every 16-bit value of each input, and at least"
        yield f"  {min(sampled):,} of the other types and a search, against a few values of the others."
    elif sampled:
        count = f"at least {min(sampled):,} inputs of the other types"
        yield f"Tried: every 16-bit input; {count}, and a search around the worst."
    else:
        yield "Tried: every 16-bit input."
    if certificate.parameters:
        starred = " (*)" if any(row.parameters for row in certificate.rows) else ""
        yield fill(f"With {certificate.parameters}{starred}.", 100, subsequent_indent="  ")
    for row in certificate.rows:
        if row.by == "kernel" and row.dtype == "float32" and row.near_roots:
            what = _label(row.kind).replace("by ", "derivative by ")
            where, unit = _BESIDE.get(sort, _BESIDE[""])
            yield f"{where.format(what)}: {_ulps(row.near_roots)} * {HALF_EPSILON[row.dtype]}{unit}."
    for row in certificate.rows:
        if row.failure is not None:
            x, got, exact = (_short(value) for value in row.failure)
            yield f"{_title(row)}: {row.failed:,} wrong, at {x} {got} in the place of {exact}."


_TRIED = {
    "learned": (
        "Tried, of inputs up to 65536: every 16-bit one for the value and the derivative by the input, a "
        "sample for the rest, and a search around the worst. Where a sum has parameters in it, the unit is "
        "the ulp of its terms' magnitudes. A parameter's derivative is that of one element; the sums are "
        "gradients of a parameter over 1,600 or 4,800 elements, in ulps of the sum of their magnitudes."
    ),
    "rows": (
        "Tried: rows of 1, 2, 17, 1000 and 17001 elements, of at least {:,} elements in all: normal ones of "
        "several sizes, one that is far greater, all alike, a large offset, large ones in turns, one among "
        "-infinity. The unit of a derivative is the ulp of the sum of the magnitudes of what each element of "
        "the incoming gradient gives."
    ),
}
"""What was tried, and the unit where it is not the ulp of the result."""
_BESIDE = {
    "": ("Beside a root of the {} that float32 does not have", ", absolute"),
    "rows": (
        "Where a sum cancels in the {}, and it is less than a quarter of the row's greatest",
        " of that",
    ),
}


def table(certificate: Certificate) -> str:
    """A certificate as a table for a terminal: a line per row."""
    lines = []
    width = max(10, *(len(kind) + 1 for kind in certificate.kinds))
    places = [f"{_ulps(row.worst_ulp)} ulp at {_place(row)}" for row in sorted(certificate.rows, key=_order)]
    wide = max(30, *(len(place) + 2 for place in places))
    for row, place in zip(sorted(certificate.rows, key=_order), places, strict=True):
        extra = [
            f"{count:,} {what}"
            for count, what in (
                (row.failed, "wrong"),
                (row.flushed, "flushed to zero"),
                (row.signs, "zeros of the wrong sign"),
                (row.undecided, "undecided"),
            )
            if count
        ]
        if row.parameters:
            extra.insert(0, f"with {row.parameters}")
        if row.case:
            extra.insert(0, row.case)
        if row.near_roots:
            extra.insert(0, f"near roots {_ulps(row.near_roots)} * {HALF_EPSILON[row.dtype]}")
        text = f"  {row.by:8}{row.dtype:10}{row.kind:{width}}{place:{wide}}{'; '.join([row.tries, *extra])}"
        lines.append(text)
    given = f" ({certificate.parameters})" if certificate.parameters else ""
    return "\n".join([f"{certificate.name}{given}", *lines])


def summary(held: Iterable[Certificate]) -> str:
    """Certificates as one table: the kernels' worst errors in every dtype, and the formulas' in float32."""
    columns = [*(("kernel", dtype) for dtype in DTYPES), ("formula", "float32")]
    lines = [
        _line(("", *(by for by, _ in columns)), _SUMMARY),
        _line(("value / derivative, ulp", *(dtype for _, dtype in columns)), _SUMMARY),
    ]
    for each in held:
        cells = [_pair([each.worst(by, dtype, side) for side in KINDS]) for by, dtype in columns]
        lines.append(_line((each.name, *cells), _SUMMARY))
    return "\n".join(lines)


_SUMMARY = (25, 18, 18, 18, 18)


def _pair(rows: Iterable[Row | None]) -> str:
    return " / ".join("" if row is None else "wrong" if row.failed else _ulps(row.worst_ulp) for row in rows)


def _title(row: Row) -> str:
    return f"{MAKERS[row.by]}, {row.dtype}, {row.kind}"


def _ulps(error: float) -> str:
    return f"{error:.3g}" if error < 1000 else f"{error:.2g}"


def _short(value: float) -> str:
    return f"{value:.6g}"


# Bounds


def bound(accuracy: Bound, dtype: str, kind: str, sort: str = "") -> float:
    """The greatest error that is allowed, in ulps; `sort` is one of `BOUNDS`.

    An `accuracy` clause stands for float32 and float64 in the default's place; 16-bit types keep the default
    where it is the stricter, for their results are rounded from float32.

    >>> loose = Bound(Fraction(40), None)
    >>> bound(loose, "float32", "value"), bound(loose, "float16", "value")
    (40.0, 0.55)
    """
    if kind == SUMMED:
        return SUM_BOUND
    usual = BOUNDS[sort][dtype][KINDS.index(_side(kind))]
    given = accuracy.forward if _side(kind) == "value" else accuracy.backward
    if given is None:
        return usual
    return float(given) if dtype in ("float32", "float64") else min(usual, float(given))


def near_bound(accuracy: Bound, dtype: str, kind: str) -> float:
    """The greatest error beside a root, in halves of epsilon; an `accuracy` clause may allow more there, too.

    >>> near_bound(Bound(None, Fraction(9)), "float32", "gradient")
    9.0
    """
    given = accuracy.forward if _side(kind) == "value" else accuracy.backward
    usual = NEAR_ROOTS[dtype]
    return max(usual, float(given)) if given is not None and dtype in ("float32", "float64") else usual


def findings(certificate: Certificate, accuracy: Bound) -> tuple[str, ...]:
    """What breaks a bound, a line each: where, by how much, and the interval around it."""
    return tuple(
        line
        for row in sorted(certificate.rows, key=_order)
        for line in _broken(certificate.name, row, accuracy)
    )


def _broken(name: str, row: Row, accuracy: Bound) -> Iterator[str]:
    what = f"{name}: {_title(row)}"
    if row.failed:
        x, got, exact = row.failure or (math.nan,) * 3
        case = f" ({row.case})" if row.case else ""
        wrong = f"at {x!r}{case} {got!r} in the place of {exact!r}"
        yield f"{what}: {row.failed:,} inputs give a wrong NaN or infinity: {wrong}"
    allowed = bound(accuracy, row.dtype, row.kind, row.sort)
    if row.worst_ulp > allowed:
        low, high = row.interval or (row.worst_input,) * 2
        around = f"; the bound is broken between {low:.9g} and {high:.9g}" if low < high else ""
        given = f" with {row.parameters}" if row.parameters else ""
        case = f" ({row.case})" if row.case else ""
        place = f"{row.point or row.worst_input!r}{case}{given}"
        yield f"{what}: {_ulps(row.worst_ulp)} ulp at {place}, bound {allowed:g}{around}"
    near = near_bound(accuracy, row.dtype, row.kind)
    if row.near_roots is not None and row.near_roots > near:
        unit = HALF_EPSILON[row.dtype]
        yield (
            f"{what}: {_ulps(row.near_roots)} * {unit} beside a root, at {row.near_roots_input!r}, "
            f"bound {near:g} * {unit}"
        )
