"""Specs, formatted: one way to space them and to break them.

In: the text of a spec file that parses. Out: its tokens again, spaced anew, comments and strings kept.

The formatter moves white space and nothing else, and checks that it did: the tokens before and after are the
same. A definition starts its line, its clauses are indented by two. A definition's head and body, and each
clause, go on one line if they fit; otherwise, and where comments stand in them, the author's breaks stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from dsl.parse import statements
from dsl.syntax import Definition

WIDTH = 100
"""Columns up to which a part is joined into one line."""

_TOKEN = re.compile(
    r'(?P<string>"""(?:\\.|[^\\])*?"""|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\')'
    r"|(?P<comment>\#[^\n]*)"
    r"|(?P<number>(?:[0-9]+(?:\.(?!\.)[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<operator>\*\*|<=|>=|==|!=|->|\.\.|[-+*/<>=()\[\],;:.])",
    re.DOTALL,
)
_WORD_OPERATORS = frozenset("if else and or not in".split())
_TIGHT_AFTER = frozenset("( [ ** .. .".split())
_TIGHT_BEFORE = frozenset(") ] , ; : ** .. .".split())


@dataclass(frozen=True, slots=True)
class Token:
    """A word, number, string, comment or operator: `place` is its line and column, from 1."""

    kind: str
    text: str
    breaks: int
    """How many line ends stand before it."""
    place: tuple[int, int]
    start: int
    """Where it begins in the text, in characters from 0."""


@dataclass(slots=True)
class _Part:
    """What begins on a line of its own: a docstring, a head with its body, or a clause; and its comments."""

    indent: str
    leading: list[Token] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    opens: bool = False
    """Whether it begins a definition."""


def format_text(text: str, path: str = "<string>") -> str:
    """The text of a spec file, formatted; raises `SpecErrors` if it does not parse.

    >>> print(format_text("f(x;a=1)=a*-x ** 2 with  b=a"), end="")
    f(x; a = 1) = a * -x**2
      with b = a
    """
    parts = _parts(text, path)
    lines: list[str] = []
    for position, part in enumerate(parts):
        if part.opens and lines and _apart(parts, position):
            lines.append("")
        lines.extend(_lines(part))
    result = "".join(f"{line}\n" for line in lines)
    if [token.text for token in tokens_of(text)] != [token.text for token in tokens_of(result)]:
        raise AssertionError("the formatter changed more than white space")
    return result


def tokens_of(text: str) -> Iterator[Token]:
    """The tokens of a text that may be wrong: what is no token of the language is left out."""
    line, start, end = 1, 0, 0
    for match in _TOKEN.finditer(text):
        breaks = text.count("\n", end, match.start())
        if breaks:
            line, start = line + breaks, text.rfind("\n", 0, match.start()) + 1
        kind, end = match.lastgroup or "", match.end()
        yield Token(
            kind,
            match[0].rstrip() if kind == "comment" else match[0],
            breaks,
            (line, match.start() - start + 1),
            match.start(),
        )
        if inside := match[0].count("\n"):
            line, start = line + inside, text.rfind("\n", 0, end) + 1


def _parts(text: str, path: str) -> list[_Part]:
    starts: dict[tuple[int, int], tuple[str, bool]] = {}
    for statement in statements(text, path):
        starts[statement.head.line, statement.head.column] = ("", False)
        starts[statement.span.line, statement.span.column] = ("", True)
        for clause in statement.clauses if isinstance(statement, Definition) else ():
            starts[clause.span.line, clause.span.column] = ("  ", False)
    parts: list[_Part] = []
    waiting: list[Token] = []
    for token in tokens_of(text):
        if token.place in starts:
            indent, opens = starts[token.place]
            parts.append(_Part(indent, waiting, [token], opens))
            waiting = []
        elif token.kind == "comment" and (token.breaks or not parts):
            waiting.append(token)
        else:
            parts[-1].tokens += [*waiting, token]
            waiting = []
    return [*parts, _Part("", waiting, opens=True)] if waiting else parts


def _apart(parts: list[_Part], position: int) -> bool:
    """Whether a blank line stands before a definition: always, but for one-liners set together."""
    part = parts[position]
    first = [*part.leading, *part.tokens][0]
    last = position + 1
    while last < len(parts) and not parts[last].opens:
        last += 1
    alone = last == position + 1 and parts[position - 1].opens and not part.leading
    return first.breaks > 1 or not alone


def _lines(part: _Part) -> Iterator[str]:
    for number, comment in enumerate(part.leading):
        if number and comment.breaks > 1 and not part.indent:
            yield ""
        yield part.indent + comment.text
    if not part.tokens:
        return
    if part.leading and part.tokens[0].breaks > 1 and not part.indent:
        yield ""
    body, after = part.tokens, ""
    if body[-1].kind == "comment":
        body, after = body[:-1], f"  {body[-1].text}"
    joined = part.indent + _join(body)
    broken = any(token.breaks for token in body[1:])
    if not broken or (len(joined) <= WIDTH and all(token.kind != "comment" for token in body)):
        yield joined + after
        return
    rows = _rows(body)
    for number, row in enumerate(rows):
        indent = part.indent + "    " * (number > 0)
        yield indent + row + (after if number == len(rows) - 1 else "")


def _rows(tokens: list[Token]) -> list[str]:
    """The tokens with the author's breaks; a comment ends its row."""
    rows, start = [], 0
    spaces = _spaces(tokens)
    for position in range(1, len(tokens) + 1):
        if position == len(tokens) or tokens[position].breaks:
            row = tokens[start].text
            for later in range(start + 1, position):
                row += spaces[later] + tokens[later].text
            rows.append(row)
            start = position
    return rows


