"""Values for an activation's parameters: what errors are measured at.

In: an `Activation`. Out: settings, the defaults first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import product
from struct import pack, unpack

from dsl.activation import Activation, as_numbers
from dsl.constants import holds
from dsl.expr import Expr, Number, Symbol, is_op, postorder, substitute

Setting = Mapping[str, Fraction]

FACTORS = (Fraction(3, 8), Fraction(6), Fraction(-1))
"""Every parameter in turn is this many times its default, as far as `require` allows.

Numbers of few bits: kernels take parameters in the precision that they compute in, and one that is rounded
there belongs to another function. No powers of two, by which products and quotients would be exact.
"""

ROUND = (Fraction(1, 4), Fraction(4), Fraction(-1))
"""The same of functions with sines: far out these have any value, once a product in them is rounded."""

GUESSES = tuple(map(Fraction, ("1", "-1", "1/2", "2", "-2", "0")))
"""Tried for parameters without a default."""


def settings(activation: Activation) -> tuple[Setting, ...]:
    """The defaults, and every parameter in turn small, large and negative; none where nothing is allowed.

    >>> from dsl.resolve import activations
    >>> (swish,) = activations("swish(x; beta = 1.0) = x * sigmoid(beta * x)\\n  require beta > 0")
    >>> [str(each["beta"]) for each in settings(swish)]
    ['1', '3/8', '6']
    """
    base = next(_bases(activation), None)
    if base is None:
        return ()
    found = [base]
    for name, factor in product(base, _factors(activation)):
        setting = {**base, name: (base[name] or 1) * factor}
        if is_allowed(activation, setting) and setting not in found:
            found.append(setting)
    return tuple(found)


def _factors(activation: Activation) -> tuple[Fraction, ...]:
    waves = any(is_op(node, "sin", "cos", "tan") for node in postorder(activation.body))
    return ROUND if waves else FACTORS


def is_allowed(activation: Activation, setting: Setting) -> bool:
    """Whether parameters keep the `require` clauses."""
    values: dict[Expr, Expr] = {Symbol(name): Number(value) for name, value in setting.items()}
    return all(holds(substitute(clause, values)) for clause in activation.requires)


def rounded(setting: Setting, dtype: str) -> Setting:
    """A setting in the precision in which kernels of a dtype compute: float64, or float32 for all others.

    >>> [float(rounded({"a": Fraction(3, 10)}, dtype)["a"]) for dtype in ("float16", "float64")]
    [0.30000001192092896, 0.3]
    """
    spelled = "d" if dtype == "float64" else "f"
    return {name: Fraction(*unpack(spelled, pack(spelled, float(value)))) for name, value in setting.items()}


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


def _learned_settings(activation: Activation) -> tuple[Setting, ...]:
    """The initial values, then every parameter in turn small, large and negative, all its values at once.

    One that is zero stays so: as an exponent, say, it would be another function's when it is rounded.

    >>> from dsl.resolve import activations
    >>> (ramp,) = activations("ramp(x; learn a[2] = (1, 0), s = 3) = a[0] * x * a[1] * s\\n  require s > 0")
    >>> [" ".join(map(str, each.values())) for each in _learned_settings(ramp)]
    ['1 0 3', '3/8 0 3', '6 0 3', '-1 0 3', '1 0 9/8', '1 0 18']
    """
    plain = as_numbers(activation)
    first = next(iter(settings(plain)), None)
    if first is None:
        return ()
    names = (*activation.entries, *(each.name for each in activation.parameters))
    spelled = dict(zip(names, first, strict=True))
    groups = [
        *(each.entries for each in activation.learned),
        *((each.name,) for each in activation.parameters),
    ]
    found = [first]
    for group, factor in product(groups, _factors(activation)):
        setting = {**first, **{spelled[name]: first[spelled[name]] * factor for name in group}}
        if is_allowed(plain, setting) and setting not in found:
            found.append(setting)
    return tuple({name: setting[spelled[name]] for name in names} for setting in found)


def measured_settings(activation: Activation) -> tuple[Setting, ...]:
    """The settings at which errors are measured; none where `require` allows nothing that was tried.

    Of several inputs and over rows, where what is tried is elsewhere various, it is the first.
    """
    if activation.learned:
        return _learned_settings(activation)
    found = settings(activation)
    return found[:1] if activation.joint or activation.dim is not None else found
