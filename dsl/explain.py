"""How a definition became what it is, in order, as text for people.

In: an activation, and its certificate if there is one. Out: what the formula does as it is written, in
float32; the rules that mended it and why; polynomials and ends; the program; the certificate.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction

import numpy as np

from dsl import certificate as certificates
from dsl import report
from dsl.activation import Activation, as_numbers
from dsl.build import code_digest
from dsl.certificate import Certificate
from dsl.certify import kinks, sample
from dsl.evaluate import Reference
from dsl.expr import Apply, Expr, Number, Symbol, is_op, postorder
from dsl.ieee import evaluate
from dsl.model import Model
from dsl.pipeline import Stages, compile_activation, compile_joint, compile_learned, derive, row_program
from dsl.program import AnyProgram, Function, JointProgram, Program
from dsl.settings import settings
from dsl.show import show_activation, show_expr, show_function, show_passes, show_row_names
from dsl.targets.model import layers, passes
from dsl.ulp import FORMATS, Array, error_in_ulps

PROBES = 1500
"""About how many float32 inputs the naive program is run at."""
FAR_OFF = 1000.0
"""An error in ulps that is told."""
GAP = 40
"""So many probes between two bad ones may happen to be good without ending an interval."""


def explain(activation: Activation, certificate: Certificate | None = None, cost: str = "") -> str:
    """The derivation of an activation's program, as text; `cost` says what its kernels cost, if known."""
    if activation.learned:
        return _explain_learned(activation, certificate, cost)
    if activation.dim is not None:
        return _explain_rows(activation, certificate, cost)
    if activation.joint:
        return _explain_joint(activation, certificate, cost)
    stages = compile_activation(activation)
    sections = (
        ("Spec", show_activation(activation)),
        ("As it is written, in float32", _naive(activation, stages.derived)),
        ("Rules that fired", report.rewrites(stages.program)),
        ("Polynomials and ends", "\n".join(patches(stages))),
        ("Program", _program(stages.program)),
        *([("Cost", cost)] if cost else []),
        ("Certificate", _certified(activation, stages.program, certificate)),
    )
    return _document(sections)


def _document(sections: Iterable[tuple[str, str]]) -> str:
    return "\n\n".join(f"{title}\n{textwrap.indent(text, '    ')}" for title, text in sections)


def _explain_learned(activation: Activation, certificate: Certificate | None, cost: str) -> str:
    """The same where parameters are learned: what fails is told at their initial values, of one input."""
    plain = as_numbers(activation)
    program = compile_learned(activation).program
    naively = [] if activation.joint else [("As it is written, in float32", _naive(plain, derive(plain)))]
    return _document(
        (
            ("Spec", show_activation(activation)),
            *naively,
            ("Rules that fired", report.rewrites(program)),
            ("Program", _program(program)),
            *([("Cost", cost)] if cost else []),
            ("Certificate", _certified(activation, program, certificate)),
        )
    )


def _explain_joint(activation: Activation, certificate: Certificate | None, cost: str) -> str:
    """The derivation of a function of several inputs or outputs: no one formula of it fails along a line."""
    program = compile_joint(activation).program
    return _document(
        (
            ("Spec", show_activation(activation)),
            ("Rules that fired", report.rewrites(program)),
            ("Program", _program(program)),
            *([("Cost", cost)] if cost else []),
            ("Certificate", _certified(activation, program, certificate)),
        )
    )


def explain_model(model: Model) -> str:
    """What a model becomes: what runs together, and the layers that it holds."""
    called = "\n".join(f"dslgen explain {each.name}" for each in model.activations)
    spec = f"model {model.signature} =\n    {model.formula}"
    return _document(
        (
            ("Spec", f'"""{model.doc}"""\n{spec}' if model.doc else spec),
            ("Passes over memory", "\n".join(line for said in passes(model) for line in said)),
            ("Layers", "\n".join(layers(model))),
            *([("How its activations became their kernels", called)] if called else []),
        )
    )


def _explain_rows(activation: Activation, certificate: Certificate | None, cost: str) -> str:
    """The derivation of a function of rows: what was done to it, its programs, its passes."""
    program = row_program(activation)
    functions = zip(activation.labels, (program.forward, *program.gradients), strict=True)
    shown = show_row_names("\n\n".join(map(show_function, program.functions)))
    passes = (f"{label}\n{textwrap.indent(show_passes(each), '  ')}" for label, each in functions)
    return _document(
        (
            ("Spec", show_activation(activation)),
            ("Rules that fired", report.rewrites(program)),
            ("Program, of rows that fit on chip", shown),
            ("Passes over rows that do not", "\n\n".join(passes)),
            *([("Cost", cost)] if cost else []),
            ("Certificate", _certified(activation, program, certificate)),
        )
    )


def _program(program: Program | JointProgram) -> str:
    return "\n\n".join(map(show_function, program.functions))


def _certified(activation: Activation, program: AnyProgram, held: Certificate | None) -> str:
    current = held is not None and held.digest == code_digest(activation, program)
    if held is None or not current:
        return certificates.NOT_CERTIFIED
    broken = certificates.findings(held, activation.accuracy)
    return "\n".join([certificates.accuracy(held), *(f"Breaks its bound: {line}" for line in broken)])


