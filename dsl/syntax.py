"""The syntax tree: what stands in a spec file, nothing resolved yet.

In: nothing (plain data). Out: `Definition` and `Model`, with the place of everything, for `dsl.resolve`.

An expression is a `Term`: one class for all of them, so that a walk is a loop over `operands` and never
recursion. Two terms are equal only if they are the same object.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal

from dsl.errors import Fix, Span, SpecError

Kind = Literal[
    "number", "name", "call", "unary", "binary", "chain", "conditional", "tuple", "index", "series", "text"
]


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """An identifier and its place."""

    text: str
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """An expression.

    `text` is the number, the name, the function's name or the operator (a chain's operators, blank between).
    `keywords` name the last operands of a call; `index` is the running name of a series.
    """

    kind: Kind
    text: str
    span: Span
    operands: tuple[Term, ...] = ()
    keywords: tuple[Name, ...] = ()
    value: Fraction | None = None
    index: str = ""
    depth: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class ParameterSyntax:
    """What stands after the semicolon: `alpha = 1.0`, `learn w[channel] = 0.25`."""

    name: Name
    default: Term | None
    learned: bool
    shape: Term | None
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Clause:
    """One clause: its word, and what follows it, by kind.

    `name` is what the clause names (`with u`, `alias swish`, `reference torch.nn.functional.elu`), `terms`
    its expressions, `keywords` a reference's arguments, `bounds` the pairs of an accuracy clause.
    """

    word: str
    span: Span
    name: Name | None = None
    terms: tuple[Term, ...] = ()
    keywords: tuple[tuple[Name, Term], ...] = ()
    bounds: tuple[tuple[Name, Fraction], ...] = ()
    chance: Span | None = None


@dataclass(frozen=True, eq=False)
class Source:
    """A spec file as text, to quote from.

    >>> Source("a.act", "f(x) = x").error("E0106", "undefined name", Span("a.act", 1, 8, 1, 9)).source_line
    'f(x) = x'
    """

    path: str
    text: str

    def line(self, number: int) -> str:
        """A line by its number, from 1; empty where there is none."""
        return self._lines[number - 1].rstrip("\r") if 1 <= number <= len(self._lines) else ""

    @cached_property
    def _lines(self) -> list[str]:
        return self.text.split("\n")

    def error(
        self, code: str, message: str, span: Span, suggestion: str | None = None, fix: Fix | None = None
    ) -> SpecError:
        """A finding that quotes its line from this file."""
        return SpecError(code, message, span, self.line(span.line), suggestion, fix)

    def between(self, span: Span) -> str:
        """The text of a stretch.

        >>> Source("a.act", "f(x) = x + 1").between(Span("a.act", 1, 8, 1, 13))
        'x + 1'
        """
        lines = self._lines[span.line - 1 : span.end_line]
        lines[-1] = lines[-1][: span.end_column - 1]
        lines[0] = lines[0][span.column - 1 :]
        return "\n".join(lines)

    def divides_before(self, span: Span) -> bool:
        """Whether a `/` or a `**` stands before a place, whose right side a product put in would not be.

        At the start of a line there may be one.
        """
        before = self.line(span.line)[: span.column - 1].rstrip()
        return not before or before.endswith(("/", "**"))


@dataclass(frozen=True, slots=True, eq=False)
class Definition:
    """`name(inputs; parameters) = body`, its docstring and its clauses; `head` comes after the docstring."""

    name: Name
    inputs: tuple[Name, ...]
    parameters: tuple[ParameterSyntax, ...]
    body: Term
    clauses: tuple[Clause, ...]
    doc: str
    span: Span
    head: Span
    source: Source

    def clause(self, word: str) -> tuple[Clause, ...]:
        """The clauses that begin with a word, in order."""
        return tuple(clause for clause in self.clauses if clause.word == word)


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """`model name(arguments) = stage -> stage`: parsed, and for a later version."""

    name: Name
    arguments: tuple[ParameterSyntax, ...]
    stages: tuple[Term, ...]
    doc: str
    span: Span
    head: Span
    source: Source
