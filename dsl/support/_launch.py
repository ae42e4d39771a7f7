"""How the kernels of this package reach a GPU: what they share inside, and launching them.

In: a kernel over flat tensors. Out: its launch, at the cost of little more than the launch itself.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime import JITFunction

_TILE = {torch.float16: 2048, torch.bfloat16: 2048, torch.float32: 1024, torch.float64: 1024}
"""Elements per program: 32 to 64 bytes a thread with 4 warps, which keeps enough loads in flight."""

_WARPS = 4
_VECTOR = 16
"""Triton assumes no divisor of a count but 16, and needs one to load 128 bits at a time under a mask."""

_STAGES = 3
"""Triton's own; it matters to kernels that loop."""

LARGEST_TILE = 8192
"""The most that `dslgen tune` tries."""

_LAST_NARROW = 2**31 - 1 - LARGEST_TILE
"""Above this many elements the offsets in the last tile pass 2^31 and need 64 bits."""


COUNTS = (1, _VECTOR + 1, LARGEST_TILE + 1)
"""Numbers of elements for which Triton compiles every kernel that aligned tensors of narrow offsets need."""


@triton.jit
def tile_offsets(start, tile: tl.constexpr, wide: tl.constexpr):
    """The offsets of this program's elements, in 64 bits where `wide`."""
    program = tl.program_id(0)
    if wide:
        program = program.to(tl.int64)
    return start + program * tile + tl.arange(0, tile)


@triton.jit
def widen(x):
    """16-bit values in float32; others as they are."""
    if x.dtype.primitive_bitwidth < 32:
        x = x.to(tl.float32)
    return x


@triton.jit
def as_parameter(value, x):
    """A float64 argument in the precision of `x`."""
    # The product is for the interpreter, which passes a plain float, and a float has no `to`.
    return (tl.full((), 1.0, x.dtype) * value).to(x.dtype)


@cache
def _tuned() -> dict[str, dict[str, list[int]]]:
    """What `dslgen tune` found: tile, warps and stages by kernel and type, for each GPU by its name."""
    path = Path(__file__).with_name("_tuned.json")
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def choice(kernel: Any, dtype: torch.dtype, index: int) -> tuple[int, int, int]:
    """The tile, warps and stages of a kernel on a device: as tuned for it, or what serves everywhere."""
    found = _tuned()
    if found and index >= 0:
        of_gpu = found.get(torch.cuda.get_device_name(index), {}) if torch.cuda.is_available() else {}
        row = of_gpu.get(f"{kernel.__name__}/{str(dtype).removeprefix('torch.')}")
        if row is not None:
            return row[0], row[1], row[2]
    return _TILE[dtype], _WARPS, _STAGES


class Launcher:
    """Launches one kernel over flat tensors of one layout and type, the last of which is written."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self.jitted = isinstance(kernel, JITFunction)
        self._compiled: dict[tuple[Any, ...], tuple[Any, Any, Any] | None] = {}
        self._choices: dict[tuple[torch.dtype, int], tuple[int, int, int]] = {}

    def __call__(self, tensors: tuple[Tensor, ...], parameters: tuple[float, ...]) -> None:
        """The kernel over all elements.

        A count that 16 does not divide would cost every load its 128 bits; what is left over past the last
        multiple of 16 therefore gets a launch of its own.
        """
        out = tensors[-1]
        n = out.numel()
        if n == 0:
            return
        index = out.get_device()
        if index >= 0 and index != _current_device():
            with torch.accelerator.device_index(index):
                self(tensors, parameters)
            return
        rest = n % _VECTOR
        shape = self._choices.get((out.dtype, index)) or self.chosen(out.dtype, index)
        if rest == 0 or n <= shape[0]:
            self._run(tensors, parameters, 0, n, index, shape)
        else:
            self._run(tensors, parameters, 0, n - rest, index, shape)
            self._run(tensors, parameters, n - rest, n, index, shape)

    def chosen(
        self, dtype: torch.dtype, index: int, shape: tuple[int, int, int] | None = None
    ) -> tuple[int, int, int]:
        """Settle the tile, warps and stages for a type on a device; without `shape`, to what serves there."""
        found = self._choices[dtype, index] = shape or choice(self._kernel, dtype, index)
        self._compiled.clear()
        return found

    def _run(
        self,
        tensors: tuple[Tensor, ...],
        parameters: tuple[float, ...],
        start: int,
        n: int,
        index: int,
        shape: tuple[int, int, int],
    ) -> None:
        """The kernel over elements `start` to `n`, on the current device, which is `index`.

        Triton's own dispatch costs 8 us a call. It is taken for whatever Triton specialises on and has not
        been seen: the type, which pointers 16 bytes divide, whether 16 divides the count, a count of one, and
        numbers of 64 bits. After that the compiled kernel is launched as Triton would launch it.
        """
        dtype = tensors[-1].dtype
        tile, warps, stages = shape
        wide = n > _LAST_NARROW
        grid = (n - start + tile - 1) // tile
        rest = (*parameters, start, n, tile, wide, dtype.itemsize == 2)
        if not self.jitted:
            self._kernel[grid,](*tensors, *rest)
            return
        pointers = []
        misaligned = 0
        for tensor in tensors:
            pointers.append(pointer := tensor.data_ptr())
            misaligned = 2 * misaligned + (pointer % _VECTOR > 0)
        key = (dtype, index, misaligned, wide, start > 0, n % _VECTOR == 0, n == 1)
        compiled = self._compiled.get(key)
        if compiled is None or _hooked():
            compiled = self._kernel[grid,](*tensors, *rest, num_warps=warps, num_stages=stages)
            self._compiled[key] = _direct(compiled)
            return
        launch, function, metadata = compiled
        # A pointer costs less as an integer: Triton asks a tensor for it, and then the driver about it.
        launch(grid, 1, 1, _current_stream(index), function, metadata, None, None, None, *pointers, *rest)


def _direct(compiled: Any) -> tuple[Any, Any, Any] | None:
    """What launches a compiled kernel, in Triton's own order; None in a Triton that has no such things."""
    parts = [getattr(compiled, name, None) for name in ("run", "function", "packed_metadata")]
    return None if None in parts else (parts[0], parts[1], parts[2])


def _queries() -> tuple[Callable[[], int], Callable[[int], int]]:
    """What tells the current device, and the current stream on it, as the driver's own integers."""
    # 0.1 us each, against 3 by way of torch's and Triton's checks.
    device = getattr(torch._C, "_cuda_getDevice", None)
    stream = getattr(torch._C, "_cuda_getCurrentRawStream", None)
    if device and stream:  # CUDA and ROCm
        return device, stream
    driver = triton.runtime.driver
    return lambda: driver.active.get_current_device(), lambda index: driver.active.get_current_stream(index)


_current_device, _current_stream = _queries()
_knobs = triton.knobs.runtime


def _hooked() -> bool:
    """Whether a profiler listens to Triton's launches; then they must go by Triton's own way."""
    enter, leave = _knobs.launch_enter_hook, _knobs.launch_exit_hook
    return bool(getattr(enter, "calls", enter) or getattr(leave, "calls", leave))
