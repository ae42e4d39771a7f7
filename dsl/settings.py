"""Values for an activation's parameters: what errors are measured at.

In: an `Activation`. Out: settings, the defaults first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import product

from dsl.activation import Activation
from dsl.constants import holds
from dsl.expr import Expr, Number, Symbol, substitute

Setting = Mapping[str, Fraction]

FACTORS = (Fraction(1, 4), Fraction(4), Fraction(-1))
"""Every parameter in turn is this many times its default, as far as `require` allows.

Powers of two: kernels take parameters in the precision that they compute in, and one that is rounded there
belongs to another function.
"""

GUESSES = tuple(map(Fraction, ("1", "-1", "1/2", "2", "-2", "0")))
"""Tried for parameters without a default."""


def settings(activation: Activation) -> tuple[Setting, ...]:
    """The defaults, and every parameter in turn small, large and negative; none where nothing is allowed.

    >>> from dsl.resolve import activations
    >>> (swish,) = activations("swish(x; beta = 1.0) = x * sigmoid(beta * x)\\n  require beta > 0")
    >>> [str(each["beta"]) for each in settings(swish)]
    ['1', '1/4', '4']
    """
    base = next(_bases(activation), None)
    if base is None:
        return ()
    found = [base]
    for name, factor in product(base, FACTORS):
        setting = {**base, name: (base[name] or 1) * factor}
        if is_allowed(activation, setting) and setting not in found:
            found.append(setting)
    return tuple(found)


def is_allowed(activation: Activation, setting: Setting) -> bool:
    """Whether parameters keep the `require` clauses."""
    values: dict[Expr, Expr] = {Symbol(name): Number(value) for name, value in setting.items()}
    return all(holds(substitute(clause, values)) for clause in activation.requires)


def _bases(activation: Activation) -> Iterator[dict[str, Fraction]]:
    """The defaults, with guesses where there is none."""
    choices = [GUESSES if each.default is None else (each.default,) for each in activation.parameters]
    for values in product(*choices):
        setting = {each.name: value for each, value in zip(activation.parameters, values, strict=True)}
        if is_allowed(activation, setting):
            yield setting


def defaults(activation: Activation) -> dict[str, Fraction] | None:
    """The parameters' defaults; None where one has none."""
    values = {each.name: each.default for each in activation.parameters}
    known = {name: value for name, value in values.items() if value is not None}
    return known if len(known) == len(values) else None


def measured_settings(activation: Activation) -> tuple[Setting, ...]:
    """The settings at which errors are measured: of several inputs, whose values vary instead, the first."""
    found = settings(activation)
    return found[:1] if activation.joint else found
