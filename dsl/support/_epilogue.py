"""What the models of this package share: activations around a normalisation, in few passes over memory.

In: kernels of one model's activations (`before` the normalisation and `after` it). Out: functions of a tensor
and PyTorch's own normalisation layer, whose parameters and statistics they use.

A tensor is seen as outer x groups x inner elements, one next to the other. Batch normalisation has a group
for each channel: of images laid out as NCHW, inner is a plane; as channels_last, inner is 1. Group
normalisation has one for each sample and group. Statistics are merged pairwise from means and squared
deviations, so that nothing cancels.

Kernels run in eager mode on a GPU; elsewhere, and where something listens (a compiler, transforms, hooks,
autocast that changes types, a layer of another class such as SyncBatchNorm), the layer itself is called.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from torch._C import _are_functorch_transforms_active as _transforms_active
from torch.autograd import Function, forward_ad
from torch.compiler import is_compiling
from torch.nn import functional
from triton.runtime import JITFunction

from ._launch import as_parameter, widen
from ._runtime import _COMPUTE, Formula, _is_plain

_REDUCE, _REDUCE_WARPS = 4096, {2: 4, 4: 8, 8: 8}
"""Elements of a tile that is summed, and its warps by the bytes of an element: few, so that sums across
threads cost little beside the rest, where registers allow it."""

_MAP, _MAP_WARPS = 2048, 4
_PROGRAMS = 2048
"""Programs that sums are shared among: several for each multiprocessor of the largest GPUs."""

_LONGEST_ROW = 32768
"""Rows up to which one program holds a row in registers."""


@triton.jit
def lattice(o, g, i, outer, groups, inner):
    """The offsets of outer x group x inner elements, and which of them there are."""
    keep = (o < outer)[:, None, None] & (g < groups)[None, :, None] & (i < inner)[None, None, :]
    return (o[:, None, None] * groups + g[None, :, None]) * inner + i[None, None, :], keep


@triton.jit
def place(outer, groups, inner, R: tl.constexpr, K: tl.constexpr, T: tl.constexpr, wide: tl.constexpr):
    """Where this program's tile of R x K x T elements lies, the inner ones next to each other."""
    program = tl.program_id(0)
    if wide:
        program = program.to(tl.int64)
    tiles = tl.cdiv(inner, T)
    blocks = tl.cdiv(groups, K)
    i = (program % tiles) * T + tl.arange(0, T)
    g = (program // tiles) % blocks * K + tl.arange(0, K)
    o = program // (tiles * blocks) * R + tl.arange(0, R)
    return o, g, i


@triton.jit
def slab_of(groups, slab, K: tl.constexpr, wide: tl.constexpr):
    """The groups and the first outer index that a program sums over."""
    blocks = tl.cdiv(groups, K)
    program = tl.program_id(0)
    part = program // blocks
    if wide:
        part = part.to(tl.int64)
    return program % blocks * K + tl.arange(0, K), part * slab, part


@triton.jit
def per_group(pointer, index, keep, other: tl.constexpr):
    """A number for each group, to stand beside a tile."""
    return widen(tl.load(pointer + index, mask=keep, other=other))[None, :, None]


@triton.jit
def total(values):
    """The sum of a tile for each group."""
    return tl.sum(tl.sum(values, 2), 0)


@triton.jit
def merge(mean, m2, count, values, keep, size):
    """Means and squared deviations of `count` elements a group, with `size` more of a tile.

    After Chan, Golub and LeVeque (1979).
    """
    tile_mean = total(tl.where(keep, values, 0.0)) / size
    deviation = tl.where(keep, values - tile_mean[None, :, None], 0.0)
    delta = tile_mean - mean
    both = count + size
    mean += delta * (size / both)
    m2 += total(deviation * deviation) + delta * delta * (count * (size / both))
    return mean, m2, both


@triton.jit
def some_rows(block, R: tl.constexpr, wide: tl.constexpr):
    """The rows of a block of R."""
    if wide:
        block = block.to(tl.int64)
    return block * R + tl.arange(0, R)


@triton.jit
def per_column(pointer, index, keep, other: tl.constexpr):
    """A number for each element of a row, to stand beside rows."""
    return widen(tl.load(pointer + index, mask=keep, other=other))[None, :]


@triton.jit
def normal_rows(values, keep, length, eps, centred: tl.constexpr):
    """Rows with their mean taken out where `centred`, over their deviation; and the reciprocal of that."""
    values = tl.where(keep, values, 0.0)
    if centred:
        values = tl.where(keep, values - (tl.sum(values, 1) / length)[:, None], 0.0)
    rstd = (1.0 / tl.sqrt(tl.sum(values * values, 1) / length + as_parameter(eps, values)))[:, None]
    return values * rstd, rstd


@triton.jit
def _settle_kernel(
    means_ptr,
    m2s_ptr,
    mean_ptr,
    rstd_ptr,
    running_mean_ptr,
    running_var_ptr,
    eps: tl.float64,
    momentum: tl.float64,
    outer,
    groups,
    inner,
    slab,
    slabs,
    K: tl.constexpr,
    track: tl.constexpr,
    acc: tl.constexpr,
):
    """The statistics of the slabs merged; the running ones moved by `momentum` where `track`."""
    g = tl.program_id(0) * K + tl.arange(0, K)
    keep = g < groups
    mean = tl.zeros((K,), acc)
    m2 = tl.zeros((K,), acc)
    count = tl.full((), 0.0, acc)
    for part in range(slabs):
        size = (tl.minimum(outer - part * slab, slab).to(acc)) * inner
        both = count + size
        delta = tl.load(means_ptr + part * groups + g, mask=keep, other=0.0) - mean
        mean += delta * (size / both)
        m2 += tl.load(m2s_ptr + part * groups + g, mask=keep, other=0.0)
        m2 += delta * delta * (count * (size / both))
        count = both
    one = tl.full((), 1.0, acc)
    tl.store(mean_ptr + g, mean, mask=keep)
    tl.store(rstd_ptr + g, 1.0 / tl.sqrt(m2 / count + (one * eps).to(acc)), mask=keep)
    if track:
        step = (one * momentum).to(acc)
        old = widen(tl.load(running_mean_ptr + g, mask=keep, other=0.0))
        tl.store(running_mean_ptr + g, old + step * (mean - old), mask=keep)
        old = widen(tl.load(running_var_ptr + g, mask=keep, other=0.0))
        tl.store(running_var_ptr + g, old + step * (m2 / (count - 1.0) - old), mask=keep)


def identity(x: Tensor) -> Tensor:
    """No activation."""
    return x


@dataclass(frozen=True)
class View:
    """A tensor as `outer` x `groups` x `inner` elements, one next to the other."""

    outer: int
    groups: int
    inner: int

    def tiles(self, elements: int) -> dict[str, int]:
        """A tile of about so many elements, as powers of two: R x K x T."""
        T = min(triton.next_power_of_2(self.inner), elements)
        K = min(triton.next_power_of_2(self.groups), 64) if self.inner == 1 else 1
        R = min(triton.next_power_of_2(self.outer), max(1, elements // (T * K)))
        return {"R": R, "K": K, "T": T}

    def units(self) -> tuple[int, int]:
        """`inner` as a product with the largest power of two up to 16: what Triton may know it divides by."""
        unit = next(unit for unit in (16, 8, 4, 2, 1) if self.inner % unit == 0)
        return self.inner // unit, unit


@dataclass(frozen=True)
class Shape:
    """How a normalisation sees a tensor: the view that has statistics, that of its parameters, and how many
    groups of the latter share statistics; `channels` is how many parameters there are.
    """

    statistics: View
    elements: View
    per: int
    channels: int


def over_channels(x: Tensor) -> Shape:
    """The shape of a batch normalisation over an (N, C, ...) tensor, dense in one of PyTorch's formats."""
    samples, channels = x.shape[:2]
    plane = prod(x.shape[2:])
    view = View(samples, channels, plane) if x.is_contiguous() else View(samples * plane, channels, 1)
    return Shape(view, view, 1, channels)


def over_groups(x: Tensor, groups: int) -> Shape:
    """The shape of a group normalisation over a contiguous (N, C, ...) tensor."""
    samples, channels = x.shape[:2]
    plane = prod(x.shape[2:])
    per = channels // groups
    return Shape(View(1, samples * groups, per * plane), View(1, samples * channels, plane), per, channels)


class Normalised:
    """after(norm(before(x))) for one kind of layer; called with a tensor, the layer and the parameters of the
    activations, first those of `before`.

    `before` and `after` are the activations in torch operations, `types` the layers whose kernels these are.
    Raises what the layer raises for an input that it does not take.
    """

    types: tuple[type[nn.Module], ...] = ()
    under_autocast = False

    def __init__(self, before: Formula, after: Formula, kernels: tuple[Any, ...]) -> None:
        self.before, self.after, self.kernels = before, after, kernels
        self._interpreted = not isinstance(kernels[0], JITFunction)

    def __call__(
        self, x: Tensor, norm: nn.Module, before: tuple[float, ...] = (), after: tuple[float, ...] = ()
    ) -> Tensor:
        """The activations and the layer between them."""
        if not is_compiling() and self._fuses(x, norm):
            return self.fused(x, norm, before, after)
        return self.after(norm(self.before(x, *before)), *after)

    def fused(self, x: Tensor, norm: Any, before: tuple[float, ...], after: tuple[float, ...]) -> Tensor:
        """The same by kernels."""
        raise NotImplementedError

    def _fuses(self, x: Tensor, norm: nn.Module) -> bool:
        weight = getattr(norm, "weight", None)
        return (
            (x.is_cuda or x.is_xpu or (self._interpreted and x.is_cpu))
            and type(norm) in self.types
            and x.dtype in _COMPUTE
            and x.layout is torch.strided
            and x.numel() > 0
            and not (_transforms_active() or forward_ad._current_level >= 0)
            and _is_plain(x)
            and (weight is None or (_is_plain(weight) and weight.device == x.device))
            and not _is_listened_to(norm)
            and (self.under_autocast or not torch.is_autocast_enabled(x.device.type))
        )


def _is_listened_to(norm: nn.Module) -> bool:
    """Whether hooks of the layer want to see its own input or output."""
    return bool(
        norm._forward_hooks or norm._forward_pre_hooks or norm._backward_hooks or norm._backward_pre_hooks
    )


class BatchNormalised(Normalised):
    """Around `BatchNorm1d`, `BatchNorm2d` or `BatchNorm3d`."""

    types = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    under_autocast = True

    def fused(self, x: Tensor, norm: Any, before: tuple[float, ...], after: tuple[float, ...]) -> Tensor:
        """The layer's own bookkeeping, then the kernels."""
        norm._check_input_dim(x)
        if x.shape[1] != norm.num_features:
            return self.after(norm(self.before(x, *before)), *after)  # the layer says what is wrong
        training = norm.training or norm.running_mean is None
        momentum = 0.0 if norm.momentum is None else norm.momentum
        track = norm.training and norm.track_running_stats and norm.running_mean is not None
        if training:
            functional._verify_batch_size(list(x.shape))  # type: ignore[attr-defined]
        if track and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
            if norm.momentum is None:
                momentum = 1.0 / float(norm.num_batches_tracked)
        running = (norm.running_mean, norm.running_var) if track or not training else (None, None)
        x = _dense(x)
        settings = _Settings(self, over_channels(x), norm.eps, momentum, training, 0, before, after)
        result: Tensor = _OverGroups.apply(x, norm.weight, norm.bias, *running, settings)
        return result


class GroupNormalised(Normalised):
    """Around `GroupNorm`. The kernels read a contiguous tensor: one of channels_last is copied first."""

    types = (nn.GroupNorm,)

    def fused(self, x: Tensor, norm: Any, before: tuple[float, ...], after: tuple[float, ...]) -> Tensor:
        """The kernels, with statistics of their own for every sample."""
        if x.dim() < 2 or x.shape[1] != norm.num_channels:
            return self.after(norm(self.before(x, *before)), *after)
        x = x.contiguous()
        shape = over_groups(x, norm.num_groups)
        settings = _Settings(self, shape, norm.eps, 0.0, True, norm.num_groups, before, after)
        result: Tensor = _OverGroups.apply(x, norm.weight, norm.bias, None, None, settings)
        return result


class RowNormalised(Normalised):
    """Around `LayerNorm` or `RMSNorm`: one pass over rows of up to 32,768 elements.

    Longer ones go by the layer.
    """

    types = (nn.LayerNorm, nn.RMSNorm)

    def fused(self, x: Tensor, norm: Any, before: tuple[float, ...], after: tuple[float, ...]) -> Tensor:
        """A row in registers: statistics and result of one read."""
        wanted = tuple(norm.normalized_shape)
        if tuple(x.shape[x.dim() - len(wanted) :]) != wanted or prod(wanted) > _LONGEST_ROW:
            return self.after(norm(self.before(x, *before)), *after)
        eps = torch.finfo(x.dtype).eps if norm.eps is None else norm.eps
        centred = isinstance(norm, nn.LayerNorm)
        settings = _Settings(self, centred, eps, 0.0, True, wanted, before, after)
        bias = norm.bias if centred else None
        result: Tensor = _OverRows.apply(x.contiguous(), norm.weight, bias, settings)
        return result


@dataclass(frozen=True)
class _Settings:
    """What a call of a normalisation needs besides tensors.

    `shape` is how it sees them, or, of rows, whether their mean is taken out; `detail` the number of groups,
    or the row's shape.
    """

    owner: Normalised
    shape: Any
    eps: float
    momentum: float
    training: bool
    detail: Any
    before: tuple[float, ...]
    after: tuple[float, ...]


def _dense(x: Tensor) -> Tensor:
    """A tensor whose elements lie one next to the other, channels last or planes whole."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    if x.is_contiguous() or (x.dim() in formats and x.is_contiguous(memory_format=formats[x.dim()])):
        return x
    return x.contiguous()


def _constants(x: Tensor, elements: int) -> dict[str, Any]:
    return {"wide": elements > 2**31 - 2**17, "fast": x.dtype.itemsize == 2}


def _accumulator(x: Tensor) -> Any:
    return tl.float64 if x.dtype is torch.float64 else tl.float32


def _run(kernel: Any, programs: int, x: Tensor, *arguments: Any, **constants: Any) -> None:
    """A kernel on the device of `x`."""
    index = x.get_device()
    if index >= 0 and index != torch.accelerator.current_device_index():
        with torch.accelerator.device_index(index):
            kernel[programs,](*arguments, **constants)
    else:
        kernel[programs,](*arguments, **constants)


def _sum_tiling(view: View) -> tuple[dict[str, int], int, int, int]:
    """How sums are shared among programs: the tile, the outer indices of each, the slabs, the programs."""
    tiles = view.tiles(_REDUCE)
    blocks = triton.cdiv(view.groups, tiles["K"])
    slabs = min(triton.cdiv(view.outer, tiles["R"]), triton.cdiv(_PROGRAMS, blocks))
    slab = triton.cdiv(triton.cdiv(view.outer, slabs), tiles["R"]) * tiles["R"]
    slabs = triton.cdiv(view.outer, slab)
    return tiles, slab, slabs, blocks * slabs


def _moments(x: Tensor, running: tuple[Any, Any], settings: _Settings) -> tuple[Tensor, Tensor]:
    """Mean and reciprocal standard deviation of every group; the running statistics moved."""
    view = settings.shape.statistics
    tiles, slab, slabs, programs = _sum_tiling(view)
    units, unit = view.units()
    means, m2s = x.new_empty(2, slabs, view.groups, dtype=_COMPUTE[x.dtype]).unbind()
    where = (view.outer, view.groups, units, slab)
    constants = {"UNIT": unit, **tiles, **_constants(x, x.numel()), "acc": _accumulator(x)}
    kernel, warps = settings.owner.kernels[0], _REDUCE_WARPS[x.dtype.itemsize]
    _run(kernel, programs, x, x, means, m2s, *settings.before, *where, **constants, num_warps=warps)
    mean, rstd = torch.empty_like(means[0]), torch.empty_like(means[0])
    track = running[0] is not None
    _run(
        _settle_kernel,
        triton.cdiv(view.groups, 64),
        x,
        *(means, m2s, mean, rstd, *(running if track else (mean, rstd)), settings.eps, settings.momentum),
        *(view.outer, view.groups, view.inner, slab, slabs),
        K=64,
        track=track,
        acc=_accumulator(x),
        num_warps=2,
    )
    return mean, rstd


class _OverGroups(Function):
    """after(weight * (before(x) - mean) / deviation + bias), statistics over groups."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        settings: _Settings,
    ) -> Tensor:
        if settings.training:
            mean, rstd = _moments(x, (running_mean, running_var), settings)
        else:
            assert running_mean is not None
            assert running_var is not None
            compute = _COMPUTE[x.dtype]
            mean, rstd = running_mean.to(compute), torch.rsqrt(running_var.to(compute) + settings.eps)
            ctx.frozen = (running_mean, running_var)
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        ctx.settings = settings
        out = torch.empty_like(x)
        view = settings.shape.elements
        _run_map(
            settings.owner.kernels[1],
            view,
            x,
            (x, out, *_parameters(mean, rstd, weight, bias)),
            settings,
            {"affine": weight is not None, "shifted": bias is not None},
        )
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, rstd = ctx.saved_tensors
        settings = ctx.settings
        if torch.is_grad_enabled() or not _is_plain(grads[0]):
            wanted = (x, weight, bias)
            return (
                *_by_autograd(ctx, wanted, grads[0], lambda v: _again(v, weight, bias, ctx)),
                None,
                None,
                None,
            )
        grad = _laid_out_as(x, grads[0])
        shape, view = settings.shape, settings.shape.elements
        tiles, slab, slabs, programs = _sum_tiling(view)
        units, unit = view.units()
        parts = mean.new_empty(2, slabs, view.groups)
        affine = {"affine": weight is not None, "shifted": bias is not None}
        tensors = (grad, x, *_parameters(mean, rstd, weight, bias))
        where = (view.outer, view.groups, units, slab, shape.per, shape.channels)
        constants = {"UNIT": unit, **tiles, **affine, **_constants(x, x.numel()), "acc": _accumulator(x)}
        parameters = (*settings.before, *settings.after)
        kernel, warps = settings.owner.kernels[2], _REDUCE_WARPS[x.dtype.itemsize]
        out = (parts[0], parts[1])
        _run(kernel, programs, x, *tensors, *out, *parameters, *where, **constants, num_warps=warps)
        sums = parts.sum(1)
        by_bias, by_weight = sums.view(2, -1, shape.channels).sum(1)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = torch.empty_like(x)
            scaled = sums if weight is None else (sums.view(2, -1, shape.channels) * weight).view(2, -1)
            size = shape.statistics.outer * shape.statistics.inner
            shared = (scaled.view(2, -1, shape.per).sum(2) / size).unbind()
            choices = {**affine, "frozen": not settings.training}
            _run_map(settings.owner.kernels[3], view, x, (*tensors, *shared, dx), settings, choices)
        return (
            dx,
            None if weight is None else by_weight.to(weight.dtype),
            None if bias is None else by_bias.to(bias.dtype),
            None,
            None,
            None,
        )


def _again(x: Tensor, weight: Tensor | None, bias: Tensor | None, ctx: Any) -> Tensor:
    """The normalisation of a value in torch operations, running statistics left alone."""
    settings = ctx.settings
    if settings.detail:
        return functional.group_norm(x, settings.detail, weight, bias, settings.eps)
    mean, variance = getattr(ctx, "frozen", (None, None))
    return functional.batch_norm(x, mean, variance, weight, bias, settings.training, 0.0, settings.eps)


def _by_autograd(
    ctx: Any, wanted: tuple[Tensor | None, ...], grad: Tensor, norm: Callable[[Tensor], Tensor]
) -> tuple[Tensor | None, ...]:
    """Gradients that can be differentiated again: of the same computation in torch operations."""
    settings = ctx.settings
    owner = settings.owner
    given = zip(wanted, ctx.needs_input_grad, strict=False)
    inputs = [each for each, needs in given if needs and each is not None]
    with torch.enable_grad():
        y = owner.after(norm(owner.before(wanted[0], *settings.before)), *settings.after)
        found = iter(torch.autograd.grad(y, inputs, grad, create_graph=torch.is_grad_enabled()))
    return tuple(next(found) if needs else None for needs in ctx.needs_input_grad[: len(wanted)])


def _run_map(
    kernel: Any,
    view: View,
    x: Tensor,
    tensors: tuple[Tensor, ...],
    settings: _Settings,
    choices: dict[str, bool],
) -> None:
    """A kernel that writes every element of a view once."""
    tiles = view.tiles(_MAP)
    units, unit = view.units()
    programs = (
        triton.cdiv(view.inner, tiles["T"])
        * triton.cdiv(view.groups, tiles["K"])
        * triton.cdiv(view.outer, tiles["R"])
    )
    where = (view.outer, view.groups, units, settings.shape.per, settings.shape.channels)
    constants = {"UNIT": unit, **tiles, **choices, **_constants(x, x.numel())}
    parameters = (*settings.before, *settings.after)
    _run(kernel, programs, x, *tensors, *parameters, *where, **constants, num_warps=_MAP_WARPS)


def _parameters(
    mean: Tensor, rstd: Tensor, weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The tensors that kernels take; what there is none of is not read."""
    return mean, rstd, mean if weight is None else weight, mean if bias is None else bias


def _laid_out_as(x: Tensor, grad: Tensor) -> Tensor:
    if grad.dtype is x.dtype and grad.stride() == x.stride():
        return grad
    return torch.empty_like(x).copy_(grad)


class _OverRows(Function):
    """after(weight * (before(x) - mean) / deviation + bias), statistics over rows."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, settings: _Settings
    ) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        ctx.settings = settings
        out = torch.empty_like(x)
        length = prod(settings.detail)
        rows = x.numel() // length
        tile = _row_tile(rows, length)
        tensors = (x, out, *_parameters(x, x, weight, bias)[2:])
        _run(
            settings.owner.kernels[0],
            triton.cdiv(rows, tile["R"]),
            x,
            *(*tensors, *settings.before, *settings.after, settings.eps, rows, length),
            **_row_constants(x, weight, bias, settings, tile),
        )
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = ctx.saved_tensors
        settings = ctx.settings
        if torch.is_grad_enabled() or not _is_plain(grads[0]):

            def norm(value: Tensor) -> Tensor:
                if settings.shape:
                    return functional.layer_norm(value, settings.detail, weight, bias, settings.eps)
                return functional.rms_norm(value, settings.detail, weight, settings.eps)

            return *_by_autograd(ctx, (x, weight, bias), grads[0], norm), None
        grad = _laid_out_as(x, grads[0])
        dx = torch.empty_like(x)
        length = prod(settings.detail)
        rows = x.numel() // length
        tile = _row_tile(rows, length)
        blocks = triton.cdiv(rows, tile["R"])
        programs = min(blocks, _PROGRAMS // 4)
        by_bias, by_weight = x.new_empty(2, programs, length, dtype=_COMPUTE[x.dtype]).unbind()
        tensors = (grad, x, dx, *_parameters(x, x, weight, bias)[2:], by_bias, by_weight)
        _run(
            settings.owner.kernels[1],
            programs,
            x,
            *(*tensors, *settings.before, *settings.after, settings.eps, rows, length, blocks),
            **_row_constants(x, weight, bias, settings, tile),
        )
        return (
            dx,
            None if weight is None else by_weight.sum(0).to(weight.dtype).view_as(weight),
            None if bias is None else by_bias.sum(0).to(bias.dtype).view_as(bias),
            None,
        )


def _row_tile(rows: int, length: int) -> dict[str, int]:
    """Rows that a program holds at a time, and the length of one as a power of two."""
    T = triton.next_power_of_2(length)
    return {"R": min(triton.next_power_of_2(rows), max(1, _MAP // T)), "T": T}


def _row_constants(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, settings: _Settings, tile: dict[str, int]
) -> dict[str, Any]:
    return {
        **tile,
        "centred": settings.shape,
        "affine": weight is not None,
        "shifted": bias is not None,
        **_constants(x, x.numel()),
        "num_warps": max(4, min(32, tile["R"] * tile["T"] // 512)),
    }
