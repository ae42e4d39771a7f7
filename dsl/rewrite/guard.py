"""The ends of the number line: NaN in, NaN out, and limits at the infinities.

In: a stabilised expression and the function it stands for. Out: the same expression, arranged so that a NaN
input gives a NaN, an infinite one the function's limit, and a large one no overflow on the way.

Arithmetic carries a NaN by itself; a choice does not, because a comparison with NaN is false and picks a
side. Where turning the comparison round picks the side that carries the NaN, that is done for nothing;
otherwise the result is chosen last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Any

from flint import ctx

from dsl.expr import Apply, Expr, Number, Symbol, call, is_op, postorder, rebuild, substitute, symbols
from dsl.ieee import evaluate
from dsl.ops import OPS, where
from dsl.rewrite.probe import BITS, ball, probe
from dsl.rewrite.simplify import simplify
from dsl.rewrite.vanish import annul, vanish

FAR = 2**60
"""Where an algebraic function has come within float64's rounding of its limit."""


def propagate_nan(root: Expr, input: str) -> Expr:
    """The expression, NaN at a NaN input.

    >>> from dsl.expr import Symbol
    >>> x = Symbol("x")
    >>> propagate_nan(where(call("gt", x, 0), x, 0), "x") is where(call("le", x, 0), 0, x)
    True
    """
    x = Symbol(input)
    root = rebuild(root, lambda node: _turned(node, x))
    if _carries(root, x):
        return root
    return where(call("ne", x, x), x, root)


@dataclass(frozen=True)
class Freedom:
    """What parameters may be: some are positive, others have any value; and what they usually are."""

    positive: frozenset[str] = frozenset()
    usual: tuple[tuple[str, Fraction], ...] = ()


def settle_ends(root: Expr, exact: Expr, input: str, freedom: Freedom = Freedom()) -> Expr:
    """The stabilised expression `root`, right far out: at the infinities, and where its parts overflow.

    The function is right for all values that `freedom` leaves to the parameters, which are tried small and
    large and of both signs: how far out a limit is reached depends on them.

    Where infinity minus infinity or infinity over infinity would be computed although the function `exact`
    has a value or a limit, the input is held at a point where the limit is reached to within rounding; if
    there is no such point, the limit itself is chosen at the infinity.
    """
    x = Symbol(input)
    settings = _settings(exact, x)
    if len(symbols(exact)) > 1:
        settings = all_signs(exact, x, freedom)
        ended = vanish(root, input)
        candidates = (root, ended, annul(ended, input))
        root = _least_wrong(candidates, exact, x, [*settings, all_ones(exact, x)])
    settled, halved = _settle(root, exact, x, settings), rebuild(root, _halved_angle)
    if halved is root or not any(_overflows(settled, exact, x, s, v) for s in (1, -1) for v in settings):
        return settled
    return _settle(halved, exact, x, settings)


def _settle(root: Expr, exact: Expr, x: Symbol, settings: list[dict[str, Fraction]]) -> Expr:
    for side in (1, -1):
        limits = [limit_at(exact, x, side, setting) for setting in settings]
        if not _is_right(root, exact, x, side, limits, settings):
            held = _held(root, exact, x, side, limits, settings)
            far = None if held else _asymptote(root, exact, x, side)
            slow = None if held or far else _held_but_logarithms(root, exact, x, side, settings)
            root = held or far or _last_resort(slow or root, exact, x, side, limits, settings)
    return root


NEXT_TO_ZERO = Fraction(1, 2**600)


def settle_zero(root: Expr, exact: Expr, input: str) -> Expr:
    """The expression with the sign of zero that a function through zero has on either side of it.

    x + x**2 gives -0 for -0 as it stands, sqrt(1 + x) - 1 does not: IEEE's 1 - 1 is +0.

    >>> from dsl.expr import Symbol
    >>> x = Symbol("x")
    >>> settle_zero((x + 1) - 1, x, "x") is where(call("eq", x, 0), x, (x + 1) - 1)
    True
    """
    x = Symbol(input)
    for setting in _settings(exact, x):
        at_zero = [_value(root, x, zero, setting) for zero in (0.0, -0.0)]
        beside = [probe(exact, {**setting, input: sign * NEXT_TO_ZERO}) for sign in (1, -1)]
        if any(at_zero) or beside[0] is None or beside[1] is None:
            return root
        if not (beside[0] > 0 and beside[1] < 0) or not abs(float(beside[0])) < 1e-90:
            return root
        if [math.copysign(1.0, value) for value in at_zero] == [1.0, -1.0]:
            return root
    return where(call("eq", x, 0), x, root)


