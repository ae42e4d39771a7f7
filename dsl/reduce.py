"""What the parser does at each rule of the grammar: build a term, a clause or a statement.

In: a rule's parts, as tokens and what other rules built. Out: nodes of the syntax tree, with their places.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from inspect import cleandoc
from typing import TYPE_CHECKING, Any

from dsl.errors import Span
from dsl.syntax import Clause, Definition, Kind, Model, Name, ParameterSyntax, Source, Term

if TYPE_CHECKING:
    from lark import Token

MAX_DEPTH = 10_000
"""How deep an expression may nest, in brackets or in operators."""
MAX_DIGITS = 1_000
MAX_EXPONENT = 4_000


Statement = Definition | Model


def span_of(source: Source, offset: int, token: Token) -> Span:
    """The place of a token; `offset` is how many lines stand before the text that was parsed."""
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


class Spread:
    """The builder as Lark calls it: with a rule's parts as one list."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder

    def __getattr__(self, rule: str) -> Callable[[list[Any]], Any]:
        action = getattr(self._builder, rule)
        return lambda parts: action(*parts)


class Builder:
    """Turns each reduction of the parser into a term or a statement; one method per rule of the grammar.

    Every named terminal arrives as an argument, and None for an optional part that is not there.
    """

    def __init__(self) -> None:
        self.source = Source("", "")
        self.offset = 0

    def span(self, token: Token) -> Span:
        return span_of(self.source, self.offset, token)

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
