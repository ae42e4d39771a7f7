"""The command `dslgen`: arguments in, text and an exit code out. Thin: the work is done elsewhere.

Exit codes: 0 fine; 1 findings, or generated files out of date; 2 wrong usage or configuration, or an internal
error. Every command imports what it needs and no more, so that `fmt` and `check` start fast.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from difflib import unified_diff
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, NoReturn

import click

from dsl import __version__
from dsl.errors import FORMATS, SpecError, SpecErrors

if TYPE_CHECKING:
    from dsl.activation import Activation
    from dsl.build import Plan
    from dsl.config import Config
    from dsl.project import Project

_PATHS = click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
_ERROR_FORMAT = click.option(
    "--error-format", type=click.Choice(tuple(FORMATS)), default="text", help="How findings are written."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dslgen", message="%(prog)s %(version)s")
def cli() -> None:
    """Activation functions as formulas: stable Triton kernels and torch modules from a spec."""


@cli.command()
@_PATHS
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Directory of the generated package.")
@click.option("--check", is_flag=True, help="Write nothing; print what would change and exit with 1.")
@_ERROR_FORMAT
def build(paths: tuple[Path, ...], out: Path | None, check: bool, error_format: str) -> None:
    """Make the generated package from specs (files or directories)."""
    from dsl import build as builder

    config = _config()
    specs, target = paths or config.specs, out or config.out
    if not check:
        _report(target, builder.build(specs, target, config.specs, config.lock))
        return
    pending = builder.plan(specs, target, config.specs, config.lock).changes
    for change in pending:
        click.echo(change.diff(), nl=False)
    if pending:
        mend = ["dslgen", "build", *map(str, paths), *(["-o", str(out)] if out else [])]
        _finish(f"{target}: {_files(len(pending))} out of date; run: {join(mend)}")


STYLES = ("hf-kernel",)
"""The styles of `dsl.emit`, which is imported when it is needed."""


@cli.command()
@_PATHS
@click.option("--style", required=True, type=click.Choice(STYLES), help="What to write.")
@click.option("--only", "names", multiple=True, help="Write this definition and not all; repeatable.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Directory to write to.")
@_ERROR_FORMAT
def emit(paths: tuple[Path, ...], style: str, names: tuple[str, ...], out: Path, error_format: str) -> None:
    """Write definitions in a form that other tools load (hf-kernel: a kernel for the Hugging Face Hub)."""
    from dsl import emit as emitter
    from dsl.certificate import read_lock

    project = _project(paths)
    wanted = {each.name for name in names for each in _named(project, name)}
    activations = [each for each in project.activations if each.name in wanted]
    if not names:
        activations = list(project.checked().activations)
    done = emitter.plan(activations, style, out, read_lock(_config().lock))
    done.apply()
    _report(out, done)


@cli.command()
@_PATHS
@click.option("--samples", type=click.IntRange(1), help="Inputs to try in float32 and float64.")
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Processes that measure.")
@click.option("--check", is_flag=True, help="Measure nothing; exit with 1 if the lock is stale.")
@_ERROR_FORMAT
def certify(paths: tuple[Path, ...], samples: int | None, jobs: int, check: bool, error_format: str) -> None:
    """Measure what the lock file does not hold, at the parameters' defaults, and hold all to the bounds."""
    from dsl import assess
    from dsl.certificate import summary, table

    activations = _project(paths).checked().activations
    config = _config()
    lock = assess.open_lock(config.lock, activations, whole=not paths)
    wanted = assess.jobs(activations)
    missing = [job for job in wanted if not assess.is_current(job, lock.held, samples or 0)]
    if not check:
        for step in assess.bring_up_to_date(lock, missing, paths or config.specs, samples, jobs):
            if sys.stderr.isatty():
                click.echo(
                    f"\r\033[K[{step.done}/{step.total}] {step.label}", err=True, nl=step.done == step.total
                )
    current = [lock.held[job.activation.name] for job in wanted if assess.is_current(job, lock.held)]
    click.echo("\n\n".join(map(table, current)) if paths else summary(current))
    if check and missing:
        names = ", ".join(job.activation.name for job in missing)
        click.echo(f"{config.lock}: not certified as they are now: {names}; run: dslgen certify", err=True)
    findings = assess.findings(current, activations)
    for line in findings:
        click.echo(line, err=True)
    if findings or (check and missing):
        sys.exit(1)