OUT = (16, 24, 48, 96, 200, 600, 2**10, 2**20, 2**60, 2**100)
"""Where the sign of a function that has all but vanished far out is asked for."""


def settle_signs(root: Expr, exact: Expr, input: str) -> Expr:
    """The expression with the sign far out that a function has which goes to zero there from below.

    a - b gives 0 where both have underflowed, and no -0.

    >>> from dsl.expr import Symbol
    >>> from dsl.show import show_expr
    >>> x = Symbol("x")
    >>> f = call("exp", 2 * x) - call("exp", x)
    >>> show_expr(settle_signs(f, f, "x"))
    'where(x < -16, -abs(exp(2 * x) - exp(x)), exp(2 * x) - exp(x))'
    """
    x = Symbol(input)
    if symbols(exact) != (input,):
        return root
    for side in (1, -1):
        value = _value(root, x, side * math.inf, {})
        if value == 0 and math.copysign(1.0, value) > 0:
            far = [exactly(exact, {input: Fraction(side * at)}) for at in OUT]
            if all(each is not None and each < 0 for each in far):
                beyond = call("gt" if side > 0 else "lt", x, side * OUT[0])
                root = where(beyond, -call("abs", root), root)
    return root


PROBES = (
    *(Fraction(10) ** k for k in (1, 2, 3, 5, 8, 12, 16, 19, 20, 25, 30, 38)),
    Fraction(50),
    Fraction(180),
    Fraction(3 * 10**38),
)
"""Magnitudes at which a program may have overflowed, in float32's range."""


def _is_right(
    root: Expr,
    exact: Expr,
    x: Symbol,
    side: int,
    limits: list[float | None],
    settings: list[dict[str, Fraction]],
) -> bool:
    """Whether the program has the limit at an infinity, and about the function's value on the way."""
    for setting, limit in zip(settings, limits, strict=True):
        if not _same(_value(root, x, side * math.inf, setting), limit):
            return False
        for magnitude in PROBES:
            at = float(side * magnitude)
            got = _value(root, x, at, setting)
            exact_value = exactly(exact, {**setting, x.name: Fraction(at)})
            if exact_value is not None and _is_off(got, float(exact_value)):
                return False
    return True


def _overflows(root: Expr, exact: Expr, x: Symbol, side: int, setting: dict[str, Fraction]) -> bool:
    """Whether the program gives no number at the end of float32's range, although the function has one."""
    at = side * PROBES[-1]
    value = exactly(exact, {**setting, x.name: at})
    return value is not None and not math.isfinite(_value(root, x, float(at), setting))


MOST_HALVINGS = 4


def _halved_angle(node: Expr) -> Expr:
    """The sine or cosine of 2 * u as that of u, with the double angle's formulas, where 2 * u overflows."""
    if not is_op(node, "sin", "cos") or not is_op(node.args[0], "mul"):
        return node
    scale, u = node.args[0].args
    if not isinstance(scale, Number) or not 1 < scale.value <= 2**MOST_HALVINGS:
        return node
    halvings = math.ceil(scale.value - 1).bit_length()
    far = call("gt", call("abs", u), 2 ** (127 - halvings))
    angle = where(far, simplify(Number(scale.value / 2**halvings) * u), node.args[0])
    sine, cosine = call("sin", angle), call("cos", angle)
    near = sine if is_op(node, "sin") else cosine
    for _ in range(halvings):
        sine, cosine = 2 * (sine * cosine), 1 - 2 * (sine * sine)
    return where(far, simplify(sine if is_op(node, "sin") else cosine), near)


def _is_off(got: float, value: float) -> bool:
    """Whether a value is no number, or wrong in its first digits where float32 holds the right one."""
    if not math.isfinite(got):
        return abs(value) < 3.4e38
    return 2e-38 < abs(value) < 3.4e38 and not abs(got - value) <= 1e-3 * abs(value)


