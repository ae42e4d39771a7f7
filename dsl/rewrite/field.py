"""The field in which the stabiliser computes: rational functions over generators, exactly.

In: generators (an input's magnitude, parameters, exponentials, logarithms, roots, ...). Out: `Rational`
values in lowest terms, with their signs where these are known.

Writing an expression as one quotient of polynomials P/Q in exp(-a), a, log(...), ... is what makes the
stabiliser independent of how the author wrote the formula: two spellings of one function meet in the same
quotient, and what cancels in the mathematics is gone before floating point sees it. Polynomial arithmetic,
greatest common divisors and factoring are python-flint's.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import product as combinations
from math import gcd, isqrt
from typing import Any

from flint import Ordering, arb, ctx, fmpq, fmpq_mpoly_ctx

from dsl.expr import PI, Expr, postorder
from dsl.ops import OPS

CAPACITY = 24
"""The ring's generators. The last is kept for complements; an expression that needs more is cut in pieces."""

UNIT = 24
"""An exponential generator stands for exp(base / UNIT), so that exp(u/2), exp(u), exp(3*u) are its powers."""

MAX_TERMS = 160
MAX_DEGREE = 40 * UNIT


class TooLarge(Exception):
    """The quotient has outgrown what is worth a normal form."""


@cache
def _ring() -> Any:
    return fmpq_mpoly_ctx.get([f"g{i}" for i in range(CAPACITY)], Ordering.lex)


Poly = Any  # flint.fmpq_mpoly, for which python-flint ships no usable type
Monomial = tuple[int, ...]


def rational_number(value: Any) -> Fraction:
    """A flint rational as a Fraction."""
    return Fraction(int(value.p), int(value.q))


def constant(value: Fraction | int) -> Poly:
    """A constant polynomial."""
    value = Fraction(value)
    return _ring().constant(fmpq(value.numerator, value.denominator))


def generator(index: int) -> Poly:
    """The polynomial that is one generator."""
    return _ring().gen(index)


def terms(poly: Poly) -> dict[Monomial, Fraction]:
    """A polynomial as coefficients by monomial (one exponent per generator)."""
    return {tuple(map(int, key)): rational_number(value) for key, value in poly.to_dict().items()}


def with_power(monomial: Monomial, index: int, power: int) -> Monomial:
    """The monomial with one exponent replaced."""
    return (*monomial[:index], power, *monomial[index + 1 :])


def from_terms(items: dict[Monomial, Fraction]) -> Poly:
    """The inverse of `terms`."""
    return _ring().from_dict({key: fmpq(v.numerator, v.denominator) for key, v in items.items() if v})


@dataclass(frozen=True)
class Rational:
    """A quotient of two polynomials in lowest terms, the denominator's leading coefficient one."""

    num: Poly
    den: Poly

    @staticmethod
    def of(num: Poly, den: Poly) -> Rational:
        """The quotient in lowest terms; raises ZeroDivisionError for a zero denominator, `TooLarge`."""
        if den.is_zero():
            raise ZeroDivisionError
        if not den.is_constant():
            shared = num.gcd(den)
            if not shared.is_constant():
                num, den = num // shared, den // shared
        lead = den.leading_coefficient()
        num, den = num / lead, den / lead
        if len(num) + len(den) > MAX_TERMS or max(*num.degrees(), *den.degrees()) > MAX_DEGREE:
            raise TooLarge
        return Rational(num, den)

    @staticmethod
    def number(value: Fraction | int) -> Rational:
        return Rational(constant(value), constant(1))

    def __add__(self, other: Rational) -> Rational:
        if self.den == other.den:
            return Rational.of(self.num + other.num, self.den)
        return Rational.of(self.num * other.den + other.num * self.den, self.den * other.den)

    def __sub__(self, other: Rational) -> Rational:
        return self + -other

    def __neg__(self) -> Rational:
        return Rational(-self.num, self.den)

    def __mul__(self, other: Rational) -> Rational:
        if len(self.num) * len(other.num) > 40 * MAX_TERMS or len(self.den) * len(other.den) > 40 * MAX_TERMS:
            raise TooLarge
        return Rational.of(self.num * other.num, self.den * other.den)

    def __truediv__(self, other: Rational) -> Rational:
        return self * other.inverse()

    def inverse(self) -> Rational:
        return Rational.of(self.den, self.num)

    def __pow__(self, n: int) -> Rational:
        if n < 0:
            return self.inverse() ** -n
        result = Rational.number(1)
        for _ in range(n):
            result = result * self
        return result

    @property
    def is_zero(self) -> bool:
        return bool(self.num.is_zero())

    def as_number(self) -> Fraction | None:
        """The value, if this is a rational number."""
        if self.num.is_constant() and self.den.is_constant():
            return sum(terms(self.num).values(), Fraction()) / sum(terms(self.den).values(), Fraction())
        return None

    @property
    def key(self) -> Hashable:
        """A hashable identity."""
        return (frozenset(terms(self.num).items()), frozenset(terms(self.den).items()))


