"""What the playground says of a text, as it is typed: a part at a time, the quick ones first.

In: a formula or definitions, and the definitions that it may call. Out: `Answer`s: errors at their places, or
HTML. Runs in a process of its own, which may be killed (`dsl.web.worker`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from dsl.activation import Activation
from dsl.build import source
from dsl.cost import DTYPES, package
from dsl.curves import CurveError, Way
from dsl.derivation import Part, derivation
from dsl.equations import written
from dsl.errors import Span, SpecError, SpecErrors, as_text
from dsl.inspect import table
from dsl.outline import outline
from dsl.parse import parse_all
from dsl.pipeline import stages
from dsl.project import read_spec, spec_files
from dsl.resolve import resolve_all
from dsl.runtime import defines, without_head
from dsl.syntax import Definition
from dsl.web import html, parts
from dsl.web.figures import Figures, figures, unavailable, worst
from dsl.web.function import COUNTED, counted

TARGET = "sm_90"
QUICK, POINTS = 600, 1200
"""Points of the first curve, and of the one with errors."""
PATH = "formula"

LIMITS: dict[str, float] = {"formula": 10, "curve": 20, "source": 30, "stability": 40, "cost": 120}
"""The parts of an answer, in order, and how many seconds each may take."""


@dataclass(frozen=True)
class Question:
    """What was typed, and the stretch of x to draw."""

    text: str
    low: float
    high: float
    specs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """One of the parts; with `errors` it is the last."""

    part: str
    html: str = ""
    errors: tuple[Mapping[str, Any], ...] = ()


def answers(question: Question) -> Iterator[Answer]:
    """The parts of an answer, each as soon as it is known."""
    np.seterr(all="ignore")
    try:
        activation = read(question.text, [Path(path) for path in question.specs])
    except SpecErrors as found:
        yield Answer("formula", errors=tuple(map(_error, found.errors)))
        return
    yield Answer("formula", "".join(parts.contents(Part("", equations=(written(activation),)))))
    yield Answer("curve", _figures(activation, question, QUICK, errors=False)[1])
    made = stages(activation)
    code = source(activation, program=made.program)
    yield Answer("source", html.code(code, "python"))
    with package({activation.name: code}) as kernels:
        module = import_module(f"{kernels.__name__}.{activation.name}")
        steps = derivation(activation, made=made)
        yield Answer(
            "stability", _stability(activation, question, getattr(module, activation.class_name), steps)
        )
        rows = {key: asdict(row) for key, row in table(kernels, TARGET, DTYPES).items()}
        yield Answer("cost", f"<p>{COUNTED}</p>{counted(rows)}")


NOT_MEASURED = "Errors are measured for elementwise functions of one input whose parameters have defaults."


def _stability(
    activation: Activation, question: Question, module: Callable[[], Way], steps: Sequence[Part]
) -> str:
    """How the formula was mended, and what the page moves into other places: plots and errors."""
    drawn, shown = _figures(activation, question, POINTS, errors=True, module=module)
    if drawn is None or not drawn.panels:
        measured = f"<p>{NOT_MEASURED}</p>"
    else:
        measured = html.table([[escape(cell) for cell in row] for row in worst(drawn.panels)], kind="numbers")
    left_out = ("Definition", "Certificate")
    told = parts.article([part for part in steps if part.title not in left_out], 3)
    return f'<div data-for="curve">{shown}</div><div data-for="worst">{measured}</div>{told}'


def _figures(
    activation: Activation,
    question: Question,
    points: int,
    errors: bool,
    module: Callable[[], Way] | None = None,
) -> tuple[Figures | None, str]:
    try:
        drawn = figures(activation, (question.low, question.high), points, errors, module)
    except CurveError as error:
        return None, unavailable(escape(str(error)))
    return drawn, drawn.page


# Reading


def read(text: str, specs: Sequence[Path] = ()) -> Activation:
    """The last definition of a text, or the function of `x` that a formula alone stands for.

    What is defined in `specs` may be called, unless the text defines it otherwise. Raises `SpecErrors`.

    >>> from dsl.show import show_expr
    >>> show_expr(read("x * tanh(x)").body)
    'x * tanh(x)'
    """
    alone = not defines(text)
    # The head has a line of its own, so that the formula stands in messages as it was written.
    definitions, wrong, broken = parse_all(f"f(x) =\n{text}" if alone else text, PATH)
    own = {definition.name.text for definition in definitions} | broken
    found, more = resolve_all([*definitions, *_around(specs, own)], broken)
    errors = [error for error in (*wrong, *more) if error.span.path == PATH]
    if errors:
        raise SpecErrors(map(without_head, errors) if alone else errors)
    return next(each for each in found if each.name == definitions[-1].name.text)


def _around(specs: Sequence[Path], own: set[str]) -> list[Definition]:
    """The definitions of a project, without those that a text has for itself."""
    found: list[Definition] = []
    for file in spec_files(specs):
        try:
            definitions, _, _ = parse_all(read_spec(file), file.as_posix())
        except SpecError:  # What is wrong elsewhere is not said here.
            continue
        for each in definitions:
            aliases = {clause.name.text for clause in each.clause("alias") if clause.name}
            if not own & {each.name.text, *aliases}:
                found.append(each)
    return found


def definitions(specs: Sequence[Path]) -> dict[str, str]:
    """The definitions of a project as they stand in its files, without what documents them, by name."""
    found: dict[str, str] = {}
    for file in spec_files(specs):
        try:
            entries = outline(read_spec(file))
        except SpecError:
            continue
        found |= {each.name: each.text for each in entries if each.kind == "definition"}
    return dict(sorted(found.items()))


def _error(error: SpecError) -> dict[str, Any]:
    """An error for the page: what it says, and the stretch and the edit as places in the text."""
    fix = error.fix
    return {
        "code": error.code,
        "message": error.message,
        "shown": as_text(error).partition("\n")[2],
        **_place(error.span),
        "fix": None if fix is None else {**_place(fix.span), "text": fix.text},
    }


def _place(span: Span) -> dict[str, int]:
    return {
        "line": span.line,
        "column": span.column,
        "end_line": span.end_line,
        "end_column": span.end_column,
    }
