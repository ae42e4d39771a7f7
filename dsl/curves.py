"""A function and its two derivatives along a line, and how far off three ways of computing them are.

In: an activation, a stretch of its input, a dtype. Out: `Panel`s, as arrays, for whoever draws them. The ways
are the generated code, PyTorch's own function where the spec names it, and the formula as it is typed in
torch, all three differentiated by autograd. They run on this machine's GPU if it has one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsl.activation import Activation
from dsl.bench.plan import plan
from dsl.bench.rivals import eager, plain
from dsl.evaluate import Reference
from dsl.ops import where
from dsl.pipeline import derive
from dsl.runtime import module
from dsl.settings import defaults
from dsl.ulp import FORMATS, Array, error_in_ulps

POINTS = 8_000
"""Inputs at which functions are evaluated."""
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


def panels(activation: Activation, low: float, high: float, dtype: str) -> tuple[Panel, Panel, Panel]:
    """The three panels of an activation with its parameters at their defaults, for low <= x <= high.

    Raises `CurveError` where a parameter has no default.
    """
    values = defaults(activation)
    if values is None:
        raise CurveError(f"'{activation.name}' has a parameter without a default, at which to draw it")
    fmt = FORMATS[dtype]
    x = np.unique(fmt.round(np.linspace(low, high, POINTS)))
    (case,) = plan([activation])
    ways: dict[str, Way] = {OURS: module(activation)(), TYPED: plain(case)}
    ways |= {TORCH: eager(case)} if case.reference else {}
    results = {name: orders(function, x, dtype) for name, function in ways.items()}
    inside = _inside(activation, values, x)
    made = []
    for order, root in enumerate(derive(activation)):
        exact = Reference(root, activation.input, values)(x, dtype)
        counted = exact.decided & inside
        errors = {
            name: np.where(counted, error_in_ulps(found[order], exact.rounded, exact.rest, fmt), -1.0)
            for name, found in results.items()
            if order < len(found)
        }
        made.append(Panel(order, x, np.where(counted, exact.rounded, np.nan), errors))
    return made[0], made[1], made[2]


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
    found = [function(x)]
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
