"""How to write one sum so that it does not cancel.

In: a polynomial of several terms over a field. Out: a `Form`: an equal polynomial, possibly in other
generators, with the reason why nothing cancels in it, or the best that was found.

Tried in order: as it stands; in complements (1 - exp(-u) = -expm1(-u), 1 - erfc(u) = erf(u),
sqrt(1 + u) - 1 = u / (sqrt(1 + u) + 1)); in an exponential and its complement at once (Bernstein's basis,
in which a polynomial that is positive on [0, 1] has positive coefficients); over its conjugate. If no form is
safe by its signs, the one whose terms exceed the sum the least at sample points, evaluated exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import log2, prod

from dsl.rewrite.field import (
    CAPACITY,
    Field,
    Generator,
    Poly,
    constant,
    constant_size,
    from_terms,
    generator,
    terms,
    with_power,
)

SPARE = CAPACITY - 1
"""The ring's last generator, kept free: it stands for a complement beside its own exponential."""

SAFE_CONDITION = 3
"""A sum whose terms are at most this much larger than itself is left as it stands."""


@dataclass(frozen=True)
class Form:
    """A way to write a sum: sign * poly, divided by `below` where that is given.

    `switched` generators stand for their complements; `spare` is the exponential whose complement the ring's
    spare generator is. `safe` says that nothing cancels, `positive` that poly is positive.
    """

    poly: Poly
    sign: int = 1
    switched: frozenset[int] = frozenset()
    spare: int | None = None
    below: Poly | None = None
    safe: bool = True
    positive: bool = True
    rules: tuple[str, ...] = ()


def best_form(field: Field, poly: Poly, sampler: Callable[[], list[dict[int, float]]]) -> Form:
    """The first safe form of a sum, or the best conditioned one at sample points.

    `sampler` gives exact values of the generators there; it is asked only if the signs do not decide.
    """
    plain = _as_it_stands(field, poly)
    if plain.safe:
        return plain
    for switched, sign in field.one_signed_forms(poly):
        rules = tuple(dict.fromkeys(_WHY[field.generators[i].kind] for i in switched))
        return Form(field.switch(poly, switched) * constant(sign), sign, switched, rules=rules)
    samples = sampler()
    candidates = [plain, *_complements(field, poly)]
    for form in candidates:
        if samples and max(_condition(form, sample) for sample in samples) <= SAFE_CONDITION:
            return replace(form, safe=True, positive=_is_positive(form, samples))
    for form in _forms(field, poly):
        if form.safe:
            return form
        candidates.append(form)
    return min(candidates, key=lambda form: _harm(form, samples))


def _complements(field: Field, poly: Poly) -> Iterator[Form]:
    """The sum in the complement of one generator at a time, safe or not."""
    for gen in field.generators:
        if poly.degrees()[gen.index] > 0 and field.has_complement(gen):
            switched = frozenset((gen.index,))
            yield Form(field.switch(poly, switched), 1, switched, safe=False, rules=(_WHY[gen.kind],))


def _forms(field: Field, poly: Poly) -> Iterator[Form]:
    yield from _single_complement(field, poly)
    for gen in field.of_kind("exp"):
        if gen.argument_decays and poly.degrees()[gen.index] > 0:
            yield _bernstein(field, poly, gen)
    for gen in field.of_kind("sqrt"):
        if poly.degrees()[gen.index] == 1:
            yield from _conjugate(field, poly, gen)


def _as_it_stands(field: Field, poly: Poly) -> Form:
    sign = field.poly_sign(poly)
    if sign:
        return Form(poly * constant(sign), sign)
    for flipped in (1, -1):
        if _dominated(field, poly * constant(flipped)):
            return Form(poly * constant(flipped), flipped)
    lead = 1 if 2 * sum(value > 0 for value in terms(poly).values()) >= len(poly) else -1
    return Form(poly * constant(lead), lead, safe=False)


