"""The command `dslgen`: arguments in, text and an exit code out. Thin: the work is done elsewhere.

Exit codes: 0 fine; 1 findings, or generated files out of date; 2 wrong usage or configuration, or an internal
error. Every command imports what it needs and no more, so that `fmt` and `check` start fast.
"""

from dsl.cli.entry import main, run

__all__ = ["main", "run"]