def naive(activation: Activation, derived: Sequence[Expr]) -> Iterator[tuple[str, Expr, list[str]]]:
    """Of the value and the derivative: what it is called, its formula, and where that fails in float32.

    Nothing where no parameters were found that `require` allows.
    """
    values = next(iter(settings(activation)), None)
    if values is not None:
        for label, root in zip(("value", "derivative"), derived, strict=False):
            yield label, root, list(failures(root, activation.input, values))


UNTRIED = "Not tried: no values were found that `require` allows."
GOOD = "within 1000 ulp at all probes"


def _naive(activation: Activation, derived: Sequence[Expr]) -> str:
    lines = []
    for label, root, found in naive(activation, derived):
        lines.append(
            f"{label}: {show_expr(root) if len(found) and label == 'value' else ''}".rstrip(": ") + ":"
        )
        lines += [f"    {line}" for line in found or [GOOD]]
    return "\n".join(lines) or UNTRIED


def failures(root: Expr, name: str, parameters: Mapping[str, Fraction]) -> Iterator[str]:
    """Where an expression, evaluated operation by operation in float32, is NaN, infinite or far off.

    Every operation is correctly rounded here, so what is wrong is the formula and no library.
    """
    fmt = FORMATS["float32"]
    points = sample(fmt, PROBES, kinks(root, name, parameters))
    points = points[np.isfinite(points)]
    exact = Reference(root, name, parameters)(points, "float32")
    got = np.array([_in_float32(root, name, point, parameters) for point in points.tolist()])
    errors = error_in_ulps(got, exact.rounded, exact.rest, fmt)
    label = np.where(np.isnan(got) & ~np.isnan(exact.rounded), 1, 0)
    label = np.where(np.isinf(got) & (errors > FAR_OFF), 2, label)
    label = np.where((label == 0) & np.isfinite(errors) & (errors > FAR_OFF), 3, label)
    label = np.where(exact.decided, label, 0)
    for low, high in _stretches(label.tolist()):
        yield _told(int(label[low]), points[low : high + 1], errors[low : high + 1])


def _stretches(label: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last index of every run of the same label that is not 0, short gaps overlooked."""
    runs: list[tuple[int, int]] = []
    for at, kind in enumerate(label):
        if not kind:
            continue
        if runs and label[runs[-1][1]] == kind and at - runs[-1][1] <= GAP:
            runs[-1] = (runs[-1][0], at)
        else:
            runs.append((at, at))
    yield from runs


def _told(kind: int, points: Array, errors: Array) -> str:
    low, high = points[0], points[-1]
    place = f"at x = {low:.6g}" if low == high else f"for x from {low:.6g} to {high:.6g}"
    worst = int(np.argmax(errors))
    what = {
        1: "NaN",
        2: "infinite",
        3: f"off by up to {errors[worst]:.2g} ulp, most at {points[worst]:.6g}",
    }
    return f"{what[kind]} {place}" if kind != 3 else f"{place}: {what[kind]}"


def _in_float32(root: Expr, name: str, point: float, parameters: Mapping[str, Fraction]) -> float:
    """An expression at a point, every operation rounded to float32."""
    known: dict[Expr, object] = {}
    for node in postorder(root):
        value: object
        if isinstance(node, Number):
            value = _round(_as_float(node.value))
        elif isinstance(node, Symbol):
            value = point if node.name == name else _round(_as_float(parameters[node.name]))
        else:
            assert isinstance(node, Apply)
            operands = [Symbol(f"a{index}") for index in range(len(node.args))]
            given = {f"a{index}": known[arg] for index, arg in enumerate(node.args)}
            value = evaluate(Apply(node.op, *operands), given)
            value = _round(value) if isinstance(value, float) else value
        known[node] = value
    result = known[root]
    assert isinstance(result, int | float)
    return float(result)


def _as_float(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)


def _round(value: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def patches(stages: Stages) -> Iterator[str]:
    """Where a polynomial stands, and what is done at the ends, a line each."""
    functions = (stages.program.forward, stages.program.gradient, stages.program.curvature)
    told = False
    for label, function, stable in zip(
        ("value", "derivative", "second derivative"), functions, stages.stabilised, strict=True
    ):
        for line in (*_fits(stable), *_ends(stable, function)):
            told = True
            yield f"{label}: {line}"
    if not told:
        yield "None were needed."


def _fits(root: Expr) -> Iterator[str]:
    for node in postorder(root):
        if is_op(node, "where") and any(is_op(each, "fit") for each in _factors(node.args[1])):
            (fit,) = (each for each in _factors(node.args[1]) if is_op(each, "fit"))
            degrees = [len(table.args) - 1 for table in fit.args[1:]]
            yield (
                f"a polynomial in {show_expr(fit.args[0])} where {show_expr(node.args[0])}, of degree "
                f"{degrees[0]} for 16-bit types, {degrees[1]} for float32, {degrees[2]} for float64"
            )


def _factors(root: Expr) -> Iterable[Expr]:
    """The factors of a product."""
    stack = [root]
    while stack:
        node = stack.pop()
        if is_op(node, "mul"):
            stack.extend(node.args)
        else:
            yield node


def _ends(root: Expr, function: Function) -> Iterator[str]:
    """What is done far out: branches that compare the input's magnitude with a constant or infinity."""
    for node in postorder(root):
        if is_op(node, "max", "min") and any(isinstance(arg, Number) for arg in node.args):
            yield f"held: {show_expr(node)}"
        if is_op(node, "where") and any(is_op(each, "inf") for each in postorder(node.args[0])):
            yield f"at an end: {show_expr(node.args[1])} where {show_expr(node.args[0])}"
