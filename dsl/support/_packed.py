"""One tensor that holds all inputs of an activation along a dimension, and one that holds all its outputs.

In: a `JointOperator`. Out: the same activation of packed tensors (`Packing`). In eager mode the kernels read
a packed tensor where it lies, and write its gradient, or the outputs, into one tensor: nothing is copied.
Under compilers, transforms and whatever else listens to PyTorch's operators, a packed tensor is taken apart
by views and outputs are joined by PyTorch's own operators, which those understand and fuse.
"""

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch._C import _are_functorch_transforms_active as _transforms_active
from torch.autograd import Function, forward_ad
from torch.compiler import is_compiling

from . import _launch
from ._joint import JointOperator, Parameters, Tensors, _model, _narrowest, slopes_of
from ._launch import COUNTS, Launcher
from ._runtime import _is_plain


@triton.jit
def _pair_offsets(start, n, tile: tl.constexpr):
    """Where this program's pairs lie in a tensor of `n`, and which of these places are none."""
    first = start + tl.program_id(0).to(tl.int64) * tile
    i = 2 * first + tl.arange(0, 2 * tile)
    return i, i < 2 * n.to(tl.int64)


@triton.jit
def load_pairs(pointer, start, n, tile: tl.constexpr):
    """The elements of two tensors that alternate, loaded together so that loads are as wide as can be."""
    i, mask = _pair_offsets(start, n, tile)
    first, second = tl.split(tl.reshape(tl.load(pointer + i, mask=mask), (tile, 2)))
    return _launch.widen(first), _launch.widen(second)


@triton.jit
def store_pairs(pointer, first, second, start, n, tile: tl.constexpr):
    """The elements of two tensors stored so that they alternate."""
    i, mask = _pair_offsets(start, n, tile)
    dtype = pointer.dtype.element_ty
    tl.store(pointer + i, tl.reshape(tl.join(first.to(dtype), second.to(dtype)), (2 * tile,)), mask=mask)


