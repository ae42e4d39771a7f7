"""The group of all commands: each stands in a module, which is imported when the command is asked for.

In: a command line. Out: the command that it names, run where what the stabiliser found is remembered.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module

import click

from dsl import __version__
from dsl.cli.chosen import configuration
from dsl.cli.usage import Commands
from dsl.config import ConfigError

MODULES: Mapping[str, str] = {
    command: module
    for module, commands in {
        "begin": "init doctor playground",
        "specs": "check fmt list lsp",
        "make": "build emit",
        "tell": "show explain",
        "draw": "plot gallery",
        "certify": "certify",
        "kernels": "inspect bench profile tune",
    }.items()
    for command in commands.split()
}
"""The commands, and the module of this package that has each."""


class LazyCommands(Commands):
    """The commands of `MODULES`: to import them all would take most of the time of `dslgen --version`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all."""
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command, imported."""
        if cmd_name in MODULES and cmd_name not in self.commands:
            module = import_module(f"dsl.cli.{MODULES[cmd_name]}")
            for each in vars(module).values():
                if isinstance(each, click.Command):
                    self.add_command(each)
        return super().get_command(ctx, cmd_name)


@click.group(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dslgen", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Activation functions as formulas: stable Triton kernels and torch modules from a spec."""
    from dsl.memory import remembering

    with suppress(ConfigError):  # which a command that needs the configuration raises again
        context.with_resource(remembering(configuration().memory))
