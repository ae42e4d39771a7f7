"""Layouts of tensors as plain data, so that Hypothesis can draw one and another process can make it.

In: a `Recipe`. Out: a tensor of random values; and a Hypothesis strategy of recipes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

STEPS = (1, 1, 2, 3)


@dataclass(frozen=True)
class Recipe:
    """A tensor of `shape`: its dimensions lie in memory in `order`, every `steps`-th element of each.

    Expanded dimensions have stride 0. The first element lies `offset` elements into the storage.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    steps: tuple[int, ...]
    expanded: tuple[bool, ...]
    offset: int

    def strides(self) -> tuple[int, ...]:
        """The strides that this gives."""
        strides = [0] * len(self.shape)
        unit = 1
        for place in reversed(self.order):
            if not self.expanded[place]:
                strides[place] = unit * self.steps[place]
                unit *= max(1, self.shape[place]) * self.steps[place]
        return tuple(strides)


def lay_out(recipe: Recipe, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """A tensor as the recipe says, with values between -8 and 8."""
    strides = recipe.strides()
    reach = sum(stride * (size - 1) for stride, size in zip(strides, recipe.shape, strict=True))
    size = 0 if 0 in recipe.shape else reach + 1
    storage = torch.rand(recipe.offset + size, generator=generator, dtype=torch.float64) * 16 - 8
    return storage.to(dtype).as_strided(recipe.shape, strides, recipe.offset)


@st.composite
def recipes(draw: st.DrawFn, shape: tuple[int, ...] | None = None) -> Recipe:
    """Layouts of a shape, or of any: 0-d, empty, sliced, transposed, expanded, channels_last, offset."""
    if shape is None:
        shape = draw(shapes())
    rank = len(shape)
    flags = st.lists(st.booleans(), min_size=rank, max_size=rank)
    plain = Recipe(
        shape, tuple(range(rank)), (1,) * rank, (False,) * rank, draw(st.sampled_from((0, 0, 1, 3, 8)))
    )
    kind = draw(st.sampled_from(("contiguous", "channels_last", "permuted", "sliced", "expanded", "any")))
    changes: dict[str, Any] = {}
    if kind == "channels_last" and rank >= 3:
        changes["order"] = (0, *range(2, rank), 1)
    if kind in ("permuted", "any"):
        changes["order"] = tuple(draw(st.permutations(range(rank))))
    if kind in ("sliced", "any"):
        changes["steps"] = tuple(draw(st.lists(st.sampled_from(STEPS), min_size=rank, max_size=rank)))
    if kind in ("expanded", "any"):
        changes["expanded"] = tuple(draw(flags))
    return replace(plain, **changes)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, ...]:
    """Shapes of up to five dimensions, and one-dimensional ones longer than a kernel's tile."""
    if draw(st.integers(0, 3)) == 0:
        return (draw(st.sampled_from((15, 16, 17, 1023, 1024, 1025, 2048, 3001, 4112))),)
    return tuple(draw(st.lists(st.integers(0, 7) | st.just(1), max_size=5)))
