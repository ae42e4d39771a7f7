"""`build` and `emit`: files made from specs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsl.cli.chosen import configuration, named, read_specs
from dsl.cli.options import CHECK, DIFF, ERROR_FORMAT, PATHS
from dsl.cli.said import finish_if_stale, report
from dsl.cli.troubles import guarded
from dsl.config import ConfigError

if TYPE_CHECKING:
    from dsl.activation import Activation
    from dsl.model import Model


@click.command()
@PATHS
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Directory of the generated package.")
@CHECK
@DIFF
@click.option("--watch", is_flag=True, help="Build again whenever a spec changes, until Ctrl-C.")
@ERROR_FORMAT
def build(
    paths: tuple[Path, ...], out: Path | None, check: bool, diff: bool, watch: bool, error_format: str
) -> None:
    """Make the generated package from specs, which are files or directories.

    Without PATHS, of the specs that [tool.dslgen] in pyproject.toml names. Files that are up to date stay as
    they are.
    """
    if watch and (check or diff):
        raise click.UsageError("--watch, or --check and --diff, not both")
    if watch:
        _watch(paths, out, error_format)
        return
    _build(paths, out, check, diff)


def _watch(paths: tuple[Path, ...], out: Path | None, error_format: str) -> None:
    """Build, and again after every change; what goes wrong is said, and the next change waited for."""
    from dsl.project import spec_files
    from dsl.watch import changes

    here = Path.cwd()
    configurations = [folder / "pyproject.toml" for folder in (here, *here.parents)]

    def watched() -> list[Path]:
        try:
            config = configuration()
        except ConfigError:
            return configurations
        return [*spec_files([*paths, *config.specs]), config.lock, *configurations]

    try:
        for _ in changes(watched):
            guarded(lambda: _build(paths, out), error_format)
            click.echo("watching for changes; Ctrl-C ends", err=True)
    except KeyboardInterrupt:
        click.echo(err=True)


def _build(paths: tuple[Path, ...], out: Path | None, check: bool = False, diff: bool = False) -> None:
    from dsl import build as builder

    config = configuration()
    specs, target = paths or config.specs, out or config.out
    if not (check or diff):
        report(target, builder.build(specs, target, config.specs, config.lock))
        return
    pending = builder.plan(specs, target, config.specs, config.lock)
    mend = ["dslgen", "build", *map(str, paths), *(["-o", str(out)] if out else [])]
    finish_if_stale(target, pending, diff, mend)


STYLES = ("hf-kernel", "modelnew")
"""The styles of `dsl.emit`, which is imported when it is needed."""


@click.command()
@PATHS
@click.option("--style", required=True, type=click.Choice(STYLES), help="What to write.")
@click.option("--only", "names", multiple=True, help="Write this definition and not all; repeatable.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Directory to write to.")
@CHECK
@DIFF
@ERROR_FORMAT
def emit(
    paths: tuple[Path, ...],
    style: str,
    names: tuple[str, ...],
    out: Path,
    check: bool,
    diff: bool,
    error_format: str,
) -> None:
    """Write definitions in a form that other tools load.

    hf-kernel: a kernel for the Hugging Face Hub. modelnew: for each activation and model a file of its own,
    with kernels, what launches them, and one class, ModelNew.
    """
    from dsl import emit as emitter
    from dsl.certificate import read_lock

    project = read_specs(paths)
    models = {each.name: each for each in project.models}
    wanted = {each.name for name in names if name not in models for each in named(project, name)}
    subjects: list[Activation | Model] = [each for each in project.activations if each.name in wanted]
    subjects += [models[name] for name in dict.fromkeys(names) if name in models]
    if not names:
        checked = project.checked()
        subjects = [*checked.activations, *checked.models]
    done = emitter.plan(subjects, style, out, read_lock(configuration().lock))
    if not (check or diff):
        done.apply()
        report(out, done)
        return
    given = [part for name in names for part in ("--only", name)]
    mend = ["dslgen", "emit", *map(str, paths), "--style", style, *given, "-o", str(out)]
    finish_if_stale(out, done, diff, mend)
