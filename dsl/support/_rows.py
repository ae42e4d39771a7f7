"""What the activations with reductions over rows share: kernels' parts, dispatch, derivatives and layouts.

In: an activation's kernels and formulas (`RowOperator`). Out: an operator that PyTorch knows. A row is what a
tensor holds along one dimension. Rows that fit on chip are read once and written once, several short ones by
one program. Longer ones are read once for each level of reductions and once more: every pass is split over as
many programs as keep the device busy, and what they found is put together by the next.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch._C import _are_functorch_transforms_active as _transforms_active
from torch._C._functorch import is_legacy_batchedtensor as _is_batched
from torch.autograd import Function, forward_ad
from torch.compiler import is_compiling

from . import _math, _runtime
from ._joint import _promoted
from ._launch import Launcher
from ._runtime import _COMPUTE, _in_one_transform, _is_plain, _laid_out_as, _unsupported, _widened

Formula = Callable[..., Tensor]

INF = tl.constexpr(float("inf"))

_AUTOCAST = ("cuda", "xpu")
"""Where autocast takes softmax and its like in float32; on a CPU PyTorch leaves them in 16 bits."""

LARGEST = 32768
"""Elements of a row that a program holds on chip, computed in float32; in float64 half as many."""
_TILE = 4096
"""Elements of a program that holds several rows."""
_STEP = 2048
"""Elements of one step along a row that does not fit; three are on their way at a time."""
_LANES = 32
"""Rows that a program takes side by side where neighbours in memory belong to different rows."""
_BUSY = 8
"""Programs for each processor of a device, where there are rows enough to split."""


# -- in kernels: tiles of shape (rows, block), rows' numbers of shape (rows, 1) ----------------------------


@triton.jit
def rows_of(rows: tl.constexpr, wide: tl.constexpr):
    """The numbers of this program's rows, in 64 bits where `wide`."""
    row = tl.program_id(0) * rows + tl.arange(0, rows)[:, None]
    if wide:
        row = tl.program_id(0).to(tl.int64) * rows + tl.arange(0, rows)[:, None]
    return row


