"""What a command works on: the configured project, the definitions that its arguments name, what it needs.

In: arguments. Out: activations and models; wrong usage where there are none such.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dsl.activation import Activation
    from dsl.config import Config
    from dsl.model import Model
    from dsl.project import Project


def configuration() -> Config:
    """What [tool.dslgen] says where the command runs."""
    from dsl.config import load

    return load(Path.cwd())


def read_specs(paths: tuple[Path, ...]) -> Project:
    """The project of the files and directories that a command is given, otherwise the configured one."""
    from dsl.project import read_project

    around = configuration().specs
    specs = paths or around
    project = read_project(specs, around)
    if not project.files:
        raise click.UsageError(f"no .act files in {', '.join(map(str, specs))}")
    return project


def selected(spec: str) -> Sequence[Activation]:
    """The activations of a file, of FILE:NAME, or of a name."""
    path, colon, name = spec.rpartition(":")
    if Path(spec).exists() or spec.endswith(".act"):
        return read_specs((Path(spec),)).checked().activations
    return named(read_specs((Path(path),) if colon else ()), name)


def named(project: Project, name: str) -> Sequence[Activation]:
    """The definition of a name or an alias, though others may be wrong."""
    found = [each for each in project.activations if name in (each.name, *each.aliases)]
    if found:
        return found
    for model in project.models:
        if model.name == name:
            parts = ", ".join(each.name for each in model.activations)
            hint = f"; its activations are {parts}" if parts else ""
            raise click.UsageError(f"'{name}' is a model, and this is for activations{hint}")
    project.checked()
    from dsl.errors import did_you_mean

    suggestion = did_you_mean(name, [each.name for each in project.activations])
    raise click.UsageError(f"no definition '{name}'" + (f": {suggestion}" if suggestion else ""))


def model_named(spec: str) -> Model | None:
    """The model of that name, if it is one."""
    path, colon, name = spec.rpartition(":")
    if Path(spec).exists() or spec.endswith(".act"):
        return None
    models = read_specs((Path(path),) if colon else ()).models
    return next((each for each in models if each.name == name), None)


def selected_models(spec: str) -> Sequence[Model]:
    """The models of a file, or the one of that name."""
    if Path(spec).exists() or spec.endswith(".act"):
        return read_specs((Path(spec),)).checked().models
    model = model_named(spec)
    return () if model is None else (model,)


def of_one_input(activations: Sequence[Activation], done: str, rows: bool = False) -> Sequence[Activation]:
    """Those that are elementwise, of one input and one output, and with `rows` those that reduce rows; the
    others are named on stderr, with what is not done to them.
    """
    reducing = [each for each in activations if each.dim is not None and not rows]
    joint = [each for each in activations if each.dim is None and each.joint]
    for what, others in (("of several inputs or outputs", joint), ("over rows", reducing)):
        if others:
            names = ", ".join(each.name for each in others)
            click.echo(f"{what}, and therefore not {done}: {names}", err=True)
    return [each for each in activations if each not in (*joint, *reducing)]


def elementwise(activations: Sequence[Activation], done: str) -> Sequence[Activation]:
    """Those that reduce no rows; the others are named on stderr."""
    reducing = [each.name for each in activations if each.dim is not None]
    if reducing:
        click.echo(f"over rows, and therefore not {done}: {', '.join(reducing)}", err=True)
    return [each for each in activations if each.dim is None]


def without_learned(activations: Sequence[Activation], done: str) -> Sequence[Activation]:
    """Those without learnable parameters; the others are named on stderr."""
    learned = [each.name for each in activations if each.learned]
    if learned:
        click.echo(f"with learnable parameters, and therefore not {done}: {', '.join(learned)}", err=True)
    return [each for each in activations if not each.learned]


def of_one_output(activations: Sequence[Activation]) -> Sequence[Activation]:
    """Those that are timed; the others are named on stderr."""
    several = [each.name for each in activations if each.others]
    if several:
        click.echo(f"of several outputs, and therefore not timed: {', '.join(several)}", err=True)
    return [each for each in activations if not each.others]


def listed(option: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    """The names in a list with commas; all of them must be known."""
    from dsl.errors import did_you_mean

    names = tuple(name for name in text.split(",") if name)
    for name in names:
        if name not in known:
            raise click.UsageError(f"{option}: no '{name}': {did_you_mean(name, known) or _some(known)}")
    return names


def _some(names: Sequence[str], most: int = 12) -> str:
    """The first of some names, and how many more there are."""
    rest = f" and {len(names) - most} more; dslgen list has them" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def need(*modules: str, extra: str = "torch") -> None:
    """End the command where a package is missing, with how to get it."""
    from importlib.util import find_spec

    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise click.ClickException(
            f"this needs {' and '.join(missing)}, not installed: pip install 'dslgen[{extra}]'"
        )
