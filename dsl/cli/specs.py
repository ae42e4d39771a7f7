"""`check`, `fmt`, `list` and `lsp`: what helps somebody who writes specs."""

from __future__ import annotations

import sys
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsl.cli.chosen import configuration, need, read_specs
from dsl.cli.options import CHECK, DIFF, ERROR_FORMAT, PATHS
from dsl.cli.said import files_counted, finish, print_findings
from dsl.errors import SpecError, SpecErrors

if TYPE_CHECKING:
    from dsl.project import Project


@click.command()
@PATHS
@click.option("--fix", "mends", is_flag=True, help="Mend in the files what can only be a slip.")
@click.option("--unsafe-fixes", "unsafe", is_flag=True, help="Take guesses for names, too; implies --fix.")
@ERROR_FORMAT
def check(paths: tuple[Path, ...], mends: bool, unsafe: bool, error_format: str) -> None:
    """Read specs and report what is wrong in them; write nothing, but for what --fix mends."""
    project = _mended(paths, unsafe) if mends or unsafe else read_specs(paths)
    if project.errors or error_format != "text":
        print_findings(SpecErrors(project.errors).errors, error_format, err=False)
    if project.errors:
        sys.exit(1)
    if error_format == "text":
        count = len(project.activations) + len(project.models)
        click.echo(f"{count} definitions in {files_counted(len(project.files))}: no errors")


def _mended(paths: tuple[Path, ...], unsafe: bool) -> Project:
    """The project after the fixes of its findings; each file is written whole, and only if it changed."""
    from dsl.files import write_atomic
    from dsl.mend import mend

    read_specs(paths)
    around = configuration().specs
    done = mend(paths or around, around, unsafe)
    for file, text in done.texts.items():
        write_atomic(file, text)
    if done.edits:
        edits = f"{done.edits} edit" + "s" * (done.edits != 1)
        click.echo(f"mended {', '.join(map(str, done.texts))}: {edits}", err=True)
    return done.project


@click.command()
@PATHS
@CHECK
@DIFF
@ERROR_FORMAT
def fmt(paths: tuple[Path, ...], check: bool, diff: bool, error_format: str) -> None:
    """Format specs in place; what does not parse stays as it is."""
    from dsl.files import write_atomic
    from dsl.format import format_text
    from dsl.project import read_spec, spec_files

    errors: list[SpecError] = []
    changed: list[Path] = []
    files = spec_files(paths or configuration().specs)
    for file in files:
        try:
            before = read_spec(file)
            after = format_text(before, file.as_posix())
        except SpecError as error:
            errors.append(error)
            continue
        except SpecErrors as found:
            errors.extend(found.errors)
            continue
        if after == before:
            continue
        changed.append(file)
        if diff:
            old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
            click.echo("".join(unified_diff(old, new, file.as_posix(), file.as_posix())), nl=False)
        elif check:
            click.echo(f"would format {file}")
        else:
            write_atomic(file, after)
            click.echo(f"formatted {file}")
    if errors:
        raise SpecErrors(errors)
    if changed and (check or diff):
        finish(f"{files_counted(len(changed))} of {len(files)} would change; run: dslgen fmt")


@click.command("list")
@PATHS
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="How they are written.",
)
@click.option(
    "--into",
    "page",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Write the table into a page, between '<!-- list -->' and '<!-- end of list -->', and that of other "
    "frameworks' names between '<!-- names -->' and its end.",
)
@ERROR_FORMAT
def list_(paths: tuple[Path, ...], style: str, page: Path | None, error_format: str) -> None:
    """List definitions: name and parameters, formula, errors in float32 (value / gradient), other names."""
    from dsl import catalogue
    from dsl.certificate import read_lock
    from dsl.files import write_atomic

    project, config = read_specs(paths).checked(), configuration()
    activations = project.activations
    frameworks = () if paths else catalogue.read_frameworks(config.frameworks, (a.name for a in activations))
    found = catalogue.entries(activations, read_lock(config.lock), frameworks)
    found += map(catalogue.model_entry, project.models)
    if page is None:
        click.echo(catalogue.FORMATS[style](found))
        return
    tables = {"list": catalogue.as_markdown(found), "names": catalogue.frameworks_as_markdown(frameworks)}
    try:
        write_atomic(page, catalogue.into_page(page.read_text(encoding="utf-8"), tables))
    except ValueError as error:
        raise click.UsageError(f"--into {page}: {error}") from None


@click.command()
@click.option("--stdio", is_flag=True, hidden=True, help="What editors say, and the only way there is.")
def lsp(stdio: bool) -> None:
    """Serve an editor by the Language Server Protocol, over standard input and output.

    Findings as you type with their fixes, hover, completion, definitions, symbols, formatting.
    """
    need("pygls", extra="lsp")
    from dsl.lsp import serve

    serve()
