"""`show` and `explain`: a definition after a stage of the compiler, and how it became what it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import starmap
from typing import TYPE_CHECKING, Any

import click

from dsl.cli.chosen import configuration, model_named, need, selected, selected_models
from dsl.cli.options import ERROR_FORMAT, FORMAT

if TYPE_CHECKING:
    from dsl.activation import Activation
    from dsl.expr import Expr
    from dsl.pipeline import JointStages, Stages
    from dsl.rows import RowStages

    Made = Stages | JointStages | RowStages
    """What every stage of the compiler made of an activation."""

STAGES: dict[str, Callable[[Activation, Made], str]] = {
    "parse": lambda activation, made: _show_parsed(activation),
    "derive": lambda activation, made: _show_stage(activation, made.derived),
    "simplify": lambda activation, made: _show_stage(activation, made.simplified),
    "stabilise": lambda activation, made: _show_stage(activation, made.stabilised),
    "schedule": lambda activation, made: _show_program(made),
    "target": lambda activation, made: _show_source(activation, made),
}
"""The stages of the pipeline, in order, and how each is printed."""


@click.command()
@click.argument("spec")
@click.option(
    "--after",
    "stage",
    type=click.Choice(tuple(STAGES)),
    default="schedule",
    show_default=True,
    help="The stage, of those in order.",
)
@FORMAT
@ERROR_FORMAT
def show(spec: str, stage: str, form: str, error_format: str) -> None:
    """Print a definition as it is after a stage of the pipeline.

    SPEC is a file, FILE:NAME, or the name of a definition in the configured specs. As LaTeX, it is what a
    paper takes in, with amsmath; as HTML, a page.
    """
    model = model_named(spec)
    if model is not None:
        if stage != "target" or form != "text":
            raise click.UsageError(f"'{model.name}' is a model, which has the stage 'target' alone, as text")
        from dsl.build import model_output

        click.echo(model_output(model).make().rstrip("\n"))
        return
    chosen = selected(spec)
    if stage == "parse":  # which needs no compiler, and shall be quick
        chosen_and_made: list[tuple[Activation, Any]] = [(each, None) for each in chosen]
    else:
        from dsl.pipeline import stages

        chosen_and_made = [(each, stages(each)) for each in chosen]
    if form == "text":
        click.echo("\n\n".join(STAGES[stage](*each) for each in chosen_and_made))
        return
    from dsl.derivation import parts_of_stage

    parts = [
        part
        for each, made in chosen_and_made
        for part in parts_of_stage(each, stage, STAGES[stage](each, made), made)
    ]
    if form == "latex":
        from dsl.paper import fragment

        click.echo(fragment(parts))
        return
    need("pygments", extra="web")
    from dsl.web.parts import page

    title = f"{', '.join(each.name for each in chosen)} after {stage}"
    click.echo(page(title, [(title, parts)]), nl=False)


def _show_parsed(activation: Activation) -> str:
    from dsl.show import show_activation

    return show_activation(activation)


def _show_stage(activation: Activation, roots: Sequence[Expr]) -> str:
    from dsl.show import show_row_names, show_stage

    text = show_stage(activation, roots)
    return show_row_names(text) if activation.dim is not None else text


def _show_program(made: Made) -> str:
    from dsl.program import RowProgram
    from dsl.show import show_function, show_passes, show_row_names

    program = made.program
    rules = [f"# {name}: {reason}" if reason else f"# {name}" for name, reason in program.rewrites]
    functions = [*map(show_function, program.functions)]
    if isinstance(program, RowProgram):
        passes = [
            show_passes(each).replace("pass", "# pass") for each in (program.forward, *program.gradients)
        ]
        functions = [show_row_names("\n".join(pair)) for pair in zip(functions, passes, strict=True)]
    return "\n\n".join([*functions, *(["\n".join(rules)] if rules else [])])


def _show_source(activation: Activation, made: Made) -> str:
    from dsl.build import source
    from dsl.certificate import read_lock

    return source(activation, read_lock(configuration().lock).get(activation.name), made.program).rstrip("\n")


@click.command()
@click.argument("spec")
@click.option("--target", help="Compile for this GPU, sm_90 or the like, and say what the kernels cost.")
@FORMAT
@ERROR_FORMAT
def explain(spec: str, target: str | None, form: str, error_format: str) -> None:
    """Tell how a definition became what it is: what was naive, where it failed, what mended it.

    SPEC is a file, FILE:NAME, the name of a definition or a model in the configured specs, or the code of
    an error.
    With --target, which takes torch and Triton but no GPU, what that costs in instructions, too.
    As LaTeX, it is a document; as HTML, a page in one file.
    """
    if re.fullmatch(r"[Ee]\d{4}", spec):
        _explain_code(spec.upper())
        return
    need("numpy", extra="certify")
    from dsl.certificate import read_lock
    from dsl.explain import explain as tell
    from dsl.explain import explain_model

    models = selected_models(spec)
    chosen = () if models and not spec.endswith(".act") else selected(spec)
    cost: dict[str, str] = {}
    if target is not None:
        need("torch", "triton")
        from dsl.cost import costs
        from dsl.inspect import UnknownTarget

        try:
            cost = costs(chosen, target)
        except UnknownTarget as error:
            raise click.UsageError(str(error)) from None
        if models:
            click.echo(f"of models, and therefore not counted: {', '.join(m.name for m in models)}", err=True)
    held = read_lock(configuration().lock)
    known = [(each, held.get(each.name), cost.get(each.name, "")) for each in chosen]
    if form == "text":
        click.echo("\n\n\n".join([*starmap(tell, known), *map(explain_model, models)]))
        return
    from dsl.derivation import of_model, title, whole

    sections = [(title(each[0]), whole(*each)) for each in known]
    sections += [(title(each), of_model(each)) for each in models]
    if form == "latex":
        from dsl.paper import document

        click.echo(document(sections))
        return
    need("pygments", extra="web")
    from dsl.web.parts import page

    heading = sections[0][0] if len(sections) == 1 else "From formula to kernel"
    click.echo(page(heading, sections), nl=False)


def _explain_code(code: str) -> None:
    from textwrap import fill, indent

    from dsl.errors import CODES, did_you_mean
    from dsl.lessons import LESSONS
    from dsl.project import check_text

    if code not in CODES:
        raise click.UsageError(f"no error has the code {code}: {did_you_mean(code, CODES) or ''}")
    lesson = LESSONS[code]
    said = [] if lesson.shell else [str(error) for error in check_text(lesson.wrong, "wrong.act")]
    parts = [
        f"{code}: {CODES[code]}",
        fill(lesson.why, 88),
        "Wrong:",
        indent(lesson.wrong, "    "),
        *(indent(each, "    ") for each in said),
        "Right:",
        indent(lesson.right, "    "),
    ]
    click.echo("\n\n".join(parts))
