"""Which powers of an exponential are evaluated, and where exponentials reach zero.

In: a field and the quotients that are to be written. Out: `Units`; `reach`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from math import gcd

from dsl.rewrite.field import UNIT, Field, Generator, Rational, constant_size, terms

LARGEST_EXPONENT = 2048
"""exp(-2048) is zero in every dtype; magnitudes beyond the point where this is reached may be clamped."""


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


def reach(field: Field, gen: Generator, power: int) -> int | None:
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
    limit = 1
    while limit < min(exponents):
        limit *= 2
    return limit
