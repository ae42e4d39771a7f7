"""A function and its two derivatives along a line, and how far off three ways of computing them are.

In: an activation, a stretch of its input, a dtype. Out: `Panel`s, as arrays, for whoever draws them. The ways
are the generated code, PyTorch's own function where the spec names it, and the formula as it is typed in
torch, all three differentiated by autograd. They run on this machine's GPU if it has one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsl.activation import Activation, as_numbers
from dsl.bench.plan import plan
from dsl.bench.rivals import eager, plain
from dsl.evaluate import Reference
from dsl.families import has_family
from dsl.ops import where
from dsl.pipeline import derive
from dsl.runtime import module
from dsl.settings import defaults
from dsl.ulp import FORMATS, Array, error_in_ulps

POINTS = 8_000
"""Inputs at which functions are evaluated."""
STRETCHES = 250
"""Of the errors in so many stretches of x, the greatest in each is drawn."""
FLOOR = 0.01
"""Errors below are drawn here: correctly rounded results are at most at 0.5."""
OURS, TORCH, TYPED = "dslgen", "PyTorch", "formula as typed"


Way = Callable[[Tensor], Tensor]
"""A way of computing the activation."""


class CurveError(Exception):
    """The activation has no curve of its own; the message says why."""


@dataclass(frozen=True)
class Panel:
    """One of f, f' and f'': its exact values, and the errors of each way in ulps.

    An error is infinite or NaN where a result is wrong in kind (NaN or infinite, and should not be), and -1
    outside the domain, or where the exact value could not be found: there `exact` is NaN. A way without a
    derivative of this order is missing.
    """

    order: int
    x: Array
    exact: Array
    errors: Mapping[str, Array]


def panels(
    activation: Activation,
    low: float,
    high: float,
    dtype: str,
    points: int = POINTS,
    errors: bool = True,
    made: Callable[[], Way] | None = None,
) -> tuple[Panel, Panel, Panel]:
    """The three panels of an activation with its parameters at their defaults, for low <= x <= high.

    Without `errors` nothing is compiled, and the panels have exact values alone. `made` is the generated
    module, if it has been imported. Learnable parameters are numbers here, at their initial values, which no
    reference takes. What draws numbers is in evaluation.

    Raises `CurveError` where a parameter has no default, or one curve does not show the activation.
    """
    if has_family(activation):
        raise CurveError(f"'{activation.name}' is no function of one number: it has no curve of its own")
    if activation.learned:
        activation, made = replace(as_numbers(activation), references=()), None
    values = known(activation)
    fmt = FORMATS[dtype]
    x = np.unique(fmt.round(np.linspace(low, high, points)))
    results = {
        name: _orders(name, way, activation, x, dtype)
        for name, way in (_ways(activation, made) if errors else {}).items()
    }
    inside = _inside(activation, values, x)
    drawn = []
    for order, root in enumerate(derive(activation)):
        exact = Reference(root, activation.input, values)(x, dtype)
        counted = exact.decided & inside
        found_errors = {
            name: np.where(counted, error_in_ulps(found[order], exact.rounded, exact.rest, fmt), -1.0)
            for name, found in results.items()
            if order < len(found)
        }
        drawn.append(Panel(order, x, np.where(counted, exact.rounded, np.nan), found_errors))
    return drawn[0], drawn[1], drawn[2]


def known(activation: Activation) -> dict[str, Fraction]:
    """The values of parameters that an activation is drawn at.

    Raises `CurveError` where one has no default.
    """
    values = defaults(activation)
    if values is None:
        missing = ", ".join(each.name for each in activation.parameters if each.default is None)
        raise CurveError(
            f"'{activation.name}' has a parameter without a default, at which to draw it: {missing}"
        )
    return values


def _ways(activation: Activation, made: Callable[[], Way] | None) -> dict[str, Way]:
    (case,) = plan([activation])
    ours = (made or module(activation))()
    if isinstance(ours, torch.nn.Module):
        ours.eval()  # A fresh module is in training, where some draw.
    ways: dict[str, Way] = {OURS: ours, TYPED: plain(case)}
    return ways | ({TORCH: eager(case)} if case.reference else {})


def _orders(name: str, way: Way, activation: Activation, x: Array, dtype: str) -> list[Array]:
    """The values of a way, and those of its derivatives that are meant to be the activation's."""
    found = orders(way, x, dtype)
    return found[:1] if activation.own_derivative and name != OURS else found


