"""The launcher: a kernel compiled once is launched directly afterwards, and by Triton's own way if need be.

There is no GPU here; a stand-in for Triton's kernel notes what is asked of it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from tests import handmade


class Kernel:
    """Triton's compiled kernel and its dispatch, noting every launch by either way."""

    def __init__(self, internals: bool) -> None:
        self.public: list[tuple[Any, ...]] = []
        self.direct: list[tuple[Any, ...]] = []
        self.compiled = SimpleNamespace(asm={})
        if internals:
            self.compiled.run = lambda *arguments: self.direct.append(arguments)
            self.compiled.function, self.compiled.packed_metadata = 7, (4, 1, 0)

    def __getitem__(self, grid: Any) -> Any:
        def launch(*arguments: Any, **options: Any) -> Any:
            self.public.append((grid, *arguments))
            return self.compiled

        return launch


@pytest.fixture
def launch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    package = handmade.import_package(tmp_path_factory.mktemp("launch"), [handmade.ALL["silu"]])
    module = importlib.import_module(f"{package.__name__}._launch")
    monkeypatch.setattr(module, "_current_stream", lambda index: 99)
    return module


def launcher(launch: ModuleType, kernel: Kernel) -> Any:
    made = launch.Launcher(kernel)
    made.jitted = True
    return made


def test_the_second_launch_is_direct_and_the_same(launch: ModuleType) -> None:
    kernel = Kernel(internals=True)
    run = launcher(launch, kernel)
    x, y = torch.zeros(4096), torch.zeros(4096)
    run((x, y), (0.5,))
    run((x, y), (0.25,))
    ((grid, *first),) = kernel.public
    ((*head, a, b, parameter, start, n, tile, wide, fast),) = kernel.direct
    assert head == [grid[0], 1, 1, 99, 7, (4, 1, 0), None, None, None]
    assert (a, b, parameter) == (x.data_ptr(), y.data_ptr(), 0.25)
    assert first[0] is x
    assert first[1] is y
    assert first[3:] == [start, n, tile, wide, fast] == [0, 4096, 1024, False, False]


def test_without_internals_every_launch_is_triton_s(launch: ModuleType) -> None:
    kernel = Kernel(internals=False)
    run = launcher(launch, kernel)
    for _ in range(3):
        run((torch.zeros(16), torch.zeros(16)), ())
    assert len(kernel.public) == 3
    assert not kernel.direct


def test_a_profiler_gets_triton_s_launches(launch: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(internals=True)
    run = launcher(launch, kernel)
    tensors = (torch.zeros(16), torch.zeros(16))
    run(tensors, ())
    monkeypatch.setattr(launch, "_hooked", lambda: True)
    run(tensors, ())
    assert (len(kernel.public), len(kernel.direct)) == (2, 0)


def test_what_triton_specialises_on_is_compiled_apart(launch: ModuleType) -> None:
    kernel = Kernel(internals=True)
    run = launcher(launch, kernel)
    room = torch.zeros(5000)
    makers: list[Callable[[], torch.Tensor]] = [
        lambda: room[:4096],
        lambda: room[1:4097],
        lambda: room[:17],
        lambda: room[:1],
    ]
    for make in makers:
        run((make(), make()), ())
    assert len(kernel.public) == len(makers)
    for make in makers:
        run((make(), make()), ())
    assert len(kernel.public) == len(kernel.direct) == len(makers)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_after_the_counts_of_warmup_nothing_is_compiled(launch: ModuleType, dtype: torch.dtype) -> None:
    kernel = Kernel(internals=True)
    run = launcher(launch, kernel)
    for count in launch.COUNTS:
        run((torch.zeros(count, dtype=dtype), torch.zeros(count, dtype=dtype)), ())
    compiled = len(kernel.public)
    for count in (1, 2, 15, 16, 17, 1000, 1024, 1025, 2048, 4096, 4099, 100_001):
        run((torch.zeros(count, dtype=dtype), torch.zeros(count, dtype=dtype)), ())
    assert len(kernel.public) == compiled
