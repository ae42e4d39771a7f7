"""What the activations of several inputs or outputs share: broadcasting, dispatch, derivatives and layouts.

In: an activation's kernels and formulas (`JointOperator`). Out: an operator that PyTorch knows. Inputs are
brought to one shape first, by views that autograd takes back: the gradient of an input that was broadcast is
summed over what it was broadcast to. From there on all tensors have one shape. A value is an operator of
PyTorch's dispatcher, and so are the gradients, all that are wanted in one pass; `torch.compile` and
`torch.export` get the formula, as for activations of one input.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch._C import _are_functorch_transforms_active as _transforms_active
from torch._C._functorch import is_legacy_batchedtensor as _is_batched
from torch.autograd import Function, forward_ad
from torch.compiler import is_compiling

from . import _runtime
from ._launch import COUNTS, Launcher
from ._runtime import (
    _COMPUTE,
    _batch_first,
    _in_one_transform,
    _is_plain,
    _itself,
    _unsupported,
    _widened,
)

Formula = Callable[..., Tensor]

Tensors = tuple[Tensor, ...]
Parameters = tuple[float, ...]


@triton.jit
def offsets(i, columns, row, column, strided: tl.constexpr):
    """Where element `i` of a matrix with so many columns lies in memory of these strides."""
    if strided:
        i = (i // columns).to(tl.int64) * row + (i % columns).to(tl.int64) * column
    return i


@dataclass(frozen=True)
class Output:
    """One output in torch operations: its value, its derivatives by each input, and its second ones.

    `curvatures` has those by the places of two inputs, as far as they are not zero: that by the first input,
    differentiated by the second.
    """

    value: Formula
    slopes: tuple[Formula, ...]
    curvatures: Mapping[tuple[int, int], Formula]

    def every_curvature(self, symmetric: bool) -> Mapping[tuple[int, int], Formula]:
        """The second derivatives in either order, where one of two is there for both."""
        mirrored = {(b, a): formula for (a, b), formula in self.curvatures.items()} if symmetric else {}
        return {**mirrored, **self.curvatures}


class JointOperator:
    """An elementwise activation of several inputs: called with tensors and parameters, it returns a tensor.

    One of several outputs, whatever the number of its inputs, returns a tuple of as many tensors.

    Accepts float16, bfloat16, float32 and float64 in any layout of strides, in shapes that broadcast. Raises
    TypeError for what is no tensor, NotImplementedError, naming the activation, for other types, and
    RuntimeError for shapes that do not broadcast and for several devices. `kernels` are all values and all
    gradients, `outputs` the same in torch operations. Second derivatives are `symmetric` but where a
    definition gives a derivative of its own; with `own_derivative` derivatives are not those of the value.
    With `casts` the formulas take tensors in their own types, and round to the narrowest in the middle.
    """

    def __init__(
        self,
        name: str,
        *,
        kernels: tuple[Any, Any],
        outputs: tuple[Output, ...],
        symmetric: bool = True,
        own_derivative: bool = False,
        casts: bool = False,
        parameters: int = 0,
        version: str = "",
    ) -> None:
        self.name = name
        self.inputs = len(outputs[0].slopes)
        self.outputs = outputs
        self.parameters = parameters
        self._own_derivative = own_derivative
        self._casts = casts
        self._widened = _itself if casts else _widened
        self._kernels = kernels
        self._curvatures = [each.every_curvature(symmetric) for each in outputs]
        self._interpreted = not Launcher(kernels[0]).jitted
        self._launchers: dict[tuple[Any, ...], Launcher] = {}
        self._traced = _traced_function(name, outputs, self._widened)
        self.value, self.slopes, self.every_slope = self._register(version)
        self._sharded = False

    def __call__(self, *arguments: Any) -> Any:
        """The activation of every element of the inputs, broadcast."""
        inputs, dtype = self.broadcast(arguments[: self.inputs])
        parameters = arguments[self.inputs :]
        if is_compiling():
            results = self._trace(inputs, parameters)
        elif _transforms_active() or forward_ad._current_level >= 0:
            results = _Value.apply(self, parameters, *inputs)
        elif torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
            results = _apply_value(self, parameters, *inputs)
        else:
            results = self.compute(inputs, parameters)
        # Where every input was broadcast, they all are in the type of the arithmetic.
        rounded = tuple(y if y.dtype is dtype else y.to(dtype) for y in results)
        return rounded if len(rounded) > 1 else rounded[0]

    def compute(self, inputs: Tensors, parameters: Parameters) -> Tensors:
        """f(inputs) without a derivative; by PyTorch's dispatcher only where something may listen there."""
        if all(_is_plain(x) for x in inputs):
            return self.evaluate(inputs, parameters)
        self._meet(inputs)
        with torch._C._AutoDispatchBelowAutograd():
            return self._several(self.value(*inputs, *parameters))

    def compute_slopes(
        self, grads: Tensors, inputs: Tensors, parameters: Parameters, wanted: Sequence[bool]
    ) -> list[Tensor]:
        """The sums of grads times the derivatives by the wanted inputs, without derivatives of their own."""
        if all(_is_plain(x) for x in (*grads, *inputs)):
            return self.evaluate_slopes(grads, inputs, parameters, wanted)
        fixed = self._meet(inputs) or any(_is_batched(x) for x in (*grads, *inputs))
        with torch._C._AutoDispatchBelowAutograd():
            if fixed:
                found = self.every_slope(*grads, *inputs, *parameters)
                every = found if self.inputs > 1 else (found,)
                return [dx for dx, want in zip(every, wanted, strict=True) if want]
            result: list[Tensor] = self.slopes(*grads, *inputs, *parameters, list(wanted))
            return result

    def warmup(self, device: torch.device, dtype: torch.dtype) -> None:
        """Launch both kernels once in every way that Triton compiles apart for inputs of one dense layout."""
        for count in COUNTS:
            x = torch.zeros(count, device=device, dtype=dtype)
            inputs, parameters = (x,) * self.inputs, (1.0,) * self.parameters
            results = self.compute(inputs, parameters)
            self.compute_slopes(results, inputs, parameters, [True] * self.inputs)

    def __repr__(self) -> str:
        return f"<activation {self.name}>"

    def _meet(self, inputs: Tensors) -> bool:
        """Whether there is a DTensor; when the first one comes, DTensor is told the operators' rules."""
        if all(type(x).__name__ != "DTensor" for x in inputs):
            return False
        if not self._sharded:
            from . import _sharding

            _sharding.register(self.value, self.inputs, self.parameters)
            _sharding.register(self.every_slope, len(self.outputs) + self.inputs, self.parameters)
            self._sharded = True
        return True

    def _several(self, results: Any) -> Tensors:
        """What an operator of PyTorch's gives, as a tuple whatever the number of outputs."""
        return tuple(results) if len(self.outputs) > 1 else (results,)

    # -- inputs ------------------------------------------------------------------------------------------

    def broadcast(self, inputs: tuple[Any, ...]) -> tuple[Tensors, torch.dtype]:
        """The function of that name, for this activation."""
        return broadcast(self.name, inputs, self._casts)

    def check(self, x: Any) -> None:
        """Raise an error for what is no tensor that the activation takes."""
        check(self.name, x)

    def _split(self, arguments: tuple[Any, ...], grads: int = 0) -> tuple[Tensors, Tensors, tuple[Any, ...]]:
        """Incoming gradients, as many as are said, inputs, and what comes after them.

        All must have one shape, one type of arithmetic and one device.
        """
        count = grads + self.inputs
        tensors = arguments[:count]
        first = tensors[0]
        for x in tensors:
            self.check(x)
            if x.shape != first.shape or _COMPUTE[x.dtype] is not _COMPUTE[first.dtype]:
                raise RuntimeError(f"{self.name}: the operator's inputs differ in shape or type")
        _on_one_device(self.name, tensors)
        return tensors[:grads], tensors[grads:], arguments[count:]

    # -- compilers ---------------------------------------------------------------------------------------

    def _trace(self, inputs: Tensors, parameters: Parameters) -> Tensors:
        """f(inputs) for a compiler; see `Operator._trace`."""
        if getattr(torch.compiler, "_is_exporting_flag", False):
            traceable = False
        elif _transforms_active():
            views = tuple(x.view_as(x) for x in inputs)
            traceable = _in_one_transform() and not any(x.requires_grad for x in inputs)
            traceable = traceable and any(x.requires_grad for x in views)
            inputs = views
        elif _runtime._compile_mode == "kernel":
            return self._several(self.value(*inputs, *parameters))
        else:
            traceable = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
        if traceable:
            return self._traced.apply(*inputs, *_runtime.known(parameters))  # type: ignore[no-any-return]
        if self._own_derivative and _transforms_active():
            raise _own_derivative_refused(self.name)
        wide = tuple(self._widened(x) for x in inputs)
        dtype = _narrowest(inputs)
        return tuple(_apart(each.value(*wide, *parameters), inputs, dtype) for each in self.outputs)

    # -- the operators -----------------------------------------------------------------------------------

    def _register(self, version: str) -> tuple[Any, Any, Any]:
        """The operators in PyTorch's registry, under a namespace that no other package has.

        The gradients are there twice: those that are wanted, in a list, and all of them, for whatever cannot
        do with a list: DTensor, and batches of gradients.
        """
        namespace = re.sub(r"\W", "_", f"{__package__}_{version}")
        while hasattr(getattr(torch.ops, namespace), self.name):  # a second import of the same package
            namespace += "_"
        tensors = ", ".join(f"Tensor x{i}" for i in range(self.inputs))
        floats = "".join(f", float p{i}" for i in range(self.parameters))
        several = len(self.outputs) > 1
        returned = f"({', '.join('Tensor' for _ in self.outputs)})" if several else "Tensor"
        grads = ", ".join(f"Tensor grad{i}" for i, _ in enumerate(self.outputs)) if several else "Tensor grad"
        self._library = torch.library.Library(namespace, "FRAGMENT")
        tag = torch.Tag.pt2_compliant_tag
        self._library.define(
            f"{self.name}({tensors}{floats}) -> {returned}",
            tags=(tag,) if several else (torch.Tag.pointwise, tag),
        )
        self._library.define(
            f"{self.name}_backward({grads}, {tensors}{floats}, bool[] wanted) -> Tensor[]", tags=(tag,)
        )
        every = f"({', '.join('Tensor' for _ in range(self.inputs))})" if self.inputs > 1 else "Tensor"
        self._library.define(f"{self.name}_gradients({grads}, {tensors}{floats}) -> {every}", tags=(tag,))
        operators = getattr(torch.ops, namespace)
        value = getattr(operators, self.name).default
        slopes = getattr(operators, f"{self.name}_backward").default
        every_slope = getattr(operators, f"{self.name}_gradients").default
        for operator, implementations in (
            (value, (self._value, self._value_meta, self._value_autograd)),
            (slopes, (self._slopes, self._slopes_meta, self._slopes_autograd)),
            (every_slope, (self._every_slope, self._every_slope_meta)),
        ):
            keys = ("CompositeExplicitAutograd", "Meta", "Autograd")
            for key, implementation in zip(keys, implementations, strict=False):
                self._library.impl(operator, implementation, key)
        return value, slopes, every_slope

    def _returned(self, results: Tensors) -> Any:
        """The outputs as the value's operator returns them."""
        return results if len(self.outputs) > 1 else results[0]

    def _value_autograd(self, *arguments: Any) -> Any:
        _, inputs, parameters = self._split(arguments)
        if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
            return self._returned(_apply_value(self, parameters, *inputs))
        return self._returned(self.compute(inputs, parameters))

    def _slopes_autograd(self, *arguments: Any) -> list[Tensor]:
        grads, inputs, (*floats, wanted) = self._split(arguments, len(self.outputs))
        parameters = tuple(floats)
        if torch.is_grad_enabled() and any(x.requires_grad for x in (*grads, *inputs)):
            return list(_Slopes.apply(self, parameters, tuple(wanted), *grads, *inputs))
        return self.compute_slopes(grads, inputs, parameters, wanted)

    def _value(self, *arguments: Any) -> Any:
        """f(inputs), outside autograd."""
        return self._returned(self.evaluate(*self._split(arguments)[1:]))

    def evaluate(self, inputs: Tensors, parameters: Parameters, into: Tensors = ()) -> Tensors:
        """f(inputs) of plain tensors of one shape, in tensors of its own or in those given."""
        like = _model(inputs)
        results = into or tuple(torch.empty_like(like, dtype=_narrowest(inputs)) for _ in self.outputs)
        if self.has_kernel(like):
            self._run(self._kernels[0], inputs, results, parameters, (), bool(into))
            return results
        wide = tuple(map(self._widened, inputs))
        return tuple(
            _as(y, each.value(*wide, *parameters), inputs, bool(into))
            for y, each in zip(results, self.outputs, strict=True)
        )

    def _slopes(self, *arguments: Any) -> list[Tensor]:
        """The gradients by the wanted inputs, outside autograd."""
        grads, inputs, (*parameters, wanted) = self._split(arguments, len(self.outputs))
        return self.evaluate_slopes(grads, inputs, tuple(parameters), wanted)

    def _every_slope(self, *arguments: Any) -> Any:
        """The gradients by all inputs, outside autograd."""
        found = self._slopes(*arguments, [True] * self.inputs)
        return tuple(found) if self.inputs > 1 else found[0]

    def _every_slope_meta(self, *arguments: Any) -> Any:
        found = self._slopes_meta(*arguments, [True] * self.inputs)
        return tuple(found) if self.inputs > 1 else found[0]

    def evaluate_slopes(
        self,
        grads: Tensors,
        inputs: Tensors,
        parameters: Parameters,
        wanted: Sequence[bool],
        into: Tensors = (),
    ) -> list[Tensor]:
        """The gradients of plain tensors by the wanted inputs, in tensors of their own or in those given."""
        like = _model(inputs)
        slots: tuple[Tensor | None, ...] = into or tuple(
            torch.empty_like(like, dtype=x.dtype) if want else None
            for x, want in zip(inputs, wanted, strict=True)
        )
        found = [slot for slot in slots if slot is not None]
        if not found:
            return []
        if self.has_kernel(like):
            outputs = tuple(found[-1] if slot is None else slot for slot in slots)
            self._run(self._kernels[1], (*grads, *inputs), outputs, parameters, tuple(wanted), bool(into))
            return found
        wide = tuple(map(self._widened, inputs))
        factors = tuple(map(_widened, grads))
        return [
            _as(slot, self._slope(place, factors, wide, parameters), (*grads, *inputs), bool(into))
            for place, slot in enumerate(slots)
            if slot is not None
        ]

    def _slope(self, place: int, factors: Tensors, wide: Tensors, parameters: Parameters) -> Tensor:
        """The sum over the outputs of a factor times the derivative by an input."""
        return _sum_of(
            factor * each.slopes[place](*wide, *parameters)
            for factor, each in zip(factors, self.outputs, strict=True)
        )

    def _value_meta(self, *arguments: Any) -> Any:
        _, inputs, _ = self._split(arguments)
        like = _model(inputs)
        return self._returned(tuple(torch.empty_like(like, dtype=_narrowest(inputs)) for _ in self.outputs))

    def _slopes_meta(self, *arguments: Any) -> list[Tensor]:
        _, inputs, (*_, wanted) = self._split(arguments, len(self.outputs))
        like = _model(inputs)
        return [torch.empty_like(like, dtype=x.dtype) for x, want in zip(inputs, wanted, strict=True) if want]

    def curvature(
        self,
        place: int,
        by: bool,
        wanted: tuple[bool, ...],
        parameters: Parameters,
        tensors: Tensors,
    ) -> Tensor:
        """The derivative by the input at `place` of gradients times outer gradients, summed.

        With `by` the derivatives by the wanted inputs are differentiated by that one; otherwise that by it is
        differentiated by the wanted ones. `tensors` are the gradients, one for each output, the outer
        gradients, one for each wanted input, and the inputs.
        """
        count = len(self.outputs)
        grads, outers, inputs = tensors[:count], tensors[count : -self.inputs], tensors[-self.inputs :]
        wide = tuple(map(self._widened, inputs))
        places = [(i, place) if by else (place, i) for i, want in enumerate(wanted) if want]
        terms = [
            _widened(grad) * _sum_of(within)
            for grad, curvatures in zip(grads, self._curvatures, strict=True)
            if (
                within := [
                    _widened(outer) * curvatures[pair](*wide, *parameters)
                    for outer, pair in zip(outers, places, strict=True)
                    if pair in curvatures
                ]
            )
        ]
        x = inputs[place]
        return _sum_of(terms).to(x.dtype) if terms else torch.zeros_like(x)

    # -- kernels -----------------------------------------------------------------------------------------

    def has_kernel(self, x: Tensor) -> bool:
        """Whether a kernel runs where a tensor lies."""
        return x.is_cuda or x.is_xpu or (self._interpreted and x.is_cpu)

    def _run(
        self,
        kernel: Any,
        inputs: Tensors,
        outputs: Tensors,
        parameters: Parameters,
        choices: tuple[bool, ...],
        scattered: bool,
    ) -> None:
        """Run a kernel over all elements, by a launcher for each way in which Triton compiles it.

        `scattered` says that the outputs are views of a tensor in which they lie with others.
        """
        inputs, walk = walked(outputs[0], inputs, outputs, scattered)
        tensors = (*inputs, *outputs)
        strided = any(walk)
        kinds = tuple((stride == 1, stride % 16 == 0, stride >= 2**31) for stride in walk)
        spread = scattered and strided
        key = (kernel, choices, kinds, strided, spread, *(x.dtype for x in tensors))
        launcher = self._launchers.get(key)
        if launcher is None:
            launcher = self._launchers[key] = Launcher(kernel)
        launcher(tensors, (*parameters, *walk, strided, spread, *choices))


