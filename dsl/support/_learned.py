"""What activations with learnable parameters share: kernels by tiles, gradients of parameters, parameters as
such.

In: an activation's kernels and formulas (`LearnedOperator`). Out: an operator that PyTorch knows. In eager
mode one kernel reads the parameters where they lie, and one kernel goes back: it writes the gradients of the
inputs, and each of its programs the sums of the parameters' gradients over its part, which are then summed in
an order that is always the same. Compilers, transforms and derivatives of derivatives get the formula, the
parameters spread over the inputs by views, so that what is broadcast is summed by PyTorch.

Several inputs are brought to one shape first, as those without parameters are (`_joint.py`).

The kernels see memory as a matrix. Where a channel's elements lie together in long runs, its rows are these
runs; otherwise a row holds all channels, and a column belongs to one. It is the memory of what is written:
one input is laid out like it, several are read where they lie.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Literal, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from torch._C import _are_functorch_transforms_active as _transforms_active
from torch._C._functorch import is_legacy_batchedtensor as _is_batched
from torch.autograd import Function, forward_ad
from torch.compiler import is_compiling
from triton.runtime import JITFunction

from . import _launch, _runtime
from ._joint import (
    Output,
    Tensors,
    _apart,
    _as,
    _model,
    _narrowest,
    _on_one_device,
    _own_derivative_refused,
    _traced_function,
    _Value,
    broadcast,
    check,
    slopes_of,
    walked,
)
from ._runtime import _COMPUTE, _in_one_transform, _is_plain, _laid_out_as, _widened

Formula = Callable[..., Tensor]
Extent = int | Literal["channel"]
"""How many values a parameter has: so many, or one for each channel."""

_TILE = 1024
"""Elements of a tile: 32 bytes a thread in float32, and few enough to hold sums for several parameters."""

_PROGRAMS = 4096
"""With more tiles than this a program does several. A constant: sums do not depend on the device."""

_LONG_RUN = 256
"""So many elements of a channel in a row make rows of runs."""


@triton.jit
def place(step, rows, columns, steps, by_row: tl.constexpr, height: tl.constexpr, width: tl.constexpr, wide):
    """The rows and columns of this program's tile at a step, along rows where `by_row`, else down."""
    program = tl.program_id(0)
    if wide:
        program = program.to(tl.int64)
    if by_row:
        across = tl.cdiv(tl.cdiv(columns, width), steps)
        top = program // across
        left = (program % across) * steps + step
    else:
        across = tl.cdiv(columns, width)
        top = (program // across) * steps + step
        left = program % across
    return top * height + tl.arange(0, height), left * width + tl.arange(0, width)


@triton.jit
def tile(step, rows, columns, steps, by_row: tl.constexpr, height: tl.constexpr, width: tl.constexpr, wide):
    """The offsets of a tile's elements, and which of them there are."""
    row, column = place(step, rows, columns, steps, by_row, height, width, wide)
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    return row[:, None] * columns + column[None, :], inside


@triton.jit
def channels_of(
    rows,
    columns,
    steps,
    inner,
    channels,
    by_row: tl.constexpr,
    height: tl.constexpr,
    width: tl.constexpr,
    wide,
):
    """The channels of this program's tiles: a column of them where `by_row`, else a row."""
    row, column = place(0, rows, columns, steps, by_row, height, width, wide)
    if by_row:  # noqa: SIM108 (Triton takes both sides of a conditional expression, which differ in shape)
        channel = (row % channels)[:, None]
    else:
        channel = tl.minimum(column // inner, channels - 1)[None, :]
    return channel


@triton.jit
def load(pointer, like):
    """A parameter, in the precision in which elements of `like` are computed."""
    if like.dtype.element_ty == tl.float64:
        value = tl.load(pointer).to(tl.float64)
    else:
        value = tl.load(pointer).to(tl.float32)
    return value


@triton.jit
def store_sum(pointer, place_, length, total):
    """This program's sum of a parameter that all elements share: the entry at a place of `length`."""
    tl.store(pointer + tl.program_id(0) * length + place_, tl.sum(tl.sum(total, 1), 0))


@triton.jit
def store_channels(
    pointer,
    total,
    rows,
    columns,
    steps,
    by_row: tl.constexpr,
    height: tl.constexpr,
    width: tl.constexpr,
    wide,
):
    """This program's sums of a parameter by channel: for each of its rows where `by_row`, else columns."""
    row, column = place(0, rows, columns, steps, by_row, height, width, wide)
    program = tl.program_id(0)
    if by_row:
        across = tl.cdiv(tl.cdiv(columns, width), steps)
        tl.store(pointer + (program % across) * rows + row, tl.sum(total, 1), mask=row < rows)
    else:
        across = tl.cdiv(columns, width)
        tl.store(pointer + (program // across) * columns + column, tl.sum(total, 0), mask=column < columns)


class _Plan(NamedTuple):
    """How a kernel goes over memory: a matrix, and tiles of it."""

    rows: int
    columns: int
    steps: int
    inner: int
    channels: int
    by_row: bool
    height: int
    width: int
    wide: bool
    programs: int
    partials: int
    """How many sums there are for each row where `by_row`, else for each column."""


@lru_cache(maxsize=256)
def _plan(elements: int, channels: int, inner: int) -> _Plan:
    """The plan for dense memory in which `inner` elements of a channel lie together."""
    by_row = channels == 1 or inner >= _LONG_RUN
    run = elements if channels == 1 else inner if by_row else channels * inner
    rows, columns = elements // run, run
    width = min(_TILE, triton.next_power_of_2(columns))
    height = min(_TILE // width, triton.next_power_of_2(rows))
    down, across = triton.cdiv(rows, height), triton.cdiv(columns, width)
    along = across if by_row else down
    steps = min(along, triton.cdiv(down * across, _PROGRAMS))
    partials = triton.cdiv(along, steps)
    programs = partials * (down if by_row else across)
    wide = elements + 2 * _TILE >= 2**31
    return _Plan(rows, columns, steps, inner, channels, by_row, height, width, wide, programs, partials)


class _Tiled:
    """Launches one kernel by tiles."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self.jitted = isinstance(kernel, JITFunction)
        self._compiled: dict[tuple[Any, ...], tuple[Any, Any, Any] | None] = {}

    def __call__(
        self,
        tensors: Tensors,
        numbers: tuple[float, ...],
        plan: _Plan,
        walk: tuple[int, ...],
        choices: tuple[bool, ...],
    ) -> None:
        """The kernel over all elements; after the first time without Triton's dispatch."""
        index = tensors[0].get_device()
        if index >= 0 and index != _launch._current_device():
            with torch.accelerator.device_index(index):
                self(tensors, numbers, plan, walk, choices)
            return
        sizes = (*plan[:5], *walk)
        constants = (*plan[5:9], *choices)
        grid = plan.programs
        if not self.jitted:
            self._kernel[grid,](*tensors, *numbers, *sizes, *constants)
            return
        pointers = [tensor.data_ptr() for tensor in tensors]
        key = (
            index,
            tuple(tensor.dtype for tensor in tensors),
            tuple(pointer % 16 > 0 for pointer in pointers),
            tuple((size == 1, size % 16 == 0, size >= 2**31) for size in sizes),
            constants,
        )
        compiled = self._compiled.get(key)
        rest = (*numbers, *sizes, *constants)
        if compiled is None or _launch._hooked():
            run = self._kernel[grid,](*tensors, *rest, num_warps=_launch._WARPS)
            self._compiled[key] = _launch._direct(run)
            return
        start, function, metadata = compiled
        stream = _launch._current_stream(index)
        start(grid, 1, 1, stream, function, metadata, None, None, None, *pointers, *rest)


class _Pointwise:
    """f of tensors of one shape, and its derivatives, in torch operations: what Functions of `_joint` run."""

    def __init__(self, name: str, output: Output, symmetric: bool) -> None:
        self.name = name
        self.outputs = (output,)
        self.inputs = len(output.slopes)
        self._curvatures = output.every_curvature(symmetric)

    def compute(self, inputs: tuple[Tensor, ...], parameters: tuple[float, ...]) -> tuple[Tensor]:
        """f(inputs)."""
        (output,) = self.outputs
        result = output.value(*map(_widened, inputs), *parameters)
        return (_apart(result, inputs, _narrowest(inputs)),)

    def compute_slopes(
        self,
        grads: Sequence[Tensor],
        inputs: Sequence[Tensor],
        parameters: tuple[float, ...],
        wanted: Iterable[bool],
    ) -> list[Tensor]:
        """The gradient times the derivatives by the wanted inputs."""
        (grad,), (output,) = grads, self.outputs
        wide, factor = tuple(map(_widened, inputs)), _widened(grad)
        return [
            (factor * formula(*wide, *parameters)).to(x.dtype)
            for x, formula, want in zip(inputs, output.slopes, wanted, strict=True)
            if want
        ]

    def curvature(
        self,
        place: int,
        by: bool,
        wanted: tuple[bool, ...],
        parameters: tuple[float, ...],
        tensors: tuple[Tensor, ...],
    ) -> Tensor:
        """The gradient times the sum of outer gradients times second derivatives by the input at `place`.

        For `by` see `JointOperator.curvature`. `tensors` are the gradient, the outer gradients, one for each
        wanted input, and the inputs.
        """
        grad, *outers = tensors[: -self.inputs]
        inputs = tensors[-self.inputs :]
        wide = tuple(map(_widened, inputs))
        total = torch.zeros_like(wide[place])
        for outer, other in zip(outers, (i for i, want in enumerate(wanted) if want), strict=True):
            formula = self._curvatures.get((other, place) if by else (place, other))
            if formula is not None:
                total = total + _widened(outer) * formula(*wide, *parameters)
        return (_widened(grad) * total).to(inputs[place].dtype)


class LearnedOperator:
    """An elementwise activation with learnable parameters: called with the inputs, these, and numbers.

    Accepts float16, bfloat16, float32 and float64 in any layout of strides, several inputs in shapes that
    broadcast; parameters may be of any of these types and are brought to that of the arithmetic. Raises
    TypeError for what is no tensor, NotImplementedError, naming the activation, for other types, and
    RuntimeError for shapes that do not broadcast and parameters of another shape or device. `learned` are the
    parameters and how many values each has. `slopes` are the derivatives by each input and by each value of
    each parameter, `curvatures` the second ones by the places of two of these, as far as they are not zero;
    `symmetric` and `own_derivative` are as in `JointOperator`.
    """

    def __init__(
        self,
        name: str,
        *,
        kernels: tuple[Any, Any],
        formula: Formula,
        slopes: tuple[Formula, ...],
        curvatures: Mapping[tuple[int, int], Formula],
        learned: Mapping[str, Extent],
        symmetric: bool = True,
        own_derivative: bool = False,
        parameters: int = 0,
        version: str = "",
    ) -> None:
        self.name = name
        self.learned = dict(learned)
        self.inputs = len(slopes) - sum(map(_length, learned.values()))
        self._kernels = kernels
        self._parameters = parameters
        self._formula, self._slope_formulas = formula, slopes
        output = Output(formula, slopes, curvatures)
        self._pointwise = _Pointwise(name, output, symmetric)
        self._own_derivative = own_derivative
        self._run_value, self._run_slopes = map(_Tiled, kernels)
        self._interpreted = not self._run_value.jitted
        self._traced = _traced_function(name, (output,))
        self.value, self.slopes = self._register(version)

    def __call__(self, *arguments: Any, dim: int = 1) -> Tensor:
        """The activation of every element of the inputs, broadcast, whose channels lie along `dim`."""
        inputs, learned, numbers = self._parts(arguments)
        if self.inputs == 1:
            return self._applied(inputs, learned, numbers, dim)
        inputs, dtype = broadcast(self.name, inputs)
        y = self._applied(inputs, learned, numbers, dim)
        # Where every input was broadcast, they all are in the type of the arithmetic.
        return y if y.dtype is dtype else y.to(dtype)

    def _applied(self, inputs: Tensors, learned: Tensors, numbers: tuple[float, ...], dim: int) -> Tensor:
        """The activation of inputs of one shape."""
        self._check(inputs, learned, dim)
        if is_compiling():
            return self._trace(inputs, learned, numbers, dim)
        if _transforms_active() or forward_ad._current_level >= 0:
            (y,) = _Value.apply(self._pointwise, numbers, *self._spread(inputs, learned, dim))
            return y  # type: ignore[no-any-return]
        if torch.is_grad_enabled() and any(each.requires_grad for each in (*inputs, *learned)):
            return _apply_value(self, numbers, dim, *inputs, *learned)
        return self.compute(inputs, learned, numbers, dim)

    def compute(self, inputs: Tensors, learned: Tensors, numbers: tuple[float, ...], dim: int) -> Tensor:
        """f(inputs) without a derivative; by PyTorch's dispatcher only where something may listen there."""
        if all(_is_plain(each) for each in (*inputs, *learned)):
            return self.evaluate(inputs, learned, numbers, dim)
        if any(type(x).__name__ == "DTensor" for x in inputs):
            shards = self._shards(inputs, learned, dim)
            parts = map(shards.local, inputs)
            y = self.compute(tuple(parts), shards.local_parameters(learned), numbers, dim)
            return shards.whole(y)  # type: ignore[no-any-return]
        with torch._C._AutoDispatchBelowAutograd():
            result: Tensor = self.value(*inputs, *learned, *numbers, dim)
            return result

    def compute_slopes(
        self,
        grad: Tensor,
        inputs: Tensors,
        learned: Tensors,
        numbers: tuple[float, ...],
        dim: int,
        wanted: Sequence[bool],
    ) -> list[Tensor]:
        """The wanted gradients, of each input and of each parameter, without a derivative of their own."""
        if all(_is_plain(each) for each in (grad, *inputs, *learned)):
            return self.evaluate_slopes(grad, inputs, learned, numbers, dim, wanted)
        if any(type(x).__name__ == "DTensor" for x in inputs):
            shards = self._shards(inputs, learned, dim)
            own = tuple(map(shards.local, inputs))
            local = (shards.local(grad), own, shards.local_parameters(learned))
            found = iter(self.compute_slopes(*local, numbers, dim, wanted))
            pairs = zip(inputs, wanted[: self.inputs], strict=True)
            whole = [shards.whole(next(found), x) for x, want in pairs if want]
            places = [place for place, want in enumerate(wanted[self.inputs :]) if want]
            return whole + [shards.sums(next(found), place, learned[place]) for place in places]
        if any(_is_batched(each) for each in (grad, *inputs, *learned)):  # PyTorch has no batches of lists
            return self.differentiable_slopes(grad, inputs, learned, numbers, dim, wanted)
        with torch._C._AutoDispatchBelowAutograd():
            result: list[Tensor] = self.slopes(grad, *inputs, *learned, *numbers, dim, list(wanted))
            return result

    def differentiable_slopes(
        self,
        grad: Tensor,
        inputs: Tensors,
        learned: Tensors,
        numbers: tuple[float, ...],
        dim: int,
        wanted: Sequence[bool],
    ) -> list[Tensor]:
        """The same, of which derivatives can be taken."""
        spread = self._spread(inputs, learned, dim)
        flags = tuple(self._by_entry(wanted))
        found = iter(slopes_of(self._pointwise, numbers, flags, grad, *spread))  # type: ignore[arg-type]
        return self._gathered(found, inputs[0], learned, dim, wanted)

    def warmup(self, device: torch.device, dtype: torch.dtype) -> None:
        """Launch both kernels for tensors of one dimension, with one value of each for all channels."""
        for count in (1, 17, _TILE, _TILE + 1, 2 * _TILE * _PROGRAMS):
            inputs = (torch.zeros(count, device=device, dtype=dtype),) * self.inputs
            learned = tuple(torch.ones(_length(extent), device=device) for extent in self.learned.values())
            numbers = (1.0,) * self._parameters
            y = self.compute(inputs, learned, numbers, 1)
            self.compute_slopes(y, inputs, learned, numbers, 1, [True] * (self.inputs + len(learned)))

    def __repr__(self) -> str:
        return f"<activation {self.name}>"

    # -- parameters --------------------------------------------------------------------------------------

    def check(self, x: Any) -> None:
        """Raise an error for what is no tensor that the activation takes."""
        check(self.name, x)

    def _check(self, inputs: tuple[Any, ...], learned: tuple[Any, ...], dim: int) -> None:
        for each in (*inputs, *learned):
            check(self.name, each)
        x = inputs[0]
        for other in inputs[1:]:
            if other.shape != x.shape or _COMPUTE[other.dtype] is not _COMPUTE[x.dtype]:
                raise RuntimeError(f"{self.name}: the operator's inputs differ in shape or type")
        _on_one_device(self.name, (*inputs, *learned))
        for (name, extent), p in zip(self.learned.items(), learned, strict=True):
            count = p.numel()
            if extent == "channel":
                if p.dim() > 1 or (count != 1 and count != _channels(x, dim)):
                    raise RuntimeError(
                        f"{self.name}: '{name}' has shape {tuple(p.shape)}, and dimension {dim} of the input "
                        f"has {_channels(x, dim)} channels: one value for each is needed, or one for all"
                    )
            elif count != extent or p.dim() > 1:
                raise RuntimeError(f"{self.name}: '{name}' must have shape ({extent},), got {tuple(p.shape)}")

    def _entries(self, x: Tensor, learned: Sequence[Tensor], dim: int) -> list[Tensor]:
        """Each value of each parameter, in the arithmetic's type and a shape that broadcasts to x's."""
        dtype = _COMPUTE[x.dtype]
        found: list[Tensor] = []
        for extent, p in zip(self.learned.values(), learned, strict=True):
            p = p.to(dtype)
            if extent == "channel" and p.numel() != 1:
                shape = [1] * x.dim()
                shape[dim] = p.numel()
                found.append(p.reshape(shape))
            elif extent == "channel" or extent == 1:
                found.append(p.reshape(()))
            else:
                found += p.unbind()
        return found

    def _spread(self, inputs: Tensors, learned: Sequence[Tensor], dim: int) -> Tensors:
        """The inputs and each value of each parameter in their shape."""
        x = inputs[0]
        return *inputs, *(entry.expand(x.shape) for entry in self._entries(x, learned, dim))

    def _by_entry(self, wanted: Sequence[bool]) -> list[bool]:
        """For each input and each value of each parameter, whether its gradient is wanted."""
        flags = list(wanted[: self.inputs])
        for extent, want in zip(self.learned.values(), wanted[self.inputs :], strict=True):
            flags += [want] * _length(extent)
        return flags

    def _gathered(
        self, found: Any, x: Tensor, learned: Sequence[Tensor], dim: int, wanted: Sequence[bool]
    ) -> list[Tensor]:
        """Gradients of elements summed to the parameters' shapes; those of inputs, like `x`, as they are."""
        gathered = [next(found) for want in wanted[: self.inputs] if want]
        for extent, p, want in zip(self.learned.values(), learned, wanted[self.inputs :], strict=True):
            if not want:
                continue
            if extent == "channel" and p.numel() != 1:
                others = [d for d in range(x.dim()) if d != dim % x.dim()]
                whole = next(found)
                total = whole.sum(others) if others else whole
            elif extent == "channel":
                total = next(found).sum()
            else:
                total = torch.stack([each.sum() for each in islice(found, extent)])
            gathered.append(total.reshape(p.shape).to(p.dtype))
        return gathered

    # -- compilers ---------------------------------------------------------------------------------------

    def _trace(self, inputs: Tensors, learned: Tensors, numbers: tuple[float, ...], dim: int) -> Tensor:
        """f(inputs) for a compiler; see `Operator._trace`."""
        if getattr(torch.compiler, "_is_exporting_flag", False):
            traceable = False
            spread = self._spread(inputs, learned, dim)
        elif _transforms_active():
            spread = tuple(each.view_as(each) for each in self._spread(inputs, learned, dim))
            traceable = _in_one_transform() and not any(each.requires_grad for each in (*inputs, *learned))
            traceable = traceable and any(each.requires_grad for each in spread)
        elif _runtime._compile_mode == "kernel":
            return self.value(*inputs, *learned, *numbers, dim)  # type: ignore[no-any-return]
        else:
            traceable = torch.is_grad_enabled() and any(each.requires_grad for each in (*inputs, *learned))
            spread = self._spread(inputs, learned, dim)
        if traceable:
            (y,) = self._traced.apply(*spread, *_runtime.known(numbers))
            return y  # type: ignore[no-any-return]
        if self._own_derivative and _transforms_active():
            raise _own_derivative_refused(self.name)
        result = self._formula(*(_widened(each) for each in spread), *numbers)
        return _apart(result, spread, _narrowest(inputs))

    # -- the operators -----------------------------------------------------------------------------------

    def _register(self, version: str) -> tuple[Any, Any]:
        """The two operators in PyTorch's registry, under a namespace that no other package has."""
        namespace = re.sub(r"\W", "_", f"{__package__}_{version}")
        while hasattr(getattr(torch.ops, namespace), self.name):  # a second import of the same package
            namespace += "_"
        names = ["x"] if self.inputs == 1 else [f"x{i}" for i in range(self.inputs)]
        names += [f"l{i}" for i in range(len(self.learned))]
        tensors = ", ".join(f"Tensor {name}" for name in names)
        rest = "".join(f", float p{i}" for i in range(self._parameters)) + ", int dim"
        self._library = torch.library.Library(namespace, "FRAGMENT")
        tags = (torch.Tag.pt2_compliant_tag,)
        self._library.define(f"{self.name}({tensors}{rest}) -> Tensor", tags=tags)
        self._library.define(
            f"{self.name}_backward(Tensor grad, {tensors}{rest}, bool[] wanted) -> Tensor[]", tags=tags
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

    def _parts(self, arguments: tuple[Any, ...]) -> tuple[Tensors, Tensors, tuple[Any, ...]]:
        """Arguments as inputs, parameters, and what comes after them."""
        first, last = self.inputs, self.inputs + len(self.learned)
        return arguments[:first], arguments[first:last], arguments[last:]

    def _split(self, arguments: tuple[Any, ...]) -> tuple[Tensors, Tensors, tuple[float, ...], int]:
        """An operator's arguments as inputs, parameters, numbers and the dimension."""
        inputs, learned, (*numbers, dim) = self._parts(arguments)
        return inputs, learned, tuple(numbers), dim

    def _value_autograd(self, *arguments: Any) -> Tensor:
        inputs, learned, numbers, dim = self._split(arguments)
        if torch.is_grad_enabled() and any(each.requires_grad for each in (*inputs, *learned)):
            return _apply_value(self, numbers, dim, *inputs, *learned)
        return self.compute(inputs, learned, numbers, dim)

    def _slopes_autograd(self, grad: Tensor, *arguments: Any) -> list[Tensor]:
        *given, wanted = arguments
        inputs, learned, numbers, dim = self._split(tuple(given))
        if torch.is_grad_enabled() and any(each.requires_grad for each in (grad, *inputs, *learned)):
            return self.differentiable_slopes(grad, inputs, learned, numbers, dim, wanted)
        return self.compute_slopes(grad, inputs, learned, numbers, dim, wanted)

    def _value(self, *arguments: Any) -> Tensor:
        """f(inputs), outside autograd."""
        return self.evaluate(*self._split(arguments))

    def _slopes(self, grad: Tensor, *arguments: Any) -> list[Tensor]:
        """The wanted gradients, outside autograd."""
        *given, wanted = arguments
        return self.evaluate_slopes(grad, *self._split(tuple(given)), wanted)

    def _value_meta(self, *arguments: Any) -> Tensor:
        inputs, learned, _, dim = self._split(arguments)
        self._check(inputs, learned, dim)
        return torch.empty_like(_model(inputs), dtype=_narrowest(inputs))

    def _slopes_meta(self, grad: Tensor, *arguments: Any) -> list[Tensor]:
        *given, wanted = arguments
        inputs, learned, _, dim = self._split(tuple(given))
        self._check(inputs, learned, dim)
        like = _model(inputs)
        made = (*(torch.empty_like(like, dtype=x.dtype) for x in inputs), *map(torch.empty_like, learned))
        return [each for each, want in zip(made, wanted, strict=True) if want]

    def evaluate(self, inputs: Tensors, learned: Tensors, numbers: tuple[float, ...], dim: int) -> Tensor:
        """f(inputs) of plain tensors of one shape."""
        self._check(inputs, learned, dim)
        if self.inputs == 1:
            y = torch.empty_like(inputs[0])
        else:
            y = torch.empty_like(_model(inputs), dtype=_narrowest(inputs))
        if not self.has_kernel(y):
            entries = self._entries(inputs[0], learned, dim)
            return _as(y, self._formula(*map(_widened, inputs), *entries, *numbers), inputs, False)
        if y.numel():
            channels, contiguous = self._contiguous(learned)
            plan = _plan(y.numel(), channels, _run(y, channels, dim))
            read, walk, choices = self._walked(inputs, (y,), False)
            self._run_value((*read, *contiguous, y), numbers, plan, walk, (y.dtype.itemsize == 2, *choices))
        return y

    def evaluate_slopes(
        self,
        grad: Tensor,
        inputs: Tensors,
        learned: Tensors,
        numbers: tuple[float, ...],
        dim: int,
        wanted: Sequence[bool],
        into: Tensors = (),
    ) -> list[Tensor]:
        """The wanted gradients, those of inputs in tensors of their own or in those given."""
        self._check(inputs, learned, dim)
        like = inputs[0] if self.inputs == 1 else _model(inputs)
        slots: tuple[Tensor | None, ...] = into or tuple(
            torch.empty_like(like, dtype=x.dtype) if want else None
            for x, want in zip(inputs, wanted, strict=False)
        )
        first = [slot for slot in slots if slot is not None]
        if self.has_kernel(like) and like.numel():
            unwanted = first[0] if first else torch.empty_like(like)
            outputs = tuple(unwanted if slot is None else slot for slot in slots)
            return first + self._launch_slopes(
                grad, inputs, outputs, learned, numbers, dim, tuple(wanted), bool(into)
            )
        entries = (*map(_widened, inputs), *self._entries(inputs[0], learned, dim))
        factor = _widened(grad)
        found = (
            factor * formula(*entries, *numbers)
            for formula, want in zip(self._slope_formulas, self._by_entry(wanted), strict=True)
            if want
        )
        first = [_as(slot, next(found), (grad,), bool(into)) for slot in first]
        rest = [False] * self.inputs + list(wanted[self.inputs :])
        return first + self._gathered(found, inputs[0], learned, dim, rest)

    def _launch_slopes(
        self,
        grad: Tensor,
        inputs: Tensors,
        outputs: Tensors,
        learned: Tensors,
        numbers: tuple[float, ...],
        dim: int,
        wanted: tuple[bool, ...],
        scattered: bool,
    ) -> list[Tensor]:
        """One pass by the kernel, which writes `outputs`; then the sums of its programs are summed."""
        channels, contiguous = self._contiguous(learned)
        like, own = outputs[0], wanted[self.inputs :]
        plan = _plan(like.numel(), channels, _run(like, channels, dim))
        partials = [
            like.new_empty(self._partial_shape(extent, plan) if want else (0,), dtype=_COMPUTE[like.dtype])
            for extent, want in zip(self.learned.values(), own, strict=True)
        ]
        read, walk, choices = self._walked((*inputs, grad), outputs, scattered)
        tensors = (*read, *contiguous, *outputs, *partials)
        fast = _narrowest(inputs).itemsize == 2
        self._run_slopes(tensors, numbers, plan, walk, (fast, *choices, *wanted))
        found = []
        for extent, p, partial, want in zip(self.learned.values(), learned, partials, own, strict=True):
            if want:
                by_channel = extent == "channel" and p.numel() != 1
                total = partial.sum((0, 1, 3)) if by_channel else _of_all(partial, extent)
                found.append(total.reshape(p.shape).to(p.dtype))
        return found

    def _walked(
        self, read: Tensors, written: Tensors, scattered: bool
    ) -> tuple[Tensors, tuple[int, ...], tuple[bool, ...]]:
        """What a kernel reads, as it reads it, and the sizes and the choices that tell it how.

        `scattered` says that what is written are views of a tensor in which they lie with others.
        """
        like = written[0]
        if self.inputs == 1:
            return tuple(_laid_out_as(like, x) for x in read), (), ()
        read, walk = walked(like, read, written, scattered)
        strided = any(walk)
        return read, walk, (strided, scattered and strided)

    def _partial_shape(self, extent: Extent, plan: _Plan) -> tuple[int, ...]:
        """The sums that programs write; of a parameter by channel as (..., ..., channels, ...)."""
        if extent != "channel":
            return plan.programs, extent
        if plan.by_row:
            return plan.partials, plan.rows // plan.channels, plan.channels, 1
        return plan.partials, 1, plan.channels, plan.inner

    def _contiguous(self, learned: tuple[Tensor, ...]) -> tuple[int, tuple[Tensor, ...]]:
        """The number of channels that parameters tell apart, and the parameters as kernels read them."""
        extents = self.learned.values()
        by_channel = [p.numel() for extent, p in zip(extents, learned, strict=True) if extent == "channel"]
        channels = max(by_channel, default=1)
        return channels, tuple(
            (p.expand(channels) if extent == "channel" else p).contiguous()
            for extent, p in zip(extents, learned, strict=True)
        )

    def has_kernel(self, x: Tensor) -> bool:
        """Whether a kernel runs where a tensor lies."""
        return x.is_cuda or x.is_xpu or (self._interpreted and x.is_cpu)

    def _shards(self, inputs: Tensors, learned: Tensors, dim: int) -> Any:
        from ._sharding import Sharded

        by_channel = [extent == "channel" for extent in self.learned.values()]
        return Sharded(self.name, inputs, learned, by_channel, dim)


def _length(extent: Extent) -> int:
    """How many values of a parameter an element meets."""
    return 1 if extent == "channel" else extent


def _channels(x: Tensor, dim: int) -> int:
    """The size of the channel dimension; an input that does not have it has one channel."""
    return x.shape[dim] if -x.dim() <= dim < x.dim() else 1


def _run(like: Tensor, channels: int, dim: int) -> int:
    """How many elements of a channel lie together in dense memory."""
    return like.stride(dim) if channels > 1 else 1


def _of_all(partial: Tensor, extent: Extent) -> Tensor:
    return partial.sum() if extent == "channel" else partial.sum(0)


class _EagerValue(Function):
    """f in eager mode."""

    @staticmethod
    def forward(
        ctx: Any, operator: LearnedOperator, numbers: tuple[float, ...], dim: int, *tensors: Tensor
    ) -> Tensor:
        ctx.save_for_backward(*tensors)
        ctx.operator, ctx.numbers, ctx.dim = operator, numbers, dim
        count = operator.inputs
        return operator.compute(tensors[:count], tensors[count:], numbers, dim)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        tensors, wanted = ctx.saved_tensors, ctx.needs_input_grad[3:]
        operator = ctx.operator
        count = operator.inputs
        plain = not (torch.is_grad_enabled() or _transforms_active() or forward_ad._current_level >= 0)
        slopes = operator.compute_slopes if plain else operator.differentiable_slopes
        found = iter(slopes(grads[0], tensors[:count], tensors[count:], ctx.numbers, ctx.dim, wanted))
        return None, None, None, *(next(found) if want else None for want in wanted)


_apply_value: Callable[..., Tensor] = getattr(super(Function, _EagerValue), "apply", _EagerValue.apply)
"""`_EagerValue.apply` without its question for transforms, which the caller has answered."""


def new_parameter(
    values: Sequence[float], count: int, device: torch.device | str | None, dtype: torch.dtype | None
) -> nn.Parameter:
    """A parameter of `count` values, yet to be filled; ValueError where `values` are not one or so many."""
    if len(values) not in (1, count):
        raise ValueError(f"{count} initial values are needed, or one for all, got {len(values)}")
    return nn.Parameter(torch.empty(count, device=device, dtype=dtype))


def fill(parameter: nn.Parameter, values: Sequence[float]) -> None:
    """Give a parameter its initial values."""
    with torch.no_grad():
        parameter.copy_(torch.tensor(values, dtype=torch.float64).expand(parameter.shape))
