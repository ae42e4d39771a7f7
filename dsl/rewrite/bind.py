"""What stands for an exponential until the whole expression is known.

In: an expression with placeholders, and the `Speller` that wrote them. Out: the expression with
exponentials. How an exponential is evaluated depends on what else needs it: `%exp3` is generator 3 in its
unit, `%factor3` the same as a factor of the whole, `%half3` its square root, `%rest3` its complement,
`%lost3` what its rounding loses, `%soft3` itself where an absolute error does no harm.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from dsl.expr import ONE, Expr, Symbol, call, is_op, postorder, substitute
from dsl.rewrite.compensate import exponent
from dsl.rewrite.field import UNIT, Rational

if TYPE_CHECKING:
    from dsl.rewrite.emit import Speller


def bind(speller: Speller, root: Expr) -> Expr:
    """The expression with its placeholders replaced by the exponentials they stand for.

    One that multiplies the whole passes its relative error on: where another exponential stands in its
    exponent, that is taken in two parts. One that is needed in halves is the square of its half; one of which
    only the complement and sums with a constant are needed is one minus the complement.
    """
    names = {node.name for node in postorder(root) if isinstance(node, Symbol) and node.name[0] == "%"}
    values: dict[Expr, Expr] = {}
    for name in sorted(names):
        kind, index, power = _parse_placeholder(name)
        whole = bool({f"%factor{index}", f"%half{index}"} & names)
        alone = f"%rest{index}" in names and not whole and f"%exp{index}" not in names
        if kind == "rest":
            value = _complement(speller, index)
        elif kind == "soft" and alone:
            value = ONE - _complement(speller, index)
        elif kind == "half":
            value = _exponential(speller, index, Fraction(power, 2), whole)
        elif f"%half{index}" in names:
            half = _exponential(speller, index, Fraction(1, 2), whole)
            value = half * half
        else:
            value = _exponential(speller, index, Fraction(1), whole)
        if kind == "lost":
            parts = exponent(speller, _exponent(speller, index, Fraction(1)), whole)
            value = call("exp_error", value, parts.high, parts.low)
        values[Symbol(name)] = value
    bound = substitute(root, values)
    return bind(speller, bound) if any(_is_placeholder(node) for node in postorder(bound)) else bound


def _exponent(speller: Speller, index: int, power: Fraction) -> Rational:
    base = speller.field.generators[index].argument
    assert base is not None
    return base * Rational.number(power * Fraction(speller.units.powers.get(index, UNIT), UNIT))


def _exponential(speller: Speller, index: int, power: Fraction, whole: bool) -> Expr:
    return exponent(speller, _exponent(speller, index, power), whole).exponential()


def _complement(speller: Speller, index: int) -> Expr:
    """1 - exp(u) for u < 0, else exp(u) - 1."""
    power = _exponent(speller, index, Fraction(1))
    parts = exponent(speller, power)
    high = parts.high
    if any(
        is_op(node, "leading", "sum_error") for node in postorder(high, parts.low)
    ):  # no head stands alone
        high = speller.quotient(power)
    value = call("expm1", high)
    return -value if speller.field.generators[index].argument_decays else value


def _is_placeholder(node: Expr) -> bool:
    return isinstance(node, Symbol) and node.name[0] == "%"


def _parse_placeholder(name: str) -> tuple[str, int, int]:
    kind = name[1:].rstrip("-:0123456789")
    rest = name[1 + len(kind) :]
    sign = -1 if rest.startswith("-") else 1
    index, _, power = rest.lstrip("-").partition(":")
    return kind, int(index), sign * int(power or 1)
