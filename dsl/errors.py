"""What the compiler says when a spec is wrong: a stable code, a place, the line with a caret, a suggestion.

In: places in spec files. Out: `SpecError` (one finding) and `SpecErrors` (all the findings of one run), and
their text. Nothing here raises; nothing here knows a stage. `dsl.findings` writes them for machines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

CODES: dict[str, str] = {
    "E0001": "no such file",
    "E0002": "a directory where a file was expected",
    "E0003": "file too large",
    "E0004": "file is not UTF-8",
    "E0005": "file cannot be read",
    "E0101": "unknown function",
    "E0102": "wrong number of arguments",
    "E0103": "syntax error",
    "E0104": "unbalanced brackets",
    "E0105": "'^' is not an operator",
    "E0106": "undefined name",
    "E0107": "name not allowed",
    "E0108": "defined twice",
    "E0109": "cyclic calls",
    "E0110": "division by zero",
    "E0111": "nested too deep",
    "E0112": "a condition where a number was expected, or the reverse",
    "E0113": "unexpected character",
    "E0114": "string never closed",
    "E0115": "wrong clause",
    "E0116": "number out of range",
    "E0117": "default is not a constant",
    "E0118": "constraint not met",
    "E0119": "wrong keyword argument",
    "E0125": "wrong index or range",
    "E0130": "random draw out of place",
    "E0190": "not yet supported",
}
"""Every code and what it stands for. A code, once given out, keeps its meaning."""

_WINDOW = 110
"""Columns of a source line that a message shows: a line of a megabyte must not fill the screen."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a spec file; lines and columns count from 1, `end_column` is the column after the last."""

    path: str
    line: int
    column: int
    end_line: int
    end_column: int

    def to(self, other: Span) -> Span:
        """The stretch from the start of this one to the end of another.

        >>> Span("a.act", 1, 1, 1, 2).to(Span("a.act", 1, 5, 1, 6))
        Span(path='a.act', line=1, column=1, end_line=1, end_column=6)
        """
        return Span(self.path, self.line, self.column, other.end_line, other.end_column)


@dataclass(frozen=True, slots=True)
class Fix:
    """An edit that mends a finding: what is put in the place of a stretch.

    `safe` says that it cannot have been meant otherwise; what is not safe is a guess, such as a name that is
    spelt alike.
    """

    span: Span
    text: str
    safe: bool


class SpecError(Exception):
    """One finding in a spec.

    >>> print(SpecError("E0106", "undefined name 'y'", Span("a.act", 1, 8, 1, 9), "f(x) = y", "x"))
    a.act:1:8: E0106 undefined name 'y'
      f(x) = y
             ^
      help: x
    """

    def __init__(
        self,
        code: str,
        message: str,
        span: Span,
        source_line: str = "",
        suggestion: str | None = None,
        fix: Fix | None = None,
    ) -> None:
        super().__init__(code, message, span, source_line, suggestion, fix)
        self.code = code
        self.message = message
        self.span = span
        self.source_line = source_line
        self.suggestion = suggestion
        self.fix = fix

    def __str__(self) -> str:
        return as_text(self)


class SpecErrors(Exception):
    """All the findings of one run, in the order of their places."""

    def __init__(self, errors: Iterable[SpecError]) -> None:
        self.errors = tuple(
            sorted(errors, key=lambda error: (error.span.path, error.span.line, error.span.column))
        )
        super().__init__(self.errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A suggestion for a misspelt name, or None where nothing known is near.

    >>> did_you_mean("softplu", ["softplus", "tanh"])
    "did you mean 'softplus'?"
    """
    near = _nearest(name, known)
    return f"did you mean '{near}'?" if near else None


def respell(name: str, known: Iterable[str], span: Span) -> tuple[str | None, Fix | None]:
    """`did_you_mean`, and the edit of the name's place that takes it at its word.

    It is safe where case alone is wrong, or the order of the letters; another letter is another name.

    >>> respell("wiht", ["with"], Span("a.act", 1, 1, 1, 5))[1].safe
    True
    >>> respell("tahn", ["tan", "tanh"], Span("a.act", 1, 1, 1, 5))[0]
    "did you mean 'tanh'?"
    """
    near = _nearest(name, known)
    if near is None:
        return None, None
    return f"did you mean '{near}'?", Fix(span, near, sorted(name.lower()) == sorted(near.lower()))


def _nearest(name: str, known: Iterable[str]) -> str | None:
    lowered = {candidate.lower(): candidate for candidate in known}
    near = get_close_matches(name.lower()[:64], lowered, n=3)
    near.sort(key=lambda each: sorted(each) != sorted(name.lower()))  # letters that changed places come first
    return lowered[near[0]] if near else None


def _printable(text: str) -> str:
    return "".join(
        char if char.isprintable() or char == "\t" else "\N{REPLACEMENT CHARACTER}" for char in text
    )


Paint = Callable[[str, str], str]
"""Gives a text the colour of its part: `place`, `code`, `caret` or `help`."""


def as_text(error: SpecError, paint: Paint = lambda _, text: text) -> str:
    """A finding for a reader: place, code, message; the line with its caret; help."""
    span = error.span
    place = f"{span.path}:{span.line}:{span.column}:" if span.line else f"{span.path}:"
    lines = [f"{paint('place', place)} {paint('code', error.code)} {error.message}"]
    if error.source_line:
        start = max(0, span.column - 1 - _WINDOW // 2) if len(error.source_line) > _WINDOW else 0
        shown = _printable(error.source_line[start : start + _WINDOW])
        end = span.end_column - 1 if span.end_line == span.line else len(error.source_line)
        before = shown[: span.column - 1 - start]
        carets = max(1, min(end - start, len(shown.rstrip())) - len(before))
        lines.append(f"  {shown}".rstrip())
        indent = "".join("\t" if char == "\t" else " " for char in before)
        lines.append(f"  {indent}{paint('caret', '^' * carets)}")
    if error.suggestion:
        lines.append(f"  {paint('help', 'help:')} {error.suggestion}")
    return "\n".join(lines)