@triton.jit
def place(row, column, inner, outer_stride, step, inner_stride):
    """Where elements lie: `inner` rows follow each other by one stride, groups of them by another."""
    start = (row // inner) * outer_stride + (row % inner) * inner_stride
    return start + column.to(row.dtype) * step


@triton.jit
def total(x, held):
    """The sum of each row, as a tree."""
    return tl.sum(tl.where(held, x, 0.0), 1, keep_dims=True)


@triton.jit
def peak(x, held):
    """The greatest of each row; whether NaN counts differs between devices."""
    return tl.max(tl.where(held, x, -INF), 1, keep_dims=True)


@triton.jit
def greatest(x, held):
    """The greatest of each row, NaN if there is one."""
    lost = tl.max((held & (x != x)).to(tl.int32), 1, keep_dims=True)
    return tl.where(lost > 0, float("nan"), peak(x, held))


@triton.jit
def finite(top):
    """A peak to subtract: 0 while a row has had nothing but -infinity."""
    return tl.where(top == -INF, 0.0, top)


@triton.jit
def added(sum_, lost, value, held):
    """A running sum and what its roundings lost, with another value in each lane."""
    value = tl.where(held, value, 0.0)
    return sum_ + value, lost + _math.sum_error(sum_, value)


@triton.jit
def settled(sum_, lost):
    """The sum of a row's lanes."""
    return tl.sum(tl.where(tl.abs(sum_) < INF, sum_ + lost, sum_), 1, keep_dims=True)


@triton.jit
def keep(stats_ptr, slot, row, count, parts, value):
    """Write a number of each row, found by this program in its part of the row."""
    tl.store(stats_ptr + ((slot * parts + tl.program_id(1)) * count + row), value, mask=row < count)


@triton.jit
def kept(stats_ptr, slot, row, count, parts, width: tl.constexpr, otherwise):
    """A number of each row as the programs of all its parts found it, of shape (rows, width)."""
    part = tl.arange(0, width)[None, :]
    held = (row < count) & (part < parts)
    return tl.load(stats_ptr + ((slot * parts + part) * count + row), mask=held, other=otherwise)


# -- in torch operations -----------------------------------------------------------------------------------


def peak_torch(x: Tensor, dim: int) -> Tensor:
    """The greatest of each row as a shift, through which no derivative goes."""
    return greatest_torch(x.detach(), dim)


def greatest_torch(x: Tensor, dim: int) -> Tensor:
    """The greatest of each row, of which there must be none where rows are empty."""
    return torch.amax(x, dim, keepdim=True) if x.numel() else torch.sum(x, dim, keepdim=True)


# -- the operator ------------------------------------------------------------------------------------------


class RowKernels(NamedTuple):
    """A function of rows as kernels: for rows that fit on chip, and a pass over those that do not.

    Such rows take `levels` passes, which find `slots` numbers of each row, before the one that maps.
    """

    whole: Any
    one_pass: Any
    levels: int
    slots: int


class RowOperator:
    """An activation with reductions over rows: called with tensors, parameters and a dimension.

    Accepts float16, bfloat16, float32 and float64 in any layout of strides, in shapes that broadcast. Raises
    TypeError for what is no tensor or no dimension, IndexError for a dimension that is not there,
    NotImplementedError, naming the activation, for other types and for DTensors, and RuntimeError for shapes
    that do not broadcast and for several devices. `kernels` and `formulas` are the value, then the gradient
    by each input; formulas take the inputs, for a gradient the incoming one, the parameters, the length of a
    row and the dimension.
    """

    def __init__(
        self,
        name: str,
        *,
        kernels: tuple[RowKernels, ...],
        formulas: tuple[Formula, ...],
        parameters: int = 0,
        version: str = "",
    ) -> None:
        self.name = name
        self.inputs = len(formulas) - 1
        self._parameters = parameters
        self._kernels = kernels
        self._formulas = formulas
        self._interpreted = not Launcher(kernels[0].whole).jitted
        self._traced = _traced_function(name, formulas)
        self.value, self.slopes = self._register(version)

    def __call__(self, *arguments: Any) -> Tensor:
        """The activation over the rows of the inputs, broadcast."""
        inputs, rest = self._prepared(arguments)
        if is_compiling():
            return self._trace(inputs, rest)
        if _transforms_active() or forward_ad._current_level >= 0:
            return self.formula(0, inputs, (), rest).to(inputs[0].dtype)
        if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
            return _Value.apply(self, rest, *inputs)  # type: ignore[no-any-return]
        return self.compute(inputs, rest)

    def compute(self, inputs: tuple[Tensor, ...], rest: tuple[Any, ...]) -> Tensor:
        """f(inputs) without a derivative; by PyTorch's dispatcher only where something may listen there."""
        if all(_is_plain(x) for x in inputs):
            return self._value(*inputs, *rest)
        with torch._C._AutoDispatchBelowAutograd():
            result: Tensor = self.value(*inputs, *rest)
            return result

    def compute_slopes(
        self, grad: Tensor, inputs: tuple[Tensor, ...], rest: tuple[Any, ...], wanted: Sequence[bool]
    ) -> list[Tensor]:
        """The gradients by the wanted inputs, without a derivative of their own."""
        if all(_is_plain(x) for x in (grad, *inputs)):
            return self._slopes(grad, *inputs, *rest, wanted)
        if any(_is_batched(x) for x in (grad, *inputs)):  # PyTorch has no batches of lists
            return self.differentiable_slopes(grad, inputs, rest, wanted)
        with torch._C._AutoDispatchBelowAutograd():
            result: list[Tensor] = self.slopes(grad, *inputs, *rest, list(wanted))
            return result

    def formula(
        self, which: int, inputs: tuple[Tensor, ...], grad: tuple[Tensor, ...], rest: tuple[Any, ...]
    ) -> Tensor:
        """The value (0) or the gradient by an input (1 and up) in torch operations, not yet rounded."""
        *parameters, dim = rest
        x = inputs[0]
        length = x.shape[dim] if x.dim() else 1
        wide = tuple(_widened(each) for each in (*inputs, *grad))
        result = self._formulas[which](*wide, *parameters, length, dim)
        return result if result.shape == x.shape else result.expand(x.shape)

    def warmup(self, device: torch.device, dtype: torch.dtype) -> None:
        """Refused: a kernel is compiled for a length of the row."""
        raise NotImplementedError(
            f"warmup(): the kernels of {self.name} depend on the length of the row; call it once instead"
        )

    def __repr__(self) -> str:
        return f"<activation {self.name}>"

    # -- inputs ------------------------------------------------------------------------------------------

    def _prepared(self, arguments: tuple[Any, ...]) -> tuple[tuple[Tensor, ...], tuple[Any, ...]]:
        """The inputs in one shape and type, and the parameters and the dimension, which is there.

        Under a GPU's autocast 16-bit inputs are taken in float32, as PyTorch's softmax takes them.
        """
        inputs, (*parameters, dim) = arguments[: self.inputs], arguments[self.inputs :]
        for x in inputs:
            self._check(x)
        if isinstance(dim, bool) or not isinstance(dim, int):
            raise TypeError(f"{self.name}(): dim must be int, not {type(dim).__name__}")
        kind = inputs[0].device.type
        if kind in _AUTOCAST and torch.is_autocast_enabled(kind):
            inputs = tuple(_widened(x) for x in inputs)
        if len(inputs) > 1:
            inputs = self._broadcast(inputs)
        dims = max(1, inputs[0].dim())
        if not -dims <= dim < dims:
            raise IndexError(
                f"{self.name}(): Dimension out of range (expected to be in range of "
                f"[{-dims}, {dims - 1}], but got {dim})"
            )
        return inputs, (*parameters, dim)

    def _broadcast(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        dtype = _promoted(inputs)
        shape = torch.broadcast_shapes(*(x.shape for x in inputs))
        device = next((x.device for x in inputs if x.dim()), inputs[0].device)
        found = tuple(x.to(x.device if x.dim() else device, dtype).expand(shape) for x in inputs)
        self._alike(found)
        return found

    def _check(self, x: Any) -> None:
        if not isinstance(x, Tensor):
            raise TypeError(f"{self.name}(): arguments must be Tensors, not {type(x).__name__}")
        if x.dtype not in _COMPUTE or x.layout is not torch.strided:
            raise _unsupported(self.name, x)
        if type(x).__name__ == "DTensor":
            raise NotImplementedError(
                f"{self.name}: activations over rows do not take DTensors; use their to_local()"
            )

    def _alike(self, tensors: Sequence[Tensor]) -> None:
        first = tensors[0]
        for x in tensors[1:]:
            if x.device != first.device:
                raise RuntimeError(
                    f"{self.name}: expected all tensors on one device, found {first.device} and {x.device}"
                )
            if x.shape != first.shape or _COMPUTE[x.dtype] is not _COMPUTE[first.dtype]:
                raise RuntimeError(f"{self.name}: the operator's inputs differ in shape or type")

    def _split(self, arguments: tuple[Any, ...], *grad: Tensor) -> tuple[tuple[Tensor, ...], tuple[Any, ...]]:
        """An operator's inputs, which must be alike, and what comes after them."""
        inputs = arguments[: self.inputs]
        for x in (*inputs, *grad):
            self._check(x)
        self._alike((*inputs, *grad))
        return inputs, arguments[self.inputs :]

    # -- compilers ---------------------------------------------------------------------------------------

    def _trace(self, inputs: tuple[Tensor, ...], rest: tuple[Any, ...]) -> Tensor:
        """f(inputs) for a compiler; see `Operator._trace`."""
        traceable = True
        if getattr(torch.compiler, "_is_exporting_flag", False):
            traceable = False
        elif _transforms_active():
            views = tuple(x.view_as(x) for x in inputs)
            traceable = _in_one_transform() and not any(x.requires_grad for x in inputs)
            traceable = traceable and any(x.requires_grad for x in views)
            inputs = views
        elif _runtime._compile_mode == "kernel":
            return self.value(*inputs, *rest)  # type: ignore[no-any-return]
        if traceable:
            rest = (*_runtime.known(rest[:-1]), rest[-1])
            return self._traced.apply(*inputs, *rest)  # type: ignore[no-any-return]
        return self.formula(0, inputs, (), rest).to(inputs[0].dtype)

    # -- the operators -----------------------------------------------------------------------------------

    def _register(self, version: str) -> tuple[Any, Any]:
        """The two operators in PyTorch's registry, under a namespace that no other package has."""
        namespace = re.sub(r"\W", "_", f"{__package__}_{version}")
        while hasattr(getattr(torch.ops, namespace), self.name):  # a second import of the same package
            namespace += "_"
        arguments = [f"Tensor x{i}" for i in range(self.inputs)]
        arguments += [*(f"float p{i}" for i in range(self._parameters)), "int dim"]
        signature = ", ".join(arguments)
        self._library = torch.library.Library(namespace, "FRAGMENT")
        tags = (torch.Tag.pt2_compliant_tag,)
        self._library.define(f"{self.name}({signature}) -> Tensor", tags=tags)
        self._library.define(
            f"{self.name}_backward(Tensor grad, {signature}, bool[] wanted) -> Tensor[]", tags=tags
        )
        operators = getattr(torch.ops, namespace)
        value = getattr(operators, self.name).default
        slopes = getattr(operators, f"{self.name}_backward").default
        for operator, implementations in (
            (value, (self._value, self._value_meta, self._value_autograd)),
            (slopes, (self._slopes, self._slopes_meta, self._slopes_autograd)),
        ):
            keys = ("CompositeExplicitAutograd", "Meta", "Autograd")
            for key, implementation in zip(keys, implementations, strict=True):
                self._library.impl(operator, implementation, key)
        return value, slopes

    def _value_autograd(self, *arguments: Any) -> Tensor:
        inputs, rest = self._split(arguments)
        if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
            return _Value.apply(self, rest, *inputs)  # type: ignore[no-any-return]
        return self.compute(inputs, rest)

    def _slopes_autograd(self, grad: Tensor, *arguments: Any) -> list[Tensor]:
        inputs, (*rest, wanted) = self._split(arguments, grad)
        if any(wanted) and torch.is_grad_enabled() and any(x.requires_grad for x in (grad, *inputs)):
            return list(_Slopes.apply(self, tuple(rest), tuple(wanted), grad, *inputs))
        return self.compute_slopes(grad, inputs, tuple(rest), wanted)

    def _value(self, *arguments: Any) -> Tensor:
        """f(inputs), outside autograd."""
        inputs, rest = self._split(arguments)
        return self._evaluate(0, inputs, (), rest)

    def _slopes(self, grad: Tensor, *arguments: Any) -> list[Tensor]:
        """The gradients by the wanted inputs, outside autograd."""
        inputs, (*rest, wanted) = self._split(arguments, grad)
        places = (place for place, want in enumerate(wanted, 1) if want)
        return [self._evaluate(place, inputs, (grad,), tuple(rest)) for place in places]

    def _evaluate(
        self, which: int, inputs: tuple[Tensor, ...], grad: tuple[Tensor, ...], rest: tuple[Any, ...]
    ) -> Tensor:
        out = torch.empty_like(_model(inputs))
        if out.numel() == 0:
            return out
        if out.is_cuda or out.is_xpu or (self._interpreted and out.is_cpu):
            *parameters, dim = rest
            _run(self._kernels[which], (*inputs, *grad), out, tuple(parameters), dim)
            return out
        result = self.formula(which, inputs, grad, rest)
        same = result.dtype is out.dtype and result.stride() == out.stride()
        fresh = all(result is not x for x in (*inputs, *grad))
        return result if same and fresh else out.copy_(result)

    def _value_meta(self, *arguments: Any) -> Tensor:
        inputs, _ = self._split(arguments)
        return torch.empty_like(_model(inputs))

    def _slopes_meta(self, grad: Tensor, *arguments: Any) -> list[Tensor]:
        inputs, (*_, wanted) = self._split(arguments, grad)
        return [torch.empty_like(_model(inputs)) for want in wanted if want]

    def differentiable_slopes(
        self, grad: Tensor, inputs: tuple[Tensor, ...], rest: tuple[Any, ...], wanted: Sequence[bool]
    ) -> list[Tensor]:
        """The gradients by the wanted inputs in torch operations, through which autograd goes on."""
        dtype = inputs[0].dtype
        places = (place for place, want in enumerate(wanted, 1) if want)
        return [self.formula(place, inputs, (grad,), rest).to(dtype) for place in places]


def _model(inputs: tuple[Tensor, ...]) -> Tensor:
    """The input whose layout the results take: the first that was not expanded."""
    return next((x for x in inputs if 0 not in x.stride()), inputs[0])


# -- kernels -----------------------------------------------------------------------------------------------


class Walk(NamedTuple):
    """Rows in memory: how many, how long, how many to a group; each tensor's strides by group, along a row
    and by row of a group.
    """

    rows: int
    length: int
    inner: int
    strides: tuple[tuple[int, int, int], ...]


def _walk(tensors: Sequence[Tensor], dim: int) -> Walk | None:
    """How rows lie in tensors of one shape; None where two strides do not lead to all of them."""
    out = tensors[-1]
    if out.dim() == 0:
        return Walk(1, 1, 1, tuple((0, 0, 0) for _ in tensors))
    dim %= out.dim()
    order = out.stride()
    others = [d for d, size in enumerate(out.shape) if d != dim and size != 1]
    merged: list[tuple[int, tuple[int, ...]]] = []
    for d in sorted(others, key=lambda d: -order[d]):
        each = tuple(x.stride()[d] for x in tensors)
        size = out.shape[d]
        if merged and all(a == b * size for a, b in zip(merged[-1][1], each, strict=True)):
            merged[-1] = (merged[-1][0] * size, each)
        else:
            merged.append((size, each))
    if len(merged) > 2:
        return None
    merged += [(1, (0,) * len(tensors))] * (2 - len(merged))
    if merged[1][0] == 1 and order[dim] != 1:  # neighbours in memory are rows: one group of all
        merged.reverse()
    (groups, by_group), (inner, by_row) = merged
    steps = [x.stride()[dim] for x in tensors]
    strides = tuple(zip(by_group, steps, by_row, strict=True))
    return Walk(groups * inner, out.shape[dim], inner, strides)


class Shape(NamedTuple):
    """How many rows and elements of each a program takes at a time, with how many warps; `split` where a row
    does not fit.
    """

    rows: int
    block: int
    warps: int
    split: bool


def shape_of(walk: Walk, largest: int) -> Shape:
    """The shape of tiles, of at most so many elements, for rows that lie as `walk` says."""
    across = walk.inner > 1 and abs(walk.strides[-1][1]) > abs(walk.strides[-1][2])
    block = triton.next_power_of_2(walk.length)
    lanes = min(_LANES, triton.next_power_of_2(walk.inner)) if across else 1
    split = block * lanes > largest
    if split:
        block = _STEP // lanes
    fewest = triton.next_power_of_2(walk.rows)
    rows = lanes if split else max(lanes, min(_TILE // block, fewest))
    return Shape(rows, block, max(1, min(16, rows * block // 512)), split)


@cache
def _programs(device: torch.device) -> int:
    """How many programs keep a device busy."""
    if device.type == "cpu":
        return _BUSY
    properties = torch.get_device_module(device).get_device_properties(device)
    known = [getattr(properties, name, None) for name in ("multi_processor_count", "gpu_subslice_count")]
    return _BUSY * next((int(count) for count in known if count), 64)


def _run(
    kernels: RowKernels, tensors: tuple[Tensor, ...], out: Tensor, parameters: tuple[float, ...], dim: int
) -> None:
    """A function of the rows of tensors, written into `out`."""
    if out.device.type != "cpu" and out.get_device() != torch.accelerator.current_device_index():
        with torch.accelerator.device_index(out.get_device()):
            _run(kernels, tensors, out, parameters, dim)
        return
    walk = _walk((*tensors, out), dim)
    if walk is None:
        tensors = tuple(_laid_out_as(out, x) for x in tensors)
        walk = _walk((*tensors, out), dim)
        assert walk is not None, "a dense tensor has one stride on either side of the dimension"
    shape = shape_of(walk, LARGEST // (_COMPUTE[out.dtype].itemsize // 4))
    reach = max(map(_reach, (*tensors, out)))
    wide = reach + 2 * shape.rows * shape.block > 2**31 - 1
    strides = [stride for each in walk.strides for stride in each]
    common = (*parameters, walk.rows, walk.length, walk.inner, *strides)
    options: dict[str, Any] = {
        "rows": shape.rows,
        "block": shape.block,
        "wide": wide,
        "fast": out.dtype.itemsize == 2,
        # A product fused here and not there would make the greatest of a row differ from itself.
        "enable_fp_fusion": not shape.split,
        "num_warps": shape.warps,
    }
    programs = triton.cdiv(walk.rows, shape.rows)
    if not shape.split:
        kernels.whole[programs,](*tensors, out, *common, **options)
        return
    parts = max(1, min(_programs(out.device) // programs, walk.length // (2 * shape.block)))
    span = shape.block * triton.cdiv(walk.length, shape.block * parts)
    parts = triton.cdiv(walk.length, span)
    stats = out.new_empty(max(1, kernels.slots * parts * walk.rows), dtype=_COMPUTE[out.dtype])
    width = triton.next_power_of_2(parts)
    for level in range(kernels.levels + 1):
        kernels.one_pass[programs, parts](
            *tensors, out, stats, *common, span, parts, level=level, width=width, **options
        )


def _reach(x: Tensor) -> int:
    """How far the last element of a tensor lies from the first."""
    return sum(abs(stride) * (size - 1) for stride, size in zip(x.stride(), x.shape, strict=True))


# -- autograd ----------------------------------------------------------------------------------------------


class _Value(Function):
    """f in eager mode."""

    @staticmethod
    def forward(ctx: Any, operator: RowOperator, rest: tuple[Any, ...], *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        ctx.operator, ctx.rest = operator, rest
        return operator.compute(inputs, rest)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[2:]
        operator = ctx.operator
        goes_on = torch.is_grad_enabled() or _transforms_active()
        slopes = operator.differentiable_slopes if goes_on else operator.compute_slopes
        found = iter(slopes(grads[0], ctx.saved_tensors, ctx.rest, wanted))
        return None, None, *(next(found) if want else None for want in wanted)


class _Slopes(Function):
    """The gradients by the wanted inputs; their own are autograd's, of the formulas."""

    @staticmethod
    def forward(
        ctx: Any, operator: RowOperator, rest: tuple[Any, ...], wanted: tuple[bool, ...], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*tensors)
        ctx.operator, ctx.rest, ctx.wanted = operator, rest, wanted
        grad, *inputs = tensors
        return tuple(operator.compute_slopes(grad, tuple(inputs), rest, wanted))

    @staticmethod
    def backward(ctx: Any, *outers: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[3:]
        with torch.enable_grad():
            tensors = ctx.saved_tensors
            grad, *inputs = tensors
            found = ctx.operator.differentiable_slopes(grad, tuple(inputs), ctx.rest, ctx.wanted)
            leaves = [x for x, need in zip(tensors, needed, strict=True) if need]
            gradients = iter(torch.autograd.grad(found, leaves, outers, create_graph=True, allow_unused=True))
        return None, None, None, *(next(gradients) if need else None for need in needed)


def _traced_function(name: str, formulas: tuple[Formula, ...]) -> Any:
    """The Function that compilers trace: the formula, with the stable gradients as its backward."""
    count = len(formulas) - 1

    class Traced(Function):
        @staticmethod
        def forward(ctx: Any, *arguments: Any) -> Tensor:
            inputs, (*parameters, dim) = arguments[:count], arguments[count:]
            ctx.save_for_backward(*inputs)
            ctx.parameters, ctx.dim = parameters, dim
            x = inputs[0]
            length = x.shape[dim] if x.dim() else 1
            result = formulas[0](*[_widened(each) for each in inputs], *parameters, length, dim)
            return result.expand(x.shape).to(x.dtype, copy=True)

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
            inputs = ctx.saved_tensors
            x = inputs[0]
            length = x.shape[ctx.dim] if x.dim() else 1
            wide = [_widened(each) for each in (*inputs, grads[0])]
            found: list[Tensor | None] = []
            for place in range(count):
                if ctx.needs_input_grad[place]:
                    slope = formulas[place + 1](*wide, *ctx.parameters, length, ctx.dim)
                    found.append(slope.expand(x.shape).to(x.dtype))
                else:
                    found.append(None)
            return (*found, *(None for _ in ctx.parameters), None)

    Traced.__name__ = Traced.__qualname__ = f"{name}_traced"
    return Traced