def broadcast(name: str, inputs: tuple[Any, ...], casts: bool = False) -> tuple[Tensors, torch.dtype]:
    """The inputs in one shape and, but for those that are broadcast, in the result's type; and that type.

    One that is broadcast is in the type of the arithmetic, so that its gradient is summed in that type.
    Where all are, and something is rounded to the result's type in the middle, the first tells it.
    """
    for x in inputs:
        check(name, x)
    first = inputs[0]
    if all(x.shape == first.shape and x.dtype is first.dtype for x in inputs[1:]):
        _on_one_device(name, inputs)
        return inputs, first.dtype
    dtype = _promoted(inputs)
    shape = torch.broadcast_shapes(*(x.shape for x in inputs))
    device = next((x.device for x in inputs if x.dim()), first.device)
    told = casts and all(x.shape != shape for x in inputs)
    brought = [
        x.to(
            x.device if x.dim() else device,
            dtype if x.shape == shape or (told and x is first) else _COMPUTE[dtype],
        ).expand(shape)
        for x in inputs
    ]
    _on_one_device(name, brought)
    return tuple(brought), dtype


def check(name: str, x: Any) -> None:
    """Raise an error for what is no tensor that activations take; `name` is the activation's."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}(): arguments must be Tensors, not {type(x).__name__}")
    if x.dtype not in _COMPUTE or x.layout is not torch.strided:
        raise _unsupported(name, x)


def _on_one_device(name: str, inputs: Sequence[Tensor]) -> None:
    first = inputs[0]
    for x in inputs[1:]:
        if x.device != first.device:
            raise RuntimeError(
                f"{name}: expected all tensors on one device, found {first.device} and {x.device}"
            )


def _own_derivative_refused(name: str) -> NotImplementedError:
    return NotImplementedError(
        f"{name}: torch.compile takes its own derivative inside one torch.func.grad alone"
    )


def walked(like: Tensor, read: Tensors, written: Tensors, scattered: bool) -> tuple[Tensors, tuple[int, ...]]:
    """What a kernel reads, as it reads it, and how it goes over that and what it writes; see `_walk`."""
    walk = _walk(like, (*read, *written), scattered)
    if walk is None:
        read = tuple(_in_order_of(like, x, scattered) for x in read)
        walk = _walk(like, (*read, *written), scattered)
        assert walk is not None, "what lies in one order is a matrix"
    return read, walk


def _walk(like: Tensor, tensors: Tensors, scattered: bool) -> tuple[int, ...] | None:
    """How tensors are visited in the order of the memory of one, as matrices of so many columns.

    Returns the number of columns and each tensor's strides by row and by column, all 0 where every tensor is
    dense and lies as `like` does, and None where a matrix does not do. `like` is dense, unless `scattered`.
    """
    order = like.stride()
    flat = (0,) * (1 + 2 * len(tensors))
    if not scattered and all(x.stride() == order for x in tensors):
        return flat
    sizes = like.shape
    dims = sorted((d for d, size in enumerate(sizes) if size != 1), key=lambda d: -order[d])
    merged: list[tuple[int, tuple[int, ...]]] = []
    for d in dims:
        strides = tuple(x.stride(d) for x in tensors)
        if merged and all(a == b * sizes[d] for a, b in zip(merged[-1][1], strides, strict=True)):
            merged[-1] = (merged[-1][0] * sizes[d], strides)
        else:
            merged.append((sizes[d], strides))
    if len(merged) > 2:
        return None
    nothing = (0,) * len(tensors)
    columns, within = merged[-1] if merged else (1, nothing)
    rows = merged[0][1] if len(merged) > 1 else nothing
    if len(merged) <= 1 and set(within) <= {1}:
        return flat
    return columns, *(stride for pair in zip(rows, within, strict=True) for stride in pair)


def _in_order_of(like: Tensor, x: Tensor, scattered: bool) -> Tensor:
    """`x` as a dense tensor whose dimensions lie in the order of those of `like`."""
    ready = not scattered and x.stride() == like.stride()
    return x if ready else torch.empty_like(like, dtype=x.dtype).copy_(x)


def _model(inputs: Tensors) -> Tensor:
    """The input whose layout the results take: the first that was not expanded."""
    return next((x for x in inputs if 0 not in x.stride()), inputs[0])


def _narrowest(inputs: Tensors) -> torch.dtype:
    """The result's type: that of the inputs that are not broadcast."""
    return next((x.dtype for x in inputs if x.dtype is not _COMPUTE[x.dtype]), inputs[0].dtype)