class Packing:
    """An activation whose inputs may come in one tensor, and whose outputs may be one tensor.

    `packed` and `concat` say how such a tensor holds them along a dimension: "halves" are one after the
    other, as `torch.nn.GLU` has them, "interleaved" ones take turns; with "" there is no such tensor. `pairs`
    are the kernels of values and of gradients for two inputs that alternate.
    """

    def __init__(
        self,
        operator: JointOperator,
        *,
        packed: str = "",
        concat: str = "",
        pairs: tuple[Any, Any] | None = None,
    ) -> None:
        self.operator = operator
        self.name = operator.name
        self.packed, self.concat = packed, concat
        self._pairs = [Launcher(kernel) for kernel in pairs or ()]

    def __call__(self, inputs: tuple[Tensor | int | None, ...], parameters: Parameters, dim: int) -> Any:
        """The activation of all inputs, or of the first alone, which holds them all along `dim`.

        A number in the place of the second input is `dim`, for calls like `torch.nn.functional.glu(x, 1)`.
        Raises TypeError for some inputs and not all, RuntimeError for a size along `dim` that is no multiple
        of the number of inputs and for a packed tensor without dimensions, IndexError for a dimension that is
        not there, and what the operator raises.
        """
        if self.packed and isinstance(inputs[1], int):
            dim, inputs = inputs[1], (inputs[0], None, *inputs[2:])
        tensors: Tensors = tuple(x for x in inputs if x is not None)  # type: ignore[misc]
        if inputs[0] is None or len(tensors) not in ((1, len(inputs)) if self.packed else (len(inputs),)):
            raise TypeError(f"{self.name}(): expected {len(inputs)} tensors or one that holds them")
        for x in tensors:
            self.operator.check(x)
        if len(tensors) == len(inputs) and not self.concat:
            return self.operator(*tensors, *parameters)
        if len(tensors) < len(inputs):
            dim = _checked(self.operator, tensors[0], dim)
        eager = not is_compiling() and not _transforms_active() and forward_ad._current_level < 0
        if not eager or not all(_is_plain(x) for x in tensors):
            return self._composed(tensors, parameters, dim)
        dtype = tensors[0].dtype
        if len(tensors) == len(inputs):
            tensors, dtype = self.operator.broadcast(tensors)
            dim = _wrapped(self.name, tensors[0], dim)
        if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
            results = _apply_packed(self, parameters, dim, *tensors)
        else:
            results = self.compute(tensors, parameters, dim)
        rounded = tuple(y if y.dtype is dtype else y.to(dtype) for y in results)
        return rounded if len(rounded) > 1 else rounded[0]

    def _composed(self, tensors: Tensors, parameters: Parameters, dim: int) -> Any:
        """The activation by views and PyTorch's own operators."""
        inputs = tensors
        if len(tensors) < self.operator.inputs:
            inputs = split(tensors[0], self.packed, self.operator.inputs, dim)
        results = self.operator(*inputs, *parameters)
        return join(results, self.concat, _wrapped(self.name, results[0], dim)) if self.concat else results

    def compute(self, tensors: Tensors, parameters: Parameters, dim: int) -> Tensors:
        """The outputs for plain tensors, the packed one or all inputs in one shape, without a derivative."""
        operator = self.operator
        whole = len(tensors) < operator.inputs
        inputs = split(tensors[0], self.packed, operator.inputs, dim) if whole else tensors
        if whole and self._alternates(tensors[0], dim):
            like = torch.empty_like(inputs[0]) if not self.concat else torch.empty_like(tensors[0])
            results = (like, *(torch.empty_like(like) for _ in operator.outputs[1:] if not self.concat))
            shown = results if not self.concat else (split(like, self.concat, 2, dim)[0],)
            self._pairs[0]((inputs[0], *shown), parameters)
            return results
        if not self.concat:
            return operator.evaluate(inputs, parameters)
        count = len(operator.outputs)
        result = _holding(inputs, count, dim)
        operator.evaluate(inputs, parameters, into=split(result, self.concat, count, dim))
        return (result,)

    def gradients(
        self, grads: Tensors, tensors: Tensors, parameters: Parameters, dim: int, wanted: tuple[bool, ...]
    ) -> tuple[Tensor | None, ...]:
        """The gradients by the packed tensor or by the wanted inputs."""
        operator = self.operator
        whole = len(tensors) < operator.inputs
        inputs = split(tensors[0], self.packed, operator.inputs, dim) if whole else tensors
        outer = split(grads[0], self.concat, len(operator.outputs), dim) if self.concat else grads
        every = (True,) * operator.inputs if whole else wanted
        if torch.is_grad_enabled() or not all(_is_plain(x) for x in (*grads, *tensors)):
            found = iter(slopes_of(operator, parameters, every, *outer, *inputs))
            if whole:
                return (join(tuple(found), self.packed, dim),)
            return tuple(next(found) if want else None for want in wanted)
        if not whole:
            slopes = iter(operator.evaluate_slopes(outer, inputs, parameters, wanted))
            return tuple(next(slopes) if want else None for want in wanted)
        x = tensors[0]
        result = torch.empty_like(x)
        into = split(result, self.packed, operator.inputs, dim)
        if self._alternates(x, dim):
            order = torch.empty_like(x if self.concat else inputs[0], device="meta").stride()
            laid = [y if y.stride() == order else _copied(y, order) for y in grads]
            shown = [split(y, self.concat, 2, dim)[0] for y in laid] if self.concat else laid
            self._pairs[1]((*shown, inputs[0], into[0]), parameters)
        else:
            operator.evaluate_slopes(outer, inputs, parameters, every, into=into)
        return (result,)

    def _alternates(self, x: Tensor, dim: int) -> bool:
        """Whether the inputs take turns in memory, and the kernels for that run where it lies."""
        return bool(self._pairs) and x.stride(dim) == 1 and self.operator.has_kernel(x) and _is_dense(x)

    def warmup(self, device: torch.device, dtype: torch.dtype) -> None:
        """Launch the kernels in every way that Triton compiles apart for rows that lie side by side."""
        self.operator.warmup(device, dtype)
        for columns in (16, 17):
            for elements in COUNTS:
                rows, count = -(-elements // columns) + 1, self.operator.inputs
                x = torch.zeros(rows, columns * count, device=device, dtype=dtype)
                given = (1.0,) * self.operator.parameters
                tensors = (x,) if self.packed else (x[:, :columns].contiguous(),) * count
                results = self.compute(tensors, given, 1)
                self.gradients(results, tensors, given, 1, (True,) * count)

    def __repr__(self) -> str:
        return f"<activation {self.name}>"


class LearnedPacking:
    """An activation with learnable parameters, a `LearnedOperator`, whose inputs may come in one tensor.

    `packed` is as in `Packing`. None in the place of all inputs but the first says that this holds them.
    """

    def __init__(self, operator: Any, *, packed: str) -> None:
        self.operator = operator
        self.packed = packed

    def __call__(
        self, inputs: tuple[Tensor | None, ...], learned: Tensors, numbers: Parameters, dim: int
    ) -> Tensor:
        """The activation of all inputs, or of the first alone; raises what `Packing` raises."""
        operator = self.operator
        tensors: Tensors = tuple(x for x in inputs if x is not None)
        if inputs[0] is None or len(tensors) not in (1, len(inputs)):
            raise TypeError(f"{operator.name}(): expected {len(inputs)} tensors or one that holds them")
        if len(tensors) == len(inputs):
            return operator(*tensors, *learned, *numbers)  # type: ignore[no-any-return]
        (x,) = tensors
        operator.check(x)
        dim = _checked(operator, x, dim)
        eager = not is_compiling() and not _transforms_active() and forward_ad._current_level < 0
        if not eager or not all(isinstance(p, Tensor) and _is_plain(p) for p in (x, *learned)):
            return operator(*self.split(x, dim), *learned, *numbers)  # type: ignore[no-any-return]
        if torch.is_grad_enabled() and any(each.requires_grad for each in (x, *learned)):
            return _apply_learned(self, numbers, dim, x, *learned)
        return operator.evaluate(self.split(x, dim), learned, numbers, 1)  # type: ignore[no-any-return]

    def split(self, x: Tensor, dim: int) -> Tensors:
        """The inputs that a tensor holds."""
        return split(x, self.packed, self.operator.inputs, dim)

    def gradients(
        self,
        grad: Tensor,
        x: Tensor,
        learned: Tensors,
        numbers: Parameters,
        dim: int,
        wanted: tuple[bool, ...],
    ) -> tuple[Tensor | None, ...]:
        """The wanted gradients, by the packed tensor and by each parameter."""
        operator, inputs = self.operator, self.split(x, dim)
        flags = (wanted[0],) * operator.inputs + wanted[1:]
        count = operator.inputs if wanted[0] else 0
        if torch.is_grad_enabled() or not all(_is_plain(each) for each in (grad, x, *learned)):
            found = operator.differentiable_slopes(grad, inputs, learned, numbers, 1, flags)
            dx = join(tuple(found[:count]), self.packed, dim) if wanted[0] else None
        else:
            dx = torch.empty_like(x) if wanted[0] else None
            into = () if dx is None else self.split(dx, dim)
            found = operator.evaluate_slopes(grad, inputs, learned, numbers, 1, flags, into)
        sums = iter(found[count:])
        return dx, *(next(sums) if want else None for want in wanted[1:])

    def warmup(self, device: torch.device, dtype: torch.dtype) -> None:
        """Launch the kernels for tensors of one layout, which a packed one's parts are not."""
        self.operator.warmup(device, dtype)

    def __repr__(self) -> str:
        return f"<activation {self.operator.name}>"


def _checked(operator: Any, x: Tensor, dim: int) -> int:
    """A dimension from 0 that divides into the inputs, or an error like those of PyTorch's glu."""
    count, dim = operator.inputs, _wrapped(operator.name, x, dim)
    size = x.size(dim)
    if size % count:
        rule = "Halving dimension must be even" if count == 2 else f"Size must be a multiple of {count}"
        raise RuntimeError(f"{operator.name}: {rule}, but dimension {dim} is size {size}")
    return dim


def _wrapped(name: str, x: Tensor, dim: int) -> int:
    """A dimension counted from 0."""
    count = x.dim()
    if count == 0:
        raise RuntimeError(f"{name} does not support 0-dimensional tensors that hold several")
    if not -count <= dim < count:
        bounds = f"[{-count}, {count - 1}]"
        raise IndexError(f"Dimension out of range (expected to be in range of {bounds}, but got {dim})")
    return dim % count


def split(x: Tensor, layout: str, count: int, dim: int) -> Tensors:
    """The tensors that one holds along a dimension, as views."""
    if layout == "halves":
        return tuple(x.chunk(count, dim))
    apart = (*x.shape[:dim], x.size(dim) // count, count, *x.shape[dim + 1 :])
    return tuple(x.view(apart).unbind(dim + 1))


def join(parts: Tensors, layout: str, dim: int) -> Tensor:
    """The tensor that holds others along a dimension."""
    if layout == "halves":
        return torch.cat(parts, dim)
    sizes = parts[0].shape
    joined = (*sizes[:dim], sizes[dim] * len(parts), *sizes[dim + 1 :])
    return torch.stack(parts, dim + 1).reshape(joined)


def _holding(parts: Tensors, count: int, dim: int) -> Tensor:
    """A tensor for so many like these, its dimensions in the order in memory that the first one's have."""
    like, dtype = _model(parts), _narrowest(parts)
    sizes = list(like.shape)
    sizes[dim] *= count
    strides = like.stride()
    order = sorted(range(like.dim()), key=lambda d: (-strides[d], d))
    result = torch.empty([sizes[d] for d in order], device=like.device, dtype=dtype)
    return result.permute([order.index(d) for d in range(like.dim())])


def _is_dense(x: Tensor) -> bool:
    """Whether a tensor fills a stretch of memory, in any order of its dimensions."""
    return x.is_contiguous() or x.stride() == torch.empty_like(x, device="meta").stride()


def _copied(x: Tensor, strides: tuple[int, ...]) -> Tensor:
    return torch.empty_strided(x.shape, strides, device=x.device, dtype=x.dtype).copy_(x)


class _Packed(Function):
    """An activation of packed tensors in eager mode."""

    @staticmethod
    def forward(ctx: Any, packing: Packing, parameters: Parameters, dim: int, *tensors: Tensor) -> Tensors:
        ctx.save_for_backward(*tensors)
        ctx.packing, ctx.parameters, ctx.dim = packing, parameters, dim
        return packing.compute(tensors, parameters, dim)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[3:]
        found = ctx.packing.gradients(grads, ctx.saved_tensors, ctx.parameters, ctx.dim, wanted)
        return None, None, None, *found


_apply_packed: Callable[..., Tensors] = getattr(super(Function, _Packed), "apply", _Packed.apply)
"""`_Packed.apply` without its question for transforms, which the caller has answered."""


class _PackedLearned(Function):
    """An activation with learnable parameters of a packed tensor, in eager mode."""

    @staticmethod
    def forward(
        ctx: Any, packing: LearnedPacking, numbers: Parameters, dim: int, x: Tensor, *learned: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, *learned)
        ctx.packing, ctx.numbers, ctx.dim = packing, numbers, dim
        y: Tensor = packing.operator.evaluate(packing.split(x, dim), learned, numbers, 1)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *learned = ctx.saved_tensors
        wanted = ctx.needs_input_grad[3:]
        found = ctx.packing.gradients(grads[0], x, tuple(learned), ctx.numbers, ctx.dim, wanted)
        return None, None, None, *found


_apply_learned: Callable[..., Tensor] = getattr(
    super(Function, _PackedLearned), "apply", _PackedLearned.apply
)
"""The same of `_PackedLearned`."""
