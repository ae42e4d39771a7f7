"""What commands say of what they did, or would do, and of what is wrong in specs.

In: plans and findings. Out: lines on stdout or stderr, and at times the end of the command.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from dsl.build import Plan
    from dsl.errors import SpecError


def report(target: Path, done: Plan) -> None:
    """Say how much a build wrote."""
    removed = sum(change.after is None for change in done.changes)
    written = len(done.changes) - removed
    click.echo(f"{target}: {written} written, {done.unchanged} unchanged, {removed} removed")


def finish_if_stale(target: Path, pending: Plan, diff: bool, mend: Sequence[str]) -> None:
    """Where files would change, name them or print how, say what would do it, and exit with 1."""
    for change in pending.changes:
        click.echo(change.diff() if diff else change.summary(), nl=not diff)
    if pending.changes:
        finish(f"{target}: {files_counted(len(pending.changes))} out of date; run: {join(mend)}")


def files_counted(count: int) -> str:
    """Files, as a number of them.

    >>> files_counted(1), files_counted(2)
    ('1 file', '2 files')
    """
    return f"{count} file" + "s" * (count != 1)


def finish(message: str) -> NoReturn:
    """End the command with a message, and 1."""
    click.echo(message, err=True)
    sys.exit(1)


def print_findings(errors: Sequence[SpecError], error_format: str, err: bool) -> None:
    """Print what is wrong in specs, on stderr where `err` says so."""
    from dsl.findings import FORMATS, coloured, wants_colour
    from dsl.mend import fixes

    stream = sys.stderr if err else sys.stdout
    colour = error_format == "text" and wants_colour(os.environ, stream.isatty())
    text = coloured(errors) if colour else FORMATS[error_format](errors)
    if text:
        click.echo(text, err=err, color=True if colour else None)
    if errors and error_format == "text":
        safe = len(fixes(errors))
        hint = f"; dslgen check --fix mends {safe} of them" if safe else ""
        click.echo(f"{len(errors)} error" + "s" * (len(errors) != 1) + hint, err=True)
