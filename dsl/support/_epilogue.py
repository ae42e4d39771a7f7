"""What the models of this package share: activations around a normalisation, in few passes over memory.

In: kernels of one model's activations (`before` the normalisation and `after` it; `later`, behind a residual
that is added then). Out: functions of a tensor and PyTorch's own normalisation layer, whose parameters and
statistics they use.

A tensor is seen as outer x groups x inner elements. Batch normalisation has a group for each channel, whose
elements, in images, are planes or have all other channels' between them; group normalisation has one for each
sample and group. Statistics are sums of differences from a pivot among the values, so that little cancels.

Kernels run in eager mode on a GPU; elsewhere, and where something listens (a compiler, transforms, hooks,
autocast that changes types, a layer of another class such as SyncBatchNorm), the layer itself is called.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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

_TILE, _WARPS = 1024, 4
"""Elements of a tile, and its warps: 8 elements a thread, so that what is summed stays in registers."""

_PROGRAMS, _FEW_PROGRAMS = 16384, 4096
"""Programs that the tiles are shared among: many to each multiprocessor of the largest GPUs, and enough tiles
to each to forget what it begins and ends with. Few are those that leave sums for many groups each."""

_STAGES, _STAGES_OF_PLANES = 3, {2: 1, 4: 2, 8: 2}
"""Tiles that are on their way at a time; of planes, by the bytes of an element. One is enough where programs
are small, as many of them fit."""

_ACROSS = {"forward": (16, 128, 1), "backward": (32, 32, 3), "copy": (32, 32, 1)}
"""Groups and elements of a tile of tensors that lie each its own way, and its stages: found on an H200."""

_ROW_TILE, _ROW_PROGRAMS = 2048, 512
"""Elements of a tile of short rows; programs that the gradient's rows are shared among."""

_LONGEST_ROW = 32768
"""Rows up to which one program holds a row in registers."""


@triton.jit
def share(groups, inner, steps, K: tl.constexpr, T: tl.constexpr, wide: tl.constexpr):
    """A program's groups, its part of their tiles, the row and column of the first of `steps` tiles."""
    blocks = tl.cdiv(groups, K)
    program = tl.program_id(0)
    g = program % blocks * K + tl.arange(0, K)
    part = program // blocks
    first = part * steps
    row = first // tl.cdiv(inner, T)
    column = first % tl.cdiv(inner, T)
    if wide:
        g, row, column = g.to(tl.int64), row.to(tl.int64), column.to(tl.int64)
    return g, part, row, column


@triton.jit
def following(row, column, inner, T: tl.constexpr):
    """The tile after a tile."""
    ends = (column + 1) * T >= inner
    return tl.where(ends, row + 1, row), tl.where(ends, 0, column + 1)


@triton.jit
def tile(row, column, g, outer, groups, inner, R: tl.constexpr, T: tl.constexpr):
    """The indices of a tile of outer x group x inner elements, and which of them there are."""
    o = (row * R + tl.arange(0, R))[:, None, None]
    i = (column * T + tl.arange(0, T))[None, None, :]
    return o, i, (o < outer) & (g < groups)[None, :, None] & (i < inner)


@triton.jit
def elements(row, column, outer, inner, R: tl.constexpr, T: tl.constexpr):
    """How many elements of a tile there are for each group."""
    return tl.maximum(tl.minimum(outer - row * R, R), 0) * tl.minimum(inner - column * T, T)


@triton.jit
def lattice(o, g, i, groups, inner, last: tl.constexpr):
    """The offsets of elements; one group's lie next to each other, or where they are `last`, all groups'."""
    if last:
        return (o * inner + i) * groups + g[None, :, None]
    return (o * groups + g[None, :, None]) * inner + i


@triton.jit
def per_group(pointer, index, keep, other: tl.constexpr):
    """A number for each group, to stand beside a tile."""
    return widen(tl.load(pointer + index, mask=keep, other=other))[None, :, None]


@triton.jit
def total(values):
    """The sum of a tile for each group."""
    return tl.sum(tl.sum(values, 2), 0)


