"""What `dslgen --help` says beside the options: the commands in the order of their use, and examples.

In: nothing. Out: `Commands`, the group that prints both, and the tables that it prints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

SECTIONS: Mapping[str, Mapping[str, str]] = {
    "Begin": {
        "init": "Start a project, or add what an existing one lacks.",
        "doctor": "What is installed, which GPU there is, what is missing.",
        "playground": "A page on which to type formulas and see what becomes of them.",
    },
    "Write specs": {
        "check": "Say what is wrong in specs; --fix mends slips.",
        "fmt": "Format specs.",
        "list": "List definitions.",
        "lsp": "Serve an editor by the Language Server Protocol.",
    },
    "Make kernels": {
        "build": "Make the package of kernels and modules; --watch does it at every change.",
        "emit": "Make a form that other tools load.",
    },
    "Understand": {
        "show": "Print a definition after a stage of the compiler.",
        "explain": "How a formula became its kernel; or what an error's code means.",
        "plot": "Draw a function, its derivatives and the errors.",
        "gallery": "Write a site of all definitions.",
    },
    "Measure": {
        "certify": "Measure errors against exact values, and keep them.",
        "inspect": "Count the machine instructions of kernels; needs no GPU.",
        "bench": "Time kernels against a copy, PyTorch and other libraries.",
        "profile": "What Nsight Compute says of kernels.",
        "tune": "Find the best launch for this machine's GPU.",
    },
}
"""The commands, by what they are for, with a line each."""

EXAMPLES: Mapping[str, Sequence[str]] = {
    "bench": ("dslgen bench", "dslgen bench specs/gated_linear.act --dtypes bfloat16 --json times.json"),
    "build": ("dslgen build", "dslgen build my.act -o kernels", "dslgen build --watch"),
    "certify": ("dslgen certify", "dslgen certify my.act --samples 5000", "dslgen certify --check"),
    "check": ("dslgen check", "dslgen check --fix", "dslgen check my.act --error-format json"),
    "doctor": ("dslgen doctor", "dslgen doctor --json"),
    "emit": ("dslgen emit --style modelnew --only mish -o standalone",),
    "explain": (
        "dslgen explain mish",
        "dslgen explain mish --format html > mish.html",
        "dslgen explain E0101",
    ),
    "fmt": ("dslgen fmt", "dslgen fmt --diff"),
    "gallery": ("dslgen gallery -o site",),
    "init": ("dslgen init", "dslgen init my-activations"),
    "inspect": ("dslgen inspect mish", "dslgen inspect --all --target h200 --dtypes bfloat16"),
    "list": ("dslgen list", "dslgen list --format json"),
    "lsp": ("dslgen lsp",),
    "playground": ("dslgen playground --open",),
    "plot": (
        "dslgen plot mish -o mish.png",
        "dslgen plot my.act:log_cosh -o log_cosh.svg --range -4 4",
        "dslgen plot elu -o elu.png --set alpha=0.5",
    ),
    "profile": ("dslgen profile mish --gradient", "dslgen profile conv_mish_bn --arguments 64,128,3"),
    "show": ("dslgen show mish", "dslgen show mish --after derive --format latex"),
    "tune": ("dslgen tune mish gelu --dtypes bfloat16",),
}
"""What somebody would type, by command."""


_WIDTH = max(len(name) for lines in SECTIONS.values() for name in lines)


class Commands(click.Group):
    """The commands in sections, each with its line; and under the help of each, examples."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands that there are."""
        for title, lines in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(_WIDTH), line) for name, line in lines.items()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command, with its examples at the end of its help."""
        found = super().get_command(ctx, cmd_name)
        if found is not None and found.epilog is None:
            lines = "\n".join(f"  {line}" for line in EXAMPLES.get(cmd_name, ()))
            found.epilog = f"\b\nExamples:\n{lines}"
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that a line asks for; what is misspelt is told with what may be meant."""
        from dsl.errors import did_you_mean

        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            meant = did_you_mean(args[0], self.list_commands(ctx))
            hint = f": {meant}" if meant else "; dslgen --help lists them"
            ctx.fail(f"no command '{args[0]}'{hint}")
        return super().resolve_command(ctx, args)
