"""Hypothesis strategies that several test modules share: expressions that the language can write."""

from fractions import Fraction

from hypothesis import strategies as st

from dsl.expr import Apply, Expr, Number, Symbol
from dsl.ops import FUNCTIONS, OPS
from dsl.translate import make

_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
_ARITHMETIC = ("add", "sub", "mul", "div", "pow")
_REAL_FUNCTIONS = tuple(name for name in FUNCTIONS if set(OPS[name].sorts) <= set("r:"))


@st.composite
def numbers(draw: st.DrawFn) -> Expr:
    """Literals: integers, decimals and quotients, of either sign."""
    kind = draw(st.integers(0, 2))
    if kind == 0:
        return Number(draw(st.integers(-100, 100)))
    if kind == 1:
        return Number(Fraction(draw(st.integers(-(10**12), 10**12)), 10 ** draw(st.integers(0, 12))))
    return Number(draw(st.fractions(max_denominator=1000)))


@st.composite
def expressions(draw: st.DrawFn, depth: int = 5) -> Expr:
    """Real expressions over x, a and b, as the parser makes them."""
    kind = draw(st.integers(0, 5)) if depth else 0
    if kind == 0:
        if draw(st.booleans()):
            return draw(numbers())
        leaves = (Symbol("x"), Symbol("a"), Symbol("b"), Apply("pi"), Apply("e"), Apply("inf"))
        return draw(st.sampled_from(leaves))
    inner = expressions(depth - 1)
    if kind == 1:
        return make("neg", draw(inner))
    if kind == 2:
        return Apply("where", draw(_conditions(depth - 1)), draw(inner), draw(inner))
    op = draw(st.sampled_from(_REAL_FUNCTIONS if kind == 3 else _ARITHMETIC))
    return _written(op, [draw(inner) for _ in range(OPS[op].arity)])


@st.composite
def _conditions(draw: st.DrawFn, depth: int) -> Expr:
    kind = draw(st.integers(0, 2)) if depth > 0 else 0
    if kind == 0:
        inner = expressions(max(0, depth - 1))
        return Apply(draw(st.sampled_from(_COMPARISONS)), draw(inner), draw(inner))
    if kind == 1:
        return Apply("not", draw(_conditions(depth - 1)))
    return Apply(
        draw(st.sampled_from(("and", "or"))), draw(_conditions(depth - 1)), draw(_conditions(depth - 1))
    )


def _written(op: str, args: list[Expr]) -> Expr:
    """The node; but a literal zero as a divisor is an error of the spec, and makes way for a one."""
    zero = Number(0)
    divides = op == "div" and args[1] is zero
    inverts = op == "pow" and args[0] is zero and isinstance(args[1], Number) and args[1].value < 0
    return make(op, args[0], Number(1)) if divides or inverts else make(op, *args)
