"""From an expression to one quotient, under an assumption on the input's sign.

In: an expression in core operations, and a case: the input positive, negative, or unknown. Out: a
`Rational` over the field's generators. In a case with a sign, the input is plus or minus its magnitude, so
absolute values and choices by sign are resolved and every exponential can be turned to the side on which it
decays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import prod

from dsl.expr import PI, Apply, Expr, Number, Symbol, call, postorder
from dsl.rewrite.field import (
    UNIT,
    Field,
    Generator,
    Rational,
    TooLarge,
    constant,
    exact_root,
    from_terms,
    generator,
    terms,
    with_power,
)

MAX_POWER = 16

LARGEST_CONSTANT = 20
"""Constants in exponents are taken out up to this size: larger ones might overflow on their own."""


@dataclass(frozen=True)
class Case:
    """What is assumed: the input's name and its sign (1, -1, or None where nothing is)."""

    input: str
    sign: int | None = None
    split_sign: int | None = None
    """The sign of the field's split quantity, where there is one."""


class Canonical:
    """Maps expressions to quotients in one field, under one case.

    `atom` turns a node that is no algebra (a sine, an undecided choice) into the expression that stands for
    it, itself stabilised.
    """

    def __init__(self, field: Field, case: Case, atom: Callable[[Expr], Expr]) -> None:
        self.field = field
        self.case = case
        self._atom_expr = atom
        self._values: dict[Expr, Rational] = {}
        self._conditions: dict[Expr, bool | None] = {}
        self.undetermined: list[Rational] = []
        self.needs_sign = False
        """Whether something has a better form where the input has a sign."""

    def __call__(self, root: Expr) -> Rational:
        """The quotient of an expression; raises `TooLarge`, ZeroDivisionError."""
        for node in postorder(root):
            if node in self._values or node in self._conditions:
                continue
            if isinstance(node, Apply) and node.op in _CONDITIONS:
                self._conditions[node] = _CONDITIONS[node.op](self, node)
            else:
                self._values[node] = self._value(node)
        return self._values[root]

    def condition(self, root: Expr) -> bool | None:
        """Whether a condition holds in this case; None if that depends on the input."""
        for node in postorder(root):
            if isinstance(node, Apply) and node.op in _CONDITIONS:
                self._conditions[node] = _CONDITIONS[node.op](self, node)
            else:
                self._values[node] = self._value(node)
        return self._conditions[root]

    def _value(self, node: Expr) -> Rational:
        if isinstance(node, Number):
            return Rational.number(node.value)
        if isinstance(node, Symbol):
            return self._symbol(node)
        assert isinstance(node, Apply)
        rule = _RULES.get(node.op)
        value = None if rule is None else rule(self, node, *(self._values.get(arg) for arg in node.args))
        return self.atom(node) if value is None else value

    def _symbol(self, node: Symbol) -> Rational:
        if node.name == self.case.input and self.case.sign is not None:
            gen = self.field.generator("magnitude", lambda i: Generator(i, "magnitude", True, node))
            return self.field.value(gen) if self.case.sign > 0 else -self.field.value(gen)
        positive = node.name in self.field.positive_symbols
        return self.field.value(self.field.generator(node, lambda i: Generator(i, "symbol", positive, node)))

    def atom(self, node: Expr, positive: bool = False) -> Rational:
        """A node as a generator of its own."""
        spelled = self._atom_expr(node)
        return self.field.value(
            self.field.generator(spelled, lambda i: Generator(i, "atom", positive, spelled))
        )

    def constant(self, node: Apply) -> Rational:
        return self.field.value(self.field.generator(node, lambda i: Generator(i, "constant", True, node)))

    def integer_power(self, node: Apply, base: Rational | None, _: Rational | None) -> Rational | None:
        exponent = node.args[1]
        assert base is not None
        if not isinstance(exponent, Number) or abs(exponent.value) > MAX_POWER:
            if self.field.sign(base) == 1:
                return self.atom(node, positive=True)
            return None
        if exponent.value.denominator == 1:
            return self.reduce(base ** int(exponent.value))
        if exponent.value.denominator == 2:
            return self.reduce(self.root(base) ** int(2 * exponent.value))
        root = self.cube_root(base) if exponent.value.denominator == 3 else None
        if root is not None:
            return self.reduce(root ** int(3 * exponent.value))
        if self.strict_sign(base) == 1 and base.den.is_constant():
            gen = self.field.generator(  # of all powers that differ by whole numbers the first
                ("power", exponent.value % 1, base.key),
                lambda i: Generator(i, "power", True, exponent, base),
            )
            assert isinstance(gen.expr, Number)
            return self.field.value(gen) * base ** int(exponent.value - gen.expr.value)
        return self.atom(node, positive=self.field.sign(base) == 1)

    def root(self, value: Rational) -> Rational:
        """A square root; its own square is replaced by the argument wherever it appears."""
        number = value.as_number()
        if number is not None and number >= 0:
            exact = exact_root(number)
            if exact is not None:
                return Rational.number(exact)
            return self._surd(number)
        if not value.den.is_constant():  # sqrt(p/q) = sqrt(p*q)/q for q > 0
            below = Rational(value.den, constant(1))
            if self.field.poly_sign(value.den) != 1:
                raise TooLarge
            return self.root(value * below * below) / below
        scale, squares = _square_part(value, self.field)
        inner = value / (squares * squares * Rational.number(scale))
        if inner.as_number() == 1:
            return squares * self.root(Rational.number(scale))
        fixed = all(self.field.is_constant(m) for m in terms(inner.num))
        gen = self.field.generator(
            ("sqrt", inner.key),
            lambda i: Generator(
                i, "constant" if fixed else "sqrt", True, self._spell_root(inner, fixed), inner
            ),
        )
        return self.field.value(gen) * squares * (self.root(Rational.number(scale)) if scale != 1 else _ONE)

    def cube_root(self, value: Rational) -> Rational | None:
        """A cube root of a polynomial of known sign; its cube is replaced, as a square root's square is."""
        sign = self.strict_sign(value)
        if not sign or not value.den.is_constant() or value.as_number() is not None:
            return None
        inner = value if sign > 0 else -value
        gen = self.field.generator(("cbrt", inner.key), lambda i: Generator(i, "cbrt", True, argument=inner))
        root = self.field.value(gen)
        return root if sign > 0 else -root

    def strict_sign(self, value: Rational) -> int | None:
        """The sign, of 1 + x**2 too where nothing is known of x."""
        free = terms(value.num).get((0,) * len(value.num.degrees()))
        return self.field.sign(value) or (self.field.sign(value, weak=True) if free else None)

    def _surd(self, number: Fraction) -> Rational:
        """The root of a rational that is no square, over an integer: sqrt(p/q) = sqrt(p*q)/q."""
        inner = Rational.number(number.numerator * number.denominator)
        node = Apply("sqrt", Number(number.numerator * number.denominator))
        gen = self.field.generator(node, lambda i: Generator(i, "constant", True, node, inner))
        return self.field.value(gen) * Rational.number(Fraction(1, number.denominator))

    def _spell_root(self, inner: Rational, fixed: bool) -> Expr | None:
        return Apply("sqrt", _spell_constant(inner, self.field)) if fixed else None

    def reduce(self, value: Rational) -> Rational:
        """The value with powers of roots replaced by their arguments."""
        for gen in tuple(self.field.generators):
            order = _ORDERS.get(gen.kind)
            if gen.argument is None or order is None:
                continue
            if value.num.degrees()[gen.index] >= order:
                value = self._reduce_poly(value.num, gen, order) / Rational(value.den, constant(1))
            # A denominator keeps its factors: (1 + s)**2 would be lost in s*s = 1 + x*x.
            if _lowest(value.den, gen.index) >= order:
                value = Rational(value.num, constant(1)) / self._reduce_poly(value.den, gen, order)
        return value

    def _reduce_poly(self, poly: object, gen: Generator, order: int) -> Rational:
        assert gen.argument is not None
        total = Rational.number(0)
        powers: dict[int, dict[tuple[int, ...], Fraction]] = {}
        for monomial, coefficient in terms(poly).items():
            power, rest = divmod(monomial[gen.index], order)
            powers.setdefault(power, {})[with_power(monomial, gen.index, rest)] = coefficient
        for power, part in powers.items():
            total = total + Rational(from_terms(part), constant(1)) * gen.argument**power
        return total

    def exponential(self, value: Rational, decays: bool = False) -> Rational:
        """exp of a quotient: a power of an exponential generator, times what logarithms inside undo.

        An exponent that surely `decays` is one whose sign need not be found, and that is left whole.
        """
        value, factor = self._undo_logarithms(value)
        if value.is_zero:
            return factor
        value = self.measured(value)
        value, factor = (value, factor) if decays else self._split_constant(value, factor)
        number = value.as_number()
        if number is not None:
            node = Apply("exp", Number(number))
            return factor * self.constant(node)
        for gen in self.field.of_kind("exp"):
            assert gen.argument is not None
            ratio = (value / gen.argument).as_number()
            if ratio is not None and (ratio * UNIT).denominator == 1 and abs(ratio) <= MAX_POWER:
                return factor * self._exp_power(gen, int(ratio * UNIT))
        sign = -1 if decays else self.field.surely(value, weak=True)
        if sign is None:
            bounded, rest = self._bounded_part(value)
            if not bounded.is_zero and not rest.is_zero:
                self.field.fired["exponent in bounded and other terms"] = None
                return factor * self.exponential(bounded) * self.exponential(rest)
            self.undetermined.append(value)
        base = -value if sign == 1 else value
        gen = self.field.generator(
            ("exp", base.key),
            lambda i: Generator(i, "exp", True, None, base, argument_decays=sign is not None),
        )
        return factor * self._exp_power(gen, -UNIT if sign == 1 else UNIT)

    def _bounded_part(self, value: Rational) -> tuple[Rational, Rational]:
        """The terms of a sum that stay bounded, such as exp(-u), and the others, whose sign may be known."""
        if not value.den.is_constant():
            return Rational.number(0), value
        bounded = from_terms(
            {
                key: number
                for key, number in terms(value.num).items()
                if all(not p or self.field.generators[i].in_unit_interval for i, p in enumerate(key))
            }
        )
        part = Rational(bounded, constant(1)) / Rational(value.den, constant(1))
        return part, value - part

    def _split_constant(self, value: Rational, factor: Rational) -> tuple[Rational, Rational]:
        """exp(u + c) = exp(c) * exp(u) for a small c: exp(x) and exp(x - 1) are one unknown."""
        if not value.den.is_constant() or value.as_number() is not None:
            return value, factor
        free = terms(value.num).get((0,) * len(value.num.degrees()), Fraction(0))
        if not free or abs(free) > LARGEST_CONSTANT:
            return value, factor
        constant_part = self.constant(Apply("exp", Number(free)))
        return value - Rational.number(free), factor * constant_part

    def _exp_power(self, gen: Generator, power: int) -> Rational:
        raised = Rational(generator(gen.index) ** abs(power), constant(1))
        return raised if power > 0 else raised.inverse()

    def _undo_logarithms(self, value: Rational) -> tuple[Rational, Rational]:
        """exp(k*log(u) + rest) = u**k * exp(rest), for integers k."""
        factor = _ONE
        if not value.den.is_constant():
            return value, factor
        for gen in tuple(self.field.of_kind("log")):
            coefficient = terms(value.num).get(
                tuple(int(i == gen.index) for i in range(len(value.num.degrees())))
            )
            if coefficient and coefficient.denominator == 1 and abs(coefficient) <= MAX_POWER:
                assert gen.argument is not None
                value = value - Rational.number(coefficient) * self.field.value(gen)
                factor = factor * gen.argument ** int(coefficient)
                self.field.fired["power of an exponentiated logarithm"] = None
        return value, factor

    def logarithm(self, value: Rational) -> Rational | None:
        """log of a quotient: exponentials come out as their exponents, the rest becomes log(u) with u > 1."""
        total = Rational.number(0)
        number = value.as_number()
        if number is not None:
            if number == 1:
                return total
            return self.constant_log(number) if number > 0 else None
        for gen in tuple(self.field.of_kind("exp")):
            assert gen.argument is not None
            power = _lowest(value.num, gen.index) - _lowest(value.den, gen.index)
            if power:
                total = total + gen.argument * Rational.number(Fraction(power, UNIT))
                value = value / self._exp_power(gen, power)
        for gen in tuple(self.field.of_kind("erfc")):
            power = _lowest(value.num, gen.index) - _lowest(value.den, gen.index)
            if power:  # erfc(v) = exp(-v*v) * erfcx(v)
                assert gen.partner is not None
                assert gen.expr is not None
                exponent = self.logarithm(gen.partner)
                assert exponent is not None
                scaled = self.atom(call("erfcx", gen.expr), positive=True)
                total = total + exponent * Rational.number(power)
                value = value * (scaled / self.field.value(gen)) ** power
        if value.as_number() == 1:
            return total
        value = self._rationalised(value)
        excess = self.field.surely(value - _ONE)
        if excess is None and self.field.sign(value) is None:
            self.undetermined.append(value)
        flip = -1 if excess == -1 else 1
        inner = value if flip == 1 else value.inverse()
        gen = self.field.generator(
            ("log", inner.key), lambda i: Generator(i, "log", excess is not None, None, inner)
        )
        part = self.field.value(gen)
        return total + (part if flip == 1 else -part)

    def _rationalised(self, value: Rational) -> Rational:
        """p + q*s for a root s as (p*p - q*q*s*s) / (p - q*s), where only that has a known sign."""
        if not value.den.is_constant() or self.field.sign(value) is not None:
            return value
        for gen in self.field.of_kind("sqrt"):
            if value.num.degrees()[gen.index] != 1:
                continue
            items = terms(value.num)
            flipped = from_terms({key: -v if key[gen.index] else v for key, v in items.items()})
            other = Rational(flipped, constant(1)) / Rational(value.den, constant(1))
            norm = self.reduce(value * other)
            if self.field.sign(other) and self.field.sign(norm):
                return norm / other
        return value

    def constant_log(self, number: Fraction) -> Rational:
        if number < 1:
            return -self.constant_log(1 / number)
        return self.constant(Apply("log", Number(number)))

    def error_function(self, node: Apply, value: Rational) -> Rational | None:
        """erf(u) = 1 - erfc(u) for u > 0; odd."""
        if self._is_fixed(value):
            return self._of_constant("erf", value)
        exponent = -self.reduce(value * value)  # in terms of the input, so that it is rounded only once
        value = self.measured(value)
        sign = self.field.surely(value)
        if sign is None:
            self.undetermined.append(value)
            return None
        size = value if sign == 1 else -value
        spelled = call("abs", node.args[0])  # the same for both signs of the input, as the generator is
        gaussian = self.exponential(exponent, decays=True)  # erfc(v) = exp(-v*v) * erfcx(v)
        gen = self.field.generator(
            ("erfc", size.key), lambda i: Generator(i, "erfc", True, spelled, size, partner=gaussian)
        )
        erf = _ONE - self.field.value(gen)
        return erf if sign == 1 else -erf

    def measured(self, value: Rational) -> Rational:
        """A multiple of the quantity that is split on, in terms of its magnitude."""
        if self.field.split is None or self.case.split_sign is None:
            return value
        quantity, size = self.field.split
        ratio = (value / quantity).as_number()
        return value if ratio is None else size * Rational.number(ratio * self.case.split_sign)

    def _is_fixed(self, value: Rational) -> bool:
        return all(self.field.is_constant(m) for poly in (value.num, value.den) for m in terms(poly))

    def _of_constant(self, op: str, value: Rational) -> Rational:
        """An odd function of a constant."""
        sign = self.field.sign(value)
        if not sign:
            return Rational.number(0)
        node = Apply(op, _spell_constant(value if sign > 0 else -value, self.field))
        return self.constant(node) if sign > 0 else -self.constant(node)

    def arctangent(self, value: Rational) -> Rational | None:
        """atan(u) = pi/2 - acot(u) for u > 0; odd."""
        if self._is_fixed(value):
            return self._of_constant("atan", value)
        value = self.measured(value)
        sign = self.field.surely(value)
        if sign is None:
            return None
        size = value if sign == 1 else -value
        gen = self.field.generator(("acot", size.key), lambda i: Generator(i, "acot", True, None, size))
        angle = self.constant(PI) * Rational.number(Fraction(1, 2)) - self.field.value(gen)
        return angle if sign == 1 else -angle

    def arcsine(self, value: Rational, cosine: bool = False) -> Rational | None:
        """asin(u) = 2 * atan(u / (1 + sqrt(1 - u*u))) of what is rounded: next to 1 asin makes more of that.

        acos(u) = 2 * atan(sqrt(1 - u*u) / (1 + u)).
        """
        used = {i for i, power in enumerate(value.num.degrees()) if power > 0}
        exact = all(self.field.generators[i].kind in ("magnitude", "symbol", "constant") for i in used)
        if exact and value.den.is_constant():
            return None
        try:
            side = self.reduce(self.root(self.reduce(_ONE - value * value)))
        except TooLarge:  # a root of what may be negative
            self.needs_sign = True
            return None
        ratio = side / (_ONE + value) if cosine else value / (_ONE + side)
        angle = self.arctangent(self.reduce(ratio))
        self.needs_sign = self.needs_sign or angle is None
        return None if angle is None else angle * Rational.number(2)

    def absolute(self, node: Apply, value: Rational) -> Rational | None:
        value = self.measured(value)
        sign = self.field.surely(value, weak=True)
        if sign is None:
            self.undetermined.append(value)
            return self.atom(node, positive=False)
        return value if sign >= 0 else -value

    def signum(self, value: Rational) -> Rational | None:
        sign = self.field.sign(value)
        if sign is None:
            self.undetermined.append(value)
        return None if sign is None else Rational.number(sign)

    def greater(self, a: Rational, b: Rational) -> bool | None:
        """Whether a > b, if known."""
        sign = self.field.surely(a - b)
        return None if sign is None else sign > 0