def _held(
    root: Expr,
    exact: Expr,
    x: Symbol,
    side: int,
    limits: list[float | None],
    settings: list[dict[str, Fraction]],
    negligible: float = 5e-324,
) -> Expr | None:
    """The program of the input held where the function has its limit; a limit of 0 may be `negligible`."""
    for far in (2**4, 2**5, 2**6, 2**7, 2**10, 2**30, FAR, 2**40):
        reached = [exactly(exact, {**setting, x.name: Fraction(side * far)}) for setting in settings]
        if all(
            value is not None
            and limit is not None
            and math.isfinite(limit)
            and _reaches(float(value), limit, negligible)
            for value, limit in zip(reached, limits, strict=True)
        ):
            held = substitute(root, {x: call("min" if side > 0 else "max", x, side * far)})
            if _is_right(held, exact, x, side, limits, settings):
                return held
    return None


def _held_but_logarithms(
    root: Expr, exact: Expr, x: Symbol, side: int, settings: list[dict[str, Fraction]]
) -> Expr | None:
    """The program of the input held everywhere but in logarithms and conditions, where that is the function.

    x / (1 + log(1 + x**2)) has a derivative that falls like a logarithm, of which powers of x cancel.
    """
    if not any(is_op(node, *_LOGARITHMS) for node in postorder(root)):
        return None
    for far in (2**30, 2**40, FAR):
        clamped = call("min" if side > 0 else "max", x, side * far)
        held = _substituted_outside(root, x, clamped)
        beyond = [Fraction(side) * magnitude for magnitude in PROBES if magnitude > far]
        if all(
            _is_near(_value(held, x, float(at), setting), exactly(exact, {**setting, x.name: at}))
            for at in beyond
            for setting in settings
        ):
            return held
    return None


_LOGARITHMS = ("log", "log1p")


def _substituted_outside(root: Expr, x: Symbol, value: Expr) -> Expr:
    """The expression with `value` for the input, but in logarithms and conditions."""
    done: dict[Expr, Expr] = {}
    for node in postorder(root):
        kept = isinstance(node, Apply) and (node.op in _LOGARITHMS or OPS[node.op].result == "b")
        if node is x:
            done[node] = value
        elif isinstance(node, Apply) and node.args and not kept:
            done[node] = Apply(node.op, *(done[arg] for arg in node.args))
        else:
            done[node] = node
    return done[root]


def _is_near(got: float, value: Any | None) -> bool:
    """Whether a value is right to float64's rounding and a little more, or too great for float32."""
    if value is None or not abs(float(value)) < 3.4e38:
        return value is not None
    return abs(got - float(value)) <= 4e-15 * abs(float(value))


NEGLIGIBLE = 2.0**-100
"""Better than no number: what a function that falls to 0 may be held at, if it overflows beyond."""

NEAR, FARTHER = 30, 56
"""Powers of two beyond which c * x**k is exact to float64, if the next term is smaller by x**2, by x."""


def _asymptote(root: Expr, exact: Expr, x: Symbol, side: int) -> Expr | None:
    """Far out, the function's leading power or logarithm of x, where parameters do not enter."""
    before, ctx.prec = ctx.prec, BITS
    try:
        return _leading_power(root, exact, x, side, NEAR) or _leading_logarithm(root, exact, x, side)
    finally:
        ctx.prec = before


def _leading_power(root: Expr, exact: Expr, x: Symbol, side: int, threshold: int) -> Expr | None:
    if symbols(exact) != (x.name,):
        return None

    def f(power: int) -> Any | None:
        return probe(exact, {x.name: Fraction(side) * Fraction(2) ** power})

    far, farther = f(threshold + 3), f(threshold + 4)
    if far is None or farther is None or not (far > 0 or far < 0):
        return None
    growth = abs(float(farther / far))
    if not 2.0**-9 < growth < 2.0**5:
        return None
    slope = math.log2(growth)
    order = Fraction(slope).limit_denominator(MOST_ROOTS)
    if abs(slope - order) > 1e-9 or not -8 <= order <= 4:
        return None
    scale = far / ball(Fraction(2)) ** ball(order * (threshold + 3))
    for power in (threshold, threshold + 1, threshold + 6, threshold + 10):
        value, leading = f(power), scale * ball(Fraction(2)) ** ball(order * power)
        if value is None or not abs(value - leading) <= abs(value) * 2.0**-52:
            return None
    term = _power(x, side, order, scale)
    return where(call("gt" if side > 0 else "lt", x, side * 2**threshold), term, root)


