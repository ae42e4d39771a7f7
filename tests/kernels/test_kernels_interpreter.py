"""The shipped kernels in Triton's interpreter: accuracy, special values, layouts, parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dsl import certificate
from dsl.certify import measure
from dsl.settings import is_allowed
from dsl.ulp import FORMATS
from tests.kernels import shipped, worker
from tests.kernels.layouts import Recipe, recipes

Interpreter = Callable[..., Any]

COUNT = {"float16": 0, "bfloat16": 0, "float32": 3000, "float64": 500}
"""Points to try beside those that are always tried; of 16-bit types every value is."""
FLOAT64_TURNS = 3
"""One activation in so many is tried in float64 as well; its certificate has been for all."""


def _with_turns() -> Iterator[Any]:
    """Every activation in every dtype; in float64, whose exact values take longest, one in a few."""
    for place, name in enumerate(shipped.ACTIVATIONS):
        for dtype in shipped.DTYPES:
            waits = dtype == "float64" and place % FLOAT64_TURNS
            yield pytest.param(name, dtype, marks=[pytest.mark.exhaustive] if waits else [])


@pytest.mark.parametrize("by", certificate.MAKERS)
@pytest.mark.parametrize("kind", shipped.KINDS)
@pytest.mark.parametrize(("name", "dtype"), list(_with_turns()))
def test_accuracy(name: str, kind: str, dtype: str, by: str, interpreter: Interpreter, truths: Path) -> None:
    """Every 16-bit input, and some thousands of the others: errors, NaN, infinities, zeros' signs.

    The bounds are those of `dslgen certify`. A zero in the place of a subnormal result is no error.
    """
    known = shipped.exact(name, kind, dtype, COUNT[dtype], truths)
    defaults = tuple(map(float, shipped.defaults(name).values()))
    maker = {
        "kernel": (worker.evaluate, ()),
        "formula": (worker.evaluate_formula, (defaults,)),
    }

    def function(points: NDArray[Any]) -> NDArray[Any]:
        evaluate, more = maker[by]
        found: NDArray[Any] = interpreter(evaluate, name, kind, dtype, points.astype(np.float64), *more)
        return found

    with np.errstate(all="ignore"):
        found = measure(function, known, search=False)
    wrong = [name for name in ("failed", "signs", "undecided") if getattr(found, name)]
    accuracy = shipped.ACTIVATIONS[name].accuracy
    if found.worst_ulp > certificate.bound(accuracy, dtype, kind):
        wrong.append("worst_ulp")
    if found.near_roots is not None and found.near_roots > certificate.near_bound(accuracy, dtype, kind):
        wrong.append("near_roots")
    assert not wrong, f"{found} {found.failures[:3]}"


def test_the_interpreter_converts_like_a_gpu(interpreter: Interpreter) -> None:
    """As mended in `worker.start`: to bfloat16 to nearest, ties to even, subnormals and NaN included."""
    fmt = FORMATS["bfloat16"]
    rng = np.random.default_rng(0)
    ties = (np.arange(2**16, dtype=np.uint32) << 16) + 0x8000
    patterns = np.concatenate([ties - 1, ties, ties + 1, rng.integers(0, 2**32, 10_000, dtype=np.uint32)])
    narrow, wide = interpreter(worker.round_trip, patterns)
    with np.errstate(invalid="ignore"):
        expected = fmt.round(patterns.view(np.float32).astype(np.float64))
    np.testing.assert_array_equal(fmt.decode(narrow), expected)
    np.testing.assert_array_equal(wide >> 16, np.arange(2**16))
    np.testing.assert_array_equal(wide & 0xFFFF, 0)


RELATIVE = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-19, "float64": 2.0**-46}
"""Loose: layouts are the matter here. Accuracy has its own test."""
ABSOLUTE = {"float16": 2.0**-12, "bfloat16": 2.0**-9, "float32": 2.0**-21, "float64": 2.0**-48}


@st.composite
def calls(draw: st.DrawFn) -> tuple[Recipe, Recipe]:
    """A layout of an input, and one of a gradient of the same shape."""
    first = draw(recipes())
    return first, draw(recipes(shape=first.shape))


@pytest.mark.parametrize("name", shipped.ACTIVATIONS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    layouts=calls(),
    dtype=st.sampled_from(shipped.DTYPES),
    scales=st.lists(st.sampled_from((0.5, 0.75, 1.0, 1.25, 2.0)), min_size=4, max_size=4),
    seed=st.integers(0, 2**32 - 1),
)
def test_layouts_types_and_parameters(
    name: str,
    layouts: tuple[Recipe, Recipe],
    dtype: str,
    scales: list[float],
    seed: int,
    interpreter: Interpreter,
) -> None:
    """Value and gradient equal the formula in float64, whatever lies in memory how."""
    chosen = tuple(
        float(value) * scale for value, scale in zip(shipped.defaults(name).values(), scales, strict=False)
    )
    setting = dict(zip(shipped.defaults(name), map(Fraction, chosen), strict=True))
    assume(is_allowed(shipped.ACTIVATIONS[name], setting))
    found = interpreter(worker.against_formula, name, dtype, *layouts, chosen, seed)
    assert len(set(found["shapes"])) == 1
    assert len(set(found["dtypes"])) == 1
    assert len(set(found["strides"])) == 1
    # What float64 holds and the dtype does not is infinite in the one and large in the other.
    largest = float(torch.finfo(getattr(torch, dtype)).max)
    for kind in shipped.KINDS:
        got, expected = (np.clip(found[key], -largest, largest) for key in (kind, f"expected {kind}"))
        np.testing.assert_allclose(got, expected, rtol=RELATIVE[dtype], atol=8 * ABSOLUTE[dtype])
