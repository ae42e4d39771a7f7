"""How the kernels of this package reach a GPU: what they share inside, and launching them.

In: a kernel over flat tensors. Out: its launch, at the cost of little more than the launch itself.
"""

from collections.abc import Callable
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

_LAST_NARROW = 2**31 - 1 - max(_TILE.values())
"""Above this many elements the offsets in the last tile pass 2^31 and need 64 bits."""


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


class Launcher:
    """Launches one kernel over flat tensors of one layout and type, the last of which is written."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self.jitted = isinstance(kernel, JITFunction)
        self._compiled: dict[tuple[Any, ...], Any] = {}

    def __call__(self, tensors: tuple[Tensor, ...], parameters: tuple[float, ...]) -> None:
        """The kernel over all elements."""
        out = tensors[-1]
        n = out.numel()
        if n == 0:
            return
        index = out.get_device()
        if index >= 0 and index != _current_device():
            with torch.accelerator.device_index(index):
                self._run_all(tensors, parameters, n)
        else:
            self._run_all(tensors, parameters, n)

    def _run_all(self, tensors: tuple[Tensor, ...], parameters: tuple[float, ...], n: int) -> None:
        """The kernel over n elements.

        A count that 16 does not divide would cost every load its 128 bits; what is left over past the last
        multiple of 16 therefore gets a launch of its own.
        """
        rest = n % _VECTOR
        if rest == 0 or n <= _TILE[tensors[-1].dtype]:
            self._run(tensors, parameters, 0, n)
        else:
            self._run(tensors, parameters, 0, n - rest)
            self._run(tensors, parameters, n - rest, n)

    def _run(self, tensors: tuple[Tensor, ...], parameters: tuple[float, ...], start: int, n: int) -> None:
        """The kernel over elements `start` to `n`.

        Triton's own dispatch costs 8 us a call. It is taken for whatever Triton specialises on and has not
        been seen: the type, which pointers 16 bytes divide, whether 16 divides the count, a count of one, and
        numbers of 64 bits. After that the compiled kernel is launched as Triton would launch it.
        """
        out = tensors[-1]
        dtype = out.dtype
        tile = _TILE[dtype]
        wide = n > _LAST_NARROW
        grid = (n - start + tile - 1) // tile
        arguments = (*tensors, *parameters, start, n, tile, wide, dtype.itemsize == 2)
        if not self.jitted:
            self._kernel[grid,](*arguments)
            return
        misaligned = 0
        for tensor in tensors:
            misaligned = 2 * misaligned + (tensor.data_ptr() % _VECTOR > 0)
        index = out.get_device()
        key = (dtype, index, misaligned, wide, start > 0, n % _VECTOR == 0, n == 1)
        compiled = self._compiled.get(key)
        if compiled is None or _hooked():
            self._compiled[key] = self._kernel[grid,](*arguments, num_warps=_WARPS)
            return
        compiled.run(
            grid,
            1,
            1,
            _current_stream(index),
            compiled.function,
            compiled.packed_metadata,
            None,
            None,
            None,
            *arguments,
        )


def _queries() -> tuple[Callable[[], int], Callable[[int], int]]:
    """What tells the current device, and the current stream on it, as the driver's own integers."""
    if torch.version.cuda or torch.version.hip:  # 0.1 us, against 3 by way of torch's and Triton's checks
        return torch._C._cuda_getDevice, torch._C._cuda_getCurrentRawStream
    driver = triton.runtime.driver
    return lambda: driver.active.get_current_device(), lambda index: driver.active.get_current_stream(index)


_current_device, _current_stream = _queries()


def _hooked() -> bool:
    """Whether a profiler listens to Triton's launches; then they must go by Triton's own way."""
    knobs = triton.knobs.runtime
    enter, leave = knobs.launch_enter_hook, knobs.launch_exit_hook
    return bool(getattr(enter, "calls", enter) or getattr(leave, "calls", leave))