def _power(x: Symbol, side: int, order: Fraction, scale: Any) -> Expr:
    """The number nearest to `scale`, simple if there is a simple one, times abs(x)**order."""
    measured = Fraction(float(scale))
    simple = measured.limit_denominator(1024)
    close = abs(simple - measured) <= abs(measured) * Fraction(1, 2**50)
    factor = simple if close else measured
    if order.denominator == 3:
        power = call("pow", call("cbrt", call("abs", x)), abs(order.numerator))
        return Number(factor) * power if order > 0 else Number(factor) / power
    if order.denominator > 1:
        return Number(factor) * call("pow", call("abs", x), Number(order))
    term: Expr = Number(factor if order % 2 == 0 else side * factor)
    for _ in range(abs(order.numerator)):
        term = term * x if order > 0 else term / x
    return term


MOST_ROOTS = 6
"""Powers of x are looked for whose exponents have no greater denominator."""


def _leading_logarithm(root: Expr, exact: Expr, x: Symbol, side: int) -> Expr | None:
    """slope * log(abs(x)) + offset far out."""
    if symbols(exact) != (x.name,):
        return None
    at: dict[int, Any] = {k: probe(exact, {x.name: Fraction(side) * 2**k}) for k in (30, 31, 33, 34, 36, 40)}
    if None in at.values():
        return None
    log2 = ball(Fraction(2)).log()
    slope = (at[34] - at[33]) / log2
    if not math.isfinite(float(slope)):
        return None
    measured = Fraction(float(slope))
    simple = measured.limit_denominator(64)
    if not simple or not abs(slope - ball(simple)) <= abs(slope) * 2.0**-50:
        return None
    offset = at[33] - ball(simple) * 33 * log2
    for k, value in at.items():
        if not abs(ball(simple) * k * log2 + offset - value) <= abs(value) * 2.0**-52:
            return None
    term = call("log", call("abs", x))
    term = term if simple == 1 else Number(simple) * term
    rest = Fraction(float(offset))
    term = term + Number(rest) if abs(rest) > Fraction(1, 2**60) else term
    return where(call("gt" if side > 0 else "lt", x, side * 2**NEAR), simplify(term), root)


def _last_resort(
    root: Expr,
    exact: Expr,
    x: Symbol,
    side: int,
    limits: list[float | None],
    settings: list[dict[str, Fraction]],
) -> Expr:
    """The limit at the infinity alone, or with exponentials that stay finite, if that mends it; else the
    leading power very far out, or a hold where the function is negligible.
    """
    ended = _ended(root, exact, x, side, limits, settings)
    for candidate in (ended, _ended(rebuild(root, _finite), exact, x, side, limits, settings)):
        if _is_right(candidate, exact, x, side, limits, settings):
            return candidate
    with ctx.workprec(BITS):
        far = _leading_power(root, exact, x, side, FARTHER)
    return far or _held(root, exact, x, side, limits, settings, NEGLIGIBLE) or ended


LARGEST_EXPONENT = 85
"""exp(85) is finite in float32, and its square's reciprocal no number that counts."""


def _finite(node: Expr) -> Expr:
    """An exponential whose exponent has parameters in it, held where it would overflow."""
    if isinstance(node, Apply) and node.op in ("exp", "exp_sum") and len(symbols(node)) > 1:
        inside = call("lt", node.args[0], LARGEST_EXPONENT)
        return where(inside, node, Number(Fraction(math.exp(LARGEST_EXPONENT))))
    return node


