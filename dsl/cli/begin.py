"""`init`, `doctor` and `playground`: where somebody begins."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote

import click

from dsl.cli.chosen import configuration, need


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), default=Path())
@click.option("-o", "--out", help="Where the generated package will be; otherwise kernels.")
def init(directory: Path, out: str | None) -> None:
    """Start a project in DIRECTORY, or add what an existing one lacks; change nothing that is there.

    A [tool.dslgen] in pyproject.toml, a first spec, a test, a configuration for pre-commit.
    """
    from dsl.scaffold import ScaffoldError, plan

    try:
        done = plan(directory, out)
    except ScaffoldError as error:
        raise click.ClickException(str(error)) from None
    added = {path for path in done.texts if path.exists()}
    done.apply()
    for path in done.texts:
        click.echo(f"added [tool.dslgen] to {path}" if path in added else f"created {path}")
    for path in done.kept:
        click.echo(f"kept {path}, which was there")
    there = [] if directory == Path() else [f"cd {quote(str(directory))}"]
    click.echo(f"next: {' && '.join([*there, 'dslgen build', 'python -m pytest'])}")


@click.command()
@click.option("--json", "machine", is_flag=True, help="Write the report as JSON.")
def doctor(machine: bool) -> None:
    """Tell what is installed, which GPU there is, and how to get what is missing.

    Exits with 1 if something has to be mended; what only some commands need may be absent.
    """
    from dsl.doctor import as_json, examine, report

    checks = examine(Path.cwd())
    click.echo((as_json if machine else report)(checks))
    if any(check.status == "broken" for check in checks):
        sys.exit(1)


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="A port of this machine; 0: a free one."
)
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser, too.")
def playground(port: int, opens: bool) -> None:
    """Serve a page, for this machine alone, on which to type formulas, until Ctrl-C.

    Curve, stability, source and instructions follow what is typed. Formulas may call the configured specs.
    """
    need("torch", "triton", "numpy", "pygments", extra="web")
    from dsl.web.serve import run

    def ready(url: str) -> None:
        click.echo(url)
        click.echo("Ctrl-C ends", err=True)
        if opens:
            click.launch(url)

    try:
        run([path for path in configuration().specs if path.exists()], port, ready)
    except KeyboardInterrupt:
        click.echo(err=True)
    except OSError as error:
        raise click.ClickException(f"port {port}: {error.strerror or error}") from None
