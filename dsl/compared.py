"""Rows of certificates: an activation's kernels and formulas against exact values, in this process.

In: an activation whose module `dsl.interpret` has imported. Out: what there is to measure of it, and the
`Row`s that measuring one kind of result in one dtype gives. How that goes depends on what the activation is:
elementwise of one input, of several, with learnable parameters, over rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from dsl import certificate as certificates
from dsl.activation import Activation
from dsl.certificate import KINDS, MAKERS, SUMMED, Row
from dsl.settings import measured_settings, rounded, settings

Function = Callable[[Any], Any]
"""Arrays to arrays."""

OTHER_SETTINGS = 8
"""At other settings than the first, one in so many points is tried."""
BY_ELEMENT = "_by_element"
"""What the module's name ends in of which every element has parameters of its own."""


def kinds(activation: Activation) -> tuple[str, ...]:
    """What is measured of an activation."""
    if activation.dim is not None:
        return activation.labels
    if activation.learned:
        from dsl.certify import learned

        return learned.kinds(activation)
    if not activation.joint:
        return KINDS
    from dsl.certify import joint

    return joint.kinds(activation)


def rows(activation: Activation, kind: str, dtype: str, samples: int) -> tuple[Row, ...]:
    """The rows of the kernel and of the formula, in one dtype, of one kind."""
    found: dict[str, Row] = {}
    for row in _way(activation)(activation, kind, dtype, samples):
        found[row.by] = worse(found[row.by], row) if row.by in found else row
    return tuple(found.values())


Way = Callable[[Activation, str, str, int], Iterable[Row]]


def _way(activation: Activation) -> Way:
    if activation.dim is not None:
        return _over_rows
    if activation.learned:
        return _learned
    return _jointly if activation.joint else _alone


def _alone(activation: Activation, kind: str, dtype: str, samples: int) -> Iterator[Row]:
    """A row for each maker and each setting, of one input."""
    from dsl import interpret
    from dsl.certify import joint, truth
    from dsl.pipeline import derive

    root = activation.body if kind == "value" else derive(activation)[1]
    for number, setting in enumerate(settings(activation)):
        given = {key: float(value) for key, value in setting.items()}
        makers = {
            "kernel": interpret.kernel(activation.name, kind, dtype, given),
            "formula": interpret.formula(activation.name, kind, dtype, given),
        }
        count = samples // OTHER_SETTINGS if number else samples
        known = truth(root, activation.input, dtype, setting, count, every=not number)
        if activation.casts:  # which counts as an input beside the first
            known = joint.in_terms(known, joint.Sweep(activation.input, {}), root, setting)
            makers = {by: joint.finite(function, known) for by, function in makers.items()}
        shown = certificates.show_parameters(setting) if number else ""
        yield from _against(activation, kind, dtype, known, makers, shown)


def _jointly(activation: Activation, kind: str, dtype: str, samples: int) -> Iterator[Row]:
    """A row for each maker and each sweep of one input, at the first setting of the parameters."""
    from dsl import interpret
    from dsl.certify import joint, truth
    from dsl.pipeline import derive_joint

    (setting,) = measured_settings(activation)
    root = derive_joint(activation)[activation.labels.index(kind)]
    where = joint.place(activation, kind)
    given = {key: float(value) for key, value in setting.items()}
    exact = rounded(setting, dtype)  # 1.702 is float32's to a kernel, and a threshold is where that has it
    for sweep in joint.sweeps(activation.inputs, root):
        if joint.is_beside_a_root(sweep, root, exact):
            continue
        swept = activation.inputs.index(sweep.name)
        point = sweep.point(activation.inputs, 0.0)
        makers: dict[str, Function] = {
            by: interpret.joint(activation.name, by, where, dtype, point, swept, given) for by in MAKERS
        }
        known = joint.in_terms(
            truth(root, sweep.name, dtype, {**exact, **sweep.others}, samples), sweep, root, exact
        )
        if not sweep.first or joint.is_flat(known) or activation.casts:
            makers = {by: joint.finite(function, known) for by, function in makers.items()}
        for row in _against(activation, kind, dtype, known, makers, ""):
            failed = (
                f"{sweep.name} varied, {certificates.show_parameters(sweep.others)}" if row.failed else ""
            )
            yield replace(
                row, point=sweep.point(activation.inputs, row.worst_input), parameters=failed.rstrip(", ")
            )


