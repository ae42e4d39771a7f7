"""Printing expressions as Python source, from a table of spellings.

In: an expression and a target's table. Out: text with as few parentheses as Python's precedence allows. A row
of the table is a template and how tightly it binds; calls bind tightest. Each printed operand says what it
depends on, so that a target can treat plain numbers apart where its functions want tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction

from dsl.expr import Apply, Expr, Number, Symbol, postorder
from dsl.program import Constant

OR, AND, NOT, COMPARE, BIT_OR, BIT_AND, SUM, PRODUCT, UNARY, ATOM = range(10)
"""How tightly Python's operators bind, loosest first."""


class Kind(IntEnum):
    """What an expression depends on: numbers alone, parameters too, or the input."""

    STATIC = 0
    UNIFORM = 1
    VARYING = 2


@dataclass(frozen=True)
class Text:
    """An expression as printed: its source, how tightly that binds, and what it depends on."""

    source: str
    binds: int
    kind: Kind
    value: Fraction | None = None

    def is_number(self, value: int) -> bool:
        """Whether this is the number `value` itself."""
        return self.value is not None and self.value == value

    def within(self, tightness: int) -> str:
        """The source, in parentheses where its surroundings bind more tightly."""
        return self.source if self.binds >= tightness else f"({self.source})"


@dataclass(frozen=True)
class Row:
    """How an operation is written: `{0}` and `{1}` are its operands, which must bind as `operands` says.

    Operands of a call, which it does not name, need nothing.
    """

    template: str
    binds: int = ATOM
    operands: tuple[int, ...] = ()

    def write(self, args: tuple[Text, ...]) -> Text:
        """The operation applied to printed operands."""
        needed = (*self.operands, *(OR for _ in args))
        sources = (arg.within(least) for arg, least in zip(args, needed, strict=False))
        return Text(
            self.template.format(*sources), self.binds, max((arg.kind for arg in args), default=Kind.STATIC)
        )


Writer = Callable[[tuple[Text, ...]], Text]

ARITHMETIC: Mapping[str, Row] = {
    "add": Row("{0} + {1}", SUM, (SUM, PRODUCT)),
    "sub": Row("{0} - {1}", SUM, (SUM, PRODUCT)),
    "mul": Row("{0} * {1}", PRODUCT, (PRODUCT, UNARY)),
    "div": Row("{0} / {1}", PRODUCT, (PRODUCT, UNARY)),
    "neg": Row("-{0}", UNARY, (UNARY,)),
    "lt": Row("{0} < {1}", COMPARE, (BIT_OR, BIT_OR)),
    "le": Row("{0} <= {1}", COMPARE, (BIT_OR, BIT_OR)),
    "gt": Row("{0} > {1}", COMPARE, (BIT_OR, BIT_OR)),
    "ge": Row("{0} >= {1}", COMPARE, (BIT_OR, BIT_OR)),
    "eq": Row("{0} == {1}", COMPARE, (BIT_OR, BIT_OR)),
    "ne": Row("{0} != {1}", COMPARE, (BIT_OR, BIT_OR)),
    "inf": Row('float("inf")'),
}
"""The operators that read the same in every target."""

ELEMENTWISE_LOGIC: Mapping[str, Row] = {
    "and": Row("{0} & {1}", BIT_AND, (BIT_AND, UNARY)),
    "or": Row("{0} | {1}", BIT_OR, (BIT_OR, BIT_AND)),
    "not": Row("~{0}", UNARY, (UNARY,)),
}
"""Conditions on tensors; `and` and `or` themselves would ask a tensor for one truth value."""


def number(value: Fraction) -> str:
    """A float literal: the double nearest to an exact number, in as few digits as tell it apart.

    >>> number(Fraction(1, 10)), number(Fraction(-3)), number(Fraction(10) ** 400)
    ('0.1', '-3.0', 'float("inf")')
    """
    try:
        return repr(float(value))
    except OverflowError:
        return 'float("inf")' if value > 0 else '-float("inf")'


def literal(constant: Constant) -> str:
    """A named constant's value in Python: a float, or a tuple of floats.

    >>> literal(Constant("C", Fraction(0), "", (Fraction(1), Fraction(1, 2))))
    '(1.0, 0.5)'
    """
    if constant.table:
        return repr(tuple(float(value) for value in constant.table))
    return number(constant.value)


def write(root: Expr, names: Mapping[str, Text], table: Mapping[str, Writer]) -> Text:
    """An expression in a target's spelling.

    `names` prints the symbols. Raises KeyError for an operation that the table lacks: the scheduler promises
    programs in the targets' vocabulary, so that is a defect of the compiler.

    >>> x, table = Symbol("x"), {op: row.write for op, row in ARITHMETIC.items()}
    >>> write(x * (x + 1) - (x - 2), {"x": Text("x", ATOM, Kind.VARYING)}, table).source
    'x * (x + 1.0) - (x - 2.0)'
    """
    done: dict[Expr, Text] = {}
    for node in postorder(root):
        match node:
            case Number():
                literal = number(node.value)
                binds = UNARY if literal.startswith("-") else ATOM
                done[node] = Text(literal, binds, Kind.STATIC, node.value)
            case Symbol():
                done[node] = names[node.name]
            case Apply():
                done[node] = table[node.op](tuple(done[arg] for arg in node.args))
    return done[root]
