"""Arguments and options that several commands have.

In: nothing. Out: decorators for commands, and the names that their options choose from.
"""

from __future__ import annotations

from pathlib import Path

import click

PATHS = click.argument("paths", nargs=-1, type=click.Path(path_type=Path))

DTYPES = ("float16", "bfloat16", "float32", "float64")
DTYPE = click.option(
    "--dtype", type=click.Choice(DTYPES), default="float32", show_default=True, help="Type of the tensors."
)

ERROR_FORMATS = ("text", "json", "github", "sarif")
"""The keys of `dsl.findings.FORMATS`, which is imported when there is something to write."""
ERROR_FORMAT = click.option(
    "--error-format", type=click.Choice(ERROR_FORMATS), default="text", help="How findings are written."
)

CHECK = click.option(
    "--check", is_flag=True, help="Write nothing; name the files that would change, exit with 1."
)
DIFF = click.option("--diff", is_flag=True, help="Write nothing; print what would change, exit with 1.")

PRINTS = ("text", "latex", "html")
"""The forms in which `show` and `explain` print."""
FORMAT = click.option(
    "--format", "form", type=click.Choice(PRINTS), default="text", show_default=True, help="What to print."
)