@triton.jit
def centre(values, keep, size):
    """The mean of a tile for each group, to stand beside it."""
    return (total(tl.where(keep, values, 0.0)) / tl.maximum(size, 1))[None, :, None]


@triton.jit
def moments(pivot, first, second, count):
    """Means and squared deviations of `count` elements a group, from sums of differences from a pivot.

    The pivot is the mean of the first of so many tiles. If it is far from the mean of all, then so are the
    elements of that tile, and the squared deviations are great: what cancels in the difference below is
    never more than as many times them as there are tiles.
    """
    first, second = total(first), total(second)
    size = tl.maximum(count, 1.0)
    return total(pivot) + first / size, tl.maximum(second - first * (first / size), 0.0)


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
    counts_ptr,
    means_ptr,
    m2s_ptr,
    mean_ptr,
    rstd_ptr,
    running_mean_ptr,
    running_var_ptr,
    eps: tl.float64,
    momentum: tl.float64,
    groups,
    parts,
    K: tl.constexpr,
    P: tl.constexpr,
    track: tl.constexpr,
    acc: tl.constexpr,
):
    """The statistics of all parts; the running ones moved by `momentum` where `track`.

    Merged after Chan, Golub and LeVeque (1979).
    """
    g = tl.program_id(0) * K + tl.arange(0, K)
    keep = g < groups
    counts = tl.zeros((K, P), acc)
    sums = tl.zeros((K, P), acc)
    for first in range(0, parts, P):
        at, here = _parts_of(g, first, groups, parts, P)
        size = tl.load(counts_ptr + at, mask=here, other=0.0)
        counts += size
        sums += size * tl.load(means_ptr + at, mask=here, other=0.0)
    count = tl.maximum(tl.sum(counts, 1), 1.0)
    mean = tl.sum(sums, 1) / count
    sums = tl.zeros((K, P), acc)
    for first in range(0, parts, P):
        at, here = _parts_of(g, first, groups, parts, P)
        size = tl.load(counts_ptr + at, mask=here, other=0.0)
        delta = tl.load(means_ptr + at, mask=here, other=0.0) - mean[:, None]
        sums += tl.load(m2s_ptr + at, mask=here, other=0.0)
        sums += tl.where(size > 0.0, size * delta * delta, 0.0)
    m2 = tl.sum(sums, 1)
    one = tl.full((), 1.0, acc)
    tl.store(mean_ptr + g, mean, mask=keep)
    tl.store(rstd_ptr + g, 1.0 / tl.sqrt(m2 / count + (one * eps).to(acc)), mask=keep)
    if track:
        step = (one * momentum).to(acc)
        old = widen(tl.load(running_mean_ptr + g, mask=keep, other=0.0))
        tl.store(running_mean_ptr + g, old + step * (mean - old), mask=keep)
        old = widen(tl.load(running_var_ptr + g, mask=keep, other=0.0))
        tl.store(running_var_ptr + g, old + step * (m2 / (count - 1.0) - old), mask=keep)


@triton.jit
def _parts_of(g, first, groups, parts, P: tl.constexpr):
    """The offsets of P parts of each group, and which of them there are."""
    p = first + tl.arange(0, P)
    return g[:, None] * parts + p[None, :], (g < groups)[:, None] & (p < parts)[None, :]


def identity(x: Tensor) -> Tensor:
    """No activation."""
    return x