def _promoted(inputs: Tensors) -> torch.dtype:
    """The type that PyTorch's operators give for these: tensors without dimensions count only among such."""
    dtypes = [x.dtype for x in inputs if x.dim()] or [x.dtype for x in inputs]
    dtype = dtypes[0]
    for other in dtypes[1:]:
        dtype = dtype if other is dtype else torch.promote_types(dtype, other)
    return dtype


def _as(like: Tensor, result: Tensor, inputs: Tensors, given: bool) -> Tensor:
    """A formula's result in the type and strides of `like`, in memory that is no input's; or in `like`."""
    if (
        not given
        and result.dtype is like.dtype
        and result.stride() == like.stride()
        and all(result is not x for x in inputs)
    ):
        return result
    return like.copy_(result)


def _apart(result: Tensor, inputs: Tensors, dtype: torch.dtype) -> Tensor:
    """A formula's result in a type, in memory that is no input's."""
    if any(result is x for x in inputs):
        return result.clone()
    # Torch 2.11 compiles a Function to one without gradients if its result went through a `to` without need.
    return result if result.dtype is dtype else result.to(dtype)


def _sum_of(terms: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, terms)


class _Value(Function):
    """f under torch.func's transforms and forward-mode AD."""

    @staticmethod
    def forward(operator: JointOperator, parameters: Parameters, *inputs: Tensor) -> Tensors:
        return operator.compute(inputs, parameters)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensors) -> None:
        ctx.operator, ctx.parameters, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[2:]
        found = iter(slopes_of(ctx.operator, ctx.parameters, wanted, *grads, *ctx.saved_tensors))
        return None, None, *(next(found) if want else None for want in wanted)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensors:
        along = [(place, tangent) for place, tangent in enumerate(tangents[2:]) if tangent is not None]
        assert along, "PyTorch asks for a tangent only where there is one"
        dtype = _narrowest(ctx.saved_tensors)
        return tuple(
            _sum_of(
                _derivative(ctx.operator, ctx.parameters, number, place, tangent, ctx.saved_tensors)
                for place, tangent in along
            ).to(dtype)
            for number, _ in enumerate(ctx.operator.outputs)
        )

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, operator: Any, parameters: Any, *inputs: Tensor
    ) -> tuple[Tensors, tuple[int, ...]]:
        tensors = _batch_first(info.batch_size, in_dims[2:], inputs)
        found = _Value.apply(operator, parameters, *tensors)
        return found, (0,) * len(found)