def _inside(activation: Activation, values: Mapping[str, Fraction], x: Array) -> NDArray[np.bool_]:
    """Where the activation is defined."""
    if activation.domain is None:
        return np.ones(len(x), dtype=bool)
    inside: NDArray[np.bool_] = (
        Reference(where(activation.domain, 1, 0), activation.input, values)(x).rounded == 1
    )
    return inside


def orders(function: Way, points: Array, dtype: str) -> list[Array]:
    """The values of a function and, by autograd, of its derivatives, up to the second if it has them.

    >>> [found.tolist() for found in orders(torch.tanh, np.array([0.0]), "float32")]
    [[0.0], [1.0], [-0.0]]
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x = torch.tensor(points, dtype=getattr(torch, dtype), device=device, requires_grad=True)
    first = function(x)
    found = [first if isinstance(first, Tensor) else torch.full_like(x, first)]  # as typed, 3 is a number
    for _ in range(2):
        value = found[-1]
        if not value.requires_grad:  # a constant
            found.append(torch.zeros_like(x))
            continue
        ones = torch.ones_like(value)
        try:
            found += torch.autograd.grad(value, x, ones, create_graph=True, materialize_grads=True)
        except (NotImplementedError, RuntimeError):  # an operation without a derivative of its own
            break
    return [each.detach().double().cpu().numpy() for each in found]


# What of them is drawn


def ceiling(panels: Sequence[Panel]) -> float:
    """Where results that are wrong in kind are drawn: a power of ten above all errors, within reason."""
    finite = [error[np.isfinite(error)].max(initial=1) for each in panels for error in each.errors.values()]
    return float(10 ** min(np.ceil(np.log10(max(finite))) + 1, 10))


def has_pole(values: Array) -> bool:
    """Whether the greatest value stands far above those beside it, as no peak does.

    Beside 1/x**p, sampled at equal distances, the greatest is 3**p times the next one outwards, or more. What
    p is, is seen further out; a narrow peak that falls like a power is flatter at its top than a pole is.

    >>> x = np.linspace(-10, 10, 2000)
    >>> has_pole(1 / x), has_pole(1 / (1 + 25 * abs(x)) ** 2)
    (True, False)
    """
    sizes = np.abs(values)
    top = int(np.argmax(np.where(np.isfinite(sizes), sizes, -1.0)))
    sides = [side for side in (sizes[:top][::-1], sizes[top + 1 :]) if len(side) and np.isfinite(side[0])]
    if not sides:
        return False
    side = min(sides, key=lambda each: float(each[0]))
    return bool(sizes[top] > max(1.5, 0.7 * 3 ** _fall(side)) * side[0])


def _fall(side: Array) -> float:
    """The power of the distance that values fall with, by two of them some way out; 0 if none is seen."""
    if len(side) < 16 or not (np.isfinite(side[[7, 15]]).all() and side[7] > side[15] > 0):
        return 0.0
    return float(np.log2(side[7] / side[15]))


def without_pole(values: Array) -> tuple[Array, tuple[float, float]]:
    """Values without those around a pole, and the ends of what is drawn.

    A pole would flatten all the rest, and be drawn as a line from side to side.
    """
    low, high = np.quantile(values[np.isfinite(values)], (0.02, 0.98))
    room = (high - low) / 4
    kept = np.where(np.abs(values - (low + high) / 2) > high - low, np.nan, values)
    return kept, (float(low - room), float(high + room))


def summary(x: Array, errors: Array) -> tuple[Array, Array, Any]:
    """The middle of each stretch, its greatest finite error, and whether a result in it is wrong in kind.

    Where there is no such error, in a stretch of wrong results or outside the domain, it is NaN.

    >>> x, worst, wrong = summary(np.array([0.0, 1.0]), np.array([0.25, np.nan]))
    >>> worst.tolist(), wrong.tolist()
    ([0.25, nan], [False, True])
    """
    parts = np.array_split(np.arange(len(x)), min(STRETCHES, len(x)))
    finite = np.where(np.isfinite(errors), errors, -1.0)
    middle = np.array([x[part].mean() for part in parts])
    worst = np.array([finite[part].max() for part in parts])
    worst[worst < 0] = np.nan
    wrong = np.array([not np.isfinite(errors[part]).all() for part in parts])
    return middle, worst, wrong
