"""The way from a definition to its kernel, in parts that can be printed: what `explain` tells, as data.

In: an activation, its certificate and its kernels' cost if they are known. Out: `Part`s, which
`dsl.paper` prints in LaTeX and `dsl.web` as a page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from dsl import certificate as certificates
from dsl import equations
from dsl.activation import Activation, as_numbers
from dsl.build import code_digest, model_output, source
from dsl.certificate import DTYPES, MAKERS, Certificate, Row
from dsl.equations import Equations
from dsl.explain import GOOD, UNTRIED, naive, patches
from dsl.model import Model
from dsl.pipeline import JointStages, Stages, derive, stages
from dsl.program import AnyProgram, RowProgram
from dsl.rows import RowStages
from dsl.show import show_activation, show_function, show_row_names
from dsl.targets.model import layers, passes


@dataclass(frozen=True)
class Part:
    """A heading and what stands below it, in this order: prose, equations, a list, pairs, a table, code.

    `language` is the code's, as Pygments calls it; a table's first row is its head.
    """

    title: str
    prose: str = ""
    equations: tuple[Equations, ...] = ()
    lines: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    table: tuple[tuple[str, ...], ...] = ()
    code: str = ""
    language: str = ""


def derivation(
    activation: Activation,
    certificate: Certificate | None = None,
    cost: str = "",
    made: Stages | JointStages | RowStages | None = None,
) -> tuple[Part, ...]:
    """Every step from an activation's definition to its program; `made` is what was compiled, if it was."""
    made = made or stages(activation)
    program = made.program
    return (
        Part(
            "Definition",
            equations=(equations.written(activation),),
            code=show_activation(activation, typed=True),
            language="act",
        ),
        *_failures(activation, made),
        *_derivatives(activation, made),
        Part(
            "Rules that fired",
            "" if program.rewrites else "None: it is evaluated as it is written.",
            pairs=_rules(program),
        ),
        *_mended(made),
        Part("Program", PROGRAM, code=_program(program), language="act"),
        *([Part("Cost", code=cost, language="text")] if cost else []),
        certified(activation, program, certificate),
    )


def whole(activation: Activation, certificate: Certificate | None = None, cost: str = "") -> tuple[Part, ...]:
    """The derivation, and the source that it ends in."""
    made = stages(activation)
    code = source(activation, certificate, made.program)
    steps = derivation(activation, certificate, cost, made)
    return (*steps, Part("Kernels and module", code=code, language="python"))


def of_model(model: Model) -> tuple[Part, ...]:
    """What a model becomes: what runs together, the layers that it holds, its source."""
    called = tuple(
        f"`{each.name}`: `dslgen explain {each.name}` tells how it became its kernels"
        for each in model.activations
    )
    return (
        Part("Definition", code=f"model {model.signature} =\n    {model.formula}", language="act"),
        Part("Passes over memory", lines=tuple(" ".join(" ".join(each).split()) for each in passes(model))),
        Part("Layers", code="\n".join(layers(model)), language="python"),
        *([Part("Activations", lines=called)] if called else []),
        Part("Kernels and module", code=model_output(model).make(), language="python"),
    )


DERIVED = "They are taken of the real function, before anything is rewritten for floating point."
PROGRAM = "What is evaluated, step by step. `dslgen show` prints every stage."
NAIVE = (
    "The formula run as it stands, every operation correctly rounded to float32, against exact values: what "
    "is wrong here is the formula, and no library."
)


MANY = 3
"""With so many variables or more, second derivatives are too many to be shown."""


def _derivatives(activation: Activation, made: Stages | JointStages | RowStages) -> list[Part]:
    if isinstance(made, RowStages):  # they are functions of the incoming gradient, too: the program tells
        return []
    kinds = ("gradient",) if len(activation.variables) >= MANY else ("gradient", "curvature")
    blocks = equations.stage(activation, made.simplified)
    shown = tuple(
        block for label, block in zip(activation.labels, blocks, strict=True) if label.startswith(kinds)
    )
    return [Part("Derivatives", DERIVED, equations=shown)]


def _program(program: AnyProgram) -> str:
    shown = "\n\n".join(map(show_function, program.functions))
    return show_row_names(shown) if isinstance(program, RowProgram) else shown


