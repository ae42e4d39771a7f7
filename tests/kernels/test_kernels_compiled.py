"""The shipped kernels as compiled for GPUs that are not here: what the machine code says of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import triton

from dsl import inspect
from tests.kernels import shipped

pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter compiles nothing"
)

TABLE = shipped.ROOT / "benchmarks" / "results" / "instructions-sm_90.json"
TARGETS = ("sm_80", "sm_89", "sm_90", "sm_100", "gfx942", "gfx950")
FOR_ALL = {"sm_90": 2, "gfx942": 1}
"""The targets that every activation is compiled for in every run of the tests, and in how many of
`FOR_ALL_DTYPES`, which take turns; the rest is `exhaustive`."""
FOR_ALL_DTYPES = ("float32", "bfloat16")
SLACK = 1.02
"""How far a kernel's count of instructions may grow unnoticed."""


@pytest.fixture(scope="module")
def counted() -> dict[str, Any]:
    """The committed counts; empty where Triton is another version, which counts otherwise."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    kernels: dict[str, Any] = table["kernels"]
    return kernels if table["triton"] == triton.__version__ else {}


SPILLING = {
    ("squareplus", "value", "float64", "sm_80"): "one register, across the calls that divide and take roots"
} | {
    ("snake", kind, "float64", target): "the sine of great arguments takes an array and a table of digits"
    for kind in inspect.KINDS
    for target in TARGETS
    if target.startswith("sm_")
}
"""What does not yet keep to its registers, and why."""


def cases() -> Iterator[Any]:
    """Every kernel for every target; of a third of the activations one kernel for the less common targets."""
    for place, name in enumerate(shipped.ACTIVATIONS):
        turns = FOR_ALL_DTYPES[place % 2 :] + FOR_ALL_DTYPES[: place % 2]
        for target_place, target in enumerate(TARGETS):
            for dtype_place, dtype in enumerate(shipped.DTYPES):
                for kind_place, kind in enumerate(inspect.KINDS):
                    usual = dtype in turns[: FOR_ALL.get(target, 0)]
                    turn = (place + target_place) % 24 == 2 * dtype_place + kind_place
                    marks = [] if usual or turn else [pytest.mark.exhaustive]
                    reason = SPILLING.get((name, kind, dtype, target))
                    marks += (
                        [pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason)]
                        if reason
                        else []
                    )
                    yield pytest.param(name, kind, dtype, target, marks=marks)


@pytest.mark.parametrize(("name", "kind", "dtype", "target"), list(cases()))
def test_machine_code(
    name: str, kind: str, dtype: str, target: str, acts: ModuleType, counted: dict[str, Any]
) -> None:
    """Nothing in local memory, 128 bits an access, and no more instructions than last counted."""
    counts = inspect.count(acts, name, kind, dtype, target)
    assert counts.spills == 0, counts
    assert counts.loads, counts
    assert set(counts.loads) == {128}, counts
    assert set(counts.stores) == {128}, counts
    before = counted.get(f"{target}/{dtype}/{name}/{kind}")
    if before is not None:
        assert counts.instructions <= SLACK * before["instructions"], (
            f"{counts.instructions:.1f} instructions an element, {before['instructions']:.1f} before: if that"
            f" is the price of something, run dslgen inspect --all --write {TABLE}"
        )


def test_every_kernel_is_counted(acts: ModuleType, counted: dict[str, Any]) -> None:
    if counted:
        assert {key.split("/")[2] for key in counted} == set(inspect.activations(acts))


def test_counting_sees_what_it_should(acts: ModuleType) -> None:
    """A kernel's loads: one of the input, and one of the incoming gradient, of 8 or 4 elements each."""
    name = next(iter(shipped.ACTIVATIONS))
    for dtype, elements in (("float32", 8), ("bfloat16", 16)):
        for kind, inputs in (("value", 1), ("gradient", 2)):
            counts = inspect.count(acts, name, kind, dtype, "sm_90")
            per_access = {"float32": 4, "bfloat16": 8}[dtype]
            assert counts.elements == elements
            assert len(counts.stores) == elements // per_access
            assert len(counts.loads) == inputs * elements // per_access
            assert 1 < counts.instructions < 200
            assert 8 <= counts.registers <= 128
