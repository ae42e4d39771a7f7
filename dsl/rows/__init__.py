"""Activations with reductions over rows: from an `Activation` to its `RowProgram`.

    spec -> derive (f, and the gradient by each input) -> simplify -> stabilise -> passes -> target

In: an activation whose formula has reductions. Out: `RowStages`, what every stage made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dsl.activation import Activation
from dsl.expr import ZERO, Apply, Expr
from dsl.ops import where
from dsl.program import RowFunction, RowProgram
from dsl.rewrite.core import lower
from dsl.rewrite.rules import RULES
from dsl.rewrite.separate import Treatment
from dsl.rewrite.simplify import simplify_all
from dsl.rows import scaled
from dsl.rows.derive import gradients
from dsl.rows.passes import plan
from dsl.rows.scaled import Stable, stabilise_rows


@dataclass(frozen=True)
class RowStages:
    """What each stage made of an activation with reductions: the value, and the gradient by each input."""

    activation: Activation
    derived: tuple[Expr, ...]
    simplified: tuple[Expr, ...]
    stabilised: tuple[Expr, ...]
    program: RowProgram


def compile_rows(activation: Activation, treat: Treatment, fired: Mapping[str, None]) -> RowStages:
    """Run every stage; `treat` makes functions of one number stable, and notes its rules in `fired`."""
    derived = (lower(activation.body), *gradients(activation.body, activation.inputs))
    simplified = simplify_all(derived)
    stable = [_stable(root, activation, treat) for root in simplified]
    functions = _planned(activation, stable)
    rules = {name: scaled.RULES[name] for each in stable for name in each.rules}
    rules |= {name: RULES[name].why for name in fired}
    program = RowProgram(functions[0], tuple(functions[1:]), tuple(rules.items()))
    return RowStages(activation, derived, simplified, tuple(each.value for each in stable), program)


def _stable(root: Expr, activation: Activation, treat: Treatment) -> Stable:
    found = stabilise_rows(root, activation.inputs, treat)
    if activation.domain is None:
        return found
    inside = stabilise_rows(activation.domain, activation.inputs, treat)
    return Stable(
        where(inside.value, found.value, Apply("inf") * ZERO),
        tuple(dict.fromkeys((*found.rules, *inside.rules))),
        {**found.online, **inside.online},
    )


def _planned(activation: Activation, stable: list[Stable]) -> list[RowFunction]:
    parameters = [parameter.name for parameter in activation.parameters]
    return [
        plan(label, each, activation.inputs, parameters, activation.names)
        for label, each in zip(activation.labels, stable, strict=True)
    ]