def _dominated(field: Field, poly: Poly) -> bool:
    """Whether the constant term outweighs everything negative, and all else is positive."""
    fixed = negative = Fraction(0)
    for key, value in terms(poly).items():
        powers = [(field.generators[i], p) for i, p in enumerate(key) if p]
        if all(gen.kind == "constant" for gen, _ in powers):
            fixed += value * constant_size(field, key)
        elif value < 0:
            if not all(gen.kind == "constant" or gen.in_unit_interval for gen, _ in powers):
                return False
            negative -= value * constant_size(field, key)
        elif not all(gen.positive for gen, _ in powers):
            return False
    return fixed > 0 and fixed + negative <= SAFE_CONDITION * (fixed - negative)


def _single_complement(field: Field, poly: Poly) -> Iterator[Form]:
    """exp(u) - 1 = expm1(u) for u of any sign, where that leaves one term."""
    for gen in field.of_kind("exp"):
        if gen.argument_decays or poly.degrees()[gen.index] < 1:
            continue
        replacement = [generator(i) for i in range(CAPACITY)]
        replacement[gen.index] = constant(1) + replacement[gen.index]
        switched = poly.compose(*replacement)
        if len(switched) == 1:
            sign = 1 if next(iter(terms(switched).values())) > 0 else -1
            yield Form(switched * constant(sign), sign, frozenset((gen.index,)), rules=(_WHY["exp"],))


def _bernstein(field: Field, poly: Poly, gen: Generator) -> Form:
    """In t and m = 1 - t at once: every term is raised to the full degree by factors t + m = 1."""
    degree = int(poly.degrees()[gen.index])
    one = generator(gen.index) + generator(SPARE)
    total = constant(0)
    for key, value in terms(poly).items():
        total = total + from_terms({key: value}) * one ** (degree - key[gen.index])
    sign = field.poly_sign(total)
    rule = "Bernstein form"
    if sign:
        return Form(total * constant(sign), sign, spare=gen.index, rules=(rule,))
    return Form(total, 1, spare=gen.index, safe=False, rules=(rule,))


def _conjugate(field: Field, poly: Poly, gen: Generator) -> Iterator[Form]:
    """p + q*s = (p*p - q*q*s*s) / (p - q*s) for a root s, where both are safe."""
    assert gen.argument is not None
    if not gen.argument.den.is_constant():
        return
    with_root = {key: value for key, value in terms(poly).items() if key[gen.index]}
    without = {key: value for key, value in terms(poly).items() if not key[gen.index]}
    other = from_terms(without) - from_terms(with_root)
    slope = from_terms({with_power(key, gen.index, 0): v for key, v in with_root.items()})
    above = from_terms(without) ** 2 - slope**2 * gen.argument.num
    up, down = field.poly_sign(above), field.poly_sign(other)
    if down:
        below = other * constant(down)
        yield Form(
            above * constant(up or 1), (up or 1) * down, below=below, safe=bool(up), rules=("conjugate",)
        )


def _harm(form: Form, samples: list[dict[int, float]]) -> float:
    """How much cancels, summed over the samples; with a small charge for length."""
    return sum(min(50.0, log2(_condition(form, sample))) for sample in samples) + 0.01 * len(form.poly)


def _condition(form: Form, sample: dict[int, float]) -> float:
    """How much larger the terms are than the sum, at a sample."""
    size, result = _sums(form, sample)
    return size / abs(result) if result and size < 1e300 else 1.0 if not size else 1e15


def _is_positive(form: Form, samples: list[dict[int, float]]) -> bool:
    return all(_sums(form, sample)[1] > 0 for sample in samples)


def _sums(form: Form, sample: dict[int, float]) -> tuple[float, float]:
    values = dict(sample)
    if form.spare is not None:
        values[SPARE] = values[-1 - form.spare]
    size = result = 0.0
    for key, coefficient in terms(form.poly).items():
        term = float(coefficient)
        for i, p in enumerate(key):
            if p:
                # Factor by factor, as a float's power raises where a product is infinite.
                term *= prod([values[-1 - i] if i in form.switched else values[i]] * p)
        size += abs(term)
        result += term
    return size, result


_WHY = {
    "exp": "expm1",
    "erfc": "erf",
    "acot": "arc tangent of the reciprocal",
    "sqrt": "root minus one",
}