@cli.command()
@click.argument("spec")
@_ERROR_FORMAT
def explain(spec: str, error_format: str) -> None:
    """Tell how a definition became what it is: what was naive, where it failed, what mended it.

    SPEC is a file, FILE:NAME, the name of a definition in the configured specs, or the code of an error.
    """
    from dsl.errors import CODES

    if spec in CODES:
        click.echo(f"{spec}: {CODES[spec]}")
        return
    from dsl.certificate import read_lock
    from dsl.explain import explain as tell

    held = read_lock(_config().lock)
    click.echo("\n\n\n".join(tell(each, held.get(each.name)) for each in _select(spec)))


@cli.command()
@_PATHS
@_ERROR_FORMAT
def check(paths: tuple[Path, ...], error_format: str) -> None:
    """Read specs and report what is wrong in them; write nothing."""
    project = _project(paths)
    if project.errors or error_format != "text":
        _print_findings(SpecErrors(project.errors).errors, error_format, err=False)
    if project.errors:
        sys.exit(1)
    if error_format == "text":
        click.echo(f"{len(project.activations)} definitions in {_files(len(project.files))}: no errors")


@cli.command()
@_PATHS
@click.option("--check", is_flag=True, help="Write nothing; name the files that would change, exit with 1.")
@click.option("--diff", is_flag=True, help="Write nothing; print what would change, exit with 1.")
@_ERROR_FORMAT
def fmt(paths: tuple[Path, ...], check: bool, diff: bool, error_format: str) -> None:
    """Format specs in place."""
    from dsl.files import write_atomic
    from dsl.format import format_text
    from dsl.project import read_spec, spec_files

    errors: list[SpecError] = []
    changed: list[Path] = []
    files = spec_files(paths or _config().specs)
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
        _finish(f"{_files(len(changed))} of {len(files)} would change; run: dslgen fmt")


STAGES: dict[str, Callable[[Activation], str]] = {
    "parse": lambda activation: _show_parsed(activation),
    "derive": lambda activation: _show_stage(activation, "derived"),
    "simplify": lambda activation: _show_stage(activation, "simplified"),
    "stabilise": lambda activation: _show_stage(activation, "stabilised"),
    "schedule": lambda activation: _show_program(activation),
    "target": lambda activation: _show_source(activation),
}
"""The stages of the pipeline, in order, and how each is printed."""


@cli.command()
@click.argument("spec")
@click.option("--after", "stage", type=click.Choice(tuple(STAGES)), default="schedule", show_default=True)
@_ERROR_FORMAT
def show(spec: str, stage: str, error_format: str) -> None:
    """Print a definition as it is after a stage of the pipeline.

    SPEC is a file, FILE:NAME, or the name of a definition in the configured specs.
    """
    click.echo("\n\n".join(STAGES[stage](activation) for activation in _select(spec)))


