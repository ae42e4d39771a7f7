"""Edits that findings carry, applied: `dslgen check --fix`.

In: the paths of specs. Out: the files' texts with what could be mended in them, and how many edits that were.
Nothing is written here.

A definition that does not parse shows one error at a time, so that the specs are read again after every round
of edits, until a round finds nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsl.errors import Fix, SpecError
from dsl.project import Project, read_project, read_spec

ROUNDS = 1_000
"""As many slips as one definition may have."""


@dataclass(frozen=True)
class Mended:
    """What the files that changed hold now, how many edits made that, and the project as it then is."""

    texts: dict[Path, str]
    edits: int
    project: Project


def mend(paths: Sequence[Path], around: Sequence[Path] = (), unsafe: bool = False) -> Mended:
    """Apply the fixes of all findings below the paths that are safe, or all fixes, round after round."""
    texts: dict[Path, str] = {}
    edits = 0
    project = read_project(paths, around)
    for _ in range(ROUNDS):
        changed = 0
        for file in project.files:
            here = [fix for fix in fixes(project.errors, unsafe) if fix.span.path == file.as_posix()]
            if here:
                before = texts[file] if file in texts else read_spec(file)
                texts[file], count = apply(before, here)
                changed += count
        if not changed:
            break
        edits += changed
        project = read_project(paths, around, texts)
    return Mended(texts, edits, project)


def fixes(errors: Iterable[SpecError], unsafe: bool = False) -> list[Fix]:
    """The fixes of findings: those that are safe, or all."""
    return [error.fix for error in errors if error.fix is not None and (error.fix.safe or unsafe)]


def apply(text: str, wanted: Iterable[Fix]) -> tuple[str, int]:
    """A text after edits, and how many those were: of two that overlap, only the first is made.

    >>> from dsl.errors import Span
    >>> apply("f(x) = x^2", [Fix(Span("a.act", 1, 9, 1, 10), "**", True)])
    ('f(x) = x**2', 1)
    """
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)

    def offset(line: int, column: int) -> int:
        return starts[line - 1] + column - 1

    edits = {
        (offset(fix.span.line, fix.span.column), offset(fix.span.end_line, fix.span.end_column)): fix.text
        for fix in wanted
    }
    parts, at, made = [], 0, 0
    for (begin, end), new in sorted(edits.items()):
        if begin >= at:
            parts += [text[at:begin], new]
            at = end
            made += 1
    return "".join([*parts, text[at:]]), made
