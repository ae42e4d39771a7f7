"""The command line as a whole: it is run, and the process ends with its exit code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from dsl.cli.group import cli
from dsl.cli.options import ERROR_FORMATS
from dsl.cli.troubles import guarded

_GARBAGE = 100_000
"""Objects between two searches for garbage. A command makes millions that live until its end or die without
a search; with Python's 700, a build would spend a fifth of its time on searches.
"""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: what goes wrong becomes a message and a code, never a traceback."""
    gc.set_threshold(_GARBAGE, 20, 20)
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit code."""

    def command() -> None:
        cli.main(list(arguments), prog_name="dslgen", standalone_mode=False)
        sys.stdout.flush()

    try:
        return guarded(command, _error_format(arguments))
    except (KeyboardInterrupt, click.Abort) as stop:
        said = stop.__cause__ if isinstance(stop, click.Abort) else stop  # click makes one of the other
        click.echo(f"dslgen: stopped{f': {said}' if said and str(said) else ''}", err=True)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _error_format(arguments: Sequence[str]) -> str:
    """The format of findings that a command line asks for, read again: the command itself has ended."""
    given = [
        later if option == "--error-format" else option.partition("=")[2]
        for option, later in zip(arguments, [*arguments[1:], ""], strict=True)
        if option.partition("=")[0] == "--error-format"
    ]
    return given[-1] if given and given[-1] in ERROR_FORMATS else "text"