@cli.command("list")
@_PATHS
@_ERROR_FORMAT
def list_(paths: tuple[Path, ...], error_format: str) -> None:
    """List definitions: name and parameters, formula, aliases, reference."""
    from dsl.show import show_number

    activations = _project(paths).checked().activations
    rows = []
    for activation in activations:
        parameters = ", ".join(
            (
                parameter.name
                if parameter.default is None
                else f"{parameter.name}={show_number(parameter.default)}"
            )
            for parameter in activation.parameters
        )
        call = f"{activation.name}({', '.join(activation.inputs)}{'; ' if parameters else ''}{parameters})"
        rows.append(
            (
                call,
                activation.formula.replace("\n", "; "),
                f"alias {', '.join(activation.aliases)}" if activation.aliases else "",
                ", ".join(reference.target for reference in activation.references),
            )
        )
    widths = [min(48, max((len(row[column]) for row in rows), default=0)) for column in range(4)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _show_parsed(activation: Activation) -> str:
    from dsl.show import show_activation

    return show_activation(activation)


def _show_stage(activation: Activation, stage: str) -> str:
    from dsl.pipeline import compile_activation
    from dsl.show import show_stage

    return show_stage(activation, getattr(compile_activation(activation), stage))


def _show_program(activation: Activation) -> str:
    from dsl.pipeline import compile_activation
    from dsl.show import show_function

    program = compile_activation(activation).program
    functions = (program.forward, program.gradient, program.curvature)
    rules = [f"# {name}: {reason}" if reason else f"# {name}" for name, reason in program.rewrites]
    return "\n\n".join([*map(show_function, functions), *(["\n".join(rules)] if rules else [])])


def _show_source(activation: Activation) -> str:
    from dsl.build import source
    from dsl.certificate import read_lock

    return source(activation, read_lock(_config().lock).get(activation.name)).rstrip("\n")


def _select(spec: str) -> Sequence[Activation]:
    path, colon, name = spec.rpartition(":")
    if Path(spec).exists() or spec.endswith(".act"):
        return _project((Path(spec),)).checked().activations
    return _named(_project((Path(path),) if colon else ()), name)


def _named(project: Project, name: str) -> Sequence[Activation]:
    """The definition of a name or an alias, though others may be wrong."""
    found = [each for each in project.activations if name in (each.name, *each.aliases)]
    if found:
        return found
    project.checked()
    from dsl.errors import did_you_mean

    suggestion = did_you_mean(name, [each.name for each in project.activations])
    raise click.UsageError(f"no definition '{name}'" + (f": {suggestion}" if suggestion else ""))


def _project(paths: tuple[Path, ...]) -> Project:
    from dsl.project import read_project

    around = _config().specs
    specs = paths or around
    project = read_project(specs, around)
    if not project.files:
        raise click.UsageError(f"no .act files in {', '.join(map(str, specs))}")
    return project


def _config() -> Config:
    from dsl.config import load

    return load(Path.cwd())


def _report(target: Path, done: Plan) -> None:
    removed = sum(change.after is None for change in done.changes)
    written = len(done.changes) - removed
    click.echo(f"{target}: {written} written, {done.unchanged} unchanged, {removed} removed")


def _files(count: int) -> str:
    return f"{count} file" + "s" * (count != 1)


def _finish(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(1)


def _print_findings(errors: Sequence[SpecError], error_format: str, err: bool) -> None:
    text = FORMATS[error_format](errors)
    if text:
        click.echo(text, err=err)
    if errors and error_format == "text":
        click.echo(f"{len(errors)} error" + "s" * (len(errors) != 1), err=True)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: what goes wrong becomes a message and a code, never a traceback."""
    sys.exit(_run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: Sequence[str]) -> int:
    from dsl.config import ConfigError

    try:
        cli.main(list(arguments), prog_name="dslgen", standalone_mode=False)
        sys.stdout.flush()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (SpecErrors, SpecError) as error:
        errors = error.errors if isinstance(error, SpecErrors) else (error,)
        _print_findings(errors, _error_format(arguments), err=_error_format(arguments) == "text")
        return 1
    except ConfigError as error:
        click.echo(f"dslgen: {error}", err=True)
        return 2
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _internal(error)
    return 0


def _error_format(arguments: Sequence[str]) -> str:
    """The format of findings that a command line asks for, read again: the command itself has ended."""
    given = [
        later if option == "--error-format" else option.partition("=")[2]
        for option, later in zip(arguments, [*arguments[1:], ""], strict=True)
        if option.partition("=")[0] == "--error-format"
    ]
    return given[-1] if given and given[-1] in FORMATS else "text"


def _internal(error: Exception) -> int:
    from dsl.build import BuildError
    from dsl.certificate import LockError, ToolsMissing

    if isinstance(error, BuildError | LockError | ToolsMissing):
        click.echo(f"dslgen: {error}", err=True)
    elif isinstance(error, OSError):
        click.echo(f"dslgen: {error.filename or ''}: {error.strerror or error}", err=True)
    else:
        click.echo(f"dslgen: internal error ({type(error).__name__}: {error})", err=True)
    if os.environ.get("DSLGEN_TRACEBACK"):
        raise error
    return 2
