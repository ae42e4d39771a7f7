"""Functions in which a parameter multiplies or divides the input: as functions of that quantity.

In: an expression of an input and parameters. Out: other ways to write it, from treatments of expressions of
one input. x * sigmoid(a * x), whatever a is, is x times a function of the single quantity w = a * x, about
which all is known that is known about a function without parameters: limits, roots, where it cancels.
tanh(x) * sigmoid(a * x) is a product of one function of x and one of w.

The first is a matter of homogeneity. With x = w / a every part of the expression is tried as

    abs(a)**degree * sign(a)**odd * function(w)

which sums keep if their terms have the same degree, products always, and functions such as exp of degree 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from dsl.expr import (
    ONE,
    ZERO,
    Apply,
    Expr,
    Number,
    Symbol,
    call,
    is_op,
    postorder,
    substitute,
    symbols,
)
from dsl.ops import where
from dsl.rewrite.probe import probe
from dsl.rewrite.separate import separate
from dsl.rewrite.simplify import simplify

_MOST_DEGREE = 3
"""Larger powers of a parameter as a factor are left as they were written."""

MOST_SIGNS = 2
"""Of so many parameters in exponents signs are told apart at once: four forms, the last way that is tried."""

_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")


Treatment = Callable[[Expr, str, frozenset[str]], Expr]
"""What makes a function of an input stable, given the parameters that are positive."""


@dataclass(frozen=True)
class Quantity:
    """A parameter times an input, or an input by a parameter."""

    input: Symbol
    parameter: Symbol
    divides: bool

    @property
    def value(self) -> Expr:
        """The quantity, written out."""
        return self.input / self.parameter if self.divides else self.parameter * self.input


@dataclass(frozen=True)
class Scaled:
    """abs(parameter)**degree * sign(parameter)**odd * function, the last a function of a quantity."""

    degree: int
    odd: bool
    function: Expr


def ways(exact: Expr, input: str, positive: frozenset[str], treat: Treatment) -> Iterator[Expr]:
    """Other ways to write `exact`, stable as far as `treat` makes its functions of one input so."""
    x, name = Symbol(input), free_name(exact)

    def stable(root: Expr, each: str) -> Expr:
        return treat(root, each, positive)

    for quantity in quantities(exact, x):
        scaled = scale(exact, quantity, name, quantity.parameter.name in positive)
        if scaled is not None:
            yield from _spelled(scaled, quantity, name, stable)
    for quantity in quantities(exact, x):
        shown = named(exact, quantity, Symbol(name))
        if shown is not None:
            apart = separate(shown, (input, name), stable)
            yield simplify(substitute(apart, {Symbol(name): quantity.value}))
    free = [name for name in symbols(exact) if name not in (input, *positive)]
    for parameter in free:
        yield _by_sign(exact, input, (parameter,), positive, treat)
    grown = {name for node in postorder(exact) if is_op(node, "exp") for name in symbols(node)}
    if len(free) == MOST_SIGNS and grown.issuperset(free):
        yield _by_sign(exact, input, tuple(free), positive, treat)


def _by_sign(
    exact: Expr, input: str, parameters: tuple[str, ...], positive: frozenset[str], treat: Treatment
) -> Expr:
    """The expression once for parameters that are positive, and once for each that is not."""
    if not parameters:
        return treat(exact, input, positive)
    (first, *rest), known = parameters, positive | {parameters[0]}
    a = Symbol(first)
    turned = _by_sign(simplify(substitute(exact, {a: -a})), input, tuple(rest), known, treat)
    plain = _by_sign(exact, input, tuple(rest), known, treat)
    return where(call("ge", a, 0), plain, substitute(turned, {a: -a}))


def quantities(exact: Expr, x: Symbol) -> Iterator[Quantity]:
    """The products and quotients of a parameter and the input that an expression may be a function of."""
    for name in symbols(exact):
        if name != x.name:
            yield from (Quantity(x, Symbol(name), divides) for divides in (False, True))


def free_name(root: Expr) -> str:
    """A name for a quantity, which an expression does not have."""
    name = "w"
    while name in symbols(root):
        name += "_"
    return name


def named(exact: Expr, quantity: Quantity, w: Symbol) -> Expr | None:
    """The expression with the quantity as a name, wherever it stands; None if not both are left.

    >>> x, a, w = Symbol("x"), Symbol("a"), Symbol("w")
    >>> named(x * call("exp", a * x), Quantity(x, a, False), w) is x * call("exp", w)
    True
    """
    x, a = quantity.input, quantity.parameter
    products = (x / a,) if quantity.divides else (a * x, x * a)
    shown = simplify(substitute(exact, dict.fromkeys(products, w)))
    return shown if w.name in symbols(shown) and x.name in symbols(shown) else None


# -- one quantity ----------------------------------------------------------------------------------------


def scale(exact: Expr, quantity: Quantity, name: str, positive: bool = False) -> Scaled | None:
    """The expression as a power of the parameter and a function of the quantity, which is called `name`.

    None where it is no such product.

    >>> x, a = Symbol("x"), Symbol("a")
    >>> scale(x * call("exp", a * x), Quantity(x, a, False), "w").degree
    -1
    """
    known: dict[Expr, _Part | None] = {}
    for node in postorder(exact):
        known[node] = _leaf(node, quantity, Symbol(name), positive) or _of_parts(node, known)
    part = known[exact]
    if part is None or part.degree.denominator != 1 or abs(part.degree) > _MOST_DEGREE:
        return None
    function = simplify(part.value)
    if quantity.parameter.name in symbols(function) or name not in symbols(function):
        return None
    return Scaled(int(part.degree), part.odd and not positive, function)


@dataclass(frozen=True)
class _Part:
    degree: Fraction
    odd: bool
    value: Expr


def _leaf(node: Expr, quantity: Quantity, w: Symbol, positive: bool) -> _Part | None:
    if node is quantity.parameter:
        return _Part(Fraction(1), not positive, ONE)
    if node is quantity.input:
        return _Part(Fraction(1 if quantity.divides else -1), not positive, w)
    if not node.args:
        return _Part(Fraction(0), False, node)
    return None


def _of_parts(node: Expr, known: dict[Expr, _Part | None]) -> _Part | None:
    assert isinstance(node, Apply)
    parts = [known[arg] for arg in node.args]
    given = [part for part in parts if part is not None]
    if len(given) < len(parts):
        return None
    values = [part.value for part in given]
    first = given[0] if given else _Part(Fraction(0), False, ZERO)
    match node.op:
        case "mul":
            return _Part(first.degree + given[1].degree, first.odd != given[1].odd, values[0] * values[1])
        case "div":
            return _Part(first.degree - given[1].degree, first.odd != given[1].odd, values[0] / values[1])
        case "neg":
            return _Part(first.degree, first.odd, -values[0])
        case "abs":
            return _Part(first.degree, False, call("abs", *values))
        case "sign":
            return _Part(Fraction(0), first.odd, call("sign", *values))
        case "sqrt" if not first.odd:
            return _Part(first.degree / 2, False, call("sqrt", *values))
        case "pow" if _is_whole(node.args[1]):
            power = node.args[1].value  # type: ignore[attr-defined]
            return _Part(first.degree * power, first.odd and power % 2 == 1, values[0] ** values[1])
        case "where":
            condition, *sides = given
            return _alike(sides, partial(where, condition.value)) if _is_pure(condition) else None
        case "add" | "sub":
            return _alike(given, lambda *args: Apply(node.op, *args))
        case "max" | "min":
            part = _alike(given, lambda *args: Apply(node.op, *args))
            return part if part is not None and not part.odd else None
    if node.op in _COMPARISONS:
        part = _alike(given, lambda *args: Apply(node.op, *args))
        if part is None or (part.odd and node.op not in ("eq", "ne")):
            return None
        return _Part(Fraction(0), False, part.value)
    return _Part(Fraction(0), False, Apply(node.op, *values)) if all(map(_is_pure, given)) else None


def _alike(parts: list[_Part], make: Callable[..., Expr]) -> _Part | None:
    """Operands of the same degree, which zero is of all."""
    kind, *others = {(part.degree, part.odd) for part in parts if part.value is not ZERO} or {
        (Fraction(0), False)
    }
    return None if others else _Part(*kind, make(*(part.value for part in parts)))


def _is_pure(part: _Part) -> bool:
    return not part.degree and not part.odd


def _is_whole(node: Expr) -> bool:
    return isinstance(node, Number) and node.value.denominator == 1


def _spelled(
    scaled: Scaled, quantity: Quantity, name: str, treat: Callable[[Expr, str], Expr]
) -> Iterator[Expr]:
    """The product in terms of the input again: first as a multiple of a power of the input, if it can be."""
    w, x, a = Symbol(name), quantity.input, quantity.parameter
    parity = scaled.odd == (scaled.degree % 2 == 1)
    power = -scaled.degree if not quantity.divides else scaled.degree
    outside = _multiplied(treat(scaled.function, name), scaled.degree, scaled.odd, a, parity)
    given: dict[Expr, Expr] = {w: quantity.value}
    if power > 0 and (parity or not scaled.odd):
        inside = _divided(scaled, w, power, parity)
        if _is_finite_at_zero(inside, name):
            function = treat(inside, name)
            near = _times_power(x if parity else call("abs", x), power, function)
            yield simplify(substitute(near, given))
            if outside is not None:
                ended = where(call("eq", call("abs", w), Apply("inf")), outside, near)
                yield simplify(substitute(ended, given))
    if outside is not None:
        yield simplify(substitute(outside, given))


def _multiplied(function: Expr, degree: int, odd: bool, a: Symbol, parity: bool) -> Expr | None:
    """abs(a)**degree * sign(a)**odd * function."""
    if not degree:
        return call("copysign", 1, a) * function if odd else function
    base: Expr = a if parity else call("abs", a)
    if odd and not parity:
        function = call("copysign", 1, a) * function
    for _ in range(abs(degree)):
        function = base * function if degree > 0 else function / base
    return function


def _divided(scaled: Scaled, w: Symbol, power: int, parity: bool) -> Expr:
    base: Expr = w if parity else call("abs", w)
    return simplify(scaled.function / (base if power == 1 else base ** Number(Fraction(power))))


def _times_power(base: Expr, power: int, function: Expr) -> Expr:
    for _ in range(power):
        function = base * function
    return function


_NEAR_ZERO = (Fraction(1, 2**40), Fraction(1, 2**80), -Fraction(1, 2**40), -Fraction(1, 2**80))


def _is_finite_at_zero(function: Expr, name: str) -> bool:
    """Whether a function of a quantity stays bounded as that becomes small, with generic parameters."""
    generic = {each: Fraction(7 + 2 * i, 9) for i, each in enumerate(symbols(function)) if each != name}
    values = [probe(function, {**generic, name: at}) for at in _NEAR_ZERO]
    return all(value is not None and abs(float(value)) < 2.0**20 for value in values)
