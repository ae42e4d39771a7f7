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

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from fractions import Fraction
from functools import partial
from math import gcd

from flint import fmpq

from dsl.expr import ONE, Apply, Expr, Number, Symbol, call, is_op, postorder, substitute
from dsl.rewrite.compensate import exponent
from dsl.rewrite.field import (
    CAPACITY,
    UNIT,
    Field,
    Generator,
    Monomial,
    Poly,
    Rational,
    constant_size,
    constant_value,
    exact_root,
    from_terms,
    rational_number,
    terms,
    with_power,
)
from dsl.rewrite.samples import sample_generators
from dsl.rewrite.style import Style
from dsl.rewrite.sums import SPARE, Form, best_form

LARGEST_EXPONENT = 2048
"""exp(-2048) is zero in every dtype; magnitudes beyond the point where this is reached may be clamped."""


@dataclass(frozen=True)
class Product:
    """coefficient * product(above) / product(below) * product(exp tails), each factor with its power."""

    coefficient: Fraction
    constants: tuple[tuple[Expr, int], ...]
    """Constants such as pi that multiply the whole, with their powers."""
    above: tuple[tuple[Expr, int], ...]
    below: tuple[tuple[Expr, int], ...]
    tails: tuple[tuple[int, int], ...]
    """Exponential generators (their indices) that multiply the whole, with powers in their units."""
    safe_below: bool = True
    """Whether every denominator is bounded away from zero and from overflow."""
    unresolved: tuple[str, ...] = ()
    positive: bool = False
    """Whether every factor is known to be positive, so that the coefficient has the sign."""
    small: bool = False
    """Whether everything but the tails is at most one in magnitude."""


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


@dataclass
class Units:
    """For each exponential generator, the power that is evaluated: all its powers are multiples of it."""

    field: Field
    powers: dict[int, int] = dataclass_field(default_factory=dict)

    @staticmethod
    def of(field: Field, values: Iterable[Rational]) -> Units:
        units = Units(field)
        seen: set[int] = set()
        pending = list(values)
        while pending:
            value = pending.pop()
            for poly in (value.num, value.den):
                for monomial in terms(poly):
                    for index, power in enumerate(monomial):
                        if not power:
                            continue
                        gen = field.generators[index]
                        if gen.kind == "exp":
                            units.powers[index] = gcd(units.powers.get(index, 0), power)
                        if index not in seen:
                            seen.add(index)
                            pending.extend(_arguments(field, gen))
        return units


