"""What is measured of an activation with learnable parameters: every element's share, and the sums.

In: an `Activation`. Out: the activation of which every element has parameters
of its own, and `Sum`s: tensors with the exact gradient of each value of a parameter. Several inputs take all
values in turn, as those of activations without parameters do (`joint`).

Parameters have values at which terms cancel that a formula was not written for. So the unit of errors is the
ulp of the sum of the magnitudes of the terms where sums have parameters in them (`beside_parameters`), else
that of the result.

The gradient of a parameter is a sum over elements. Its terms are measured as any derivative is, by the kernel
of an activation that has each parameter by channel, and as many channels as elements. The sum's unit is the
ulp of the sum of the terms' magnitudes: what cancels among the elements has lost its digits in every order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from dsl.activation import Activation, Learned, as_numbers
from dsl.certificate import SUMMED
from dsl.certify.joint import Sweep, beside_inputs, is_beside_a_root, sweeps
from dsl.certify.report import Failure, Measurement
from dsl.certify.scan import Truth, truth
from dsl.evaluate.rows import RowReference
from dsl.evaluate.terms import beside_parameters
from dsl.expr import Expr, symbols
from dsl.settings import Setting, rounded
from dsl.ulp import FORMATS, Array, error_in_ulps

SHAPE = (4, 3, 400)
"""Of a tensor whose gradients are summed; its channels are in the middle."""
SCALES = (1.0, 4.0)
"""The deviations of its normal elements."""
STRIDE = 8
"""At other settings than the first, one in so many points is tried."""
LARGEST = 2.0**16
"""The greatest input that is tried: its seventh power is a float32."""
SMALLEST = 2.0**-64
"""The least input beside zero: a parameter times its square is a float32."""


def by_element(activation: Activation) -> Activation:
    """The activation with every value of a parameter by channel, so that each element can have its own."""
    plain = as_numbers(activation)
    count = len(activation.entries)
    learned = (
        Learned(each.name, "channel", (each.name,), None if each.default is None else (each.default,))
        for each in plain.parameters[:count]
    )
    return replace(plain, learned=tuple(learned), parameters=activation.parameters)


def kinds(activation: Activation) -> tuple[str, ...]:
    """What is measured: the value, the derivatives by each input and by each parameter, and the sums."""
    names = (*activation.inputs, *(each.name for each in activation.learned))
    return ("value", *(f"gradient_{name}" for name in names), SUMMED)


def sweeps_of(activation: Activation, root: Expr, given: Setting, first: bool) -> Iterator[Sweep]:
    """The inputs in turn, at a few values of the others; at other settings than the `first`, at one value."""
    for sweep in sweeps(activation.inputs, root):
        if (first or sweep.first) and not is_beside_a_root(sweep, root, given):
            yield sweep


def truth_of(
    root: Expr, sweep: Sweep, dtype: str, given: Setting, count: int, every: bool, first: bool
) -> Truth:
    """The exact values at the inputs that are tried, with the sizes of the terms that results are sums of.

    At other settings than the `first` these are few. NaN is left out where the expression does not depend on
    the input.
    """
    name, held = sweep.name, {**given, **sweep.others}

    def tried(points: Array) -> Array:
        magnitude = np.abs(points)
        kept = ((magnitude <= LARGEST) & (magnitude >= SMALLEST)) | (points == 0)
        kept |= np.isnan(points) & (name in symbols(root))
        chosen: Array = points[kept][:: 1 if first else STRIDE]
        return chosen

    known = truth(root, name, dtype, held, count, every=every, tried=tried)
    reference = RowReference(root, held)
    ways = beside_parameters(given), beside_inputs((name, *sweep.others))

    def begins(node: Expr) -> bool:
        return any(way(node) for way in ways)

    return replace(known, sizes=lambda points: reference.sizes({name: points}, begins))


def variables_of(activation: Activation, kind: str) -> tuple[str, ...]:
    """The variables that a kind of derivative is by: of a vector there are several."""
    name = kind.removeprefix("gradient_")
    entries = {each.name: each.entries for each in activation.learned}
    return entries.get(name, (name,))


def as_given(activation: Activation, setting: Setting, dtype: str) -> dict[str, Fraction]:
    """A setting as kernels of a dtype have it: tensors of that dtype, and numbers in the arithmetic's."""
    fmt = FORMATS[dtype]
    entries = {
        name: Fraction(float(fmt.round(np.array([float(setting[name])]))[0])) for name in activation.entries
    }
    return {**rounded(setting, dtype), **entries}


