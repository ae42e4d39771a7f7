"""The stabiliser's rows: each is an identity, checked in exact arithmetic; what is unsound stays refuted."""

from __future__ import annotations

from fractions import Fraction

import pytest

from dsl.expr import Expr
from dsl.resolve import activations
from dsl.rewrite.probe import probe
from dsl.rewrite.rules import RULES, Rule

POINTS = [Fraction(k, 7) for k in range(-210, 211, 3)] + [
    Fraction(sign, 10**k) for k in (3, 6, 9) for sign in (1, -1)
]


def side(text: str) -> Expr:
    (one,) = activations(f"side(u) = {text}")
    return one.body


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_both_sides_are_one_function(rule: Rule) -> None:
    left, right = side(rule.left), side(rule.right)
    tried = 0
    for point in POINTS:
        if rule.low <= point <= rule.high:
            a, b = (probe(expr, {"u": point}) for expr in (left, right))
            assert a is not None, point
            assert b is not None, point
            assert abs(a - b) <= abs(a) * 1e-80 + 1e-150, (point, a, b)
            tried += 1
    assert tried > 20


REFUTED = [
    ("log(u**2)", "2 * log(u)", Fraction(-1), "log(u) is not real for negative u"),
    ("sqrt(u**2)", "u", Fraction(-1), "the root is abs(u)"),
    ("erf(u)", "1 - exp(-u**2)", Fraction(1), "the tails agree to leading order only"),
    ("tanh(u)", "u", Fraction(1, 10), "true to first order only"),
    ("exp(u) - 1", "u", Fraction(1, 10), "true to first order only"),
]


@pytest.mark.parametrize(("left", "right", "point", "why"), REFUTED)
def test_what_is_unsound_has_a_point_that_breaks_it(left: str, right: str, point: Fraction, why: str) -> None:
    a, b = (probe(side(text), {"u": point}) for text in (left, right))
    assert a is None or b is None or abs(a - b) > 1e-6, why
