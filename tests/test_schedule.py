"""Scheduling: names, constants, and a program that computes what the expression says."""

from __future__ import annotations

import math
from fractions import Fraction

from hypothesis import given, settings

from dsl.expr import PI, Expr, Symbol, call
from dsl.ieee import evaluate, run
from dsl.rewrite.probe import constant_fraction
from dsl.schedule import LARGEST_STATEMENT, schedule
from tests.test_stabilise import expressions

x = Symbol("x")


@settings(max_examples=100, deadline=None)
@given(expressions())
def test_the_program_computes_the_expression(root: Expr) -> None:
    from dsl.rewrite.core import lower

    root = lower(root)
    function = schedule("f", root, "x")
    for at in (-3.5, -0.25, 0.75, 2.0):
        direct, stepped = evaluate(root, {"x": at}), run(function, {"x": at})
        assert math.isnan(direct) == math.isnan(stepped)
        if math.isfinite(direct):
            assert math.isclose(direct, stepped, rel_tol=1e-9, abs_tol=1e-9)


def test_shared_values_are_named_once_and_by_what_they_are() -> None:
    t = call("exp", x)
    function = schedule("f", t / (1 + t), "x")
    assert [step.name for step in function.steps] == ["t"]
    assert schedule("f", t / (1 + t), "x", names={t: "growth"}).steps[0].name == "growth"


def test_names_never_collide() -> None:
    t = call("exp", x)
    function = schedule("f", t / (1 + t), "t" if False else "x", ("t", "lambda_", "fast"), {t: "fast"})
    assert function.steps[0].name == "fast2"


def test_constants_are_folded_exactly_and_named() -> None:
    function = schedule("f", call("sqrt", 2 / PI) * x, "x")
    (constant,) = function.constants
    assert constant.name == "SQRT_2_OVER_PI"
    assert float(constant.value) == math.sqrt(2 / math.pi)


def test_a_constant_in_two_parts_is_exact_to_48_bits() -> None:
    c = call("sqrt", 2 / PI)
    high, low = constant_fraction(call("leading", c)), constant_fraction(call("trailing", c))
    whole = constant_fraction(c)
    assert high is not None
    assert low is not None
    assert whole is not None
    assert high + low == whole
    assert high.numerator.bit_length() <= 24
    assert abs(low) <= abs(whole) * Fraction(1, 2**24)


def test_statements_stay_short() -> None:
    root: Expr = x
    for k in range(200):
        root = root * x + k
    for step in schedule("f", root, "x").steps:
        operations = 0
        pending = [step.value]
        while pending:
            node = pending.pop()
            operations += bool(node.args)
            pending.extend(node.args)
        assert operations <= LARGEST_STATEMENT + 1
