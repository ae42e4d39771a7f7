"""What a spec file defines, read from its tokens alone, so that it is there while a line is half typed.

In: the text of a spec file, right or wrong. Out: `Entry`s: each definition and model, its names, and places.
The parser reads less of a wrong file, and says why; this is for editors, which ask at every key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from inspect import cleandoc
from itertools import pairwise
from typing import Literal

from dsl.format import Token, ends_operand, tokens_of
from dsl.reduce import unquote
from dsl.vocabulary import clauses

MODEL = "model"
LEARN = "learn"
CLAUSES: tuple[str, ...] = tuple(sorted(name.lower() for name in clauses() if name != MODEL.upper()))
"""The words that begin a clause."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a text: where it begins, and where the first character after it is, in characters from 0."""

    start: int
    end: int

    def touches(self, at: int) -> bool:
        """Whether a place is in it or directly behind it, where a cursor stands that has typed it."""
        return self.start <= at <= self.end


@dataclass(frozen=True, slots=True)
class Named:
    """An input, a parameter or a `with` of an entry, and its declaration as it was written."""

    kind: Literal["input", "parameter", "with"]
    name: str
    place: Stretch
    text: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A definition or a model: `whole` begins with its documentation, `text` and `head` do not."""

    kind: Literal["definition", "model"]
    name: str
    place: Stretch
    whole: Stretch
    head: str
    text: str
    doc: str
    names: tuple[Named, ...]
    aliases: tuple[str, ...]


@lru_cache(maxsize=256)
def outline(text: str) -> tuple[Entry, ...]:
    """The entries of a spec file, in order, as far as their heads are whole.

    >>> entry, = outline("elu(x; alpha = 1.0) = where(x > 0, x, alpha * expm1(")
    >>> entry.head, [(each.kind, each.text) for each in entry.names]
    ('elu(x; alpha = 1.0)', [('input', 'x'), ('parameter', 'alpha = 1.0')])
    """
    row = [token for token in tokens_of(text) if token.kind != "comment"]
    heads = list(_heads(row))
    ends = [*(first for first, _, _ in heads), len(row)][1:]
    return tuple(
        _entry(text, row[first:end], name - first, close - first)
        for (first, name, close), end in zip(heads, ends, strict=True)
    )


def word_at(text: str, at: int) -> Token | None:
    """The word at a place, or directly before it; none in a dotted name, which is not of the language.

    >>> word_at("f(x) = relu(x)", 9).text
    'relu'
    """
    row = [token for token in tokens_of(text) if token.kind != "comment"]
    for before, token, after in zip([None, *row], row, [*row[1:], None], strict=False):
        if token.kind == "word" and stretch(token).touches(at):
            return None if any(each and each.text == "." for each in (before, after)) else token
    return None


def stretch(token: Token) -> Stretch:
    """Where a token is."""
    return Stretch(token.start, token.start + len(token.text))


def _heads(row: Sequence[Token]) -> Iterator[tuple[int, int, int]]:
    """Where entries begin, where their names are, and the brackets that close their inputs."""
    close = -1
    for place, (token, following) in enumerate(pairwise(row)):
        if place > close and token.kind == "word" and following.text == "(":
            end = closing(row, place + 1)
            if end is not None and row[end + 1 : end + 2] and row[end + 1].text == "=":
                first = place - 1 if place and row[place - 1].text == MODEL else place
                yield (first - 1 if first and row[first - 1].kind == "string" else first), place, end
                close = end


def closing(row: Sequence[Token], opening: int) -> int | None:
    """The place of the bracket that closes one, if there is one."""
    depth = 0
    for place in range(opening, len(row)):
        depth += (row[place].text in "([") - (row[place].text in ")]")
        if not depth:
            return place
    return None


def _entry(text: str, row: Sequence[Token], name: int, close: int) -> Entry:
    end = stretch(row[-1]).end
    begin = row[0]
    doc = cleandoc(unquote(begin.text)) if begin.kind == "string" else ""
    first = row[1] if begin.kind == "string" else begin
    inside = row[name + 2 : close]
    model = row[name - 1].text == MODEL if name else False
    parts = _parts(row[close + 1 :])
    return Entry(
        "model" if model else "definition",
        row[name].text,
        stretch(row[name]),
        Stretch(begin.start, end),
        text[first.start : stretch(row[close]).end],
        text[first.start : end],
        doc,
        (*_declared(text, inside, model), *_withs(text, parts)),
        tuple(part[1].text for part in parts if part[0].text == "alias" and len(part) > 1),
    )


def _declared(text: str, row: Sequence[Token], model: bool) -> Iterator[Named]:
    """The inputs and parameters between the brackets of a head; a model has no inputs."""
    kind: Literal["input", "parameter"] = "parameter" if model else "input"
    depth, part = 0, list[Token]()
    for token in [*row, None]:
        if token is None or (not depth and token.text in (",", ";")):
            words = [each for each in part if each.kind == "word"]
            if len(words) > 1 and words[0].text == LEARN:
                words = words[1:]
            if words:
                declaration = text[part[0].start : stretch(part[-1]).end]
                yield Named(kind, words[0].text, stretch(words[0]), declaration)
            part = []
            kind = "parameter" if token is not None and token.text == ";" else kind
        else:
            depth += (token.text in "([") - (token.text in ")]")
            part.append(token)


def _parts(row: Sequence[Token]) -> list[list[Token]]:
    """What comes after a head: the body, and each clause."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for before, token in zip([None, *row], row, strict=False):
        if not depth and token.text in CLAUSES and ends_operand(before):
            parts.append([])
        depth += (token.text in "([") - (token.text in ")]")
        parts[-1].append(token)
    return parts[1:]


def _withs(text: str, parts: Sequence[Sequence[Token]]) -> Iterator[Named]:
    for part in parts:
        if part[0].text == "with" and len(part) > 1 and part[1].kind == "word":
            declaration = text[part[1].start : stretch(part[-1]).end]
            yield Named("with", part[1].text, stretch(part[1]), declaration)
