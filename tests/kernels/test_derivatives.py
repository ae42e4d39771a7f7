"""The derivatives of the shipped activations against differences, and their kinks against the spec."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from dsl.certify import kinks
from tests.kernels import shipped

ACROSS = torch.linspace(-4.13, 4.29, 23, dtype=torch.float64)
AWAY = 0.02
"""Differences straddle a kink that is closer than this."""


def smooth_points(name: str) -> torch.Tensor:
    """Points in a range where activations move, none next to a kink."""
    places = [
        place
        for kind in shipped.KINDS
        for place in kinks(
            shipped.expression(name, kind), shipped.ACTIVATIONS[name].input, shipped.defaults(name)
        )
    ]
    near = (ACROSS[:, None] - torch.tensor([*places, 1e9], dtype=torch.float64)).abs() < AWAY
    return ACROSS[~near.any(dim=1)].requires_grad_()


SMOOTH = [name for name, each in shipped.ACTIVATIONS.items() if not each.own_derivative]
"""Those whose derivative is that of their value."""


@pytest.mark.parametrize("name", SMOOTH)
def test_first_derivative(name: str, acts: ModuleType) -> None:
    assert torch.autograd.gradcheck(
        getattr(acts, name), smooth_points(name), check_forward_ad=True, check_batched_grad=True
    )


@pytest.mark.parametrize("name", SMOOTH)
def test_second_derivative(name: str, acts: ModuleType) -> None:
    assert torch.autograd.gradgradcheck(getattr(acts, name), smooth_points(name))
