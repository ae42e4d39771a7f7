"""Expressions as mathematics is written: fractions, roots, cases, and no more brackets than a reader needs.

In: an expression, or a syntax tree as its author typed it, and a `Notation`. Out: markup in that notation.
`dsl.latex` and `dsl.mathml` are the notations. Nothing recurses, so that depth is bounded by memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from dsl.expr import Apply, Expr, Number, Symbol, is_op, postorder, size
from dsl.ops import CONSTANTS
from dsl.show import OPERATORS, show_number
from dsl.syntax import Term

LOOSE, OR, AND, NOT, COMPARISON, SUM, SIGNED, PRODUCT, POWER, ATOM = range(10)
"""How tightly a form binds on paper, where a sign before a product is the whole product's."""

GREEK: dict[str, str] = {
    name: chr(code)
    for code, name in enumerate(
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho _ sigma tau "
        "upsilon phi chi psi omega".split(),
        0x3B1,
    )
    if name not in ("_", "omicron")
} | {
    "lambd": "λ",
    "lambda_": "λ",
}  # as PyTorch spells it, and as Python needs it
"""Names that are printed as letters."""

SIGNS: dict[str, str] = {"lt": "<", "le": "≤", "gt": ">", "ge": "≥", "eq": "=", "ne": "≠"}
BRACKETS: dict[str, str] = {"abs": "||", "floor": "⌊⌋", "ceil": "⌈⌉", "tuple": "()"}
_SHORT = 6
"""An exponential of so many nodes at most has its operand as an exponent."""
_NAME = re.compile(r"([A-Za-z]+(?:_[A-Za-z]+)*?)_?(?:(\d*)_?|\[(\d+)\])\Z")
"""A name and its digits, or a vector's name and the place in it."""


class Notation(Protocol):
    """How forms are spelled; every argument but names, numbers and signs is markup already."""

    times: str
    """What stands between factors."""
    dot: str
    """What stands between factors that would run together."""
    apply: str
    """What stands between a function's name and its operands."""

    def letter(self, name: str) -> str: ...

    def variable(self, name: str) -> str: ...

    def word(self, name: str) -> str: ...

    def text(self, text: str) -> str: ...

    def number(self, digits: str) -> str: ...

    def sign(self, sign: str, spaced: bool) -> str: ...

    def row(self, parts: Sequence[str]) -> str: ...

    def fenced(self, left: str, body: str, right: str) -> str: ...

    def fraction(self, above: str, below: str) -> str: ...

    def power(self, base: str, exponent: str) -> str: ...

    def index(self, base: str, index: str) -> str: ...

    def root(self, body: str, degree: str) -> str: ...

    def series(self, sign: str, below: str, above: str) -> str: ...

    def cases(self, rows: Sequence[tuple[str, str]]) -> str: ...


@dataclass(frozen=True)
class _Piece:
    """Markup, and what its neighbours need to know: how tightly it binds, whether it begins with a digit.

    A call is kept in two parts, for an exponent to stand between; cases keep their rows, to be continued.
    """

    text: str
    binding: int = ATOM
    digit: bool = False
    call: tuple[str, str] | None = None
    rows: tuple[tuple[str, str], ...] = ()


def typeset(root: Expr, notation: Notation) -> str:
    """An expression in a notation. Shared parts are written out: `dsl.show.share` names them first."""
    setter = _Setter(notation)
    done: dict[Expr, _Piece] = {}
    for node in postorder(root):
        done[node] = setter.piece(node, [done[arg] for arg in node.args])
    return done[root].text


