"""Exact values of a field's generators at sample points, to see how much of a sum cancels.

In: a field and the units of its exponentials. Out: one dictionary a point, index to value, and under
-1 - index the value of the generator's complement.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import TYPE_CHECKING, Any

from flint import arb, ctx

from dsl.expr import Symbol, postorder
from dsl.rewrite.field import UNIT, Field, Generator, Rational, terms
from dsl.rewrite.probe import BITS, ball, probe

if TYPE_CHECKING:
    from dsl.rewrite.units import Units

MAGNITUDES = tuple(Fraction(3, 2) * Fraction(4) ** k for k in (*range(-16, 4), 8, 14))
"""From 3e-10 to 100, where functions move, and far out."""


def sample_generators(field: Field, units: Units, scaled: frozenset[int]) -> list[dict[int, float]]:
    """Values of all generators at each sample magnitude; parameters get generic values.

    `scaled` are the erfc generators that stand for erfcx.
    """
    names = sorted(
        {
            node.name
            for gen in field.generators
            if gen.expr is not None
            for node in postorder(gen.expr)
            if isinstance(node, Symbol)
        }
    )
    signs = (1,) if any(field.of_kind("magnitude")) else (1, -1)
    before, ctx.prec = ctx.prec, BITS
    try:
        rows = []
        for magnitude, sign in product(MAGNITUDES, signs):
            values = {name: Fraction(7 + 2 * i, 9) for i, name in enumerate(names)}
            values[field.input] = sign * magnitude
            row = _row(field, units, values, scaled)
            if row is not None:
                rows.append(row)
        return rows
    finally:
        ctx.prec = before


def _row(
    field: Field, units: Units, values: dict[str, Fraction], scaled: frozenset[int]
) -> dict[int, float] | None:
    whole: dict[int, Any] = {}
    row: dict[int, float] = {}
    for gen in field.generators:
        argument = None if gen.argument is None else _evaluate(gen.argument, whole)
        if gen.argument is None:
            assert gen.expr is not None
            whole[gen.index] = probe(gen.expr, values)
        else:
            whole[gen.index] = None if argument is None else _KINDS[gen.kind](gen, argument)
        if whole[gen.index] is None:
            return None
        value = whole[gen.index]
        if gen.kind == "exp":
            value = value ** units.powers.get(gen.index, UNIT)
        if gen.index in scaled and argument is not None:
            value = value * (argument * argument).exp()
        row[gen.index] = float(value)
        if field.has_complement(gen):
            offset = field.root_offset(gen) if gen.kind == "sqrt" else None
            one = arb.pi() / 2 if gen.kind == "acot" else arb(1)
            row[-1 - gen.index] = float(one - value if offset is None else value - ball(offset))
    return row


def _evaluate(value: Rational, known: dict[int, Any]) -> Any | None:
    parts = []
    for poly in (value.num, value.den):
        total = arb(0)
        for key, coefficient in terms(poly).items():
            term = ball(coefficient)
            for i, p in enumerate(key):
                if p:
                    if known.get(i) is None:
                        return None
                    term *= known[i] ** p
            total += term
        parts.append(total)
    result = parts[0] / parts[1]
    return result if result.is_finite() else None


_KINDS: dict[str, Callable[[Generator, Any], Any]] = {
    "exp": lambda gen, u: (u / UNIT).exp(),
    "erfc": lambda gen, u: u.erfc(),
    "acot": lambda gen, u: (1 / u).atan(),
    "sqrt": lambda gen, u: u.sqrt(),
    "cbrt": lambda gen, u: u.root(3),
    "power": lambda gen, u: u ** ball(gen.expr.value),  # type: ignore[union-attr]
    "constant": lambda gen, u: u.sqrt(),
    "log": lambda gen, u: u.log(),
}
