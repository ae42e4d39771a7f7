"""Text to syntax tree.

In: the text of a spec file. Out: its definitions, or `SpecErrors` with a place for each.

The grammar is `grammars/act.lark`. The parser builds terms as it reduces and keeps its own stack, so that
depth costs memory and not Python's stack. After an error it starts again at the next line that looks like
the head of a definition, so that one run reports at least one error for each broken definition.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import cache
from inspect import cleandoc
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from dsl.errors import Span, SpecError, SpecErrors, did_you_mean
from dsl.syntax import Clause, Definition, Kind, Model, Name, ParameterSyntax, Source, Term

if TYPE_CHECKING:
    from lark import Lark, Token

MAX_DEPTH = 10_000
"""How deep an expression may nest, in brackets or in operators."""
MAX_DIGITS = 1_000
MAX_EXPONENT = 4_000

CLAUSE_WORDS = (
    "with",
    "reference",
    "domain",
    "require",
    "accuracy",
    "gradient",
    "packed",
    "alias",
    "module",
)
"""The words that begin a clause, in the order in which the formatter's documentation lists them."""

Statement = Definition | Model

_TOKENS = re.compile(
    r'"""(?:\\.|[^\\])*?"""|(?P<open_text>""")'
    r'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|(?P<quote>["\'])'
    r"|\#[^\n]*|(?P<open>[(\[])|(?P<close>[)\]])",
    re.DOTALL,
)
_HEAD = re.compile(
    r"^(?:model[ \t]+)?([A-Za-z_]\w*)[ \t]*\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)[ \t]*=(?!=)", re.M
)
_DOC_BEFORE = re.compile(
    r'(?:"""(?:\\.|[^\\])*?"""|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\')\s*\Z', re.DOTALL
)
_HIDDEN = re.compile("[\0-\x08\x0b\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls, characters that reorder what a reader sees, and halves of characters: in no string or comment."""
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


def parse_all(
    text: str, path: str = "<string>"
) -> tuple[tuple[Definition, ...], tuple[SpecError, ...], frozenset[str]]:
    """What could be parsed, what was wrong, and the names of the definitions that could not be parsed."""
    found, errors, broken = _salvage(Source(path, text))
    definitions, unsupported, names = _definitions(found)
    return definitions, (*errors, *unsupported), names | broken


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


def _definitions(
    statements: Iterable[Statement],
) -> tuple[tuple[Definition, ...], tuple[SpecError, ...], frozenset[str]]:
    definitions, errors, names = [], [], set()
    for statement in statements:
        if isinstance(statement, Definition):
            definitions.append(statement)
        else:
            message = f"model '{statement.name.text}': models are not yet supported"
            errors.append(statement.source.error("E0190", message, statement.name.span))
            names.add(statement.name.text)
    return tuple(definitions), tuple(errors), frozenset(names)


def _chunks(text: str) -> list[tuple[int, str]]:
    starts = []
    for head in _HEAD.finditer(text):
        begin = max(0, head.start() - 10_000)
        doc = _DOC_BEFORE.search(text, begin, head.start())
        starts.append(doc.start() if doc else head.start())
    bounds = [0, *starts, len(text)]
    pieces = [(begin, text[begin:end]) for begin, end in pairwise(bounds) if end > begin]
    lines, seen, at = [], 1, 0
    for begin, piece in pieces:
        seen += text.count("\n", at, begin)
        at = begin
        column = begin - (text.rfind("\n", 0, begin) + 1)
        lines.append((seen, " " * column + piece))
    return lines


def _parse_text(source: Source, text: str, line: int) -> list[Statement]:
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    _check_brackets(source, text, line)
    lark, builder = _lark()
    try:
        with _LOCK:
            builder.source, builder.offset = source, line - 1
            return cast("list[Statement]", lark.parse(text))
    except UnexpectedToken as error:
        raise _unexpected_token(source, line - 1, text, error) from None
    except UnexpectedCharacters as error:
        raise _unexpected_character(source, line - 1, text, error) from None


_LOCK = Lock()
"""One parser serves all files; while it runs, its builder belongs to one of them."""


@cache
def _lark() -> tuple[Lark, _Builder]:
    from lark import Lark

    here = Path(__file__).parent
    shipped, checkout = here / "_grammars" / "act.lark", here.parent / "grammars" / "act.lark"
    grammar = (shipped if shipped.exists() else checkout).read_text(encoding="utf-8")
    builder = _Builder()
    return Lark(grammar, parser="lalr", transformer=_Spread(builder), maybe_placeholders=True), builder


def _end(source: Source, offset: int, text: str) -> Span:
    stripped = text.rstrip()
    line = stripped.count("\n") + 1
    column = len(stripped) - (stripped.rfind("\n") + 1) + 1
    return Span(source.path, line + offset, column, line + offset, column + 1)


def _check_brackets(source: Source, text: str, first_line: int) -> None:
    """Brackets and quotes, before the parser: here the message can name the bracket that was never closed."""
    stack: list[int] = []

    def span(at: int, length: int = 1) -> Span:
        line = first_line + text.count("\n", 0, at)
        column = at - (text.rfind("\n", 0, at) + 1) + 1
        return Span(source.path, line, column, line, column + length)

    if hidden := _HIDDEN.search(text):
        message = f"unexpected character U+{ord(hidden[0]):04X}"
        raise source.error("E0113", message, span(hidden.start()), "it cannot be seen: remove it")
    for match in _TOKENS.finditer(text):
        at = match.start()
        if match["open_text"] or match["quote"]:
            raise source.error("E0114", "string never closed", span(at, len(match[0])))
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


def _unexpected_character(source: Source, offset: int, text: str, error: Any) -> SpecError:
    at, char = error.pos_in_stream, text[error.pos_in_stream]
    span = Span(source.path, error.line + offset, error.column, error.line + offset, error.column + 1)
    if char == "^":
        return source.error("E0105", "'^' is not an operator", span, _SPELLED[char])
    if number := re.compile(r"[0-9.]+(?:[eE][+-]?[0-9]+)?").match(text, at):
        if name := re.compile(r"[A-Za-z_]\w*").match(text, number.end()):
            help_ = f"write '{number[0]} * {name[0]}'" if len(number[0] + name[0]) < 60 else None
            return source.error("E0103", "a number cannot run into a name", span, help_)
        return source.error("E0103", "not a number", span, "numbers are written as 2, 0.5 or 1e-5")
    shown = repr(char) if char.isprintable() else f"U+{ord(char):04X}"
    return source.error("E0113", f"unexpected character {shown}", span, _SPELLED.get(char) or _greek(char))


def _greek(char: str) -> str | None:
    words = unicodedata.name(char, "").split()
    if words[:1] == ["GREEK"] and "LETTER" in words:
        return f"names are in ASCII: write '{words[-1].lower()}'"
    return "names are in ASCII" if char.isalpha() else None


def _unexpected_token(source: Source, offset: int, text: str, error: Any) -> SpecError:
    token = error.token
    state = error.interactive_parser.lexer_thread.state
    before = error.token_history[-1] if error.token_history else state.last_token
    # A name where a definition or a clause would begin, and then not what must follow it.
    if before is not None and before.type == "NAME" and error.accepts == {"LPAR"}:
        help_ = did_you_mean(before, CLAUSE_WORDS) if token.type == "NAME" else None
        if help_ is None:
            help_ = "is an operator missing before it? a definition begins with 'name(inputs) ='"
        return source.error(
            "E0103", f"unexpected name '{_clip(before)}'", _span(source, offset, before), help_
        )
    if token.type == "$END":
        whole = offset + text.count("\n") == source.text.count("\n")
        ended = "file" if whole else "definition"
        message = f"unexpected end of the {ended}, expected {_expected(error)}"
        return source.error("E0103", message, _end(source, offset, text))
    shown = f"'{_clip(token)}'"
    suggestion = None
    if token.type == "LPAR" and before is not None and before.type in ("NUMBER", "RPAR", "RSQB"):
        suggestion = "write '*' between two factors"
    if token.type in ("TIMES", "COMPARE") and before is not None and before.type == token.type:
        suggestion = {"/": "write 'floor(a / b)' for the whole part of a quotient"}.get(str(token))
    return source.error(
        "E0103", f"unexpected {shown}, expected {_expected(error)}", _span(source, offset, token), suggestion
    )


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


def _span(source: Source, offset: int, token: Token) -> Span:
    line, column = token.line or 1, token.column or 1
    end_line, end_column = token.end_line or line, token.end_column or column + len(token)
    return Span(source.path, line + offset, column, end_line + offset, end_column)


def unquote(literal: str) -> str:
    r"""The text of a string literal: a backslash is itself, except before a quote or a backslash.

    >>> unquote(r'"the \"tanh\" form, \tanh"')
    'the "tanh" form, \\tanh'
    """
    width = 3 if literal.startswith('"""') and len(literal) >= 6 else 1
    return re.sub(r"\\([\"'\\])", r"\1", literal[width:-width])


class _Spread:
    """The builder as Lark calls it: with a rule's parts as one list."""

    def __init__(self, builder: _Builder) -> None:
        self._builder = builder

    def __getattr__(self, rule: str) -> Callable[[list[Any]], Any]:
        action = getattr(self._builder, rule)
        return lambda parts: action(*parts)


class _Builder:
    """Turns each reduction of the parser into a term or a statement; one method per rule of the grammar.

    Every named terminal arrives as an argument, and None for an optional part that is not there.
    """

    def __init__(self) -> None:
        self.source = Source("", "")
        self.offset = 0

    def span(self, token: Token) -> Span:
        return _span(self.source, self.offset, token)

    def to_name(self, token: Token) -> Name:
        return Name(str(token), self.span(token))

    def term(self, kind: Kind, text: str, span: Span, *operands: Term, **more: Any) -> Term:
        depth = 1 + max((operand.depth for operand in operands), default=0)
        if depth > MAX_DEPTH:
            raise self.source.error("E0111", f"an expression nested more than {MAX_DEPTH:,} deep", span)
        return Term(kind, text, span, operands, depth=depth, **more)

    # Expressions.

    def number(self, token: Token) -> Term:
        digits, _, exponent = token.lower().partition("e")
        if len(digits) > MAX_DIGITS or len(exponent) > 8 or abs(int(exponent or 0)) > MAX_EXPONENT:
            message = f"a number has at most {MAX_DIGITS:,} digits and an exponent within {MAX_EXPONENT:,}"
            raise self.source.error("E0116", message, self.span(token))
        return self.term("number", str(token), self.span(token), value=Fraction(str(token)))

    def name(self, token: Token) -> Term:
        return self.term("name", str(token), self.span(token))

    def call(self, function: Token, _: Token, arguments: list[Any] | None, close: Token) -> Term:
        span = self.span(function).to(self.span(close))
        positional = [argument for argument in arguments or () if isinstance(argument, Term)]
        named = [argument for argument in arguments or () if not isinstance(argument, Term)]
        if named and not isinstance((arguments or ())[-len(named)], tuple):
            message = "a positional argument after a keyword argument"
            raise self.source.error("E0119", message, span)
        operands = (*positional, *(value for _, value in named))
        return self.term("call", str(function), span, *operands, keywords=tuple(name for name, _ in named))

    def keyword(self, name: Token, _: Token, value: Term) -> tuple[Name, Term]:
        return (self.to_name(name), value)

    def arguments(self, *parts: Any) -> list[Any]:
        return [part for part in parts if isinstance(part, Term | tuple)]

    def index(self, name: Token, _: Token, position: Term, close: Token) -> Term:
        return self.term("index", str(name), self.span(name).to(self.span(close)), position)

    def series(self, *parts: Any) -> Term:
        function, _, running, _, low, _, high, _, body, close = parts
        span = self.span(function).to(self.span(close))
        return self.term("series", str(function), span, low, high, body, index=str(running))

    def parenthesised(self, _: Token, inner: Term, __: Token) -> Term:
        return inner

    def tuple_term(self, *parts: Any) -> Term:
        items = [part for part in parts if isinstance(part, Term)]
        return self.term("tuple", "", self.span(parts[0]).to(self.span(parts[-1])), *items)

    def unary(self, operator: Token, operand: Term) -> Term:
        return self.term("unary", str(operator), self.span(operator).to(operand.span), operand)

    def binary(self, left: Term, operator: Token, right: Term) -> Term:
        return self.term("binary", str(operator), left.span.to(right.span), left, right)

    def chain(self, *parts: Any) -> Term:
        operands = parts[::2]
        operators = " ".join(parts[1::2])
        return self.term("chain", operators, operands[0].span.to(operands[-1].span), *operands)

    def conditional(self, then: Term, _: Token, condition: Term, __: Token, otherwise: Term) -> Term:
        return self.term("conditional", "", then.span.to(otherwise.span), condition, then, otherwise)

    def text(self, literal: Token) -> Term:
        return self.term("text", unquote(literal), self.span(literal))

    # Clauses.

    def with_clause(self, word: Token, name: Token, _: Token, value: Term, *chance: Any) -> Clause:
        training = chance[0]
        return Clause(
            "with",
            self.span(word),
            self.to_name(name),
            (value,) if training is None else (value, chance[3]),
            chance=None if training is None else self.span(training),
        )

    def dotted(self, *parts: Token) -> Name:
        return Name("".join(parts), self.span(parts[0]).to(self.span(parts[-1])))

    def fixed_argument(self, name: Token, _: Token, value: Term) -> tuple[Name, Term]:
        return (self.to_name(name), value)

    def fixed(self, *parts: Any) -> list[Any]:
        return [part for part in parts if isinstance(part, tuple)]

    def reference_clause(self, word: Token, target: Name, _: Any, fixed: list[Any] | None, __: Any) -> Clause:
        return Clause("reference", self.span(word), target, keywords=tuple(fixed or ()))

    def condition_clause(self, word: Token, condition: Term) -> Clause:
        return Clause(str(word), self.span(word), terms=(condition,))

    def name_clause(self, word: Token, name: Token) -> Clause:
        return Clause(str(word), self.span(word), self.to_name(name))

    def gradient_clause(self, word: Token, name: Token | None, _: Token, value: Term) -> Clause:
        return Clause("gradient", self.span(word), self.to_name(name) if name else None, (value,))

    def bound(self, direction: Token, amount: Token, unit: Token) -> tuple[Name, Fraction]:
        if direction not in ("forward", "backward") or unit not in ("ulp", "ulps"):
            wrong = direction if direction not in ("forward", "backward") else unit
            example = "write 'accuracy forward 2 ulp, backward 4 ulp'"
            raise self.source.error("E0115", f"unexpected '{wrong}'", self.span(wrong), example)
        value = self.number(amount).value
        assert value is not None
        return (self.to_name(direction), value)

    def accuracy_clause(self, word: Token, *parts: Any) -> Clause:
        bounds = tuple(part for part in parts if isinstance(part, tuple))
        return Clause("accuracy", self.span(word), bounds=bounds)

    # Statements.

    def inputs(self, *parts: Token | None) -> list[Name]:
        return [self.to_name(part) for part in parts if part is not None and part.type == "NAME"]

    def parameter(
        self,
        learn: Token | None,
        name: Token,
        _: Any,
        shape: Term | None,
        __: Any,
        ___: Any,
        default: Term | None,
    ) -> ParameterSyntax:
        span = self.span(learn or name)
        return ParameterSyntax(self.to_name(name), default, learn is not None, shape, span)

    def parameters(self, *parts: Any) -> list[ParameterSyntax]:
        return [part for part in parts if isinstance(part, ParameterSyntax)]

    def definition(self, doc: Token | None, name: Token, *parts: Any) -> Definition:
        _, inputs, _, parameters, _, _, body, *clauses = parts
        return Definition(
            self.to_name(name),
            tuple(inputs or ()),
            tuple(parameters or ()),
            body,
            tuple(clauses),
            "" if doc is None else cleandoc(unquote(doc)),
            self.span(name if doc is None else doc),
            self.span(name),
            self.source,
        )

    def stage(self, function: Token, _: Any, arguments: list[Any] | None, close: Token | None) -> Term:
        if close is None:
            return self.name(function)
        return self.call(function, close, arguments, close)

    def model(self, doc: Token | None, word: Token, name: Token, *parts: Any) -> Model:
        _, arguments, _, _, *stages = parts
        return Model(
            self.to_name(name),
            tuple(arguments or ()),
            tuple(stage for stage in stages if isinstance(stage, Term)),
            "" if doc is None else cleandoc(unquote(doc)),
            self.span(word if doc is None else doc),
            self.span(word),
            self.source,
        )

    def start(self, *statements: Statement) -> list[Statement]:
        return list(statements)