class _EagerValue(Function):
    """f in eager mode; the context style costs less than setup_context does."""

    @staticmethod
    def forward(ctx: Any, operator: JointOperator, parameters: Parameters, *inputs: Tensor) -> Tensors:
        ctx.save_for_backward(*inputs)
        ctx.operator, ctx.parameters = operator, parameters
        return operator.compute(inputs, parameters)

    backward = _Value.backward


_apply_value: Callable[..., Tensors] = getattr(super(Function, _EagerValue), "apply", _EagerValue.apply)
"""`_EagerValue.apply` without its question for transforms, which the caller has answered."""


class _Slopes(Function):
    """The gradients by the wanted inputs; `tensors` are the outputs' gradients and the inputs."""

    @staticmethod
    def forward(
        operator: JointOperator, parameters: Parameters, wanted: tuple[bool, ...], *tensors: Tensor
    ) -> Tensors:
        count = len(operator.outputs)
        return tuple(operator.compute_slopes(tensors[:count], tensors[count:], parameters, wanted))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensors) -> None:
        ctx.operator, ctx.parameters, ctx.wanted, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *outers: Tensor) -> tuple[Tensor | None, ...]:
        operator, parameters, wanted = ctx.operator, ctx.parameters, ctx.wanted
        count = len(operator.outputs)
        grads, inputs = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        needed = ctx.needs_input_grad[3:]
        places = [place for place, want in enumerate(wanted) if want]
        by_grads = [
            (
                _sum_of(
                    _derivative(operator, parameters, number, place, outer, inputs)
                    for outer, place in zip(outers, places, strict=True)
                ).to(grad.dtype)
                if need
                else None
            )
            for number, (grad, need) in enumerate(zip(grads, needed[:count], strict=True))
        ]
        by_inputs = [
            (
                _Curvature.apply(operator, parameters, wanted, place, True, *grads, *outers, *inputs)
                if need
                else None
            )
            for place, need in enumerate(needed[count:])
        ]
        return None, None, None, *by_grads, *by_inputs

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensors:
        operator, parameters, wanted = ctx.operator, ctx.parameters, ctx.wanted
        count = len(operator.outputs)
        grads, inputs = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        along = [
            torch.zeros_like(x) if t is None else t
            for x, t in zip(ctx.saved_tensors, tangents[3:], strict=True)
        ]
        found = slopes_of(operator, parameters, wanted, *along[:count], *inputs)
        places = [place for place, want in enumerate(wanted) if want]
        every = (True,) * operator.inputs
        return tuple(
            term
            + _Curvature.apply(operator, parameters, every, place, False, *grads, *along[count:], *inputs)
            for term, place in zip(found, places, strict=True)
        )

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, operator: Any, parameters: Any, wanted: Any, *tensors: Tensor
    ) -> tuple[Tensors, tuple[int, ...]]:
        tensors = tuple(_batch_first(info.batch_size, in_dims[3:], tensors))
        found = _Slopes.apply(operator, parameters, wanted, *tensors)
        return found, (0,) * len(found)


