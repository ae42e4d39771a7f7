"""From a quotient back to an expression that floating point evaluates well.

In: a `Rational` of the field. Out: a `Product` of factors, each spelled so that nothing in it cancels,
where a spelling with that property was found.

Every factor of the numerator and the denominator is looked at alone. If its terms share one sign, it is
evaluated as it stands (Horner's rule). If not, the same polynomial is tried in the complements of its
generators, which have cheap and accurate spellings of their own: 1 - exp(-u) = -expm1(-u), 1 - erfc(u) =
erf(u), sqrt(1 + u) - 1 = u / (sqrt(1 + u) + 1). A decaying exponential that multiplies the whole is kept
apart as a tail, to be applied last and in two halves: the product then underflows only where its value
does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from fractions import Fraction
from functools import partial

from flint import fmpq

from dsl.expr import ONE, Expr, Number, Symbol, call, is_op
from dsl.rewrite.compensate import polynomial
from dsl.rewrite.field import (
    CAPACITY,
    Field,
    Generator,
    Monomial,
    Poly,
    Rational,
    constant_size,
    constant_value,
    from_terms,
    rational_number,
    terms,
    with_power,
)
from dsl.rewrite.probe import constant_fraction
from dsl.rewrite.product import Product, add, divided, multiply, raised, root_of, times
from dsl.rewrite.samples import sample_generators
from dsl.rewrite.style import Style
from dsl.rewrite.sums import SPARE, Form, best_form
from dsl.rewrite.units import Units, reach


@dataclass
class Factors:
    """A polynomial's factors while they are gathered, and what is known of their product."""

    coefficient: Fraction
    tails: dict[int, int]
    factors: dict[Expr, int] = dataclass_field(default_factory=dict)
    constants: dict[Expr, int] = dataclass_field(default_factory=dict)
    unresolved: list[str] = dataclass_field(default_factory=list)
    positive: bool = True
    bounded: bool = True
    least: Fraction = Fraction(1)
    most: Fraction = Fraction(1)

    def add(self, node: Expr, power: int) -> None:
        """One more factor."""
        self.factors[node] = self.factors.get(node, 0) + power


def constant_expr(value: Rational, field: Field) -> Expr:
    """A quotient over constants such as pi, spelled as it stands."""
    speller = Speller(field, Units(field), ONE)
    above, below = speller.spell(terms(value.num), Style()), speller.spell(terms(value.den), Style())
    return above if below is ONE else above / below


