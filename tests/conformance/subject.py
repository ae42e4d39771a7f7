"""An activation as the checks see it.

In: a generated package and a device. Out: its activations, each with a function of one tensor.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

REQUIRED = 0.75
"""What a parameter without a default gets."""

PLACES = (-2.1, -0.7, -0.13, 0.31, 1.1, 2.6)
"""Points away from the kinks that activations have."""


@dataclass(frozen=True)
class Subject:
    """An activation of a package, on a device: `subject(x)` evaluates it."""

    name: str
    module: ModuleType
    function: Callable[..., Tensor]
    layer: type[nn.Module]
    parameters: dict[str, float]
    device: str

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x, **self.parameters)

    @property
    def operator(self) -> Any:
        """The operator behind the function."""
        return self.module._operator

    @property
    def runtime(self) -> Any:
        """The package's `_runtime`."""
        return self.module._runtime

    def new_layer(self, **options: Any) -> nn.Module:
        """A module of the activation, in evaluation: `tests/test_chance.py` has what training draws."""
        return self.layer(**self.parameters, **options).eval()

    def points(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """A few points at which the activation is smooth."""
        return torch.tensor(PLACES, dtype=dtype, device=self.device)

    def random(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Normally distributed values, the same at every call."""
        values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        return values.to(self.device, dtype)

    def derivative(self, x: Tensor, order: int = 1) -> Tensor:
        """The first or second derivative at `x` by its formula in torch operations, without autograd."""
        operator = self.operator
        formula = (operator._formula, operator._grad_formula, operator._curvature_formula)[order]
        with torch.no_grad():
            result: Tensor = formula(x.detach(), *self.parameters.values())
        return result


def caught(call: Callable[..., object], *arguments: object) -> Exception | None:
    """What a call raises."""
    try:
        call(*arguments)
    except Exception as error:
        return error
    return None


def load(package: str | ModuleType, device: str, only: Iterable[str] = ()) -> list[Subject]:
    """The activations of a package, in alphabetical order; those that `only` names, if it names any.

    Activations of several inputs and those over rows are not among them: `tests/test_joint.py` and
    `tests/test_rows.py` have their checks.
    """
    if isinstance(package, str):
        package = importlib.import_module(package)
    wanted = set(only)
    names = sorted(name for name in set(package._MODULES.values()) if not wanted or name in wanted)
    if missing := wanted.difference(names):
        raise LookupError(f"{package.__name__} has no {', '.join(sorted(missing))}")
    modules = {name: importlib.import_module(f"{package.__name__}.{name}") for name in names}
    return [
        _subject(name, module, device)
        for name, module in modules.items()
        if hasattr(module, "_operator") and not hasattr(module._operator, "inputs")
    ]


def _subject(name: str, module: ModuleType, device: str) -> Subject:
    function = getattr(module, name)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.annotation is float]
    values = {p.name: REQUIRED if p.default is p.empty else float(p.default) for p in parameters}
    (layer,) = {v for n in module.__all__ if isinstance(v := getattr(module, n), type)}
    return Subject(name, module, function, layer, values, device)
