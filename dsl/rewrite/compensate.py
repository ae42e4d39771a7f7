"""Exponents with the rounding error they would otherwise lose.

In: a quotient that stands in an exponential. Out: the same as an unevaluated sum of a value and a small
correction. exp turns an absolute error of its argument into a relative error of the result: at exp(-80) a
rounding of the argument in float32 costs 40 ulps. So whatever arithmetic the argument needs is done with
error-free transformations (Dekker 1971; Ogita, Rump and Oishi 2005), and exp gets both parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from dsl.expr import ONE, ZERO, Expr, Number, Symbol, call
from dsl.ops import where
from dsl.rewrite.field import Generator, Rational, terms, with_power
from dsl.rewrite.field import constant as polynomial_constant
from dsl.rewrite.simplify import simplify
from dsl.rewrite.style import Style

if TYPE_CHECKING:
    from dsl.rewrite.emit import Speller


@dataclass(frozen=True)
class Sum:
    """high + low, where low is a correction of the order of high's rounding error, or exactly zero."""

    high: Expr
    low: Expr = ZERO

    def exponential(self) -> Expr:
        """exp(high + low)."""
        return call("exp", self.high) if self.low is ZERO else call("exp_sum", self.high, self.low)


def exponent(speller: Speller, value: Rational, whole: bool = False) -> Sum:
    """The value of a quotient as a compensated sum; plain where it is no polynomial.

    Exponentials in it are taken in two parts if what is made of it multiplies the `whole`.
    """
    exact = ("magnitude", "symbol", "size", "constant", *(("exp",) if whole else ()))
    if any(
        speller.field.generators[i].kind not in exact
        for key in terms(value.num)
        for i, p in enumerate(key)
        if p
    ):
        return Sum(speller.quotient(value))
    divisor = _divisor(speller, value)
    if divisor is not None:
        return over(exponent(speller, Rational(value.num, polynomial_constant(1)), whole), divisor)
    if any(not speller.field.is_constant(key) for key in terms(value.den)):
        return Sum(speller.quotient(value))
    below = speller.spell(terms(value.den), Style())
    sign = speller.field.poly_sign(value.num)
    items = {key: v if sign != -1 else -v for key, v in terms(speller.deflate(value.num)).items()}
    total = _polynomial(speller, items, below)
    return negated(total) if sign == -1 else total


def _divisor(speller: Speller, value: Rational) -> Expr | None:
    """The parameter that a quotient divides by, if that is all."""
    (key, coefficient), *others = terms(value.den).items()
    used = [(speller.field.generators[i], p) for i, p in enumerate(key) if p]
    if others or coefficient != 1 or len(used) != 1 or used[0][1] != 1 or used[0][0].kind != "symbol":
        return None
    return speller.leaf(used[0][0], Style())


def polynomial(speller: Speller, items: dict[tuple[int, ...], Fraction]) -> Expr:
    """A polynomial in the input and parameters as accurate as if it were rounded once; infinite where it is.

    Near a root its terms cancel, and what rounding them lost is what is left.
    """
    total = _polynomial(speller, items, ONE)
    if total.low is ZERO:
        return total.high
    return where(call("lt", call("abs", total.high), _LARGE), total.high + total.low, total.high)


_LARGE = 2**100
"""Beyond it an error may be infinity minus infinity, and does not matter."""


def _polynomial(speller: Speller, items: dict[tuple[int, ...], Fraction], below: Expr) -> Sum:
    """Horner's rule, each operation error-free; `below` divides the constants."""
    used = {
        i for key in items for i, p in enumerate(key) if p and speller.field.generators[i].kind != "constant"
    }
    if not used:
        above = speller.spell(items, Style())
        return constant(above if below is ONE else above / below)
    index = max(used)
    leaf = _leaf(speller, speller.field.generators[index])
    groups: dict[int, dict[tuple[int, ...], Fraction]] = {}
    for key, value in items.items():
        groups.setdefault(key[index], {})[with_power(key, index, 0)] = value
    result: Sum | None = None
    previous = 0
    for power in sorted(groups, reverse=True):
        inner = _polynomial(speller, groups[power], below)
        result = inner if result is None else plus(times(result, _raise(leaf, previous - power)), inner)
        previous = power
    assert result is not None
    return times(result, _raise(leaf, previous)) if previous else result


def _leaf(speller: Speller, gen: Generator) -> Sum:
    """A generator, an exponential with what its rounding loses: the outer one multiplies that."""
    low = Symbol(f"%lost{gen.index}") if gen.kind == "exp" else ZERO
    return Sum(speller.leaf(gen, Style()), low)


def constant(node: Expr) -> Sum:
    node = simplify(node)
    if isinstance(node, Number) and _fits(node.value):
        return Sum(node)
    return Sum(call("leading", node), call("trailing", node))


def _fits(value: Fraction) -> bool:
    """Whether a number is exact in float32 (24 bits)."""
    mantissa = abs(value.numerator)
    while mantissa and mantissa % 2 == 0:
        mantissa //= 2
    denominator = value.denominator
    return denominator & (denominator - 1) == 0 and mantissa < 2**24


def _raise(leaf: Sum, power: int) -> Sum:
    result = leaf
    for _ in range(power - 1):
        result = times(result, leaf)
    return result


def times(a: Sum, b: Sum) -> Sum:
    for one, other in ((a, b), (b, a)):
        scale = one.high
        if one.low is ZERO and isinstance(scale, Number) and _is_power_of_two(scale.value):
            low = ZERO if other.low is ZERO else _product(scale, other.low)
            return Sum(_product(scale, other.high), low)
    high = call("product", a.high, b.high)
    low = call("product_error", a.high, b.high)
    if b.low is not ZERO:
        low = low + a.high * b.low
    if a.low is not ZERO:
        low = low + a.low * b.high
    return Sum(high, low)


def _product(scale: Number, node: Expr) -> Expr:
    return node if scale.value == 1 else -node if scale.value == -1 else scale * node


def plus(a: Sum, b: Sum) -> Sum:
    high = a.high + b.high
    low = call("sum_error", a.high, b.high)
    for part in (a.low, b.low):
        if part is not ZERO:
            low = low + part
    return Sum(high, low)


def over(a: Sum, divisor: Expr) -> Sum:
    """The quotient, and what is left of the dividend as a part of the divisor."""
    high = a.high / divisor
    left = (a.high - call("product", high, divisor)) - call("product_error", high, divisor)
    return Sum(high, (left if a.low is ZERO else left + a.low) / divisor)


def negated(a: Sum) -> Sum:
    high = a.high
    if isinstance(high, Number):
        return Sum(Number(-high.value), -a.low if a.low is not ZERO else ZERO)
    return Sum(-high, ZERO if a.low is ZERO else -a.low)


def _is_power_of_two(value: Fraction) -> bool:
    size = abs(value)
    return (
        size > 0
        and (size.numerator & (size.numerator - 1)) == 0
        and (size.denominator & (size.denominator - 1)) == 0
    )