_ONE = Rational.number(1)

_ORDERS = {"sqrt": 2, "constant": 2, "cbrt": 3}
"""Which power of a root its argument is."""


def _square_part(value: Rational, field: Field) -> tuple[Fraction, Rational]:
    """The numeric content, and the known-positive factors that come squared."""
    content, factors = value.num.factor()
    scale = Fraction(int(content.p), int(content.q)) if hasattr(content, "p") else Fraction(int(content))
    repeated = [Rational(poly, constant(1)) ** (power // 2) for poly, power in factors if power > 1]
    squares = prod(repeated, start=_ONE)
    if field.poly_sign(squares.num) != 1:  # 1 + t**3 is positive, and so is not its factor 1 - t + t**2
        squares = prod((each for each in repeated if field.poly_sign(each.num) == 1), start=_ONE)
    if scale <= 0:
        scale = Fraction(1)
    if len(value.num) > 1:  # keep 1 + u as it is: its root is close to 1 where u is small
        scale = Fraction(1)
    return scale, squares


def _lowest(poly: object, index: int) -> int:
    return min((monomial[index] for monomial in terms(poly)), default=0)


def _spell_constant(value: Rational, field: Field) -> Expr:
    from dsl.rewrite.emit import constant_expr

    return constant_expr(value, field)


def _arith(op: str) -> Callable[..., Rational | None]:
    def rule(self: Canonical, node: Apply, a: Rational, b: Rational) -> Rational:
        value = {
            "add": Rational.__add__,
            "sub": Rational.__sub__,
            "mul": Rational.__mul__,
            "div": Rational.__truediv__,
        }[op](a, b)
        return self.reduce(value)

    return rule


def _choice(self: Canonical, node: Apply, _: object, then: Rational, otherwise: Rational) -> Rational | None:
    holds = self._conditions[node.args[0]]
    return None if holds is None else then if holds else otherwise


def _extreme(want: bool) -> Callable[..., Rational | None]:
    def rule(self: Canonical, node: Apply, a: Rational, b: Rational) -> Rational | None:
        greater = self.greater(a, b)
        return None if greater is None else a if greater is want else b

    return rule


_RULES: dict[str, Callable[..., Rational | None]] = {
    **{op: _arith(op) for op in ("add", "sub", "mul", "div")},
    "neg": lambda self, node, a: -a,
    "pow": Canonical.integer_power,
    "sqrt": lambda self, node, a: self.reduce(self.root(a)),
    "cbrt": lambda self, node, a: self.cube_root(a),
    "exp": lambda self, node, a: self.reduce(self.exponential(a)),
    "log": lambda self, node, a: self.logarithm(a),
    "erf": lambda self, node, a: self.error_function(node, a),
    "atan": lambda self, node, a: self.arctangent(a),
    "asin": lambda self, node, a: self.arcsine(a),
    "acos": lambda self, node, a: self.arcsine(a, cosine=True),
    "abs": lambda self, node, a: self.absolute(node, a),
    "sign": lambda self, node, a: self.signum(a),
    "max": _extreme(True),
    "min": _extreme(False),
    "where": _choice,
    "pi": lambda self, node: self.constant(node),
    "e": lambda self, node: self.constant(node),
}


def _comparison(test: Callable[[int], bool]) -> Callable[[Canonical, Apply], bool | None]:
    def rule(self: Canonical, node: Apply) -> bool | None:
        a, b = (self._values[arg] for arg in node.args)
        sign = self.field.surely(a - b)
        if sign is None:
            self.undetermined.append(a - b)
        return None if sign is None else test(sign)

    return rule


def _and(self: Canonical, node: Apply) -> bool | None:
    parts = [self._conditions[arg] for arg in node.args]
    return False if False in parts else True if all(parts) else None


def _or(self: Canonical, node: Apply) -> bool | None:
    parts = [self._conditions[arg] for arg in node.args]
    return True if True in parts else None if None in parts else False


def _not(self: Canonical, node: Apply) -> bool | None:
    part = self._conditions[node.args[0]]
    return None if part is None else not part


_CONDITIONS: dict[str, Callable[[Canonical, Apply], bool | None]] = {
    "lt": _comparison(lambda s: s < 0),
    "le": _comparison(lambda s: s <= 0),
    "gt": _comparison(lambda s: s > 0),
    "ge": _comparison(lambda s: s >= 0),
    "eq": _comparison(lambda s: s == 0),
    "ne": _comparison(lambda s: s != 0),
    "and": _and,
    "or": _or,
    "not": _not,
    "true": lambda self, node: True,
    "false": lambda self, node: False,
}
