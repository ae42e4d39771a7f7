"""What goes wrong in a command, as a message and an exit code, never a traceback.

In: something to do. Out: the exit code; with DSLGEN_TRACEBACK set, an internal error as it was raised.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import click

from dsl.cli.said import print_findings
from dsl.config import ConfigError
from dsl.errors import SpecError, SpecErrors


def guarded(action: Callable[[], None], error_format: str) -> int:
    """Do something; say what goes wrong in it. Returns the exit code."""
    try:
        action()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        raise
    except click.ClickException as error:
        error.show()
        return 2
    except (SpecErrors, SpecError) as error:
        errors = error.errors if isinstance(error, SpecErrors) else (error,)
        print_findings(errors, error_format, err=error_format == "text")
        return 1
    except ConfigError as error:
        click.echo(f"dslgen: {error}", err=True)
        return 2
    except BrokenPipeError:
        raise
    except Exception as error:
        return _internal(error)
    return 0


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