@dataclass(frozen=True)
class View:
    """A tensor as `outer` x `groups` x `inner` elements."""

    outer: int
    groups: int
    inner: int

    def tiles(self, last: bool) -> dict[str, int]:
        """A tile of `_TILE` elements as powers of two, R x K x T: of one group where its elements lie next to
        each other, of few elements of many groups where the groups are `last` and do.
        """
        T = triton.next_power_of_2(self.inner)
        if last:
            K = _least_waste(self.groups)
            return {"R": 1, "K": K, "T": min(T, _TILE // K)}
        T = min(T, _TILE)
        return {"R": min(triton.next_power_of_2(self.outer), _TILE // T), "K": 1, "T": T}

    def units(self) -> tuple[int, int]:
        """`inner` as a product with the largest power of two up to 16: what Triton may know it divides by."""
        unit = next(unit for unit in (16, 8, 4, 2, 1) if self.inner % unit == 0)
        return self.inner // unit, unit


def _least_waste(count: int) -> int:
    """The power of two up to 128 that pads a count least; the largest, of those that are not small."""
    sizes = [size for size in (128, 64, 32) if size <= triton.next_power_of_2(count)]
    return min(sizes, key=lambda size: -count % size, default=triton.next_power_of_2(count))


@dataclass(frozen=True)
class Shape:
    """How a normalisation sees a tensor: the view that has statistics, that of its parameters, and how many
    groups of the latter share statistics; `channels` is how many parameters there are. `last` says of the
    input, and of the output, whether the channels lie next to each other.
    """

    statistics: View
    elements: View
    per: int
    channels: int
    last: tuple[bool, bool] = (False, False)


def over_channels(x: Tensor, planes: bool) -> Shape:
    """The shape of a batch normalisation over an (N, C, ...) tensor, dense in one of PyTorch's formats, whose
    result has whole planes (is contiguous) or lies like it.
    """
    samples, channels = x.shape[:2]
    plane = prod(x.shape[2:])
    if x.is_contiguous():
        view, last = View(samples, channels, plane), (False, False)
    elif planes:
        view, last = View(samples, channels, plane), (True, False)
    else:
        view, last = View(1, channels, samples * plane), (True, True)
    return Shape(view, view, 1, channels, last)


def over_groups(x: Tensor, groups: int) -> Shape:
    """The shape of a group normalisation over a contiguous (N, C, ...) tensor."""
    samples, channels = x.shape[:2]
    plane = prod(x.shape[2:])
    per = channels // groups
    return Shape(View(1, samples * groups, per * plane), View(1, samples * channels, plane), per, channels)


Parameters = tuple[tuple[float, ...], ...]
"""Those of the activations before a normalisation, after it, and after a residual."""


class Normalised:
    """after(norm(before(x))) for one kind of layer; called with a tensor, the layer and the parameters of the
    activations, first those of `before`. With a residual later(after(norm(before(x))) + residual).

    `before`, `after` and `later` are the activations in torch operations, `types` the layers whose kernels
    these are. Raises what the layer raises for an input that it does not take.
    """

    types: tuple[type[nn.Module], ...] = ()
    under_autocast = False

    def __init__(
        self, before: Formula, after: Formula, kernels: tuple[Any, ...], later: Formula = identity
    ) -> None:
        self.before, self.after, self.later, self.kernels = before, after, later, kernels
        self._interpreted = not isinstance(kernels[0], JITFunction)

    def __call__(
        self,
        x: Tensor,
        norm: nn.Module,
        before: tuple[float, ...] = (),
        after: tuple[float, ...] = (),
        conv: nn.Module | None = None,
        residual: Tensor | None = None,
        later: tuple[float, ...] = (),
    ) -> Tensor:
        """The activations and the layer between them, of `x` or of what a convolution makes of it."""
        given = (before, after, later)
        if is_compiling():
            return self._plain(x if conv is None else conv(x), norm, given, residual)
        planes, shift = False, None
        if conv is not None:
            planes = not _has_channels_last(x, conv)
            x, shift = self._product(x, conv, norm)
        if self._fuses(x, norm) and (residual is None or _is_added(residual, x)):
            return self.fused(x, norm, given, residual, shift, planes)
        return self._plain(x if shift is None else x + _over_planes(shift, x), norm, given, residual)

    def _plain(
        self, x: Tensor, norm: Callable[[Tensor], Tensor], given: Parameters, residual: Tensor | None
    ) -> Tensor:
        """The same one by one."""
        before, after, later = given
        x = self.after(norm(self.before(x, *before)), *after)
        return x if residual is None else self.later(x + residual, *later)

    def _product(self, x: Tensor, conv: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor | None]:
        """What a convolution makes of `x`, and the bias if it is left to the kernels."""
        return conv(x), None

    def fused(
        self,
        x: Tensor,
        norm: Any,
        given: Parameters,
        residual: Tensor | None,
        shift: Tensor | None,
        planes: bool,
    ) -> Tensor:
        """The same by kernels, `shift` added to the channels first; the result contiguous where `planes`."""
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


def _is_added(residual: Tensor, x: Tensor) -> bool:
    """Whether kernels can add a tensor; what is broadcast, and what is wrong, goes to PyTorch."""
    return (
        residual.shape == x.shape
        and residual.device == x.device
        and residual.dtype in _COMPUTE
        and residual.layout is torch.strided
        and _is_plain(residual)
    )


def _is_listened_to(norm: nn.Module) -> bool:
    """Whether hooks of the layer want to see its own input or output."""
    return bool(
        norm._forward_hooks or norm._forward_pre_hooks or norm._backward_hooks or norm._backward_pre_hooks
    )


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _has_channels_last(x: Tensor, conv: Any) -> bool:
    """Whether PyTorch lays out what a convolution makes of `x` with the channels last."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    if x.dim() not in formats:
        return False
    laid = [each for each in (x, conv.weight) if not each.is_contiguous()]
    return any(each.is_contiguous(memory_format=formats[x.dim()]) for each in laid)


def _is_faster_channels_last(x: Tensor, conv: Any) -> bool:
    """Whether NVIDIA's matrix units do a convolution; they read channels last, and else copy the input.

    cuDNN copies it, too, and the result back, which the kernels do on their way.
    """
    ieee = torch.backends.cudnn.conv.fp32_precision == "ieee"  # type: ignore[attr-defined]
    exact = x.dtype is torch.float64 or (
        x.dtype is torch.float32 and ieee and not torch.is_autocast_enabled("cuda")
    )
    return (
        type(conv) is nn.Conv2d
        and x.is_cuda
        and torch.version.hip is None
        and torch.backends.cudnn.enabled
        and not exact
        and x.dim() == 4
        and conv.groups == 1
        and conv.in_channels % 8 == conv.out_channels % 8 == 0
    )


def _over_planes(shift: Tensor, x: Tensor) -> Tensor:
    """A number for each channel, to stand beside an (N, C, ...) tensor."""
    return shift.view(-1, *(1,) * (x.dim() - 2)).to(x.dtype)


class BatchNormalised(Normalised):
    """Around `BatchNorm1d`, `BatchNorm2d` or `BatchNorm3d`."""

    types = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    under_autocast = True

    def _product(self, x: Tensor, conv: Any, norm: nn.Module) -> tuple[Tensor, Tensor | None]:
        """A convolution of PyTorch's without its bias, which would take a pass of its own."""
        if (
            type(conv) not in _CONVOLUTIONS
            or x.dim() != conv.weight.dim()
            or not self._fuses(x, norm)
            or not _is_plain(conv.weight)
            or _is_listened_to(conv)
            or norm.num_features != conv.out_channels  # the layers say what is wrong
        ):
            return conv(x), None
        if not _has_channels_last(x, conv) and _is_faster_channels_last(x, conv):
            x = _ChannelsLast.apply(x)
        return conv._conv_forward(x, conv.weight, None), conv.bias

    def fused(
        self,
        x: Tensor,
        norm: Any,
        given: Parameters,
        residual: Tensor | None,
        shift: Tensor | None,
        planes: bool,
    ) -> Tensor:
        """The layer's own bookkeeping, then the kernels."""
        norm._check_input_dim(x)
        if x.shape[1] != norm.num_features:
            return self._plain(x, norm, given, residual)  # the layer says what is wrong
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
        shape = over_channels(x, planes)
        settings = _Settings(self, shape, norm.eps, momentum, training, 0, given)
        tensors = (x, norm.weight, norm.bias, residual, shift, *running)
        result: Tensor = _OverGroups.apply(*tensors, settings)
        return result


@triton.jit
def _channels_last_kernel(
    x_ptr,
    out_ptr,
    outer,
    groups,
    units,
    steps,
    UNIT: tl.constexpr,
    R: tl.constexpr,
    K: tl.constexpr,
    T: tl.constexpr,
    STAGES: tl.constexpr,
    wide: tl.constexpr,
):
    """out = x, the groups next to each other."""
    inner = units * UNIT
    g, _, row, column = share(groups, inner, steps, K, T, wide)
    for _ in tl.range(steps, num_stages=STAGES):
        o, i, keep = tile(row, column, g, outer, groups, inner, R, T)
        x = tl.load(x_ptr + lattice(o, g, i, groups, inner, False), mask=keep)
        tl.store(out_ptr + lattice(o, g, i, groups, inner, True), x, mask=keep)
        row, column = following(row, column, inner, T)


class _ChannelsLast(Function):
    """A contiguous (N, C, H, W) tensor with its channels last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        out = torch.empty_like(x, memory_format=torch.channels_last)
        view = View(x.shape[0], x.shape[1], x.shape[2] * x.shape[3])
        tiling = _tiling(view, x, (False, True), "copy")
        constants = {name: value for name, value in tiling.constants.items() if name != "fast"}
        given = (x, out, *tiling.where)
        _run(_channels_last_kernel, tiling.programs, x, *given, **constants, num_warps=tiling.warps)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class GroupNormalised(Normalised):
    """Around `GroupNorm`. The kernels read a contiguous tensor: one of channels_last is copied first."""

    types = (nn.GroupNorm,)

    def fused(
        self,
        x: Tensor,
        norm: Any,
        given: Parameters,
        residual: Tensor | None,
        shift: Tensor | None,
        planes: bool,
    ) -> Tensor:
        """The kernels, with statistics of their own for every sample."""
        if x.dim() < 2 or x.shape[1] != norm.num_channels:
            return self._plain(x, norm, given, residual)
        x = x.contiguous()
        shape = over_groups(x, norm.num_groups)
        settings = _Settings(self, shape, norm.eps, 0.0, True, norm.num_groups, given)
        tensors = (x, norm.weight, norm.bias, residual, None, None, None)
        result: Tensor = _OverGroups.apply(*tensors, settings)
        return result


class RowNormalised(Normalised):
    """Around `LayerNorm` or `RMSNorm`: one pass over rows of up to 32,768 elements.

    Longer ones go by the layer.
    """

    types = (nn.LayerNorm, nn.RMSNorm)

    def fused(
        self,
        x: Tensor,
        norm: Any,
        given: Parameters,
        residual: Tensor | None,
        shift: Tensor | None,
        planes: bool,
    ) -> Tensor:
        """A row in registers: statistics and result of one read."""
        wanted = tuple(norm.normalized_shape)
        if tuple(x.shape[x.dim() - len(wanted) :]) != wanted or prod(wanted) > _LONGEST_ROW:
            return self._plain(x, norm, given, residual)
        eps = torch.finfo(x.dtype).eps if norm.eps is None else norm.eps
        centred = isinstance(norm, nn.LayerNorm)
        settings = _Settings(self, centred, eps, 0.0, True, wanted, given)
        bias = norm.bias if centred else None
        result: Tensor = _OverRows.apply(x.contiguous(), norm.weight, bias, residual, settings)
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
    given: Parameters

    @property
    def parameters(self) -> tuple[float, ...]:
        """Those of all activations."""
        return sum(self.given, ())


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


@dataclass(frozen=True)
class _Tiling:
    """How a view's tiles are shared among programs: `steps` of them to each."""

    view: View
    constants: dict[str, Any]
    warps: int
    steps: int
    blocks: int
    parts: int

    @property
    def programs(self) -> int:
        """Every part of every block of groups."""
        return self.blocks * self.parts

    @property
    def where(self) -> tuple[int, int, int, int]:
        """What kernels are told of it."""
        return (self.view.outer, self.view.groups, self.view.units()[0], self.steps)


def _tiling(view: View, x: Tensor, last: tuple[bool, ...], kind: str) -> _Tiling:
    """How tensors that lie in these ways are shared, by what is done: a key of `_ACROSS`, or `sums`."""
    if len(set(last)) == 1:
        tiles = view.tiles(last[0])
        stages = _STAGES if last[0] else _STAGES_OF_PLANES[x.dtype.itemsize]
    else:
        K, T, stages = _ACROSS.get(kind, _ACROSS["backward"])
        tiles = {"R": 1, "K": K, "T": T}
    blocks = triton.cdiv(view.groups, tiles["K"])
    count = triton.cdiv(view.outer, tiles["R"]) * triton.cdiv(view.inner, tiles["T"])
    steps = triton.cdiv(count * blocks, _FEW_PROGRAMS if kind == "sums" and any(last) else _PROGRAMS)
    constants = {"UNIT": view.units()[1], **tiles, "STAGES": stages, **_constants(x, x.numel())}
    warps = max(_WARPS, tiles["R"] * tiles["K"] * tiles["T"] // (_TILE // _WARPS))
    return _Tiling(view, constants, warps, steps, blocks, triton.cdiv(count, steps))


def _launch(
    settings: _Settings, place: int, tiling: _Tiling, x: Tensor, *arguments: Any, **constants: Any
) -> None:
    """One of the kernels of a normalisation over groups, over all tiles."""
    kernel = settings.owner.kernels[place]
    constants |= tiling.constants
    _run(kernel, tiling.programs, x, *arguments, **constants, num_warps=tiling.warps)


def _moments(
    x: Tensor, shift: Tensor | None, running: tuple[Any, Any], settings: _Settings
) -> tuple[Tensor, Tensor]:
    """Mean and reciprocal standard deviation of every group; the running statistics moved."""
    last = settings.shape.last[0]
    view = settings.shape.statistics
    if last:  # any order of the elements of a group does
        view = View(1, view.groups, view.outer * view.inner)
    tiling = _tiling(view, x, (last,), "sums")
    acc = _accumulator(x)
    found = x.new_empty(3, view.groups, tiling.parts, dtype=_COMPUTE[x.dtype]).unbind()
    given = (x, x if shift is None else shift, *found, *settings.given[0], *tiling.where)
    _launch(settings, 0, tiling, x, *given, x_last=last, carried=shift is not None, acc=acc)
    mean, rstd = x.new_empty(2, view.groups, dtype=_COMPUTE[x.dtype]).unbind()
    P = min(triton.next_power_of_2(tiling.parts), 1024)
    K = min(triton.next_power_of_2(view.groups), 1024 // P)
    track = running[0] is not None
    _run(
        _settle_kernel,
        triton.cdiv(view.groups, K),
        x,
        *(*found, mean, rstd, *(running if track else (mean, rstd)), settings.eps, settings.momentum),
        *(view.groups, tiling.parts),
        K=K,
        P=P,
        track=track,
        acc=acc,
    )
    return mean, rstd


class _OverGroups(Function):
    """later(after(weight * (before(x + shift) - mean) / deviation + bias) + residual), over groups."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        residual: Tensor | None,
        shift: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        settings: _Settings,
    ) -> Tensor:
        if settings.training:
            mean, rstd = _moments(x, shift, (running_mean, running_var), settings)
        else:
            assert running_mean is not None
            assert running_var is not None
            compute = _COMPUTE[x.dtype]
            mean, rstd = running_mean.to(compute), torch.rsqrt(running_var.to(compute) + settings.eps)
            ctx.frozen = (running_mean, running_var)
        ctx.save_for_backward(x, weight, bias, residual, shift, mean, rstd)
        ctx.settings = settings
        shape = settings.shape
        out = _like(x, shape, _result(x, residual))
        tiling = _tiling(shape.elements, out, shape.last, "forward")
        added = () if residual is None else (_laid_out(residual, residual.dtype, x, shape),)
        tensors = (x, out, *_parameters(mean, rstd, weight, bias, shift), *added)
        given = (*tensors, *settings.parameters)
        choices = _choices(settings, weight, bias, shift)
        _launch(settings, 1, tiling, x, *given, *_numbers(tiling, shape), **choices)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, residual, shift, mean, rstd = ctx.saved_tensors
        settings = ctx.settings
        if torch.is_grad_enabled() or not _is_plain(grads[0]):
            wanted = (x, weight, bias, residual, shift)
            found = _by_autograd(ctx, wanted, grads[0], partial(_again, ctx=ctx))
            return (*found, None, None, None)
        shape = settings.shape
        grad = _laid_out(grads[0], _result(x, residual), x, shape)
        tiling = _tiling(shape.elements, grad, shape.last, "sums")
        parts = mean.new_empty(2, tiling.view.groups, tiling.parts)
        known = (x, *_parameters(mean, rstd, weight, bias, shift))
        added: tuple[Tensor, ...] = ()
        by_residual = grad
        if residual is not None and settings.owner.later is not identity:
            by_residual = torch.empty_like(grad)
            added = (_laid_out(residual, residual.dtype, x, shape), by_residual)
        given = (grad, *known, *parts.unbind(), *added, *settings.parameters)
        choices = _choices(settings, weight, bias, shift) | {"acc": _accumulator(grad)}
        _launch(settings, 2, tiling, x, *given, *_numbers(tiling, shape), **choices)
        sums = parts.sum(2)
        by_bias, by_weight = sums.view(2, -1, shape.channels).sum(1)
        dx = by_shift = None
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[4]:
            dx = torch.empty_like(x)
            scaled = sums if weight is None else (sums.view(2, -1, shape.channels) * weight).view(2, -1)
            size = shape.statistics.outer * shape.statistics.inner
            shared = (scaled.view(2, -1, shape.per).sum(2) / size).unbind()
            tiling = _tiling(shape.elements, grad, shape.last, "backward")
            parts = mean if shift is None else mean.new_empty(tiling.view.groups, tiling.parts)
            given = (by_residual, *known, *shared, dx, parts, *settings.parameters)
            choices |= {"frozen": not settings.training}
            _launch(settings, 3, tiling, x, *given, *_numbers(tiling, shape), **choices)
            by_shift = None if shift is None else parts.sum(1).to(shift.dtype)
        return (
            dx,
            None if weight is None else by_weight.to(weight.dtype),
            None if bias is None else by_bias.to(bias.dtype),
            None if residual is None else by_residual.to(residual.dtype),
            by_shift,
            None,
            None,
            None,
        )


def _numbers(tiling: _Tiling, shape: Shape) -> tuple[int, ...]:
    return (*tiling.where, shape.per, shape.channels)


def _choices(settings: _Settings, *parameters: Tensor | None) -> dict[str, bool]:
    """How the tensors lie, and which parameters there are."""
    given = zip(("affine", "shifted", "carried"), parameters, strict=True)
    x_last, y_last = settings.shape.last
    return {"x_last": x_last, "y_last": y_last, **{name: each is not None for name, each in given}}


def _result(x: Tensor, residual: Tensor | None) -> torch.dtype:
    """The type of the result, as PyTorch promotes types."""
    return x.dtype if residual is None else torch.promote_types(x.dtype, residual.dtype)


def _like(x: Tensor, shape: Shape, dtype: torch.dtype) -> Tensor:
    """A tensor for a result, which lies like `x` or has whole planes."""
    same = shape.last[0] == shape.last[1]
    lies = torch.preserve_format if same else torch.contiguous_format
    return torch.empty_like(x, dtype=dtype, memory_format=lies)


def _laid_out(given: Tensor, dtype: torch.dtype, x: Tensor, shape: Shape) -> Tensor:
    """A gradient, or a residual, that lies like the result."""
    fits = given.stride() == x.stride() if shape.last[0] == shape.last[1] else given.is_contiguous()
    return given if fits and given.dtype is dtype else _like(x, shape, dtype).copy_(given)


def _again(x: Tensor, weight: Tensor | None, bias: Tensor | None, ctx: Any) -> Tensor:
    """The normalisation of a value in torch operations, running statistics left alone."""
    settings = ctx.settings
    if settings.detail:
        return functional.group_norm(x, settings.detail, weight, bias, settings.eps)
    mean, variance = getattr(ctx, "frozen", (None, None))
    return functional.batch_norm(x, mean, variance, weight, bias, settings.training, 0.0, settings.eps)


def _by_autograd(
    ctx: Any, wanted: tuple[Tensor | None, ...], grad: Tensor, norm: Callable[..., Tensor]
) -> tuple[Tensor | None, ...]:
    """Gradients that can be differentiated again: of the same computation in torch operations.

    Views stand for the tensors: what x was made of the residual by is not part of this computation.
    """
    settings = ctx.settings
    with torch.enable_grad():
        x, weight, bias, residual, *more = (None if each is None else each.view_as(each) for each in wanted)
        shift = more[0] if more else None
        given = zip((x, weight, bias, residual, *more), ctx.needs_input_grad, strict=False)
        inputs = [each for each, needs in given if needs and each is not None]
        assert x is not None
        shifted = x if shift is None else x + _over_planes(shift, x)
        y = settings.owner._plain(shifted, lambda value: norm(value, weight, bias), settings.given, residual)
        found = iter(torch.autograd.grad(y, inputs, grad, create_graph=torch.is_grad_enabled()))
    return tuple(next(found) if needs else None for needs in ctx.needs_input_grad[: len(wanted)])


def _parameters(
    mean: Tensor, rstd: Tensor, weight: Tensor | None, bias: Tensor | None, shift: Tensor | None = None
) -> tuple[Tensor, ...]:
    """The tensors that kernels take; what there is none of is not read."""
    return mean, rstd, *(mean if each is None else each for each in (weight, bias, shift))


class _OverRows(Function):
    """later(after(weight * (before(x) - mean) / deviation + bias) + residual), statistics over rows."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        residual: Tensor | None,
        settings: _Settings,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, bias, residual)
        ctx.settings = settings
        out = torch.empty_like(x, dtype=_result(x, residual))
        length = prod(settings.detail)
        rows = x.numel() // length
        tile = _row_tile(rows, length)
        added = () if residual is None else (residual.contiguous(),)
        tensors = (x, out, *_parameters(x, x, weight, bias)[2:4], *added)
        _run(
            settings.owner.kernels[0],
            triton.cdiv(rows, tile["R"]),
            x,
            *(*tensors, *settings.parameters, settings.eps, rows, length),
            **_row_constants(out, weight, bias, settings, tile),
        )
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, residual = ctx.saved_tensors
        settings = ctx.settings
        if torch.is_grad_enabled() or not _is_plain(grads[0]):

            def norm(value: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
                if settings.shape:
                    return functional.layer_norm(value, settings.detail, weight, bias, settings.eps)
                return functional.rms_norm(value, settings.detail, weight, settings.eps)

            return *_by_autograd(ctx, (x, weight, bias, residual), grads[0], norm), None
        grad = grads[0].to(_result(x, residual)).contiguous()
        dx = torch.empty_like(x)
        added: tuple[Tensor, ...] = ()
        by_residual = grad
        if residual is not None and settings.owner.later is not identity:
            by_residual = torch.empty_like(grad)
            added = (residual.contiguous(), by_residual)
        length = prod(settings.detail)
        rows = x.numel() // length
        tile = _row_tile(rows, length)
        blocks = triton.cdiv(rows, tile["R"])
        programs = min(blocks, _ROW_PROGRAMS)
        by_bias, by_weight = x.new_empty(2, programs, length, dtype=_COMPUTE[grad.dtype]).unbind()
        tensors = (grad, x, dx, *_parameters(x, x, weight, bias)[2:4], by_bias, by_weight, *added)
        _run(
            settings.owner.kernels[1],
            programs,
            x,
            *(*tensors, *settings.parameters, settings.eps, rows, length, blocks),
            **_row_constants(grad, weight, bias, settings, tile),
        )
        return (
            dx,
            None if weight is None else by_weight.sum(0).to(weight.dtype).view_as(weight),
            None if bias is None else by_bias.sum(0).to(bias.dtype).view_as(bias),
            None if residual is None else by_residual.to(residual.dtype),
            None,
        )


def _row_tile(rows: int, length: int) -> dict[str, int]:
    """Rows that a program holds at a time, and the length of one as a power of two."""
    T = triton.next_power_of_2(length)
    return {"R": min(triton.next_power_of_2(rows), max(1, _ROW_TILE // T)), "T": T}


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