def slopes_of(
    operator: JointOperator, parameters: Parameters, wanted: tuple[bool, ...], *tensors: Tensor
) -> Tensors:
    """`_Slopes`, by the operator alone where no derivative of it is wanted."""
    if torch.is_grad_enabled() or _transforms_active() or forward_ad._current_level >= 0:
        return _Slopes.apply(operator, parameters, wanted, *tensors)  # type: ignore[no-any-return]
    count = len(operator.outputs)
    return tuple(operator.compute_slopes(tensors[:count], tensors[count:], parameters, wanted))


def _derivative(
    operator: JointOperator,
    parameters: Parameters,
    number: int,
    place: int,
    factor: Tensor,
    inputs: Tensors,
) -> Tensor:
    """A factor times the derivative of one output by one input, to be differentiated again."""
    only = tuple(i == place for i in range(operator.inputs))
    grads = [factor if i == number else torch.zeros_like(factor) for i, _ in enumerate(operator.outputs)]
    (found,) = slopes_of(operator, parameters, only, *grads, *inputs)
    return found


class _Curvature(Function):
    """`JointOperator.curvature`, linear in gradients and outer gradients; there is no third derivative."""

    @staticmethod
    def forward(
        operator: JointOperator,
        parameters: Parameters,
        wanted: tuple[bool, ...],
        place: int,
        by: bool,
        *tensors: Tensor,
    ) -> Tensor:
        return operator.curvature(place, by, wanted, parameters, tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.operator = inputs[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        raise _runtime._no_third_derivative(ctx.operator)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        raise _runtime._no_third_derivative(ctx.operator)

    @staticmethod
    def vmap(
        info: Any,
        in_dims: Any,
        operator: Any,
        parameters: Any,
        wanted: Any,
        place: int,
        by: bool,
        *tensors: Tensor,
    ) -> tuple[Tensor, int]:
        tensors = tuple(_batch_first(info.batch_size, in_dims[5:], tensors))
        return _Curvature.apply(operator, parameters, wanted, place, by, *tensors), 0


def _traced_function(
    name: str, outputs: tuple[Output, ...], widened: Callable[[Tensor], Tensor] = _widened
) -> Any:
    """The Function that compilers trace: the formulas, with the stable derivatives as its backward."""
    # A compiler follows functions that it finds in a closure, and not the objects around them.
    values, slopes = tuple(each.value for each in outputs), tuple(each.slopes for each in outputs)
    count = len(slopes[0])

    class Traced(Function):
        @staticmethod
        def forward(ctx: Any, *arguments: Any) -> Tensors:
            inputs, parameters = arguments[:count], arguments[count:]
            ctx.save_for_backward(*inputs)
            ctx.parameters = parameters
            dtype = _narrowest(inputs)
            wide = [widened(x) for x in inputs]
            results = [value(*wide, *parameters) for value in values]
            return tuple(_apart(y, inputs, dtype) for y in results)

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
            inputs = ctx.saved_tensors
            wide = [widened(x) for x in inputs]
            factors = [_widened(grad) for grad in grads]
            found: list[Tensor | None] = []
            for place in range(count):
                if ctx.needs_input_grad[place]:
                    total = factors[0] * slopes[0][place](*wide, *ctx.parameters)
                    for factor, others in zip(factors[1:], slopes[1:], strict=True):
                        total = total + factor * others[place](*wide, *ctx.parameters)
                    found.append(total.to(inputs[place].dtype))
                else:
                    found.append(None)
            return (*found, *(None for _ in ctx.parameters))

    Traced.__name__ = Traced.__qualname__ = f"{name}_traced"
    return Traced