_LONG = re.compile(r"-?\d{10,}/\d{10,}")
"""A quotient that says less than its first digits."""


def _failures(activation: Activation, made: Stages | JointStages | RowStages) -> list[Part]:
    if activation.joint or isinstance(made, RowStages):
        return []
    plain = as_numbers(activation)
    derived = derive(plain) if activation.learned else made.derived
    lines = tuple(f"{label}: {line}" for label, _, found in naive(plain, derived) for line in found or [GOOD])
    return [Part("As it is written, in float32", NAIVE, lines=lines or (UNTRIED,))]


def _mended(made: Stages | JointStages | RowStages) -> list[Part]:
    if not isinstance(made, Stages):
        return []
    lines = [_LONG.sub(lambda found: f"{float(Fraction(found[0])):.6g}", line) for line in patches(made)]
    return [Part("Polynomials and ends", lines=tuple(lines))]


def _rules(program: AnyProgram) -> tuple[tuple[str, str], ...]:
    return tuple(dict.fromkeys(program.rewrites))


def certified(activation: Activation, program: AnyProgram, certificate: Certificate | None) -> Part:
    """What a certificate says, if it was made for this program."""
    title = "Certificate"
    if certificate is None or certificate.digest != code_digest(activation, program):
        return Part(title, certificates.NOT_CERTIFIED)
    return Part(title, CERTIFIED, lines=_notes(certificate, activation), table=table(certificate))


CERTIFIED = (
    "The worst errors found against exact values, in units in the last place, and the input of each. Found "
    "by trying, not proved."
)


def table(certificate: Certificate) -> tuple[tuple[str, ...], ...]:
    """A certificate's errors under their head: a line for each type, of the value and of the derivative."""
    head = ("type", "of", *(cell for maker in MAKERS.values() for cell in (maker, "at x")), "inputs tried")
    lines = [head]
    kinds = dict.fromkeys(row.kind for row in certificate.rows)
    for dtype in DTYPES:
        for kind in kinds:
            found = [row for by in MAKERS if (row := certificate.row(by, dtype, kind)) is not None]
            errors = [cell for row in found for cell in (f"{row.worst_ulp:.3g}", _place(row))]
            if len(found) == len(MAKERS):
                what = kind.replace("gradient", "derivative").replace("_", " ")
                lines.append((dtype, what, *errors, found[0].tries))
    return tuple(lines)


def _place(row: Row) -> str:
    """The input of the worst error, where there is any error."""
    if not row.worst_ulp:
        return ""
    if row.case:
        return row.case
    return ", ".join(f"{value:.6g}" for value in row.point or (row.worst_input,))


def _notes(certificate: Certificate, activation: Activation) -> tuple[str, ...]:
    given = (f"Measured with {certificate.parameters}.",) if certificate.parameters else ()
    broken = certificates.findings(certificate, activation.accuracy)
    return (*given, *(f"Breaks its bound: {line}" for line in broken))


def title(subject: Activation | Model) -> str:
    """What a page or a paper about an activation or a model is called."""
    return f"{subject.name}: from formula to kernel"


def parts_of_stage(activation: Activation, stage: str, text: str, made: Any) -> Sequence[Part]:
    """What `dslgen show` prints of a stage, as a part; `text` is what it prints as text.

    `made` is what the stages made, which is not looked at after `parse`.
    """
    make = _STAGES.get(stage)
    language = "python" if stage == "target" else "act"
    found = () if make is None else make(activation, made)
    return [Part(f"{activation.name} after {stage}", equations=found, code=text, language=language)]


def _stage(name: str) -> Callable[[Activation, Any], tuple[Equations, ...]]:
    return lambda activation, made: equations.stage(activation, getattr(made, name))


_STAGES: dict[str, Callable[[Activation, Any], tuple[Equations, ...]]] = {
    "parse": lambda activation, made: (equations.written(activation),),
    "derive": _stage("derived"),
    "simplify": _stage("simplified"),
    "stabilise": _stage("stabilised"),
    "schedule": lambda activation, made: equations.program(activation, made.program.functions),
}