class _Setter:
    """The forms, each made of its operands' pieces."""

    def __init__(self, notation: Notation) -> None:
        self.notation = notation
        self.forms: dict[str, Callable[..., _Piece]] = {
            "add": lambda a, b: self.infix("+", SUM, a, b, PRODUCT),
            "sub": lambda a, b: self.infix("−", SUM, a, b, PRODUCT),
            "mul": self.product,
            "div": lambda a, b: _Piece(notation.fraction(a.text, b.text), PRODUCT),
            "and": lambda a, b: self.joined("and", AND, a, b),
            "or": lambda a, b: self.joined("or", OR, a, b),
            "not": lambda a: self.prefix(notation.sign("¬", False), NOT, self.within(a, PRODUCT)),
            "neg": lambda a: self.prefix(notation.sign("−", False), SIGNED, self.within(a, PRODUCT)),
            "pow": self.power,
            "sqrt": lambda a: _Piece(notation.root(a.text, "")),
            "cbrt": lambda a: _Piece(notation.root(a.text, notation.number("3"))),
            "where": self.cases,
            "index": lambda a, k: _Piece(notation.index(self.within(a, ATOM), k.text)),
            "prime": lambda a, n: self.power(a, n),
        }

    def piece(self, node: Expr, args: list[_Piece]) -> _Piece:
        if isinstance(node, Number):
            return self.number(node.value)
        if isinstance(node, Symbol):
            return _Piece(self.name(node.name))
        assert isinstance(node, Apply)
        if node.op == "exp" and size(node.args[0]) <= _SHORT and not _tall(node.args[0]):
            return _Piece(self.notation.power(self.notation.word("e"), args[0].text), POWER)
        if node.op == "pow" and _is_count(node.args[1]) and args[0].call:
            head, tail = args[0].call
            return _Piece(self.notation.row([self.notation.power(head, args[1].text), tail]), POWER)
        if node.op in SIGNS:
            return self.infix(SIGNS[node.op], COMPARISON, args[0], args[1], SUM)
        if node.op in self.forms:
            return self.forms[node.op](*args)
        return self.special(node.op, args)

    def special(self, op: str, args: list[_Piece]) -> _Piece:
        """Constants, brackets, what only a syntax tree has, and calls."""
        kind, _, rest = op.partition(":")
        if kind == "chain":
            signs = [self.notation.sign(SIGNS[each], True) for each in rest.split()]
            between = [part for sign, arg in zip(signs, args[1:], strict=True) for part in (sign, arg.text)]
            return _Piece(self.notation.row([args[0].text, *between]), COMPARISON)
        if kind == "series":
            index, low, high, body = args
            below = self.infix("=", COMPARISON, index, low, SUM).text
            sign = self.notation.series({"sum": "∑", "prod": "∏"}[rest], below, high.text)
            return self.prefix(sign, SUM, self.within(body, PRODUCT))
        if kind == "partial":
            head = self.notation.sign("∂", False)
            above = self.notation.row([self.notation.power(head, args[-1].text), args[0].text])
            by = [self.notation.row([head, arg.text]) for arg in args[1:-1]]
            plain = self.notation.row([head, args[0].text])
            return _Piece(self.notation.fraction(above if len(by) > 1 else plain, self.notation.row(by)))
        if kind == "keyword":
            return self.infix("=", COMPARISON, _Piece(self.name(rest)), args[0], SUM)
        if kind == "text":
            return _Piece(self.notation.text(rest), LOOSE)
        if op in BRACKETS:
            pair = BRACKETS[op]
            return _Piece(self.notation.fenced(pair[0], self.listed(args), pair[1]))
        if not args and op in (*CONSTANTS, "true", "false"):
            words = {"pi": "π", "inf": "∞", "e": self.notation.word("e")}
            return _Piece(self.notation.letter(words[op]) if op in ("pi", "inf") else words.get(op, op))
        stem = op.rstrip("′")
        primes = [self.notation.sign("′", False)] * (len(op) - len(stem))
        base, bracket, place = stem.partition("[")
        head = self.name(base) if len(base) == 1 else self.notation.word(base)
        if bracket:  # one of several outputs
            head = self.notation.index(head, self.notation.number(place.rstrip("]")))
        head = self.notation.power(head, self.notation.row(primes)) if primes else head
        tail = self.notation.row([self.notation.apply, self.notation.fenced("(", self.listed(args), ")")])
        return _Piece(self.notation.row([head, tail]), call=(head, tail))

    def listed(self, args: Sequence[_Piece]) -> str:
        comma = self.notation.sign(",", False)
        parts = [part for arg in args for part in (comma, arg.text)]
        return self.notation.row(parts[1:])

    def within(self, piece: _Piece, needed: int) -> str:
        """A piece's markup, in brackets unless it binds as tightly as its place needs."""
        return piece.text if piece.binding >= needed else self.notation.fenced("(", piece.text, ")")

    def infix(self, sign: str, binding: int, a: _Piece, b: _Piece, right: int) -> _Piece:
        parts = [self.within(a, binding), self.notation.sign(sign, True), self.within(b, right)]
        return _Piece(self.notation.row(parts), binding, a.digit)

    def joined(self, word: str, binding: int, a: _Piece, b: _Piece) -> _Piece:
        parts = [self.within(a, binding), self.notation.text(f" {word} "), self.within(b, binding + 1)]
        return _Piece(self.notation.row(parts), binding)

    def prefix(self, sign: str, binding: int, body: str) -> _Piece:
        return _Piece(self.notation.row([sign, body]), binding)

    def product(self, a: _Piece, b: _Piece) -> _Piece:
        # A sign before the first factor is the product's.
        between = self.notation.dot if b.digit and b.binding >= PRODUCT else self.notation.times
        parts = [self.within(a, SIGNED), between, self.within(b, PRODUCT)]
        binding = SIGNED if a.binding == SIGNED else PRODUCT
        return _Piece(self.notation.row(parts), binding, a.digit and a.binding >= SIGNED)

    def power(self, a: _Piece, b: _Piece) -> _Piece:
        return _Piece(self.notation.power(self.within(a, ATOM), b.text), POWER, a.digit)

    def cases(self, condition: _Piece, then: _Piece, otherwise: _Piece) -> _Piece:
        rest = otherwise.rows or ((otherwise.text, ""),)
        rows = ((then.text, condition.text), *rest)
        return _Piece(self.notation.cases(rows), LOOSE, rows=rows)

    def number(self, value: Fraction) -> _Piece:
        text = show_number(abs(value))
        above, slash, below = text.partition("/")
        digits, letter, exponent = text.partition("e")
        if slash:
            shown = _Piece(
                self.notation.fraction(self.notation.number(above), self.notation.number(below)), PRODUCT
            )
        elif letter:
            power = self.signed(exponent)
            ten = self.notation.power(self.notation.number("10"), power)
            parts = [self.notation.number(digits), self.notation.sign("×", True), ten]
            shown = _Piece(ten if digits == "1" else self.notation.row(parts), PRODUCT, True)
        else:
            shown = _Piece(self.notation.number(text), ATOM, True)
        if value >= 0:
            return shown
        return self.prefix(self.notation.sign("−", False), SIGNED, shown.text)

    def signed(self, digits: str) -> str:
        number = self.notation.number(digits.removeprefix("-"))
        minus = self.notation.sign("−", False)
        return self.notation.row([minus, number]) if digits.startswith("-") else number

    def name(self, name: str) -> str:
        """A name as a letter or a word, with its digits as an index."""
        found = _NAME.match(name)
        stem, digits = (found[1], found[2] or found[3]) if found and name not in GREEK else (name, "")
        if stem in GREEK or len(stem) == 1:
            base = self.notation.letter(GREEK.get(stem, stem))
        else:
            base = self.notation.variable(stem)
        return self.notation.index(base, self.notation.number(digits)) if digits else base


