"""The shipped activations against the public functions that their specs name as references."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from dsl.build import build
from dsl.certify import kinks
from dsl.pipeline import derive
from dsl.project import read_project

SPECS = Path(__file__).resolve().parents[1] / "specs"
ACTIVATIONS = {a.name: a for a in read_project([SPECS]).checked().activations if a.references}
SCALES = (1.0, 0.75, 1.5)
"""Each parameter's default times these."""

TOLERANCE = {"hardsigmoid": 1e-7}  # PyTorch has 1/6 in float32 there
"""Relative tolerances; 1e-11 for the others."""


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("conformance")
    build([SPECS], folder / "conforming")
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("conforming")
    finally:
        sys.path.remove(str(folder))


def reference(name: str) -> Any:
    """The function that the spec names, with the arguments that it fixes."""
    (named,) = ACTIVATIONS[name].references
    module, _, attribute = named.target.rpartition(".")
    fixed = {key: float(v) if isinstance(v, Fraction) else v for key, v in named.arguments}
    return partial(getattr(importlib.import_module(module), attribute), **fixed)


def points(name: str, parameters: dict[str, float]) -> torch.Tensor:
    """A grid in float64, and every kink exactly."""
    activation = ACTIVATIONS[name]
    exact = {key: Fraction(value) for key, value in parameters.items()}
    roots = (activation.body, derive(activation)[1])
    places = {place for root in roots for place in kinks(root, activation.input, exact)}
    grid = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    return torch.cat([grid, torch.tensor(sorted(places), dtype=torch.float64)])


@pytest.mark.parametrize(
    ("name", "scale"),
    [(name, scale) for name, a in ACTIVATIONS.items() for scale in (SCALES if a.parameters else (1.0,))],
)
def test_like_the_reference(name: str, scale: float, acts: ModuleType) -> None:
    """Value and gradient, at kinks too, in float64, where PyTorch's own errors are small between -8 and 8."""
    parameters = {p.name: float(p.default or 0) * scale for p in ACTIVATIONS[name].parameters}
    x = points(name, parameters).requires_grad_()
    ours, theirs = getattr(acts, name)(x, **parameters), reference(name)(x, **parameters)
    rtol = TOLERANCE.get(name, 1e-11)
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=1e-13)
    (our_slope,) = torch.autograd.grad(ours.sum(), x)
    (their_slope,) = torch.autograd.grad(theirs.sum(), x)
    torch.testing.assert_close(our_slope, their_slope, rtol=rtol, atol=1e-13)
