"""Text to syntax tree.

In: the text of a spec file. Out: its definitions, or `SpecErrors` with a place for each.

The grammar is `grammars/act.lark`. The parser builds terms as it reduces and keeps its own stack, so that
depth costs memory and not Python's stack. After an error it starts again at the next line that looks like
the head of a definition, so that one run reports at least one error for each broken definition.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, cast

from dsl.errors import SpecError, SpecErrors
from dsl.mistakes import check_brackets, unexpected_character, unexpected_token
from dsl.reduce import Builder, Spread, Statement
from dsl.syntax import Definition, Model, Source
from dsl.vocabulary import grammar

if TYPE_CHECKING:
    from lark import Lark

_HEAD = re.compile(
    r"^(?:model[ \t]+)?([A-Za-z_]\w*)[ \t]*\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)[ \t]*=(?!=)", re.M
)
_DOC_BEFORE = re.compile(
    r'(?:"""(?:\\.|[^\\])*?"""|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\')\s*\Z', re.DOTALL
)


def parse(text: str, path: str = "<string>") -> tuple[Definition, ...]:
    """The definitions of a spec file, in order; raises `SpecErrors` with every error found.

    >>> [definition.name.text for definition in parse("f(x) = x  g(x) = f(x) + 1")]
    ['f', 'g']
    """
    definitions, errors, _ = parse_all(text, path)
    if errors:
        raise SpecErrors(errors)
    return definitions


def statements(text: str, path: str = "<string>") -> tuple[Statement, ...]:
    """Every definition and model of a spec file, in order; raises `SpecErrors`."""
    found, errors, _ = _salvage(Source(path, text))
    if errors:
        raise SpecErrors(errors)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What could be parsed, what was wrong, and the names of what could not be parsed."""

    definitions: tuple[Definition, ...]
    models: tuple[Model, ...]
    errors: tuple[SpecError, ...]
    broken: frozenset[str]


def parse_statements(text: str, path: str = "<string>") -> Parsed:
    """The definitions and models of a spec file, each in order, and every error found."""
    found, errors, broken = _salvage(Source(path, text))
    definitions = tuple(each for each in found if isinstance(each, Definition))
    return Parsed(
        definitions, tuple(each for each in found if isinstance(each, Model)), tuple(errors), broken
    )


def parse_all(
    text: str, path: str = "<string>"
) -> tuple[tuple[Definition, ...], tuple[SpecError, ...], frozenset[str]]:
    """The definitions of a text that may hold no models, what was wrong, and the names that it concerns."""
    parsed = parse_statements(text, path)
    refused = [
        model.source.error(
            "E0190",
            f"model '{model.name.text}': a model in a text is not yet supported",
            model.name.span,
            "write it into a .act file for 'dslgen build'",
        )
        for model in parsed.models
    ]
    names = {model.name.text for model in parsed.models}
    return parsed.definitions, (*parsed.errors, *refused), parsed.broken | names


def _salvage(source: Source) -> tuple[list[Statement], list[SpecError], frozenset[str]]:
    text = source.text
    try:
        return _parse_text(source, text, 1), [], frozenset()
    except SpecError as error:
        whole = error
    found: list[Statement] = []
    errors: list[SpecError] = []
    broken: set[str] = set()
    chunks = _chunks(text)
    for line, chunk in chunks if len(chunks) > 1 else ():
        try:
            found.extend(_parse_text(source, chunk, line))
        except SpecError as error:
            errors.append(error)
            broken.update(head[1] for head in _HEAD.finditer(chunk))
    if not errors:  # Heads were not where a restart looks for them: the one error that is certain.
        return [], [whole], frozenset(head[1] for head in _HEAD.finditer(text))
    return found, errors, frozenset(broken)


def _chunks(text: str) -> list[tuple[int, str]]:
    starts = [0]
    for head in _HEAD.finditer(text):
        begin = max(starts[-1], head.start() - 10_000)
        doc = _DOC_BEFORE.search(text, begin, head.start())
        starts.append(doc.start() if doc else head.start())
    pieces = [(begin, text[begin:end]) for begin, end in pairwise([*starts, len(text)]) if end > begin]
    lines, seen, at = [], 1, 0
    for begin, piece in pieces:
        seen += text.count("\n", at, begin)
        at = begin
        column = begin - (text.rfind("\n", 0, begin) + 1)
        lines.append((seen, " " * column + piece))
    return lines


def _parse_text(source: Source, text: str, line: int) -> list[Statement]:
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    check_brackets(source, text, line)
    lark, builder = _lark()
    try:
        with _LOCK:
            builder.source, builder.offset = source, line - 1
            return cast("list[Statement]", lark.parse(text))
    except UnexpectedToken as error:
        raise unexpected_token(source, line - 1, text, error) from None
    except UnexpectedCharacters as error:
        raise unexpected_character(source, line - 1, text, error) from None


_LOCK = Lock()
"""One parser serves all files; while it runs, its builder belongs to one of them."""


@cache
def _lark() -> tuple[Lark, Builder]:
    from lark import Lark

    builder = Builder()
    return Lark(grammar(), parser="lalr", transformer=Spread(builder), maybe_placeholders=True), builder
