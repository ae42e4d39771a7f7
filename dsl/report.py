"""What a generated module says about itself: the text of its docstring.

In: an activation and its program. Out: plain text in a fixed order, *Method*, *Rewrites*, *Accuracy*,
*Special cases*. The special cases are computed, not claimed: the program is run in Python's floats at 0, at
the infinities and at NaN, with the default parameters.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable

from dsl.activation import Activation
from dsl.certificate import NOT_CERTIFIED
from dsl.expr import symbols
from dsl.ieee import run
from dsl.program import Function, JointProgram, Program, RowProgram, Training
from dsl.show import show_expr, show_row_names

WIDTH = 100
POINTS: tuple[float, ...] = (0.0, math.inf, -math.inf, math.nan)


def header(activation: Activation, program: Program, accuracy: str = "") -> str:
    """The docstring's text; `accuracy` is what a certificate says, empty where none was made."""
    sections = (
        ("Method", method(activation, program)),
        ("Rewrites", rewrites(program)),
        ("Accuracy", accuracy or NOT_CERTIFIED),
        ("Special cases", special_cases(activation, program)),
    )
    return _document(activation, sections)


def _document(activation: Activation, sections: Iterable[tuple[str, str]]) -> str:
    parts = [summary(activation)]
    if activation.doc:
        parts.append(activation.doc.strip())
    parts += [f"{title}\n{textwrap.indent(text, '    ')}" for title, text in sections if text]
    return "\n\n".join(parts)


def joint_header(activation: Activation, program: JointProgram, accuracy: str = "") -> str:
    """The docstring's text for an activation of several variables or outputs."""
    formulas = "\n\n".join(
        _equations(title + (f" of output {number}" if activation.others else ""), function)
        for number, output in enumerate(program.outputs, 1)
        for title, function in zip(
            ("value", *(f"derivative by {name}" for name in activation.variables)),
            (output.forward, *output.gradients),
            strict=True,
        )
    )
    sections = (
        ("Method", formulas),
        ("Rewrites", rewrites(program)),
        ("Accuracy", accuracy or NOT_CERTIFIED),
    )
    return _document(activation, sections)


def row_header(activation: Activation, program: RowProgram, accuracy: str = "") -> str:
    """The docstring's text for an activation with reductions over rows."""
    titles = ("value", *(f"gradient by {name}" for name in activation.inputs))
    formulas = [
        _equations(title, function.whole) + f"\n    {_reads(function.levels)}"
        for title, function in zip(titles, (program.forward, *program.gradients), strict=True)
    ]
    sections = (
        ("Method", show_row_names("\n\n".join(formulas))),
        ("Rewrites", rewrites(program)),
        ("Accuracy", accuracy or NOT_CERTIFIED),
    )
    return _document(activation, sections)


def _reads(levels: int) -> str:
    """How often a row is read."""
    times = {1: "twice", 2: "three times", 3: "four times"}.get(levels, f"{levels + 1} times")
    return f"A row is read once where it fits on chip, {times} where it does not."


def summary(activation: Activation) -> str:
    """One line: the definition as its author wrote it."""
    return wrap(f"{signature(activation)} = {activation.formula}", "    ")


def signature(activation: Activation) -> str:
    """The definition's left side, for example `elu(x; alpha)`."""
    parameters = ", ".join(each.name for each in activation.settable)
    return f"{activation.name}({', '.join(activation.inputs)}{'; ' if parameters else ''}{parameters})"


def method(activation: Activation, program: Program) -> str:
    """The formulas that are evaluated, with every short name defined."""
    titles = [("value", program.forward), ("derivative", program.gradient)]
    if program.training is not None:
        titles += [("value in training", program.training.forward)]
        titles += [("derivative in training", program.training.gradient)]
    formulas = [_equations(title, function) for title, function in titles]
    return "\n\n".join(formulas + _draws(program.training))


def _draws(training: Training | None) -> list[str]:
    """What the names of draws stand for."""
    draws = () if training is None else training.draws
    meaning = {"uniform": "drawn uniformly from 0 to 1, without 1", "normal": "drawn from N(0, 1)"}
    lines = [f"{draw.name}: {meaning[draw.distribution]}" for draw in draws]
    return ["\n".join(lines)] if lines else []


def rewrites(program: Program | JointProgram | RowProgram) -> str:
    """Which rules fired, and why."""
    rows = dict.fromkeys(program.rewrites)
    return (
        "\n".join(wrap(f"{name}: {reason}" if reason else name, "    ") for name, reason in rows)
        or "None: evaluated as it is written."
    )


def special_cases(activation: Activation, program: Program) -> str:
    """The value and the derivative at zero, the infinities and NaN."""
    if any(parameter.default is None for parameter in activation.parameters):
        return ""
    values = {p.name: float(p.default) for p in activation.parameters if p.default is not None}
    rows = []
    for point in POINTS:
        forward, gradient = (
            run(function, {**values, function.input: point})
            for function in (program.forward, program.gradient)
        )
        rows.append(f"x = {point:g}: value {forward:.6g}, derivative {gradient:.6g}")
    given = ", ".join(f"{name} = {value:g}" for name, value in values.items())
    return "\n".join(([f"With {given}:"] if given else []) + rows)


def _equations(title: str, function: Function) -> str:
    lines = [wrap(f"{title} = {show_expr(function.result)}", "    ")]
    definitions = [f"{step.name} = {show_expr(step.value)}" for step in function.steps]
    used = set(symbols(*(step.value for step in function.steps), function.result))
    definitions += [f"{c.name} = {c.meaning}" for c in function.constants if c.name in used]
    return "\n".join(
        lines + [textwrap.indent(wrap(definition, "    "), "    ") for definition in definitions]
    )


def wrap(text: str, indent: str = "") -> str:
    """A paragraph in lines of at most `WIDTH` characters, the later ones indented."""
    return textwrap.fill(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
