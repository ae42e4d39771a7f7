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
from dsl.rewrite.field import Field, Generator, Monomial, Poly, Rational, from_terms, terms, with_power
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
    """The value of a quotient as a compensated sum; plain where it has roots, logarithms and the like in it,
    or stays so small that its rounding is no matter.

    Exponentials in it are taken in two parts if what is made of it multiplies the `whole`.
    """
    divisor = _divisor(speller, value)
    divides = divisor is None and not all(map(speller.field.is_constant, terms(value.den)))
    exact = (*_POLYNOMIAL, "sqrt", *(("exp",) if whole or divides else ()))
    if not _is_of(speller, value.num, exact):
        return _in_part(speller, value, exact) if whole and not divides else Sum(speller.quotient(value))
    undivided = Rational(value.num, polynomial_constant(1))
    if divisor is not None:
        return over(exponent(speller, undivided, whole), Sum(divisor))
    if divides:
        if not _is_of(speller, value.den, exact) or _stays_small(speller.field, value):
            return Sum(speller.quotient(value))
        below = terms(speller.deflate(value.den))
        steady = 0 in _degrees(speller.field, value.den)  # beside 1, what a decaying exponential lost is none
        ratio = over(
            _signed(speller, undivided, whole), _polynomial(speller, below, ONE, whole and not steady)
        )
        return ratio if speller.field.poly_sign(value.den) is not None else tamed(ratio)
    return _signed(speller, value, whole)


def _in_part(speller: Speller, value: Rational, exact: tuple[str, ...]) -> Sum:
    """A sum of one sign, of which those terms are compensated that have nothing else in them."""
    parts: tuple[dict[Monomial, Fraction], ...] = ({}, {})
    for key, number in terms(value.num).items():
        parts[_is_of(speller, from_terms({key: number}), exact)][key] = number
    rest, polynomials = (Rational(from_terms(part), value.den) for part in parts)
    if polynomials.is_zero or speller.field.poly_sign(value.num) is None:
        return Sum(speller.quotient(value))
    return plus(exponent(speller, polynomials, whole=True), Sum(speller.quotient(rest)))


def _signed(speller: Speller, value: Rational, whole: bool) -> Sum:
    """A polynomial divided by constants, its sign in front where it has one."""
    below = speller.spell(terms(value.den), Style())
    sign = speller.field.poly_sign(value.num)
    items = {key: v if sign != -1 else -v for key, v in terms(speller.deflate(value.num)).items()}
    total = _polynomial(speller, items, below, whole)
    return negated(total) if sign == -1 else total


def _is_of(speller: Speller, poly: Poly, kinds: tuple[str, ...]) -> bool:
    """Whether every generator in a polynomial is of one of these kinds, a root of a polynomial of such."""
    used = [speller.field.generators[i] for i, power in enumerate(poly.degrees()) if power > 0]
    roots = [gen.argument for gen in used if gen.kind == "sqrt" and gen.argument is not None]
    return all(gen.kind in kinds for gen in used) and all(
        root.den.is_constant() and _is_of(speller, root.num, _POLYNOMIAL) for root in roots
    )


_POLYNOMIAL = ("magnitude", "symbol", "size", "constant")


def _stays_small(field: Field, value: Rational) -> bool:
    """Whether a quotient grows nowhere: neither far out nor at a root of its denominator."""
    above, below = _degrees(field, value.num), _degrees(field, value.den)
    return field.poly_sign(value.den) is not None and 0 in below and max(above, default=0) <= max(below)


def _degrees(field: Field, poly: Poly) -> list[int]:
    """The degrees of the terms that do not decay."""
    decays = {gen.index for gen in field.generators if gen.in_unit_interval}
    return [sum(key) for key in terms(poly) if not any(power and i in decays for i, power in enumerate(key))]


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


def _polynomial(
    speller: Speller, items: dict[tuple[int, ...], Fraction], below: Expr, whole: bool = True
) -> Sum:
    """Horner's rule, each operation error-free; `below` divides the constants. For `whole` see `exponent`."""
    used = {
        i for key in items for i, p in enumerate(key) if p and speller.field.generators[i].kind != "constant"
    }
    if not used:
        above = speller.spell(items, Style())
        return constant(above if below is ONE else above / below)
    index = max(used)
    leaf = _leaf(speller, speller.field.generators[index], whole)
    groups: dict[int, dict[tuple[int, ...], Fraction]] = {}
    for key, value in items.items():
        groups.setdefault(key[index], {})[with_power(key, index, 0)] = value
    result: Sum | None = None
    previous = 0
    for power in sorted(groups, reverse=True):
        inner = _polynomial(speller, groups[power], below, whole)
        result = inner if result is None else plus(times(result, _raise(leaf, previous - power)), inner)
        previous = power
    assert result is not None
    return times(result, _raise(leaf, previous)) if previous else result


def _leaf(speller: Speller, gen: Generator, whole: bool) -> Sum:
    """A generator; an exponential with what its rounding loses where the outer one multiplies that."""
    if gen.kind == "sqrt":
        return _root(speller, gen)
    low = Symbol(f"%lost{gen.index}") if whole and gen.kind == "exp" else ZERO
    return Sum(speller.leaf(gen, Style()), low)


def _root(speller: Speller, gen: Generator) -> Sum:
    """A square root, and half of what its square leaves of the argument, divided by it."""
    assert gen.argument is not None
    high = speller.leaf(gen, Style())
    inner = _polynomial(speller, terms(gen.argument.num), speller.spell(terms(gen.argument.den), Style()))
    left = (inner.high - call("product", high, high)) - call("product_error", high, high)
    low = (left if inner.low is ZERO else left + inner.low) / call("max", 2 * high, _TINY)
    return tamed(Sum(high, low))


_TINY = Fraction(1, 2**60)
"""So small a root needs no correction, and zero is not divided by."""


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


def over(a: Sum, b: Sum) -> Sum:
    """The quotient, and what is left of the dividend as a part of the divisor."""
    high = a.high / b.high
    left = (a.high - call("product", high, b.high)) - call("product_error", high, b.high)
    if a.low is not ZERO:
        left = left + a.low
    if b.low is not ZERO:
        left = left - high * b.low
    return Sum(high, left / b.high)


def tamed(a: Sum) -> Sum:
    """The same without a correction where that may not be finite, as at a root of a quotient's divisor."""
    return Sum(a.high, where(call("lt", call("abs", a.high), _HUGE), a.low, ZERO))


_HUGE = 2**60
"""The square is finite in float32, and no exponent so large has an exponential."""


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