def _arguments(field: Field, gen: Generator) -> list[Rational]:
    if gen.argument is None:
        return []
    if gen.kind == "erfc":
        assert gen.partner is not None
        return [gen.argument, gen.partner]
    if gen.kind == "log":
        return [gen.argument, gen.argument - Rational.number(1)]
    return [gen.argument]


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
            above.bounded and below.bounded and scale * above.most <= below.least,
        )

    def quotient(self, value: Rational) -> Expr:
        """A quotient as one expression (without the care for tails that a whole function needs)."""
        return self.compose(replace(self.product(value), small=True))

    def compose(self, parts: Product) -> Expr:
        """The expression of a product; tails come last, in halves where the rest may be large."""
        above = [f for f, n in parts.above for _ in range(n)] if not parts.safe_below else []
        above = above or [_power(f, n) for f, n in parts.above]
        below = [f for f, n in parts.below for _ in range(n)] if not parts.safe_below else []
        below = below or [_power(f, n) for f, n in parts.below]
        tails = parts.tails
        if parts.small:
            above += [_power(Symbol(f"%exp{i}"), p) for i, p in tails if p > 0]
            tails = tuple((i, p) for i, p in tails if p < 0)
        result = divided(parts.coefficient, parts.constants, above, below, parts.safe_below)
        return self.apply_tails(result, tails)

    def apply_tails(self, result: Expr, tails: Iterable[tuple[int, int]]) -> Expr:
        """The result times exponentials, each as two equal factors, so that it underflows late."""
        for index, power in tails:
            half = self.half(index, power)
            if result is ONE:
                result = half * half if power < 0 else _power(Symbol(f"%exp{index}"), power)
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
        return _multiply([Symbol(f"%exp{index}")] * whole + [Symbol(f"%half{index}")] * odd)

    def _has_magnitude(self, value: Rational) -> bool:
        return any(
            power and self.field.generators[i].kind in ("magnitude", "symbol")
            for monomial in terms(value.num)
            for i, power in enumerate(monomial)
        )

    def _factors(self, poly: Poly, clamp: bool = False) -> Factors:
        """A polynomial's irreducible factors, each spelled."""
        poly, tails, scaled = self._absorb_gaussians(self._deflate(poly))
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
        form = best_form(self.field, poly, partial(self._samples, style))
        for rule in form.rules:
            self.fired[rule] = None
        bounds = self._bounds(poly)
        result.coefficient *= form.sign**power
        if form.below is not None:
            self._conjugate(result, form, power, style)
            return
        if self._vanishing_complement(result, form, power):
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

    def _vanishing_complement(self, result: Factors, form: Form, power: int) -> bool:
        """1 - exp(-c*t) for an exponential t, as c * t * (expm1(u) / u) at u = -c*t, with t among the tails.

        Where t is subnormal, so is 1 - exp(-c*t), and has lost digits that a product with it still has.
        """
        if len(form.switched) != 1 or len(form.poly) != 1 or form.spare is not None:
            return False
        (index,) = form.switched
        gen = self.field.generators[index]
        ((monomial, value),) = terms(form.poly).items()
        if gen.kind != "exp" or sum(map(abs, monomial)) != monomial[index]:
            return False
        inner = self._exponent(index, Fraction(1))
        if len(inner.num) != 1 or not inner.den.is_constant():
            return False
        ((base, scale),) = terms(inner.num).items()
        used = [(i, p) for i, p in enumerate(base) if p]
        if len(used) != 1 or self.field.generators[used[0][0]].kind != "exp":
            return False
        ((tail, raised),) = used
        if not self.field.generators[tail].argument_decays:
            result.unresolved.append("the complement of a double exponential")
            return False
        times = monomial[index] * power
        result.coefficient *= value**power * abs(scale) ** times
        result.tails[tail] = result.tails.get(tail, 0) + raised // self.units.powers.get(tail, 1) * times
        result.add(call("expm1_over", self.quotient(inner)), times)
        result.bounded = False
        self.fired["vanishing complement"] = None
        return True

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

    def _deflate(self, poly: Poly) -> Poly:
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
            ((monomial, _),) = terms(self._deflate(gen.partner.num)).items()
            (index,) = [i for i, p in enumerate(monomial) if p and self.field.generators[i].kind == "exp"]
            raised = {
                tuple(p + key[gen.index] * q for p, q in zip(key, monomial, strict=True)): value
                for key, value in terms(poly).items()
            }
            common = min(key[index] for key in raised)
            if common == 0:
                continue
            self.fired["scaled erfc"] = None
            poly = from_terms({with_power(key, index, key[index] - common): v for key, v in raised.items()})
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
            result = inner if result is None else _add(_times(result, _power(leaf, previous - power)), inner)
            previous = power
        assert result is not None
        return _times(result, _power(leaf, previous)) if previous else result

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
        """The least power of two beyond which every decaying exponential of |x| is zero in every dtype."""
        largest = 0
        for index, power in self.units.powers.items():
            gen = self.field.generators[index]
            if not gen.argument_decays:
                continue
            reach = _reach(self.field, gen, power)
            if reach is not None:
                largest = max(largest, reach)
        return largest or None

    def erfc(self, gen: Generator, style: Style) -> Expr:
        assert gen.argument is not None
        assert gen.partner is not None
        argument = self.quotient(gen.argument)
        if gen.index in style.switched:
            return call("erf", argument)
        scaled = call("erfcx", argument)
        if gen.index in style.scaled:
            return scaled
        return scaled * self.spell(terms(self._deflate(gen.partner.num)), Style())

    def acot(self, gen: Generator, style: Style) -> Expr:
        """acot(u) = atan(1/u) for u > 0, or its complement atan(u)."""
        assert gen.argument is not None
        if gen.index in style.switched:
            return call("atan", self.quotient(gen.argument))
        return call("atan", self.quotient(gen.argument.inverse()))

    def log(self, gen: Generator, style: Style) -> Expr:
        assert gen.argument is not None
        if gen.positive:
            exps = [gen.index for gen in self.field.of_kind("exp")]
            inner = any(poly.degrees()[i] > 0 for poly in (gen.argument.num, gen.argument.den) for i in exps)
            self.fired["logarithm of a quotient of exponentials" if inner else "log1p"] = None
            excess = self.product(gen.argument - Rational.number(1))
            return call("log1p_unit" if excess.small else "log1p", self.compose(replace(excess, small=True)))
        return call("log", self.quotient(gen.argument))

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

    def _guarded_root(self, value: Rational) -> Expr:
        """sqrt(u); where u is a polynomial in |x| whose square would overflow, its leading term's root."""
        root = call("sqrt", self.quotient(value))
        own = Symbol(self.field.input)
        magnitudes = [g.index for g in self.field.generators if g.kind == "magnitude" or g.expr is own]
        if not magnitudes or not value.den.is_constant():
            return root
        degree = int(value.num.degrees()[magnitudes[0]])
        lead = {
            with_power(k, magnitudes[0], 0): v
            for k, v in terms(value.num).items()
            if k[magnitudes[0]] == degree
        }
        if degree < 2 or degree % 2 or self._kinds(value) & {"exp", "erfc", "log", "sqrt"}:
            return root
        self.fired["root of a square"] = None
        size = self.magnitude if self.magnitude is not own else call("abs", own)
        far = _times(_root_of(self.spell(lead, Style())), _power(size, degree // 2))
        return call("where", call("lt", size, 2 ** (124 // degree)), root, far)

    def _kinds(self, value: Rational) -> set[str]:
        """The kinds of generators in a numerator."""
        return {self.field.generators[i].kind for key in terms(value.num) for i, p in enumerate(key) if p}

    # -- exponentials ------------------------------------------------------------------------------------

    def bind(self, root: Expr) -> Expr:
        """The expression with its placeholders replaced by the exponentials they stand for.

        An exponential that is needed in halves is the square of its half; one of which only the complement
        and sums with a constant are needed is one minus the complement.
        """
        names = {node.name for node in postorder(root) if isinstance(node, Symbol) and node.name[0] == "%"}
        values: dict[Expr, Expr] = {}
        for name in sorted(names):
            kind, index, power = _parse_placeholder(name)
            alone = f"%rest{index}" in names and not {f"%exp{index}", f"%half{index}"} & names
            if kind == "rest":
                value = self._complement(index)
            elif kind == "soft" and alone:
                value = ONE - self._complement(index)
            elif kind == "half":
                value = self._exponential(index, Fraction(power, 2))
            elif f"%half{index}" in names:
                half = self._exponential(index, Fraction(1, 2))
                value = half * half
            else:
                value = self._exponential(index, Fraction(1))
            values[Symbol(name)] = value
        bound = substitute(root, values)
        return self.bind(bound) if any(_is_placeholder(node) for node in postorder(bound)) else bound

    def _exponent(self, index: int, power: Fraction) -> Rational:
        base = self.field.generators[index].argument
        assert base is not None
        return base * Rational.number(power * Fraction(self.units.powers.get(index, UNIT), UNIT))

    def _exponential(self, index: int, power: Fraction) -> Expr:
        return exponent(self, self._exponent(index, power)).exponential()

    def _complement(self, index: int) -> Expr:
        """1 - exp(u) for u < 0, else exp(u) - 1."""
        value = call("expm1", exponent(self, self._exponent(index, Fraction(1))).high)
        return -value if self.field.generators[index].argument_decays else value


def _is_placeholder(node: Expr) -> bool:
    return isinstance(node, Symbol) and node.name[0] == "%"


def may_be_large(node: Expr) -> bool:
    """Whether a value may come near the end of the range: arithmetic on an input that nothing bounds."""
    pending = [node]
    while pending:
        part = pending.pop()
        if isinstance(part, Symbol) and part.name[0] != "%":
            return True
        if is_op(part, "add", "sub", "mul", "neg", "sqrt", "abs", "where"):
            pending.extend(part.args)
        elif is_op(part, "max", "min"):
            # One bound holds one side only; an interval is max(min(x, c), -c).
            pending.extend(arg for arg in part.args if not is_op(arg, "max", "min", "abs"))
    return False


def _content(poly: Poly) -> Fraction:
    """What to divide a sum by so that it reads well: nothing if its coefficients are small integers, else
    its constant term, or its leading coefficient."""
    items = terms(poly)
    if all(value.denominator == 1 and abs(value) <= 64 for value in items.values()):
        return Fraction(1)
    return abs(items.get((0,) * CAPACITY, next(iter(items.values()))))


def _parse_placeholder(name: str) -> tuple[str, int, int]:
    kind = name[1:].rstrip("-:0123456789")
    rest = name[1 + len(kind) :]
    sign = -1 if rest.startswith("-") else 1
    index, _, power = rest.lstrip("-").partition(":")
    return kind, int(index), sign * int(power or 1)


def _reach(field: Field, gen: Generator, power: int) -> int | None:
    """The least power of two at which the exponential is surely zero, or None if that is not a number."""
    assert gen.argument is not None
    below = sum(v * constant_size(field, key) for key, v in terms(gen.argument.den).items())
    kinds = {field.generators[i].kind for key in terms(gen.argument.num) for i, p in enumerate(key) if p}
    free = {field.generators[i].kind for key in terms(gen.argument.den) for i, p in enumerate(key) if p}
    if not kinds <= {"magnitude", "constant"} or not free <= {"constant"}:
        return None
    exponents = []
    for key, value in terms(gen.argument.num).items():
        degree = sum(p for i, p in enumerate(key) if p and field.generators[i].kind == "magnitude")
        if degree:
            size = float(abs(value * constant_size(field, key) / below)) * power / UNIT
            exponents.append((LARGEST_EXPONENT / size) ** (1 / degree))
    if not exponents:
        return None
    reach = 1
    while reach < min(exponents):
        reach *= 2
    return reach


def _root_of(node: Expr) -> Expr:
    if isinstance(node, Number):
        root = exact_root(node.value)
        if root is not None:
            return Number(root)
    return call("sqrt", node)


def _add(a: Expr, b: Expr) -> Expr:
    if isinstance(b, Apply) and b.op == "neg":
        return a - b.args[0]
    if isinstance(a, Apply) and a.op == "neg":
        return b - a.args[0]
    return a + b


def _times(a: Expr, b: Expr) -> Expr:
    if a is ONE:
        return b
    if b is ONE:
        return a
    if isinstance(a, Apply) and a.op == "neg":
        return -_times(a.args[0], b)
    if isinstance(b, Apply) and b.op == "neg":
        return -_times(a, b.args[0])
    return a * b


def _power(node: Expr, n: int) -> Expr:
    return ONE if n == 0 else node if n == 1 else call("pow", node, n)


def _multiply(factors: Iterable[Expr]) -> Expr:
    result: Expr = ONE
    for factor in factors:
        result = factor if result is ONE else result * factor
    return result


def divided(
    coefficient: Fraction,
    constants: Iterable[tuple[Expr, int]],
    above: list[Expr],
    below: list[Expr],
    safe_below: bool,
) -> Expr:
    """coefficient * constants * product(above) / product(below), in an order that overflows late.

    Where the denominator may be large, one factor of the numerator is divided by each of its factors before
    the others are multiplied in.
    """
    if not below:
        return scaled_by(coefficient, constants, above)
    if safe_below:
        large = [factor for factor in above if may_be_large(factor)]
        small = [factor for factor in above if not may_be_large(factor)]
        if not large or not small:
            return call("ratio", scaled_by(coefficient, constants, above), _multiply(below))
        quotient = call("ratio", _multiply(small), _multiply(below))
        return scaled_by(coefficient, constants, [*large, quotient])
    above, quotients = sorted(above, key=may_be_large), []
    for factor in below:
        quotients.append(call("div", above.pop() if above else ONE, factor))
    return scaled_by(coefficient, constants, [*above, *quotients])


def scaled_by(coefficient: Fraction, constants: Iterable[tuple[Expr, int]], factors: Sequence[Expr]) -> Expr:
    """coefficient * constants * product(factors), the constants gathered so that they fold into one.

    What makes the product smaller is multiplied in first, what makes it larger last: then no partial product
    overflows if the whole does not.
    """
    constants = tuple(constants)
    size = abs(coefficient)
    for node, power in constants:
        size *= Fraction(float(constant_value(node))) ** power
    above = _multiply(_power(c, n) for c, n in constants if n > 0)
    below = _multiply(_power(c, -n) for c, n in constants if n < 0)
    constant = _scale(abs(coefficient), above)
    constant = constant if below is ONE else constant / below
    if not factors:
        value = constant
    elif constant is ONE:
        value = _multiply(factors)
    elif size < 1 and isinstance(constant, Number):
        value = _multiply([_scale(constant.value, factors[0]), *factors[1:]])
    elif size < 1:
        value = _multiply([constant * factors[0], *factors[1:]])
    else:
        value = constant * _multiply(factors)
    return -value if coefficient < 0 else value


def _scale(coefficient: Fraction, node: Expr) -> Expr:
    if coefficient == 1:
        return node
    if coefficient == -1:
        return -node
    if abs(coefficient) < 1 and isinstance(node, Apply) and node.op in ("add", "sub") and may_be_large(node):
        # A sum near the end of the range, halved after it was rounded to infinity, would stay infinite.
        a, b = (_scale(coefficient, arg) for arg in node.args)
        return _add(a, b) if node.op == "add" else _add(a, -b)
    return Number(coefficient) if node is ONE else Number(coefficient) * node


_ORDER = ("exp", "erfc", "acot", "sqrt", "log", "atom", "symbol", "size", "magnitude", "constant")
_LEAVES = {"erfc": Speller.erfc, "acot": Speller.acot, "log": Speller.log, "sqrt": Speller.sqrt}