def _join(tokens: list[Token]) -> str:
    return "".join(space + token.text for space, token in zip(_spaces(tokens), tokens, strict=True))


def _spaces(tokens: list[Token]) -> list[str]:
    """The white space before each token on its line."""
    spaces = [""]
    quotients = {
        place
        for slash in range(1, len(tokens) - 1)
        if _quotient(tokens, slash)
        for place in (slash, slash + 1)
    }
    before, sign = None, False
    for position, token in enumerate(tokens):
        if position:
            space = _space(tokens[position - 1], token, sign, position == 1)
            spaces.append("" if position in quotients else space)
        if token.kind != "comment":
            sign = token.text in ("+", "-") and token.kind == "operator" and not ends_operand(before)
            before = token
    return spaces[: len(tokens)]


def _quotient(tokens: list[Token], slash: int) -> bool:
    """Whether a division is one number, as in `1/8`: two literals that nothing tighter takes apart."""
    before = tokens[slash - 2].text if slash > 1 else ""
    after = tokens[slash + 2].text if slash + 2 < len(tokens) else ""
    literals = tokens[slash - 1].kind == tokens[slash + 1].kind == "number"
    return tokens[slash].text == "/" and literals and before not in ("*", "/", "**") and after != "**"


def ends_operand(token: Token | None) -> bool:
    """Whether an expression may end with a token, so that a clause or a definition may follow it."""
    if token is None or token.kind == "operator":
        return token is not None and token.text in (")", "]")
    return token.text not in _WORD_OPERATORS


def _space(before: Token, token: Token, after_sign: bool, after_first: bool) -> str:
    if token.kind == "comment":
        return "  "
    if before.kind == "operator" and (after_sign or before.text in _TIGHT_AFTER):
        return ""
    if token.kind == "operator" and token.text in _TIGHT_BEFORE:
        return ""
    if token.text in ("(", "[") and before.kind == "word" and before.text not in _WORD_OPERATORS:
        clause = after_first and before.text in ("domain", "require")
        return " " if clause else ""
    return " "