def _is_count(node: Expr) -> bool:
    return isinstance(node, Number) and node.value > 0 and node.value.denominator == 1


def _tall(root: Expr) -> bool:
    """Whether something below stands in several lines."""
    return any(is_op(node, "div", "where", "exp", "sum") for node in postorder(root))


# What an author typed


def as_written(root: Term) -> Expr:
    """A syntax tree as an expression for `typeset`, calls as calls; it means nothing to the compiler.

    >>> from dsl.parse import parse
    >>> from dsl.show import show_expr
    >>> show_expr(as_written(parse("f(x) = x * silu(2 * x)")[0].body))
    'x * silu(2 * x)'
    """
    done: list[Expr] = []
    for node in _leaves_first(root):
        count = len(node.operands)
        args = done[len(done) - count :]
        done[len(done) - count :] = [_TERMS[node.kind](node, args)]
    return done[0]


def _leaves_first(root: Term) -> Iterator[Term]:
    stack, found = [root], []
    while stack:
        node = stack.pop()
        found.append(node)
        stack.extend(node.operands)
    return reversed(found)


def _call(node: Term, args: list[Expr]) -> Expr:
    first = len(args) - len(node.keywords)
    named = [
        Apply(f"keyword:{name.text}", arg) for name, arg in zip(node.keywords, args[first:], strict=True)
    ]
    return Apply(node.text, *args[:first], *named)


def _name(node: Term, _: list[Expr]) -> Expr:
    return Apply(node.text) if node.text in CONSTANTS else Symbol(node.text)


def _unary(node: Term, args: list[Expr]) -> Expr:
    return args[0] if node.text == "+" else Apply("not" if node.text == "not" else "neg", args[0])


_TERMS: dict[str, Callable[[Term, list[Expr]], Expr]] = {
    "number": lambda node, _: Number(node.value or 0),
    "name": _name,
    "call": _call,
    "unary": _unary,
    "binary": lambda node, args: Apply(OPERATORS[node.text], *args),
    "chain": lambda node, args: Apply(
        "chain:" + " ".join(OPERATORS[each] for each in node.text.split()), *args
    ),
    "conditional": lambda node, args: Apply("where", *args),
    "tuple": lambda node, args: Apply("tuple", *args),
    "index": lambda node, args: Apply("index", Symbol(node.text), *args),
    "series": lambda node, args: Apply(f"series:{node.text}", Symbol(node.index), *args),
    "text": lambda node, _: Apply(f"text:{node.text}"),
}
