"""`plot` and `gallery`: definitions as pictures and pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsl.cli.chosen import configuration, listed, need, read_specs, selected
from dsl.cli.options import DTYPE, ERROR_FORMAT, PATHS
from dsl.cli.said import finish

if TYPE_CHECKING:
    from dsl.activation import Activation

PICTURES = (".png", ".svg")
"""The kinds of file that `dsl.plot` writes, which is imported when it is needed."""


@click.command()
@click.argument("spec")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="A .png or .svg file.")
@click.option("--range", "ends", type=(float, float), default=(-10, 10), show_default=True, help="Ends of x.")
@DTYPE
@click.option("--set", "values", multiple=True, metavar="NAME=VALUE", help="A parameter's value; repeatable.")
@ERROR_FORMAT
def plot(
    spec: str, out: Path, ends: tuple[float, float], dtype: str, values: tuple[str, ...], error_format: str
) -> None:
    """Draw a definition, its two derivatives, and the errors of ours, PyTorch's and the typed formula.

    SPEC is a file with one definition, FILE:NAME, or the name of a definition in the configured specs.
    Parameters are at their defaults, unless --set has others. Of several inputs or outputs, and of rows,
    exact values along the first input are drawn.
    """
    if out.suffix not in PICTURES:
        raise click.UsageError(f"--out: a file that ends in {' or '.join(PICTURES)}")
    low, high = ends
    if not -1e30 < low < high < 1e30:
        raise click.UsageError("--range: two numbers, the smaller first")
    activation, *others = selected(spec)
    if others:
        names = ", ".join(each.name for each in (activation, *others))
        raise click.UsageError(f"{spec} defines {names}: name one, as in {spec}:{activation.name}")
    activation = _with_values(activation, values)
    need("torch", "triton")
    need("matplotlib", "numpy", extra="plot")
    from dsl.curves import CurveError
    from dsl.files import write_atomic
    from dsl.plot import pictures

    try:
        (drawn,) = pictures(activation, low, high, dtype, [out.suffix[1:]])
    except CurveError as error:
        raise click.ClickException(str(error)) from None
    write_atomic(out, drawn)
    click.echo(f"wrote {out}")


def _with_values(activation: Activation, given: Sequence[str]) -> Activation:
    """The activation with values of its parameters that a command was given."""
    from fractions import Fraction

    from dsl.activation import as_numbers, known_defaults, with_defaults
    from dsl.settings import defaults, is_allowed

    if not given:
        return activation

    known = [*(each.name for each in activation.parameters), *activation.variables[len(activation.inputs) :]]
    values = known_defaults(activation)
    for each in given:
        name, _, value = each.partition("=")
        listed("--set", name, known)
        try:
            values[name] = Fraction(value)
        except (ValueError, ZeroDivisionError):
            raise click.UsageError(f"--set: {name}=VALUE takes a number, such as {name}=0.5") from None
    found = with_defaults(activation, values)
    numbers = as_numbers(found)
    whole = defaults(numbers)
    if whole is not None and not is_allowed(numbers, whole):
        raise click.UsageError(f"--set: '{activation.name}' requires otherwise of its parameters")
    return found


COUNTS = Path("benchmarks/results/instructions-sm_90.json")


@click.command()
@PATHS
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Directory of the site.")
@click.option("--counts", type=click.Path(path_type=Path), help=f"What `inspect` wrote; otherwise {COUNTS}.")
@click.option(
    "--jobs", type=click.IntRange(1), default=2, show_default=True, help="Processes that make pages."
)
@ERROR_FORMAT
def gallery(paths: tuple[Path, ...], out: Path, counts: Path | None, jobs: int, error_format: str) -> None:
    """Write a site of all definitions: index.html in DIR opens from the disk, and fetches nothing.

    A page for each: plots, formula, errors, instructions, derivation, source. Exits with 1 if one could not
    be shown whole.
    """
    need("torch", "triton", "numpy", "pygments", extra="web")
    from dsl import catalogue
    from dsl.certificate import read_lock
    from dsl.progress import Progress
    from dsl.web import gallery as making

    config = configuration()
    if counts is not None and not counts.is_file():
        raise click.UsageError(f"--counts: no file {counts}")
    project = read_specs(paths).checked()
    activations = project.activations
    making.refuse_foreign(out)
    rows = making.read_counts(counts or COUNTS)
    specs = paths or config.specs
    held = read_lock(config.lock)
    frameworks = () if paths else catalogue.read_frameworks(config.frameworks, (a.name for a in activations))
    elsewhere = {each.name: each.frameworks for each in catalogue.entries(activations, held, frameworks)}
    with Progress() as progress:
        shown = making.entries(
            specs, activations, project.models, held, rows, elsewhere, config.out.name, jobs, progress.show
        )
    making.write(making.site(shown), out)
    click.echo(f"wrote {out / 'index.html'}, with {len(shown)} definitions")
    warnings = [line for each in shown for line in each.warnings]
    if warnings:
        finish("\n".join(warnings))