def _learned(activation: Activation, kind: str, dtype: str, samples: int) -> Iterator[Row]:
    """A row for each maker, each setting, each variable that the derivative is by and each input in turn."""
    from dsl import interpret
    from dsl.certify import joint, learned
    from dsl.pipeline import derive_joint

    if kind == SUMMED:
        yield from _summed(activation, dtype)
        return
    derived = derive_joint(activation)
    variables = (None,) if kind == "value" else learned.variables_of(activation, kind)
    inputs, entries = activation.inputs, activation.entries
    of_parameter = kind not in learned.kinds(activation)[: 1 + len(inputs)]
    name = f"{activation.name}{BY_ELEMENT}"
    for number, setting in enumerate(measured_settings(activation)):
        given = learned.as_given(activation, setting, dtype)
        shown = certificates.show_parameters(setting) if number else ""
        for variable in variables:
            slope = None if variable is None else activation.variables.index(variable)
            root = derived[0 if slope is None else 1 + slope]
            every = not (number or of_parameter)
            count = samples // (1 if every else OTHER_SETTINGS)
            case = f"by {variable}" if len(variables) > 1 else ""
            for sweep in learned.sweeps_of(activation, root, given, not number):
                point, swept = sweep.point(inputs, 0.0), inputs.index(sweep.name)
                makers: dict[str, Function] = {
                    by: interpret.learned(name, by, slope, dtype, given, entries, point, swept)
                    for by in MAKERS
                }
                known = learned.truth_of(root, sweep, dtype, given, count, every, not number)
                if activation.joint and (not sweep.first or joint.is_flat(known)):
                    makers = {by: joint.finite(function, known) for by, function in makers.items()}
                for row in _against(activation, kind, dtype, known, makers, shown, search=not number):
                    worst = sweep.point(inputs, row.worst_input) if activation.joint else None
                    yield replace(row, of="learned", case=case, point=worst)


def _summed(activation: Activation, dtype: str) -> Iterator[Row]:
    """A row for each maker and each sum, at the first setting."""
    from dsl import interpret
    from dsl.certify import learned
    from dsl.pipeline import derive_joint

    given = learned.as_given(activation, measured_settings(activation)[0], dtype)
    derived = derive_joint(activation)
    roots = dict(zip(activation.entries, derived[1 + len(activation.inputs) :], strict=False))
    for known in learned.sums(activation, roots, dtype, given):
        for by in MAKERS:
            got = interpret.summed(activation.name, by, dtype, given, activation.learned, known.variable)
            found = learned.measure_sum(known, got(known.inputs, known.grad), dtype)
            yield replace(
                _row(by, SUMMED, found, None, ""),
                of="learned",
                case=f"by {known.variable} of elements from normal({known.scale:g})",
            )


def _over_rows(activation: Activation, kind: str, dtype: str, samples: int) -> Iterator[Row]:
    """A row for each maker, at the first setting of the parameters."""
    from dsl import interpret
    from dsl.certify.rows import measure_rows, row_truths
    from dsl.pipeline import derive_rows

    (setting,) = measured_settings(activation)
    which = activation.labels.index(kind)
    root = derive_rows(activation)[which]
    given = {key: float(value) for key, value in setting.items()}
    truths = [*row_truths(root, activation.inputs, dtype, rounded(setting, dtype), which > 0)]
    for by in MAKERS:
        function = interpret.rows(activation.name, by, which, dtype, activation.inputs, given)
        found = measure_rows(function, truths)
        yield replace(_row(by, kind, found.measurement, None, ""), of="rows", case=found.case)


def _against(
    activation: Activation,
    kind: str,
    dtype: str,
    known: Any,
    makers: Mapping[str, Function],
    shown: str,
    search: bool = True,
) -> Iterator[Row]:
    """A row for each maker against a truth."""
    from dsl.certify import around_worst, measure

    sort = "learned" if activation.learned else "joint" if activation.joint else ""
    allowed = certificates.bound(activation.accuracy, dtype, kind, sort)
    for by, function in makers.items():
        found = measure(function, known, search)
        broken = found.worst_ulp > allowed
        interval = around_worst(function, known, found.worst_input, allowed) if broken else None
        yield _row(by, kind, found, interval, shown)


def _row(by: str, kind: str, found: Any, interval: tuple[float, float] | None, shown: str) -> Row:
    """A measurement as a row."""
    first = found.failures[0] if found.failures else None
    return Row(
        by,
        found.dtype,
        kind,
        certificates.round_up(found.worst_ulp),
        found.worst_input,
        found.tried,
        found.exhaustive,
        None if found.near_roots is None else certificates.round_up(found.near_roots),
        found.near_roots_input,
        found.flushed,
        found.signs,
        found.undecided,
        found.failed,
        None if first is None else (first.input, first.got, first.exact),
        interval,
        shown,
    )


def worse(one: Row, other: Row) -> Row:
    """Two settings' rows as one: the worst error of both, all counts, what was tried at the first setting."""
    worst = max(one, other, key=lambda row: row.worst_ulp)
    near = max(one, other, key=lambda row: -1.0 if row.near_roots is None else row.near_roots)
    failed = one if one.failed or not other.failed else other
    told = failed if one.failed or other.failed else worst
    return replace(
        worst,
        tried=one.tried + other.tried,
        exhaustive=one.exhaustive,
        near_roots=near.near_roots,
        near_roots_input=near.near_roots_input,
        flushed=one.flushed + other.flushed,
        signs=one.signs + other.signs,
        undecided=one.undecided + other.undecided,
        failed=one.failed + other.failed,
        failure=failed.failure,
        parameters=told.parameters,
        case=told.case,
    )