class Speller:
    """Spells quotients of one field; `magnitude` stands for |x|.

    Exponentials are left as placeholders (`exponential_name`) until the whole expression is known, because a
    tail decides how its exponential is evaluated; `bind` resolves them.
    """

    def __init__(self, field: Field, units: Units, magnitude: Expr) -> None:
        self.field = field
        self.units = units
        self.magnitude = magnitude
        self.fired: dict[str, None] = dict(field.fired)

    # -- quotients ---------------------------------------------------------------------------------------

    def product(self, value: Rational) -> Product:
        """A quotient as a product of stable factors."""
        above = self._factors(value.num)
        below = self._factors(value.den)
        if any(value.den.degrees()[gen.index] > 0 for gen in self.field.of_kind("exp")):
            self.fired["quotient in a decaying exponential"] = None
        tails = dict(above.tails)
        for index, power in below.tails.items():
            tails[index] = tails.get(index, 0) - power
        if any(power > 0 for power in tails.values()) and self._has_magnitude(value):
            above = self._factors(value.num, clamp=True)
        coefficient = above.coefficient / below.coefficient
        constants = dict(above.constants)
        for node, power in below.constants.items():
            constants[node] = constants.get(node, 0) - power
        factors = dict(above.factors)
        for node, power in below.factors.items():
            factors[node] = factors.get(node, 0) - power
        scale = abs(coefficient)
        for node, power in constants.items():
            scale *= Fraction(float(constant_value(node))) ** power
        return Product(
            coefficient,
            tuple((node, power) for node, power in constants.items() if power),
            tuple((node, power) for node, power in factors.items() if power > 0),
            tuple((node, -power) for node, power in factors.items() if power < 0),
            tuple((i, p) for i, p in sorted(tails.items()) if p),
            below.bounded and not any(power < 0 for power in above.factors.values()),
            tuple(above.unresolved + below.unresolved),
            above.positive and below.positive,
            above.bounded
            and below.bounded
            and scale * above.most <= below.least
            and (len(tails) == 1 or all(self.field.generators[i].argument_decays for i in tails)),
        )

    def quotient(self, value: Rational) -> Expr:
        """A quotient as one expression (without the care for tails that a whole function needs)."""
        return self.compose(replace(self.product(value), small=True))

    def compose(self, parts: Product) -> Expr:
        """The expression of a product; tails come last, in halves where the rest may be large."""
        above = [f for f, n in parts.above for _ in range(n)] if not parts.safe_below else []
        above = above or [raised(f, n) for f, n in parts.above]
        below = [f for f, n in parts.below for _ in range(n)] if not parts.safe_below else []
        below = below or [raised(f, n) for f, n in parts.below]
        tails = parts.tails
        if parts.small:
            above += [raised(Symbol(f"%factor{i}"), p) for i, p in tails if p > 0]
            tails = tuple((i, p) for i, p in tails if p < 0)
        result = divided(parts.coefficient, parts.constants, above, below, parts.safe_below)
        return self.apply_tails(result, tails)

    def apply_tails(self, result: Expr, tails: Iterable[tuple[int, int]]) -> Expr:
        """The result times exponentials, each as two equal factors, so that it underflows late."""
        for index, power in tails:
            half = self.half(index, power)
            if result is ONE:
                result = half * half if power < 0 else raised(Symbol(f"%factor{index}"), power)
            else:
                result = (result * half) * half
        return result

    def half(self, index: int, power: int) -> Expr:
        """The square root of an exponential generator's power."""
        if power < 0:
            self.fired["growing exponential in halves"] = None
            return Symbol(f"%half-{index}:{-power}")
        whole, odd = divmod(power, 2)
        self.fired["decaying exponential last, in halves"] = None
        return multiply([Symbol(f"%factor{index}")] * whole + [Symbol(f"%half{index}")] * odd)

    def _has_magnitude(self, value: Rational) -> bool:
        return any(
            power and self.field.generators[i].kind in ("magnitude", "symbol")
            for monomial in terms(value.num)
            for i, power in enumerate(monomial)
        )

    def _factors(self, poly: Poly, clamp: bool = False) -> Factors:
        """A polynomial's irreducible factors, each spelled."""
        poly, tails, scaled = self._absorb_gaussians(self.deflate(poly))
        style = Style(clamp=clamp, scaled=scaled)
        content, factors = poly.factor()
        result = Factors(rational_number(content), tails)
        for factor, power in sorted(factors, key=lambda item: len(item[0])):
            if len(factor) == 1:
                self._monomial(result, *next(iter(terms(factor).items())), power, style)
            else:
                self._sum(result, factor, power, style)
        return result

    def _monomial(
        self, result: Factors, monomial: Monomial, scale: Fraction, power: int, style: Style
    ) -> None:
        result.coefficient *= scale**power
        for index, degree in enumerate(monomial):
            if not degree:
                continue
            gen = self.field.generators[index]
            if gen.kind == "exp":
                result.tails[index] = result.tails.get(index, 0) + degree * power
                continue
            leaf = self.leaf(gen, style)
            if gen.kind == "constant":
                result.constants[leaf] = result.constants.get(leaf, 0) + degree * power
                continue
            result.positive = result.positive and (gen.positive or degree * power % 2 == 0)
            result.bounded = False
            result.add(leaf, degree * power)

    def _sum(self, result: Factors, poly: Poly, power: int, style: Style) -> None:
        scale = _content(poly)
        poly = poly / fmpq(scale.numerator, scale.denominator)
        result.coefficient *= scale**power
        if self._is_parametric(poly) and self.field.poly_sign(poly) is None:
            result.add(polynomial(self, terms(poly)), power)
            result.positive = result.bounded = False
            return
        form = best_form(self.field, poly, partial(self._samples, style))
        for rule in form.rules:
            self.fired[rule] = None
        bounds = self._bounds(poly)
        result.coefficient *= form.sign**power
        if form.below is not None:
            self._conjugate(result, form, power, style)
            return
        soft = bounds is not None and form.spare is None
        node = self.spell(
            terms(form.poly), replace(style, switched=form.switched, spare=form.spare, soft=soft)
        )
        result.add(node, power)
        result.positive = result.positive and form.safe and form.positive
        if bounds is None:
            result.bounded = False
        else:
            result.least *= bounds[0] ** power
            result.most *= bounds[1] ** power
        if not form.safe:
            result.unresolved.append("terms of both signs")

    def _is_parametric(self, poly: Poly) -> bool:
        """Whether a sum is a polynomial in the input with parameters, more than the sum of two of these."""
        used = [self.field.generators[i] for i, degree in enumerate(poly.degrees()) if degree > 0]
        if not all(gen.kind in ("symbol", "magnitude", "size") for gen in used):
            return False
        x = Symbol(self.field.input)
        parameters = [gen for gen in used if gen.kind == "symbol" and gen.expr is not x]
        products = any(sum(key) > 1 or abs(value) != 1 for key, value in terms(poly).items())
        return products and 0 < len(parameters) < len(used)

    def _conjugate(self, result: Factors, form: Form, power: int, style: Style) -> None:
        """A quotient in the place of a sum: its numerator's factors, over its denominator."""
        assert form.below is not None
        above = self._factors(form.poly, style.clamp)
        result.coefficient *= above.coefficient**power
        for node, n in above.constants.items():
            result.constants[node] = result.constants.get(node, 0) + n * power
        for node, n in above.factors.items():
            result.add(node, n * power)
        result.add(self.spell(terms(form.below), style), -power)
        result.positive = result.positive and above.positive
        result.bounded = False

    def deflate(self, poly: Poly) -> Poly:
        """The polynomial in the powers of its exponentials that are evaluated."""
        return from_terms(
            {
                tuple(p // self.units.powers.get(i, 1) if p else 0 for i, p in enumerate(monomial)): value
                for monomial, value in terms(poly).items()
            }
        )

    def _absorb_gaussians(self, poly: Poly) -> tuple[Poly, dict[int, int], frozenset[int]]:
        """erfc(v) as erfcx(v) * exp(-v*v), where that brings the exponential out of the whole sum."""
        tails: dict[int, int] = {}
        scaled: set[int] = set()
        for gen in self.field.of_kind("erfc"):
            if poly.degrees()[gen.index] < 1:
                continue
            assert gen.partner is not None
            ((monomial, _),) = terms(self.deflate(gen.partner.num)).items()
            (index,) = [i for i, p in enumerate(monomial) if p and self.field.generators[i].kind == "exp"]
            absorbed = {
                tuple(p + key[gen.index] * q for p, q in zip(key, monomial, strict=True)): value
                for key, value in terms(poly).items()
            }
            common = min(key[index] for key in absorbed)
            if common == 0:
                continue
            self.fired["scaled erfc"] = None
            poly = from_terms({with_power(key, index, key[index] - common): v for key, v in absorbed.items()})
            tails[index] = tails.get(index, 0) + common
            scaled.add(gen.index)
        return poly, tails, frozenset(scaled)

    def _bounds(self, poly: Poly) -> tuple[Fraction, Fraction] | None:
        """Bounds of a sum in quantities of [0, 1], where its constant term outweighs what is negative."""
        least = most = Fraction(0)
        for key, value in terms(poly).items():
            size = value * constant_size(self.field, key)
            free = [self.field.generators[i] for i, p in enumerate(key) if p]
            free = [gen for gen in free if gen.kind != "constant"]
            if not all(gen.in_unit_interval for gen in free):
                return None
            least += size if not free else min(size, Fraction(0))
            most += size if not free else max(size, Fraction(0))
        return (least, most) if least > 0 else None

    def _samples(self, style: Style) -> list[dict[int, float]]:
        """Exact values of the generators, and under -1 - index of their complements, at sample points."""
        return sample_generators(self.field, self.units, style.scaled)

    # -- spelling ----------------------------------------------------------------------------------------

    def spell(self, items: dict[Monomial, Fraction], style: Style) -> Expr:
        """A polynomial by Horner's rule, exponentials outermost, constants innermost."""
        if all(value < 0 for value in items.values()):
            return -self.spell({key: -value for key, value in items.items()}, style)
        used = {i for key in items for i, p in enumerate(key) if p}
        if not used:
            return Number(sum(items.values(), Fraction()))
        index = min(used, key=lambda i: (self._rank(i), i))
        groups: dict[int, dict[Monomial, Fraction]] = {}
        for key, value in items.items():
            groups.setdefault(key[index], {})[with_power(key, index, 0)] = value
        if index == SPARE:
            leaf: Expr = Symbol(f"%rest{style.spare}")
            vanishing = False
        else:
            gen = self.field.generators[index]
            leaf = self.leaf(gen, style)
            vanishing = gen.kind == "exp" and index not in style.switched and gen.argument_decays
        result: Expr | None = None
        previous = 0
        for power in sorted(groups, reverse=True):
            inner = self.spell(groups[power], replace(style, clamp=style.clamp or (vanishing and power > 0)))
            result = inner if result is None else add(times(result, raised(leaf, previous - power)), inner)
            previous = power
        assert result is not None
        return times(result, raised(leaf, previous)) if previous else result

    def _rank(self, index: int) -> int:
        return -1 if index == SPARE else _ORDER.index(self.field.generators[index].kind)

    def leaf(self, gen: Generator, style: Style) -> Expr:
        """How one generator is written."""
        switched = gen.index in style.switched
        if gen.kind == "magnitude":
            return self.clamped() if style.clamp else self.magnitude
        if gen.kind == "exp":
            return Symbol(f"%{'rest' if switched else 'soft' if style.soft else 'exp'}{gen.index}")
        if gen.kind in ("symbol", "constant", "atom", "size"):
            assert gen.expr is not None
            return gen.expr
        assert gen.argument is not None
        return _LEAVES[gen.kind](self, gen, style)

    def clamped(self) -> Expr:
        """The magnitude, held where a decaying exponential that multiplies it is already zero."""
        limit = self.limit()
        if limit is None:
            return self.magnitude
        self.fired["magnitude held"] = None
        return call("min", self.magnitude, limit)

    def limit(self) -> int | None:
        """The least power of two beyond which every decaying exponential of |x| is zero in every dtype.

        None where that depends on a parameter, or where another exponential may grow with one.
        """
        largest = 0
        for index, power in self.units.powers.items():
            gen = self.field.generators[index]
            if not gen.argument_decays:
                if self._has_parameter(gen):
                    return None
                continue
            farthest = reach(self.field, gen, power)
            if farthest is None:
                return None
            largest = max(largest, farthest)
        return largest or None

    def _has_parameter(self, gen: Generator) -> bool:
        assert gen.argument is not None
        kinds = {
            self.field.generators[i].kind for key in terms(gen.argument.num) for i, p in enumerate(key) if p
        }
        return "symbol" in kinds

    def erfc(self, gen: Generator, style: Style) -> Expr:
        assert gen.argument is not None
        assert gen.partner is not None
        argument = self.quotient(gen.argument)
        if gen.index in style.switched:
            return call("erf", argument)
        scaled = _scaled_erfc(argument)
        if gen.index in style.scaled:
            return scaled
        return scaled * self.spell(terms(self.deflate(gen.partner.num)), Style())

    def acot(self, gen: Generator, style: Style) -> Expr:
        """acot(u) = atan(1/u) for u > 0, or its complement atan(u)."""
        assert gen.argument is not None
        if gen.index in style.switched:
            return call("atan", self.quotient(gen.argument))
        return call("atan", self.quotient(gen.argument.inverse()))

    def log(self, gen: Generator, style: Style) -> Expr:
        assert gen.argument is not None
        return self._before_overflow(gen.argument, self._logarithm(gen), self._far_logarithm)

    def _logarithm(self, gen: Generator) -> Expr:
        assert gen.argument is not None
        if not gen.positive:
            return call("log", self.quotient(gen.argument))
        exps = [gen.index for gen in self.field.of_kind("exp")]
        inner = any(poly.degrees()[i] > 0 for poly in (gen.argument.num, gen.argument.den) for i in exps)
        self.fired["logarithm of a quotient of exponentials" if inner else "log1p"] = None
        excess = self.product(gen.argument - Rational.number(1))
        return call("log1p_unit" if excess.small else "log1p", self.compose(replace(excess, small=True)))

    def _far_logarithm(self, size: Expr, lead: Expr, degree: int) -> Expr:
        self.fired["logarithm of a square"] = None
        far = Number(degree) * call("log", size)
        return far if lead is ONE else far + call("log", lead)

    def sqrt(self, gen: Generator, style: Style) -> Expr:
        assert gen.argument is not None
        root = self._guarded_root(gen.argument)
        if gen.index not in style.switched:
            return root
        offset = self.field.root_offset(gen)
        assert offset is not None
        excess = self.product(gen.argument - Rational.number(offset**2))
        excess = replace(excess, below=(*excess.below, (root + Number(offset), 1)), safe_below=False)
        return self.compose(replace(excess, small=True))

    def power(self, gen: Generator, style: Style) -> Expr:
        """u**r, and far out a power of |x|; one power of what is chosen, where that is all."""
        assert gen.argument is not None
        assert isinstance(gen.expr, Number)
        exponent = gen.expr

        def far(size: Expr, lead: Expr, degree: int) -> Expr:
            power = call("pow", size, Number(degree * exponent.value))
            return power if lead is ONE else times(call("pow", lead, exponent), power)

        near = call("pow", self.quotient(gen.argument), exponent)
        chosen = self._before_overflow(gen.argument, near, far)
        if not is_op(chosen, "where") or not is_op(chosen.args[2], "pow"):
            return chosen
        condition, (base, _), (size, outer) = chosen.args[0], chosen.args[1].args, chosen.args[2].args
        base = call("where", condition, base, size)
        if constant_fraction(call("trailing", exponent)) == 0:
            return call("pow", base, call("where", condition, exponent, outer))
        parts = ((call(part, each) for each in (exponent, outer)) for part in ("leading", "trailing"))
        return call("pow_sum", base, *(call("where", condition, *pair) for pair in parts))

    def cbrt(self, gen: Generator, style: Style) -> Expr:
        assert gen.argument is not None
        root = call("cbrt", self.quotient(gen.argument))
        return self._before_overflow(gen.argument, root, self._far_cube_root)

    def _far_cube_root(self, size: Expr, lead: Expr, degree: int) -> Expr:
        self.fired["root of a cube"] = None
        whole, rest = divmod(degree, 3)
        power = raised(call("cbrt", size), degree) if rest else raised(size, whole)
        return power if lead is ONE else times(call("cbrt", lead), power)

    def _guarded_root(self, value: Rational) -> Expr:
        root = call("sqrt", self.quotient(value))
        return self._before_overflow(value, root, self._far_root)

    def _far_root(self, size: Expr, lead: Expr, degree: int) -> Expr:
        self.fired["root of a square"] = None
        whole, odd = divmod(degree, 2)
        power = raised(call("sqrt", size), degree) if odd else raised(size, whole)
        return times(root_of(lead), power)

    def _before_overflow(self, value: Rational, near: Expr, far: Callable[[Expr, Expr, int], Expr]) -> Expr:
        """A function of a polynomial in |x| that overflows: `near`, and beyond, of its leading term alone.

        `far` gets |x|, the leading coefficient and the degree.
        """
        own = Symbol(self.field.input)
        index = next((g.index for g in self.field.generators if g.kind == "magnitude" or g.expr is own), None)
        if index is None or not value.den.is_constant() or self._kinds(value) & _TRANSCENDENTAL:
            return near
        degree = int(value.num.degrees()[index])
        items = terms(value.num).items()
        lead = {with_power(key, index, 0): v for key, v in items if key[index] == degree}
        if degree < 2 and (not degree or max(lead.values()) <= 1):
            return near
        size = self.magnitude if self.magnitude is not own else call("abs", own)
        beyond = far(size, self.spell(lead, Style()), degree)
        return call("where", call("lt", size, 2 ** (124 // degree)), near, beyond)

    def _kinds(self, value: Rational) -> set[str]:
        """The kinds of generators in a numerator."""
        return {self.field.generators[i].kind for key in terms(value.num) for i, p in enumerate(key) if p}

    # -- exponentials ------------------------------------------------------------------------------------


def _content(poly: Poly) -> Fraction:
    """What to divide a sum by so that it reads well: nothing if its coefficients are small integers, else
    its constant term, or its leading coefficient."""
    items = terms(poly)
    if all(value.denominator == 1 and abs(value) <= 64 for value in items.values()):
        return Fraction(1)
    return abs(items.get((0,) * CAPACITY, next(iter(items.values()))))


_ORDER = (
    "exp",
    "erfc",
    "acot",
    "sqrt",
    "cbrt",
    "power",
    "log",
    "atom",
    "symbol",
    "size",
    "magnitude",
    "constant",
)
_TRANSCENDENTAL = {"exp", "erfc", "acot", "log", "sqrt", "cbrt", "power"}
_LEAVES = {
    "erfc": Speller.erfc,
    "acot": Speller.acot,
    "log": Speller.log,
    "sqrt": Speller.sqrt,
    "cbrt": Speller.cbrt,
    "power": Speller.power,
}


def _scaled_erfc(argument: Expr) -> Expr:
    """erfcx of an argument; if that is divided by the root of 2, as normal distributions have it, without."""
    if is_op(argument, "mul"):
        scale = constant_fraction(argument.args[0])
        if scale is not None and abs(2 * scale**2 - 1) < Fraction(1, 2**300):
            return call("mills", argument.args[1])
    return call("erfcx", argument)