@dataclass(frozen=True)
class Sum:
    """Inputs and an incoming gradient, and what of them the gradient of one of a parameter's values is.

    `exact` and `size`, the sum of the terms' magnitudes, have an entry for each sum: three by channel or one.
    """

    variable: str
    scale: float
    inputs: tuple[Array, ...]
    grad: Array
    exact: tuple[Fraction, ...]
    size: Array


def sums(
    activation: Activation, roots: Mapping[str, Expr], dtype: str, given: Mapping[str, Fraction]
) -> Iterator[Sum]:
    """Every value's sums; `roots` are the exact derivatives by the parameters' values."""
    fmt = FORMATS[dtype]
    channelled = {entry for each in activation.learned if each.kind == "channel" for entry in each.entries}
    for scale in SCALES:
        rng = np.random.default_rng(0)
        sizes = [scale] * len(activation.inputs)
        *inputs, grad = (fmt.round(size * rng.normal(size=SHAPE)) for size in (*sizes, 1.0))
        row = {name: x.reshape(-1) for name, x in zip(activation.inputs, inputs, strict=True)}
        for variable, root in roots.items():
            found = RowReference(root, given)(row)
            terms = [
                Fraction(g) * (Fraction(value) + Fraction(rest) * Fraction(unit))
                for g, value, rest, unit in zip(
                    grad.flat,
                    found.rounded.flat,
                    found.rest.flat,
                    FORMATS["float64"].ulp(found.rounded).flat,
                    strict=True,
                )
            ]
            own = np.array(terms, dtype=object).reshape(SHAPE)
            parts = [own[:, place] for place in range(SHAPE[1])] if variable in channelled else [own]
            exact = tuple(sum(part.flat, Fraction(0)) for part in parts)
            size = np.array([float(sum(map(abs, part.flat), Fraction(0))) for part in parts])
            yield Sum(variable, scale, tuple(inputs), grad, exact, size)


def measure_sum(known: Sum, got: Array, dtype: str) -> Measurement:
    """The worst error of computed sums, in ulps of the sum of the terms' magnitudes."""
    fmt = FORMATS[dtype]
    nearest = np.array([float(each) for each in known.exact])
    correct = fmt.round(nearest)
    rest = np.array(
        [
            float(each - Fraction(one)) if np.isfinite(one) else 0.0
            for each, one in zip(known.exact, correct, strict=True)
        ]
    )
    numbers = np.isfinite(got) & np.isfinite(correct)
    own = error_in_ulps(got, correct, rest / fmt.ulp(correct), fmt)
    unit = fmt.ulp(np.fmax(known.size, np.abs(np.nan_to_num(correct))))
    with np.errstate(invalid="ignore", over="ignore"):
        errors = np.where(numbers, np.abs((got - correct) - rest) / unit, own)
    failed = ~np.isfinite(errors)
    errors = np.where(failed, 0.0, errors)
    worst = int(np.argmax(errors))
    return Measurement(
        dtype=dtype,
        worst_ulp=float(errors[worst]),
        worst_input=known.scale,
        got=float(got[worst]),
        exact=float(correct[worst]),
        tried=len(got),
        exhaustive=False,
        failures=tuple(
            Failure(known.scale, float(got[at]), float(correct[at])) for at in np.flatnonzero(failed)
        ),
        failed=int(failed.sum()),
    )