def _ended(
    root: Expr,
    exact: Expr,
    x: Symbol,
    side: int,
    limits: list[float | None],
    settings: list[dict[str, Fraction]],
) -> Expr:
    """The limit itself at the infinity, where the program does not have it and nothing better is known."""
    values = [_value(root, x, side * math.inf, setting) for setting in settings]
    if all(_same(value, limit) for value, limit in zip(values, limits, strict=True)):
        return root
    if len(set(limits)) != 1 or limits[0] is None:
        return root
    limit = limits[0]
    if limit == side * math.inf:  # At both infinities the function is its argument: one comparison will do.
        other = call("eq", x, -Apply("inf") if side > 0 else Apply("inf"))
        if is_op(root, "where") and root.args[:2] == (other, x):
            return where(call("eq", call("abs", x), Apply("inf")), x, root.args[2])
        return where(call("eq", x, Apply("inf") if side > 0 else -Apply("inf")), x, root)
    end: Expr = Apply("inf") if math.isinf(limit) else Number(Fraction(abs(limit)))
    infinity: Expr = Apply("inf") if side > 0 else -Apply("inf")
    if limit == 0 and all(_falls_from_below(exact, x, side, setting) for setting in settings):
        end = call("copysign", 0, -x if side > 0 else x)
    return where(call("eq", x, infinity), -end if limit < 0 else end, root)


def _falls_from_below(exact: Expr, x: Symbol, side: int, setting: dict[str, Fraction]) -> bool:
    """Whether a function that goes to zero far out is negative there."""
    value = exactly(exact, {**setting, x.name: Fraction(side * 2**64)})
    return value is not None and value < 0


def _reaches(value: float, limit: float, negligible: float) -> bool:
    return abs(value - limit) <= 2.0**-54 * abs(limit) if limit else abs(value) < negligible


def exactly(exact: Expr, values: Mapping[str, Fraction]) -> Any | None:
    """`probe`, remembered: the same points are asked for again and again. None where it knows no digits."""
    return _remembered(exact, tuple(values.items()))


@lru_cache(maxsize=4096)
def _remembered(exact: Expr, values: tuple[tuple[str, Fraction], ...]) -> Any | None:
    value = probe(exact, dict(values))
    known = value is not None and (value.rel_accuracy_bits() > KNOWN_BITS or float(value.rad()) < NO_NUMBER)
    return value if known else None


KNOWN_BITS = 60
"""So many bits are a value; far out a quotient of exponentials may be known to be finite and no more."""

NO_NUMBER = 1e-90
"""What is uncertain by no more is zero in float32, and compared as such."""


def _settings(exact: Expr, x: Symbol) -> list[dict[str, Fraction]]:
    """Values for the parameters: generic ones, so that nothing holds by accident."""
    names = [name for name in symbols(exact) if name != x.name]
    return [
        {name: Fraction(7 + 2 * i + k, 9 + k) for i, name in enumerate(names)}
        for k in range(2 if names else 1)
    ]


SIGNS: tuple[Callable[[int], int], ...] = (
    lambda i: 1,
    lambda i: -1,
    lambda i: 1 - 2 * (i % 2),
    lambda i: 2 * (i % 2) - 1,
)
SIZES = (Fraction(1), Fraction(1, 2000), Fraction(500))


def all_signs(exact: Expr, x: Symbol, freedom: Freedom) -> list[dict[str, Fraction]]:
    """Values of parameters: the usual ones, and generic ones in every sign and of several sizes."""
    names = [name for name in symbols(exact) if name != x.name]
    generic = {name: Fraction(7 + 2 * i, 9) for i, name in enumerate(names)}
    found = [{**generic, **{name: value for name, value in freedom.usual if name in generic}}]
    for size, sign in [*((SIZES[0], sign) for sign in SIGNS), *((size, SIGNS[0]) for size in SIZES[1:])]:
        setting = {
            name: size * generic[name] * (1 if name in freedom.positive else sign(i))
            for i, name in enumerate(names)
        }
        if setting not in found:
            found.append(setting)
    return found


def all_ones(exact: Expr, x: Symbol) -> dict[str, Fraction]:
    """One for each parameter, where differences such as 1 - a and a - b vanish."""
    return {name: Fraction(1) for name in symbols(exact) if name != x.name}


def _least_wrong(roots: Sequence[Expr], exact: Expr, x: Symbol, settings: list[dict[str, Fraction]]) -> Expr:
    """The first of the expressions that is right at most ends."""

    def wrong(root: Expr) -> int:
        ends = [
            (side, setting, [limit_at(exact, x, side, setting)]) for side in (1, -1) for setting in settings
        ]
        return sum(not _is_right(root, exact, x, side, limit, [setting]) for side, setting, limit in ends)

    return min(roots, key=wrong)


