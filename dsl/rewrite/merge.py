"""Two cases into one expression.

In: a function for positive and for negative input, as quotients in |x|. Out: one expression in x that shares
whatever the cases have in common, so that each exponential and each division is computed once.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from dsl.expr import ONE, ZERO, Expr, Number, Symbol, call
from dsl.ops import where
from dsl.rewrite.emit import Speller
from dsl.rewrite.field import Rational, terms
from dsl.rewrite.product import Product, divided, may_be_large, multiply, raised, scaled, scaled_by, times


def merge(speller: Speller, condition: Expr, x: Symbol, plus: Rational, minus: Rational) -> Expr:
    """`plus` where the condition holds (x on the positive side), else `minus`.

    The condition only says on which side zero belongs.
    """
    if plus == minus:
        return speller.compose(speller.product(plus))
    if plus == -minus:
        return _odd(speller, condition, x, plus)
    return _hinge(speller, x, plus, minus) or _products(
        speller, condition, x, speller.product(plus), speller.product(minus)
    )


def _odd(speller: Speller, condition: Expr, x: Symbol, plus: Rational) -> Expr:
    parts = speller.product(plus)
    if any(node in _magnitudes(speller) and power % 2 for node, power in parts.above):
        return _products(speller, condition, x, parts, replace(parts, coefficient=-parts.coefficient))
    value = speller.compose(parts)
    if parts.positive and parts.coefficient > 0:
        return call("copysign", value, x)
    if parts.positive:
        return -call("copysign", speller.compose(replace(parts, coefficient=-parts.coefficient)), x)
    return where(condition, value, -value)


def _hinge(speller: Speller, x: Symbol, plus: Rational, minus: Rational) -> Expr | None:
    """Cases that differ by a multiple of |x|: one of them plus a hinge, max(x, 0) or min(x, 0)."""
    difference = plus - minus
    if not difference.den.is_constant() or len(difference.num) != 1:
        return None
    ((monomial, _),) = terms(difference.num).items()
    used = [(speller.field.generators[i], p) for i, p in enumerate(monomial) if p]
    if [(g.kind, p) for g, p in used if g.kind not in ("constant", "symbol")] != [("magnitude", 1)]:
        return None
    sign = speller.field.sign(difference)
    magnitude = next(speller.field.of_kind("magnitude"))
    slope = speller.quotient(difference / speller.field.value(magnitude))
    for base, hinge, agrees in ((minus, "max", sign), (plus, "min", None if sign is None else -sign)):
        if agrees is not None and speller.field.sign(base) == agrees:
            if hinge == "min":  # -(b + max(-x, 0)) is -0 where b underflows, -b + min(x, 0) is +0
                return -(speller.compose(speller.product(-base)) + times(slope, call("max", -x, ZERO)))
            return speller.compose(speller.product(base)) + times(slope, call(hinge, x, ZERO))
    return None


def _magnitudes(speller: Speller) -> tuple[Expr, ...]:
    return (speller.magnitude, speller.clamped())


def _signed_leaf(speller: Speller, x: Symbol, plus: Expr, minus: Expr, flipped: bool) -> Expr | None:
    """What is |x| (or |x| held at a limit) in both cases, times the sign of x if `flipped`."""
    free, held = speller.magnitude, speller.clamped()
    limit = speller.limit()
    if plus is minus:
        if not flipped:
            return plus
        if plus is free or limit is None:
            return x
        return call("max", call("min", x, limit), -limit)
    if not flipped or limit is None:
        return None
    return call("max", x, -limit) if minus is held else call("min", x, limit)


def _products(speller: Speller, condition: Expr, x: Symbol, plus: Product, minus: Product) -> Expr:
    plus, minus = _inline_small_tails(plus), _inline_small_tails(minus)
    above_plus, above_minus = dict(plus.above), dict(minus.above)
    shared: list[Expr] = []
    scale_plus, scale_minus = plus.coefficient, minus.coefficient

    leaf_plus = next((n for n in _magnitudes(speller) if n in above_plus), None)
    leaf_minus = next((n for n in _magnitudes(speller) if n in above_minus), None)
    if leaf_plus is not None and leaf_minus is not None:
        flipped = (scale_plus > 0) != (scale_minus > 0)
        leaf = _signed_leaf(speller, x, leaf_plus, leaf_minus, flipped)
        if leaf is not None:
            shared.append(leaf)
            _take(above_plus, leaf_plus, 1)
            _take(above_minus, leaf_minus, 1)
            if flipped:
                scale_minus = -scale_minus
    shared += _take_common(above_plus, above_minus)

    scale, constants = Fraction(1), plus.constants
    if plus.constants != minus.constants:
        constants = ()
        above_plus, above_minus = _with_constants(above_plus, plus), _with_constants(above_minus, minus)
    large = any(may_be_large(node) for node in (*above_plus, *above_minus))
    if abs(scale_plus) == abs(scale_minus) and (shared or abs(scale_plus) >= 1 or not large):
        # A factor below one is multiplied into large sums before these are rounded to infinity.
        scale = scale_plus if scale_plus == scale_minus else abs(scale_plus)
        scale_plus, scale_minus = scale_plus / scale, scale_minus / scale
    below_plus, below_minus = dict(plus.below), dict(minus.below)
    common_below = _take_common(below_plus, below_minus)
    safe = plus.safe_below and minus.safe_below
    if safe:
        below_rest = _choose(condition, _spelled(Fraction(1), below_plus), _spelled(Fraction(1), below_minus))
        common_below += [below_rest] if below_rest is not ONE else []
        rest = _choose(condition, _spelled(scale_plus, above_plus), _spelled(scale_minus, above_minus))
    else:
        sides = ((scale_plus, above_plus, below_plus), (scale_minus, above_minus, below_minus))
        rest = _choose(
            condition, *(divided(s, (), _listed(up), _listed(down), False) for s, up, down in sides)
        )
    above = [*shared, rest] if rest is not ONE else shared
    result = divided(scale, constants, above, common_below, safe)
    return _merge_tails(speller, condition, result, dict(plus.tails), dict(minus.tails))


def _inline_small_tails(parts: Product) -> Product:
    """Decaying exponentials as ordinary factors, where the rest is at most one."""
    if not parts.small:
        return parts
    return replace(
        parts,
        above=parts.above + tuple((Symbol(f"%factor{i}"), p) for i, p in parts.tails if p > 0),
        tails=tuple((i, p) for i, p in parts.tails if p < 0),
    )


def _with_constants(factors: dict[Expr, int], parts: Product) -> dict[Expr, int]:
    constant = scaled_by(Fraction(1), parts.constants, ())
    return factors if constant is ONE else {constant: 1, **factors}


def _merge_tails(
    speller: Speller, condition: Expr, result: Expr, plus: dict[int, int], minus: dict[int, int]
) -> Expr:
    for index in sorted({*plus, *minus}):
        p, q = plus.get(index, 0), minus.get(index, 0)
        if p == q:
            result = speller.apply_tails(result, ((index, p),))
            continue
        half = where(
            condition,
            speller.half(index, p) if p else ONE,
            speller.half(index, q) if q else ONE,
        )
        result = (half if result is ONE else result * half) * half
    return result


def _choose(condition: Expr, plus: Expr, minus: Expr) -> Expr:
    return plus if plus is minus else where(condition, plus, minus)


def _spelled(scale: Fraction, factors: dict[Expr, int]) -> Expr:
    product = multiply(raised(node, n) for node, n in factors.items())
    return Number(scale) if product is ONE else scaled(scale, product)


def _take_common(plus: dict[Expr, int], minus: dict[Expr, int]) -> list[Expr]:
    """The factors that both have, taken out of both."""
    common = []
    for node in tuple(plus):
        power = min(plus[node], minus.get(node, 0))
        if power:
            common.append(raised(node, power))
            _take(plus, node, power)
            _take(minus, node, power)
    return common


def _listed(factors: dict[Expr, int]) -> list[Expr]:
    return [node for node, power in factors.items() for _ in range(power)]


def _take(factors: dict[Expr, int], node: Expr, power: int) -> None:
    factors[node] -= power
    if not factors[node]:
        del factors[node]
