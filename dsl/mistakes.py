"""What to say where a spec does not parse.

In: the text, and what the parser or its lexer stumbled over. Out: a `SpecError` that says what stands there,
what was expected, and what the author probably meant.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from dsl.errors import Fix, Span, SpecError, respell
from dsl.functions import CALLABLE
from dsl.ops import CONSTANTS
from dsl.reduce import MAX_DEPTH, span_of
from dsl.syntax import Source

CLAUSE_WORDS = (
    "with",
    "reference",
    "domain",
    "require",
    "accuracy",
    "gradient",
    "packed",
    "concat",
    "alias",
    "module",
)
"""The words that begin a clause, in the order in which the formatter's documentation lists them."""

_TOKENS = re.compile(
    r'"""(?:\\.|[^\\])*?"""|(?P<open_text>""")'
    r'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|(?P<quote>["\'])'
    r"|\#[^\n]*|(?P<open>[(\[])|(?P<close>[)\]])|(?P<brace>[{}])",
    re.DOTALL,
)
_HIDDEN = re.compile("[\0-\x08\x0b\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls, characters that reorder what a reader sees, and halves of characters: in no string or comment."""
_PLAIN = re.compile(r"\d+(\.\d*)?|\.\d+")
_SUFFIX = re.compile(r"[eEfFjJlL]\d*")
"""What other languages write right after a number: 1e, 1.0f32, 2j are no products."""
_DOTTED = re.compile(r"((?:[A-Za-z_]\w*\.)+)([A-Za-z_]\w*)")
"""Names with dots between, and the last."""
_PAIRS = {")": "(", "]": "["}

_SPELLED: dict[str, str] = {
    "^": "write 'a**b' for a power",
    "{": "write '(' and ')'",
    "}": "write '(' and ')'",
    "%": "write 'x - y * floor(x / y)' for a remainder",
    "&": "write 'and'",
    "|": "write 'abs(x)' for an absolute value, 'or' between conditions",
    "!": "write 'not'",
    "\N{MULTIPLICATION SIGN}": "write '*'",
    "\N{MIDDLE DOT}": "write '*'",
    "\N{DOT OPERATOR}": "write '*'",
    "\N{MINUS SIGN}": "write '-'",
    "\N{EN DASH}": "write '-'",
    "\N{DIVISION SIGN}": "write '/'",
    "\N{SQUARE ROOT}": "write 'sqrt(...)'",
    "\N{SUPERSCRIPT TWO}": "write '**2'",
    "\N{SUPERSCRIPT THREE}": "write '**3'",
    "\N{LESS-THAN OR EQUAL TO}": "write '<='",
    "\N{GREATER-THAN OR EQUAL TO}": "write '>='",
    "\N{NOT EQUAL TO}": "write '!='",
    "\N{INFINITY}": "write 'inf'",
    "\N{LEFT DOUBLE QUOTATION MARK}": "write a plain '\"'",
    "\N{RIGHT DOUBLE QUOTATION MARK}": "write a plain '\"'",
}
"""What to write instead of a character that is none of the language's."""

_MEANT: dict[str, str] = {
    "^": "**",
    "{": "(",
    "}": ")",
    "\N{MULTIPLICATION SIGN}": "*",
    "\N{MIDDLE DOT}": "*",
    "\N{DOT OPERATOR}": "*",
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{DIVISION SIGN}": "/",
    "\N{SUPERSCRIPT TWO}": "**2",
    "\N{SUPERSCRIPT THREE}": "**3",
    "\N{LESS-THAN OR EQUAL TO}": "<=",
    "\N{GREATER-THAN OR EQUAL TO}": ">=",
    "\N{NOT EQUAL TO}": "!=",
    "\N{INFINITY}": "inf",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
}
"""What can stand in the place of such a character and nothing else can have been meant."""

_TERMINALS: dict[str, str] = {
    "LPAR": "'('",
    "RPAR": "')'",
    "LSQB": "'['",
    "RSQB": "']'",
    "COMMA": "','",
    "SEMICOLON": "';'",
    "COLON": "':'",
    "EQUAL": "'='",
    "RANGE": "'..'",
    "DOT": "'.'",
    "ARROW": "'->'",
    "ELSE": "'else'",
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": "a string",
    "$END": "the end of the file",
}
"""How a message names what it expected; operators and clause words are left out, they fit nearly anywhere."""


def check_brackets(source: Source, text: str, first_line: int) -> None:
    """Brackets and quotes, before the parser: here the message can name the bracket that was never closed."""
    stack: list[int] = []

    def span(at: int, length: int = 1) -> Span:
        line = first_line + text.count("\n", 0, at)
        column = at - (text.rfind("\n", 0, at) + 1) + 1
        return Span(source.path, line, column, line, column + length)

    if hidden := _HIDDEN.search(text):
        message = f"unexpected character U+{ord(hidden[0]):04X}"
        place = span(hidden.start())
        raise source.error("E0113", message, place, "it cannot be seen: remove it", Fix(place, "", True))
    for match in _TOKENS.finditer(text):
        at = match.start()
        if match["open_text"] or match["quote"]:
            raise source.error("E0114", "string never closed", span(at, len(match[0])))
        if brace := match["brace"]:
            raise _stray(source, brace, span(at))
        if match["open"]:
            stack.append(at)
            if len(stack) > MAX_DEPTH:
                raise source.error("E0111", f"brackets nested more than {MAX_DEPTH:,} deep", span(at))
        elif close := match["close"]:
            if not stack:
                raise source.error("E0104", f"'{close}' closes nothing", span(at))
            opened = text[stack.pop()]
            if opened != _PAIRS[close]:
                raise source.error("E0104", f"'{close}' cannot close '{opened}'", span(at))
    if stack:
        raise source.error("E0104", f"'{text[stack[-1]]}' is never closed", span(stack[-1]))


def unexpected_character(source: Source, offset: int, text: str, error: Any) -> SpecError:
    """What to say of a character that begins no token."""
    at, char = error.pos_in_stream, text[error.pos_in_stream]
    span = Span(source.path, error.line + offset, error.column, error.line + offset, error.column + 1)
    if char == "^":
        power = Fix(span, _MEANT[char], True)
        return source.error("E0105", "'^' is not an operator", span, _SPELLED[char], power)
    if number := re.compile(r"[0-9.]+(?:[eE][+-]?[0-9]+)?").match(text, at):
        if name := re.compile(r"[A-Za-z_]\w*").match(text, number.end()):
            help_ = f"write '{number[0]} * {name[0]}'" if len(number[0] + name[0]) < 60 else None
            end = span.column + len(number[0])
            joined = Fix(Span(source.path, span.line, end, span.line, end), " * ", True)
            message = "a number cannot run into a name"
            literal = number[0] == "0" or _SUFFIX.fullmatch(name[0]) or not _PLAIN.fullmatch(number[0])
            fix = None if literal or source.divides_before(span) else joined
            return source.error("E0103", message, span, help_, fix)
        return source.error("E0103", "not a number", span, "numbers are written as 2, 0.5 or 1e-5")
    return _stray(source, char, span)


def _stray(source: Source, char: str, span: Span) -> SpecError:
    fix = Fix(span, _MEANT[char], True) if char in _MEANT else None
    shown = repr(char) if char.isprintable() else f"U+{ord(char):04X}"
    help_ = _SPELLED.get(char) or _greek(char)
    return source.error("E0113", f"unexpected character {shown}", span, help_, fix)


def _greek(char: str) -> str | None:
    words = unicodedata.name(char, "").split()
    if words[:1] == ["GREEK"] and "LETTER" in words:
        return f"names are in ASCII: write '{words[-1].lower()}'"
    return "names are in ASCII" if char.isalpha() else None


def unexpected_token(source: Source, offset: int, text: str, error: Any) -> SpecError:
    """What to say of a token that cannot stand where it stands."""
    token = error.token
    state = error.interactive_parser.lexer_thread.state
    before = error.token_history[-1] if error.token_history else state.last_token
    # A name where a definition or a clause would begin, and then not what must follow it.
    if before is not None and before.type == "NAME" and error.accepts == {"LPAR"}:
        span = span_of(source, offset, before)
        help_, fix = respell(before, CLAUSE_WORDS if token.type == "NAME" else (), span)
        if help_ is None:
            help_ = "is an operator missing before it? a definition begins with 'name(inputs) ='"
        return source.error("E0103", f"unexpected name '{_clip(before)}'", span, help_, fix)
    if token.type == "$END":
        whole = offset + text.count("\n") == source.text.count("\n")
        ended = "file" if whole else "definition"
        message = f"unexpected end of the {ended}, expected {_expected(error)}"
        return source.error("E0103", message, _end(source, offset, text))
    if token.type == "DOT" and before is not None and before.type == "NAME":
        return _dotted(source, offset, text, before)
    shown = f"'{_clip(token)}'"
    suggestion = None
    if token.type == "LPAR" and before is not None and before.type in ("NUMBER", "RPAR", "RSQB"):
        suggestion = "write '*' between two factors"
    if token.type in ("TIMES", "COMPARE") and before is not None and before.type == token.type:
        suggestion = {"/": "write 'floor(a / b)' for the whole part of a quotient"}.get(str(token))
    return source.error(
        "E0103",
        f"unexpected {shown}, expected {_expected(error)}",
        span_of(source, offset, token),
        suggestion,
    )


def _dotted(source: Source, offset: int, text: str, before: Any) -> SpecError:
    """What to say of a name with a module before it, as in `np.exp(x)`."""
    found = _DOTTED.match(text, before.start_pos)
    modules, name = (found[1], found[2]) if found else (f"{before}.", "")
    start = span_of(source, offset, before)
    span = Span(start.path, start.line, start.column, start.line, start.column + len(modules))
    known = name in CALLABLE or name in CONSTANTS
    help_ = f"write '{_clip(name)}'" if known else "functions of the language stand by themselves: 'exp(x)'"
    message = f"unexpected '{_clip(modules)}', a function has no module before it"
    return source.error("E0103", message, span, help_, Fix(span, "", True) if known else None)


def _clip(text: str, limit: int = 40) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _expected(error: Any) -> str:
    accepts: set[str] = error.accepts or set()
    if {"NAME", "NUMBER", "LPAR"} <= accepts:
        return "an expression"
    words = [text for terminal, text in _TERMINALS.items() if terminal in accepts and terminal != "STRING"]
    if {"SIGN", "TIMES"} <= accepts:
        words = ["an operator", *(word for word in words if word not in ("a name", "the end of the file"))]
    return " or ".join(words[-4:] if len(words) > 4 else words) or "a definition"


def _end(source: Source, offset: int, text: str) -> Span:
    stripped = text.rstrip()
    line = stripped.count("\n") + 1
    column = len(stripped) - (stripped.rfind("\n") + 1) + 1
    return Span(source.path, line + offset, column, line + offset, column + 1)