def limit_at(exact: Expr, x: Symbol, side: int, setting: dict[str, Fraction]) -> float | None:
    """The limit at an infinity, as far as exact values at growing points show it; None where they do not."""
    for far_out in (
        (2**60, 2**61, 2**400, 2**401),
        (2**60, 2**61, 2**120, 2**121),
        (128, 181, 256, 512),
        (16, 23, 32, 64),
    ):
        points = [exactly(exact, {**setting, x.name: Fraction(side * k)}) for k in far_out]
        if all(point is not None for point in points):
            break
    else:
        return None
    near, _, far, next_far = (float(point) for point in points if point is not None)
    if math.isinf(far) and far == next_far:  # it has passed all numbers, as an exponential does
        return far
    if abs(far - next_far) <= 1e-15 * abs(far) or max(abs(far), abs(next_far)) < 1e-30:
        return 0.0 if abs(far) < 1e-30 else far
    if abs(far) > 1e5 and near and abs(far) > 1e5 * abs(near):  # it grows, and goes on as fast
        first = math.log(abs(far / near)) / math.log(far_out[2] / far_out[0])
        last = math.log(abs(next_far / far)) / math.log(far_out[3] / far_out[2]) if next_far else 0.0
        return math.copysign(math.inf, far) if last > 0.9 * first and (far > 0) == (next_far > 0) else None
    first = (far - near) / math.log2(far_out[2] / far_out[0])
    last = (next_far - far) / math.log2(far_out[3] / far_out[2])
    if abs(first - last) <= 1e-9 * abs(last):  # it grows like a logarithm
        return math.copysign(math.inf, last)
    return _limit_of_a_power(exact, x, side, setting)


def _limit_of_a_power(exact: Expr, x: Symbol, side: int, setting: dict[str, Fraction]) -> float | None:
    """The limit of what grows or falls like a power of a logarithm: then its slopes by log(log(x)) agree."""
    points = [exactly(exact, {**setting, x.name: Fraction(side * 2**k)}) for k in (2**10, 2**12, 2**14)]
    values = [0.0 if point is None else float(point) for point in points]
    if 0.0 in values or len({value > 0 for value in values}) > 1 or not all(map(math.isfinite, values)):
        return None
    first, last = (math.log(after / before, 4) for before, after in pairwise(values))
    if abs(last) < 0.05 or abs(first - last) > 0.05 * abs(last):
        return None
    return 0.0 if last < 0 else math.copysign(math.inf, values[0])


def _value(root: Expr, x: Symbol, at: float, setting: dict[str, Fraction]) -> float:
    return float(evaluate(root, {**{name: float(v) for name, v in setting.items()}, x.name: at}, narrow=True))


def _same(value: float, limit: float | None) -> bool:
    if limit is None:
        return True
    if math.isinf(limit) or math.isinf(value):
        return value == limit
    return abs(value - limit) <= 1e-6 * max(1.0, abs(limit))


def _turned(node: Expr, x: Symbol) -> Expr:
    if not is_op(node, "where"):
        return node
    condition, then, otherwise = node.args
    opposite = _OPPOSITES.get(condition.op) if isinstance(condition, Apply) else None
    if opposite is None or x not in condition.args or _carries(otherwise, x) or not _carries(then, x):
        return node
    return where(Apply(opposite, *condition.args), otherwise, then)


def _carries(root: Expr, x: Symbol) -> bool:
    """Whether the value is NaN whenever the input is, by the rules of IEEE arithmetic."""
    known: dict[Expr, bool] = {}
    for node in postorder(root):
        if node is x:
            known[node] = True
        elif is_op(node, "where"):
            condition, then, otherwise = node.args
            known[node] = (
                known[otherwise] if _false_at_nan(condition, known) else known[then] and known[otherwise]
            )
        elif is_op(node, "copysign") or is_op(node, "pow"):
            known[node] = known[node.args[0]]
        else:
            known[node] = any(known[arg] for arg in node.args)
    return known[root]


def _false_at_nan(condition: Expr, known: dict[Expr, bool]) -> bool:
    return is_op(condition, "lt", "le", "gt", "ge", "eq") and any(known[arg] for arg in condition.args)


_OPPOSITES = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt", "eq": "ne"}