@dataclass(frozen=True)
class Generator:
    """One unknown of the field.

    `kind` is `magnitude` (|x| of the input), `symbol`, `constant`, `exp`, `erfc`, `acot`, `sqrt`, `cbrt`,
    `power`, `log` or `atom`; `argument` is what these functions are applied to (for exp: the base, see
    `UNIT`); `expr` spells the others, and is the argument of an erfc and the exponent of a power. `positive`
    says that the value is known to be above zero.
    """

    index: int
    kind: str
    positive: bool
    expr: Expr | None = None
    argument: Rational | None = None
    partner: Rational | None = None
    """For an erfc of v: exp(-v*v)."""
    argument_decays: bool = False
    """For an exponential: whether its base is known to be negative, so that its value lies in (0, 1]."""

    @property
    def in_unit_interval(self) -> bool:
        """Whether the value is known to lie in [0, 1]."""
        return self.kind == "erfc" or (self.kind == "exp" and self.argument_decays)


class Field:
    """The generators met so far, by key. Shared by the cases of one expression, so that these compare."""

    def __init__(self, input: str, positive: frozenset[str] = frozenset()) -> None:
        self.input = input
        self.generators: list[Generator] = []
        self.positive_symbols = positive
        self.split: tuple[Rational, Rational] | None = None
        """A quantity of unknown sign that the cases assume signs of, and the generator of its magnitude."""
        self.fired: dict[str, None] = {}
        """The rules that were used on the way into the field."""
        self._by_key: dict[Hashable, Generator] = {}

    def generator(self, key: Hashable, make: Callable[[int], Generator]) -> Generator:
        """The generator of a key, made on first use; raises `TooLarge` when the field is full."""
        found = self._by_key.get(key)
        if found is None:
            if len(self.generators) == CAPACITY - 1:
                raise TooLarge
            found = self._by_key[key] = make(len(self.generators))
            self.generators.append(found)
        return found

    def of_kind(self, kind: str) -> Iterator[Generator]:
        """The generators of one kind, in order of appearance."""
        return (g for g in self.generators if g.kind == kind)

    def is_positive(self, index: int) -> bool:
        """Whether a generator is known to be positive; the spare one, a complement, always is."""
        return index == CAPACITY - 1 or self.generators[index].positive

    def value(self, gen: Generator) -> Rational:
        """A generator as an element of the field."""
        return Rational(generator(gen.index), constant(1))

    def is_constant(self, monomial: Monomial) -> bool:
        """Whether a monomial is built of constants such as pi alone."""
        return all(not n or self.generators[i].kind == "constant" for i, n in enumerate(monomial))

    def poly_sign(self, poly: Poly, weak: bool = False) -> int | None:
        """1 or -1 where the polynomial is known positive or negative, 0 if it is zero, None if unknown.

        With `weak`, 1 means not negative and -1 not positive.
        """
        signs = set()
        for monomial, coefficient in self._coefficients(poly).items():
            powers = [(n, self.is_positive(i)) for i, n in enumerate(monomial) if n]
            if all(positive or (weak and n % 2 == 0) for n, positive in powers):
                signs.add(coefficient)
            else:
                return None
        return 0 if not signs else signs.pop() if len(signs) == 1 else None

    def sign(self, value: Rational, weak: bool = False) -> int | None:
        """The sign of a quotient, as `poly_sign`."""
        above, below = self.poly_sign(value.num, weak), self.poly_sign(value.den)
        return None if above is None or below is None else above * below

    def surely(self, value: Rational, weak: bool = False) -> int | None:
        """The sign of a quotient, looking through complements such as 1 - exp(-u) > 0 as well."""
        sign = self.sign(value, weak)
        if sign is not None:
            return sign
        above = next((s for _, s in self.one_signed_forms(self._whole_powers(value.num))), None)
        below = next((s for _, s in self.one_signed_forms(self._whole_powers(value.den))), None)
        return None if above is None or below is None else above * below

    def _whole_powers(self, poly: Poly) -> Poly:
        """The polynomial in the powers of its exponentials that occur, so that complements are theirs."""
        items = terms(poly)
        units = [gcd(*(key[i] for key in items)) or 1 for i in range(CAPACITY)]
        exps = {gen.index for gen in self.of_kind("exp")}
        return from_terms(
            {
                tuple(p // units[i] if i in exps else p for i, p in enumerate(key)): v
                for key, v in items.items()
            }
        )

    def one_signed_forms(self, poly: Poly) -> Iterator[tuple[frozenset[int], int]]:
        """Sets of generators whose complements give all terms one sign, fewest first, with that sign."""
        used = [i for i, d in enumerate(poly.degrees()) if d > 0]
        choices = [(False, True) if self.has_complement(self.generators[i]) else (False,) for i in used]
        for flags in sorted(combinations(*choices), key=sum):
            switched = frozenset(i for i, flag in zip(used, flags, strict=True) if flag)
            sign = self.poly_sign(self.switch(poly, switched))
            if sign:
                yield switched, sign

    def has_complement(self, gen: Generator) -> bool:
        """Whether a generator has a complement that is positive and cheap to evaluate accurately."""
        if gen.kind == "sqrt":
            return self.root_offset(gen) is not None
        return gen.kind in ("erfc", "acot") or (gen.kind == "exp" and gen.argument_decays)

    def root_offset(self, gen: Generator) -> Fraction | None:
        """c where the generator is sqrt(c*c + something positive)."""
        assert gen.argument is not None
        if not gen.argument.den.is_constant():
            return None
        items = terms(gen.argument.num)
        free = items.pop((0,) * CAPACITY, Fraction(0))
        root = exact_root(free) if free > 0 else None
        return root if root and items and self.poly_sign(from_terms(items), weak=True) == 1 else None

    def switch(self, poly: Poly, switched: frozenset[int]) -> Poly:
        """The polynomial in complements: exp(-u) = 1 - m, erfc(u) = 1 - erf(u), sqrt(c*c + u) = c + r."""
        if not switched:
            return poly
        replacement = list(_ring().gens())
        for i in switched:
            gen = self.generators[i]
            if gen.kind == "sqrt":
                offset = self.root_offset(gen)
                assert offset is not None
                replacement[i] = constant(offset) + replacement[i]
            elif gen.kind == "acot":
                replacement[i] = self._half_pi() - replacement[i]
            else:
                replacement[i] = constant(1) - replacement[i]
        return poly.compose(*replacement)

    def _half_pi(self) -> Poly:
        gen = self.generator(PI, lambda i: Generator(i, "constant", True, PI))
        return generator(gen.index) * constant(Fraction(1, 2))

    def _coefficients(self, poly: Poly) -> dict[Monomial, int]:
        """The sign of each coefficient, constants such as pi counted as part of it."""
        groups: dict[Monomial, dict[Monomial, Fraction]] = {}
        for monomial, coefficient in terms(poly).items():
            fixed = tuple(n if self._fixed(i) else 0 for i, n in enumerate(monomial))
            free = tuple(0 if self._fixed(i) else n for i, n in enumerate(monomial))
            groups.setdefault(free, {})[fixed] = coefficient
        return {free: self._constant_sign(parts) for free, parts in groups.items()}

    def _fixed(self, index: int) -> bool:
        return index < len(self.generators) and self.generators[index].kind == "constant"

    def _constant_sign(self, parts: dict[Monomial, Fraction]) -> int:
        total = arb(0)
        for monomial, coefficient in parts.items():
            value = arb(fmpq(coefficient.numerator, coefficient.denominator))
            for index, power in enumerate(monomial):
                if power:
                    expr = self.generators[index].expr
                    assert expr is not None
                    value *= constant_value(expr) ** power
            total += value
        return 1 if total > 0 else -1 if total < 0 else 0


def constant_size(field: Field, monomial: Monomial) -> Fraction:
    """The value of a monomial's constants (pi, roots of numbers, ...), to float64's precision."""
    size = Fraction(1)
    for index, power in enumerate(monomial):
        if power and field.generators[index].kind == "constant":
            node = field.generators[index].expr
            assert node is not None
            size *= Fraction(float(constant_value(node))) ** power
    return size


def exact_root(number: Fraction) -> Fraction | None:
    """The square root of a rational, if it is rational."""
    above, below = isqrt(number.numerator), isqrt(number.denominator)
    return Fraction(above, below) if Fraction(above, below) ** 2 == number else None


def constant_value(root: Expr) -> Any:
    """A constant expression as a ball of about 200 bits.

    >>> from dsl.expr import PI
    >>> 3.14 < constant_value(PI) < 3.15
    True
    """
    ctx.prec = 256
    values: dict[Expr, Any] = {}
    for node in postorder(root):
        if hasattr(node, "value"):
            values[node] = arb(fmpq(node.value.numerator, node.value.denominator))
        else:
            row = OPS[node.op]  # type: ignore[attr-defined]
            assert row.exact is not None, row.name
            values[node] = row.exact(*(values[arg] for arg in node.args))
    return values[root]
