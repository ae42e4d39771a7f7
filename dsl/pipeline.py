"""The compiler's stages, one after the other.

In: an `Activation`. Out: `Stages`, which holds what every stage made of it, so that each can be shown.

    spec -> derive (f, f', f'') -> simplify -> stabilise -> schedule -> target

Derivatives are taken of the real function, before anything is rewritten for floating point: the derivative of
a stabilised form is not a stable derivative.
"""

from __future__ import annotations

from dataclasses import dataclass

from dsl.activation import Activation
from dsl.derive import derivative
from dsl.expr import ZERO, Apply, Expr, Number, Symbol
from dsl.ops import where
from dsl.program import Program
from dsl.rewrite.core import lower
from dsl.rewrite.factors import factor_exponentials
from dsl.rewrite.far import patch_far
from dsl.rewrite.guard import propagate_nan, settle_ends, settle_zero
from dsl.rewrite.patch import patch_at_zero
from dsl.rewrite.roots import patch_elsewhere
from dsl.rewrite.rules import RULES
from dsl.rewrite.simplify import simplify, simplify_all
from dsl.rewrite.stabilise import stabilise
from dsl.rewrite.tail import settle_tails
from dsl.schedule import schedule

Triple = tuple[Expr, Expr, Expr]
"""An expression for the value, the first and the second derivative."""


@dataclass(frozen=True)
class Stages:
    """What each stage made of an activation."""

    activation: Activation
    derived: Triple
    simplified: Triple
    stabilised: Triple
    program: Program


def compile_activation(activation: Activation) -> Stages:
    """Run every stage."""
    derived = derive(activation)
    value, gradient, curvature = simplify_all(derived)
    simplified = (value, gradient, curvature)
    positive = positive_parameters(activation)
    stable = [stabilise(root, activation.input, positive) for root in simplified]
    names = tuple(dict.fromkeys(rule for each in stable for rule in each.rules))
    guarded = [_guard(activation, each.value, exact) for each, exact in zip(stable, simplified, strict=True)]
    stabilised = (guarded[0], guarded[1], guarded[2])
    parameters = tuple(parameter.name for parameter in activation.parameters)
    functions = [
        schedule(label, root, activation.input, parameters, activation.names)
        for label, root in zip(("value", "gradient", "curvature"), stabilised, strict=True)
    ]
    program = Program(
        functions[0], functions[1], functions[2], tuple((name, RULES[name].why) for name in names)
    )
    return Stages(activation, derived, simplified, stabilised, program)


def derive(activation: Activation) -> Triple:
    """The value in core operations, and its derivatives."""
    body = lower(activation.body)
    first = simplify(derivative(body, activation.input))
    return body, first, derivative(first, activation.input)


def positive_parameters(activation: Activation) -> frozenset[str]:
    """The parameters that a `require` clause makes positive."""
    return frozenset(name for clause in activation.requires for name in _positive(clause))


def _positive(clause: Expr) -> set[str]:
    if not isinstance(clause, Apply):
        return set()
    if clause.op == "and":
        return _positive(clause.args[0]) | _positive(clause.args[1])
    above, below = clause.args[::-1] if clause.op in ("lt", "le") else clause.args
    strict = clause.op in ("gt", "lt")
    if clause.op not in ("gt", "ge", "lt", "le") or not isinstance(above, Symbol):
        return set()
    limit = below.value if isinstance(below, Number) else None
    return {above.name} if limit is not None and (limit > 0 or (strict and limit == 0)) else set()


def _guard(activation: Activation, root: Expr, exact: Expr) -> Expr:
    """Limits at the infinities, NaN for NaN, and NaN outside the domain."""
    root = patch_far(root, exact, activation.input)
    root = settle_ends(root, exact, activation.input)
    root = settle_tails(root, exact, activation.input)
    root = patch_at_zero(root, exact, activation.input)
    root = patch_elsewhere(root, exact, activation.input)
    root = factor_exponentials(root)
    root = settle_zero(root, exact, activation.input)
    root = propagate_nan(root, activation.input)
    if activation.domain is None:
        return root
    return where(activation.domain, root, Apply("inf") * ZERO)
