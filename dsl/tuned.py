"""Kernels of a package, timed with one launch or another on this machine's GPU.

In: a package's directory, an activation, a dtype. Out: the results of `dsl.tune`, by kernel.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from dsl import profiler
from dsl.bench import clock
from dsl.bench.run import load
from dsl.profiler import NoProfiler, Profile
from dsl.tune import Choice, Result, tune

Clock = Callable[[Callable[[], object], torch.device], float]


class Session:
    """A package on a GPU; raises `NoDevice` where there is none.

    `elements` is the size of the tensors; `time` gives the milliseconds of a call, and `where` the device.
    """

    def __init__(
        self,
        folder: Path,
        elements: int,
        time: Clock = clock.milliseconds,
        where: torch.device | None = None,
    ) -> None:
        self.where = clock.device(None) if where is None else where
        self.folder, self.elements, self.time = folder, elements, time
        self.package = load(folder)
        on_gpu = self.where.type == "cuda"
        self.gpu = torch.cuda.get_device_name(self.where) if on_gpu else self.where.type

    def results(self, name: str, dtype: str, profiled: bool = True) -> Iterator[tuple[str, Result]]:
        """The search for the value's kernel and for the gradient's, by `KERNEL/DTYPE`."""
        operator = importlib.import_module(f"{self.package.__name__}.{name}")._operator
        kind = getattr(torch, dtype)
        x = torch.randn(self.elements, device=self.where, dtype=kind)
        out, grad = torch.empty_like(x), torch.randn_like(x)
        parameters = (1.0,) * operator._parameters
        profiles = self._profiles(name, dtype) if profiled else {}
        for launcher, tensors in ((operator._launch, (x, out)), (operator._launch_grad, (grad, x, out))):
            kernel = launcher._kernel.__name__

            def measure(choice: Choice, launcher: Any = launcher, tensors: Any = tensors) -> float:
                shape = (choice.tile, choice.warps, choice.stages)
                launcher.chosen(kind, x.get_device(), shape)
                return self.time(lambda: launcher(tensors, parameters), self.where)

            start = Choice(*launcher.chosen(kind, x.get_device()))
            yield f"{kernel}/{dtype}", tune(start, measure, profiles.get(kernel))
            launcher.chosen(kind, x.get_device())

    def _profiles(self, name: str, dtype: str) -> dict[str, Profile]:
        """What ncu says of both kernels; nothing where there is no ncu."""
        program = profiler.program(str(self.folder), name, str(self.elements), dtype, True, "")
        try:
            found = profiler.parse(profiler.run(program, f"^_{name}.*_kernel"))
        except NoProfiler:
            return {}
        return {each.kernel: each for each in found}
