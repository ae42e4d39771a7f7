"""Generated Python as Black writes it, without asking Black about every line of it.

In: a module as the targets print it. Out: what Black makes of it, byte for byte. Black would take most of the
time of a build, to change little: the targets print statements in its form, as long as they fit on a line. So
it gets the head of a module, where a spec's own words stand, and of the rest the statements that need it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from black.mode import Mode

LINE_LENGTH = 110

_INDENT = " " * 4
_DEFINITION = (ast.FunctionDef, ast.ClassDef)
_LOOSE = re.compile(r",\s*[])}]|(?:=|\b(?:return|in|assert|yield)) \(|\de\+")
"""Commas at which Black breaks a line; parentheses, and a plus in an exponent, that it may take away."""
_MARK = "\n_\n"
"""What stands between the statements that Black gets at once: a statement that it leaves as it is."""


def black(text: str) -> str:
    """What Black makes of a text."""
    from black import format_str

    return format_str(text, mode=_mode())


@cache
def _mode() -> Mode:
    """The settings: one object, for Black remembers by it, and would compare equal ones field by field."""
    from black.mode import Mode, TargetVersion

    return Mode(line_length=LINE_LENGTH, target_versions={TargetVersion.PY311})


def tidy(text: str) -> str:
    """What Black makes of a generated module.

    >>> module = "import math\\n\\ndef f(x):\\n    y = (x + 2, )\\n    return [y,]\\n"
    >>> tidy(module) == black(module)
    True
    """
    lines = text.split("\n")
    body = ast.parse(text).body
    head = next((_start(each) for each in body if isinstance(each, _DEFINITION)), 0) - 1
    if head < 0:
        return black(text)
    loose = [each for each in _statements(body, 0) if each.first >= head and not each.is_plain(lines)]
    alone = [each.alone(lines) for each in loose]
    try:
        done = [*_asked("\n".join(lines[:head]), alone), "", ""]
    except ValueError:  # something that cannot stand alone, as an elif or a decorator
        return black(text)
    place = head
    for each, program in zip(loose, alone, strict=True):
        done += lines[place : each.first]
        done += each.among(_known[program])
        place = each.end
    return "\n".join([*done, *lines[place:]])


_known: dict[str, list[str]] = {}
"""What Black made of programs of one statement: many modules have the same."""


def _asked(head: str, programs: Iterable[str]) -> list[str]:
    """What Black makes of a head; at the same time it is asked about programs that are not known."""
    unknown = [each for each in dict.fromkeys(programs) if each not in _known]
    first, *answers = (
        answer.strip("\n").split("\n") for answer in black(_MARK.join([head, *unknown])).split(_MARK)
    )
    _known.update(zip(unknown, answers, strict=True))
    return first


@dataclass(frozen=True)
class _Statement:
    """The lines of a statement, from `first` to before `end`, or of the header of those in its body."""

    first: int
    end: int
    depth: int
    is_header: bool

    def is_plain(self, lines: Sequence[str]) -> bool:
        """Whether Black has nothing to do: one line, as the targets print it, which fits."""
        line = lines[self.first]
        return self.first + 1 == self.end and len(line) <= LINE_LENGTH and _LOOSE.search(line) is None

    def alone(self, lines: Sequence[str]) -> str:
        """A program, with the statement as deep in it as it was."""
        around = [f"{_INDENT * place}def _():" for place in range(self.depth)]
        below = [f"{_INDENT * (self.depth + 1)}pass"] if self.is_header else []
        return "\n".join([*around, *lines[self.first : self.end], *below])

    def among(self, lines: Sequence[str]) -> Sequence[str]:
        """Of the lines of that program those of the statement."""
        return lines[self.depth : len(lines) - self.is_header]


def _statements(body: Sequence[ast.stmt], depth: int) -> Iterator[_Statement]:
    """All statements but texts, in their order."""
    for each in body:
        for decorator in getattr(each, "decorator_list", ()):
            yield _Statement(decorator.lineno - 1, decorator.end_lineno, depth, False)
        parts = [getattr(each, name, []) for name in ("body", "handlers", "orelse", "finalbody")]
        if parts[0]:
            yield _Statement(each.lineno - 1, _start(parts[0][0]) - 1, depth, True)
            for part in parts:
                yield from _statements(part, depth + 1)
        elif not _is_text(each):
            yield _Statement(each.lineno - 1, each.end_lineno or each.lineno, depth, False)


def _start(statement: ast.stmt) -> int:
    """The number of its first line, which may be a decorator's."""
    decorators = getattr(statement, "decorator_list", [])
    return decorators[0].lineno if decorators else statement.lineno


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
