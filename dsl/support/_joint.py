"""What the activations of several inputs share: broadcasting, dispatch, derivatives and layouts.

In: an activation's kernels and formulas (`JointOperator`). Out: an operator that PyTorch knows. Inputs are
brought to one shape first, by views that autograd takes back: the gradient of an input that was broadcast is
summed over what it was broadcast to. From there on all tensors have one shape. A value is an operator of
PyTorch's dispatcher, and so are the gradients, all that are wanted in one pass; `torch.compile` and
`torch.export` get the formula, as for activations of one input.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch._C import _are_functorch_transforms_active as _transforms_active
from torch.autograd import Function, forward_ad
from torch.compiler import is_compiling

from . import _runtime
from ._launch import COUNTS, Launcher
from ._runtime import _COMPUTE, _batch_first, _in_one_transform, _is_plain, _unsupported, _widened

Formula = Callable[..., Tensor]


@triton.jit
def offsets(i, columns, row, column, strided: tl.constexpr):
    """Where element `i` of a matrix with so many columns lies in memory of these strides."""
    if strided:
        i = (i // columns).to(tl.int64) * row + (i % columns).to(tl.int64) * column
    return i


class JointOperator:
    """An elementwise activation of several inputs: called with tensors and parameters, it returns a tensor.

    Accepts float16, bfloat16, float32 and float64 in any layout of strides, in shapes that broadcast. Raises
    TypeError for what is no tensor, NotImplementedError, naming the activation, for other types and for
    DTensors, and RuntimeError for shapes that do not broadcast and for several devices. `kernels` are the
    value and the gradients, `slopes` the derivatives by each input and `curvatures` the second derivatives by
    the places of two inputs, as far as they are not zero, in torch operations: that by the first input,
    differentiated by the second. They are `symmetric` but where a definition gives a derivative of its own.
    With `own_derivative` derivatives are not those of the value.
    """

    def __init__(
        self,
        name: str,
        *,
        kernels: tuple[Any, Any],
        formula: Formula,
        slopes: tuple[Formula, ...],
        curvatures: Mapping[tuple[int, int], Formula],
        symmetric: bool = True,
        own_derivative: bool = False,
        parameters: int = 0,
        version: str = "",
    ) -> None:
        self.name = name
        self.inputs = len(slopes)
        self._parameters = parameters
        self._own_derivative = own_derivative
        self._kernels = kernels
        self._formula, self._slope_formulas = formula, slopes
        mirrored = {(b, a): f for (a, b), f in curvatures.items()} if symmetric else {}
        self._curvature_formulas = {**mirrored, **curvatures}
        self._interpreted = not Launcher(kernels[0]).jitted
        self._launchers: dict[tuple[Any, ...], Launcher] = {}
        self._traced = _traced_function(name, formula, slopes)
        self.value, self.slopes = self._register(version)

    def __call__(self, *arguments: Any) -> Tensor:
        """The activation of every element of the inputs, broadcast."""
        inputs, dtype = self._broadcast(arguments[: self.inputs])
        parameters = arguments[self.inputs :]
        if is_compiling():
            result = self._trace(inputs, parameters)
        elif _transforms_active() or forward_ad._current_level >= 0:
            result = _Value.apply(self, parameters, *inputs)
        elif torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
            result = _apply_value(self, parameters, *inputs)
        else:
            result = self.compute(inputs, parameters)
        # Where every input was broadcast, they all are in the type of the arithmetic.
        return result if result.dtype is dtype else result.to(dtype)

    def compute(self, inputs: tuple[Tensor, ...], parameters: tuple[float, ...]) -> Tensor:
        """f(inputs) without a derivative; by PyTorch's dispatcher only where something may listen there."""
        if all(_is_plain(x) for x in inputs):
            return self._evaluate(inputs, parameters)
        with torch._C._AutoDispatchBelowAutograd():
            result: Tensor = self.value(*inputs, *parameters)
            return result

    def compute_slopes(
        self, grad: Tensor, inputs: tuple[Tensor, ...], parameters: tuple[float, ...], wanted: list[bool]
    ) -> list[Tensor]:
        """grad times the derivatives by the wanted inputs, without a derivative of their own."""
        if all(_is_plain(x) for x in (grad, *inputs)):
            return self._evaluate_slopes(grad, inputs, parameters, wanted)
        with torch._C._AutoDispatchBelowAutograd():
            result: list[Tensor] = self.slopes(grad, *inputs, *parameters, wanted)
            return result

    def warmup(self, device: torch.device, dtype: torch.dtype) -> None:
        """Launch both kernels once in every way that Triton compiles apart for inputs of one dense layout."""
        for count in COUNTS:
            x = torch.zeros(count, device=device, dtype=dtype)
            inputs, parameters = (x,) * self.inputs, (1.0,) * self._parameters
            self.compute_slopes(self.compute(inputs, parameters), inputs, parameters, [True] * self.inputs)

    def __repr__(self) -> str:
        return f"<activation {self.name}>"

    # -- inputs ------------------------------------------------------------------------------------------

    def _broadcast(self, inputs: tuple[Any, ...]) -> tuple[tuple[Tensor, ...], torch.dtype]:
        """The inputs in one shape and, but for those that are broadcast, in the result's type; and that type.

        One that is broadcast is in the type of the arithmetic, so that its gradient is summed in that type.
        """
        for x in inputs:
            self._check(x)
        first = inputs[0]
        if all(x.shape == first.shape and x.dtype is first.dtype for x in inputs[1:]):
            self._on_one_device(inputs)
            return inputs, first.dtype
        dtype = _promoted(inputs)
        shape = torch.broadcast_shapes(*(x.shape for x in inputs))
        device = next((x.device for x in inputs if x.dim()), first.device)
        broadcast = [
            x.to(x.device if x.dim() else device, dtype if x.shape == shape else _COMPUTE[dtype]).expand(
                shape
            )
            for x in inputs
        ]
        self._on_one_device(broadcast)
        return tuple(broadcast), dtype

    def _check(self, x: Any) -> None:
        if not isinstance(x, Tensor):
            raise TypeError(f"{self.name}(): arguments must be Tensors, not {type(x).__name__}")
        if x.dtype not in _COMPUTE or x.layout is not torch.strided:
            raise _unsupported(self.name, x)
        if type(x).__name__ == "DTensor":
            raise NotImplementedError(
                f"{self.name}: activations of several inputs do not take DTensors; use their to_local()"
            )

    def _on_one_device(self, inputs: Sequence[Tensor]) -> None:
        first = inputs[0]
        for x in inputs[1:]:
            if x.device != first.device:
                raise RuntimeError(
                    f"{self.name}: expected all tensors on one device, found {first.device} and {x.device}"
                )

    def _split(self, arguments: tuple[Any, ...], *grad: Tensor) -> tuple[tuple[Tensor, ...], tuple[Any, ...]]:
        """Inputs of one shape, one type of arithmetic and one device, and what comes after them.

        An incoming gradient must be like the inputs.
        """
        inputs = arguments[: self.inputs]
        first = inputs[0]
        for x in (*inputs, *grad):
            self._check(x)
            if x.shape != first.shape or _COMPUTE[x.dtype] is not _COMPUTE[first.dtype]:
                raise RuntimeError(f"{self.name}: the operator's inputs differ in shape or type")
        self._on_one_device((*inputs, *grad))
        return inputs, arguments[self.inputs :]

    # -- compilers ---------------------------------------------------------------------------------------

    def _trace(self, inputs: tuple[Tensor, ...], parameters: tuple[float, ...]) -> Tensor:
        """f(inputs) for a compiler; see `Operator._trace`."""
        if getattr(torch.compiler, "_is_exporting_flag", False):
            traceable = False
        elif _transforms_active():
            views = tuple(x.view_as(x) for x in inputs)
            traceable = _in_one_transform() and not any(x.requires_grad for x in inputs)
            traceable = traceable and any(x.requires_grad for x in views)
            inputs = views
        elif _runtime._compile_mode == "kernel":
            return self.value(*inputs, *parameters)  # type: ignore[no-any-return]
        else:
            traceable = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
        if traceable:
            return self._traced.apply(*inputs, *parameters)  # type: ignore[no-any-return]
        if self._own_derivative and _transforms_active():
            raise _own_derivative_refused(self.name)
        return self._formula(*(_widened(x) for x in inputs), *parameters).to(_narrowest(inputs))

    # -- the operators -----------------------------------------------------------------------------------

    def _register(self, version: str) -> tuple[Any, Any]:
        """The two operators in PyTorch's registry, under a namespace that no other package has."""
        namespace = re.sub(r"\W", "_", f"{__package__}_{version}")
        while hasattr(getattr(torch.ops, namespace), self.name):  # a second import of the same package
            namespace += "_"
        tensors = ", ".join(f"Tensor x{i}" for i in range(self.inputs))
        floats = "".join(f", float p{i}" for i in range(self._parameters))
        self._library = torch.library.Library(namespace, "FRAGMENT")
        tag = torch.Tag.pt2_compliant_tag
        self._library.define(f"{self.name}({tensors}{floats}) -> Tensor", tags=(torch.Tag.pointwise, tag))
        self._library.define(
            f"{self.name}_backward(Tensor grad, {tensors}{floats}, bool[] wanted) -> Tensor[]", tags=(tag,)
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
        inputs, parameters = self._split(arguments)
        if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
            return _apply_value(self, parameters, *inputs)
        return self.compute(inputs, parameters)

    def _slopes_autograd(self, grad: Tensor, *arguments: Any) -> list[Tensor]:
        inputs, (*floats, wanted) = self._split(arguments, grad)
        parameters = tuple(floats)
        if torch.is_grad_enabled() and any(x.requires_grad for x in (grad, *inputs)):
            return list(_Slopes.apply(self, parameters, tuple(wanted), grad, *inputs))
        return self.compute_slopes(grad, inputs, parameters, wanted)

    def _value(self, *arguments: Any) -> Tensor:
        """f(inputs), outside autograd."""
        return self._evaluate(*self._split(arguments))

    def _evaluate(self, inputs: tuple[Tensor, ...], parameters: tuple[float, ...]) -> Tensor:
        like = _model(inputs)
        y = torch.empty_like(like, dtype=_narrowest(inputs))
        if self._has_kernel(like):
            self._run(self._kernels[0], inputs, (y,), parameters, ())
            return y
        return _as(y, self._formula(*map(_widened, inputs), *parameters), inputs)

    def _slopes(self, grad: Tensor, *arguments: Any) -> list[Tensor]:
        """grad times the derivatives by the wanted inputs, outside autograd."""
        inputs, (*parameters, wanted) = self._split(arguments, grad)
        return self._evaluate_slopes(grad, inputs, tuple(parameters), wanted)

    def _evaluate_slopes(
        self, grad: Tensor, inputs: tuple[Tensor, ...], parameters: tuple[float, ...], wanted: list[bool]
    ) -> list[Tensor]:
        like = _model(inputs)
        slots = [
            torch.empty_like(like, dtype=x.dtype) if want else None
            for x, want in zip(inputs, wanted, strict=True)
        ]
        found = [slot for slot in slots if slot is not None]
        if not found:
            return []
        if self._has_kernel(like):
            outputs = tuple(found[-1] if slot is None else slot for slot in slots)
            self._run(self._kernels[1], (grad, *inputs), outputs, parameters, tuple(wanted))
            return found
        wide = tuple(map(_widened, inputs))
        factor = _widened(grad)
        return [
            _as(slot, factor * formula(*wide, *parameters), (grad, *inputs))
            for slot, formula in zip(slots, self._slope_formulas, strict=True)
            if slot is not None
        ]

    def _value_meta(self, *arguments: Any) -> Tensor:
        inputs, _ = self._split(arguments)
        return torch.empty_like(_model(inputs), dtype=_narrowest(inputs))

    def _slopes_meta(self, grad: Tensor, *arguments: Any) -> list[Tensor]:
        inputs, (*_, wanted) = self._split(arguments, grad)
        like = _model(inputs)
        return [torch.empty_like(like, dtype=x.dtype) for x, want in zip(inputs, wanted, strict=True) if want]

    def curvature(
        self,
        place: int,
        by: bool,
        wanted: tuple[bool, ...],
        parameters: tuple[float, ...],
        grad: Tensor,
        tensors: tuple[Tensor, ...],
    ) -> Tensor:
        """grad times the sum of outer gradients times second derivatives by the input at `place`.

        With `by` they are the wanted derivatives, differentiated by that input; otherwise the derivative by
        that input, differentiated by the wanted ones.
        `tensors` are the outer gradients, one for each wanted input, and the inputs.
        """
        outers, inputs = tensors[: -self.inputs], tensors[-self.inputs :]
        wide = tuple(map(_widened, inputs))
        total = None
        for outer, other in zip(outers, (i for i, want in enumerate(wanted) if want), strict=True):
            formula = self._curvature_formulas.get((other, place) if by else (place, other))
            if formula is not None:
                term = _widened(outer) * formula(*wide, *parameters)
                total = term if total is None else total + term
        x = inputs[place]
        return torch.zeros_like(x) if total is None else (_widened(grad) * total).to(x.dtype)

    # -- kernels -----------------------------------------------------------------------------------------

    def _has_kernel(self, x: Tensor) -> bool:
        return x.is_cuda or x.is_xpu or (self._interpreted and x.is_cpu)

    def _run(
        self,
        kernel: Any,
        inputs: tuple[Tensor, ...],
        outputs: tuple[Tensor, ...],
        parameters: tuple[float, ...],
        choices: tuple[bool, ...],
    ) -> None:
        """Run a kernel over all elements, by a launcher for each way in which Triton compiles it."""
        walk = _walk(outputs[0], inputs)
        if walk is None:
            inputs = tuple(_laid_out_as(outputs[0], x) for x in inputs)
            walk = (0,) * (1 + 2 * len(inputs))
        tensors = (*inputs, *outputs)
        kinds = tuple((stride == 1, stride % 16 == 0, stride >= 2**31) for stride in walk)
        key = (kernel, choices, kinds, any(walk), *(x.dtype for x in tensors))
        launcher = self._launchers.get(key)
        if launcher is None:
            launcher = self._launchers[key] = Launcher(kernel)
        launcher(tensors, (*parameters, *walk, any(walk), *choices))


def _own_derivative_refused(name: str) -> NotImplementedError:
    return NotImplementedError(
        f"{name}: torch.compile takes its own derivative inside one torch.func.grad alone"
    )


def _walk(like: Tensor, inputs: tuple[Tensor, ...]) -> tuple[int, ...] | None:
    """How tensors are read in the order of a dense one's memory, as matrices of so many columns.

    Returns the number of columns and each tensor's strides by row and by column, all 0 where every tensor
    lies in memory as `like` does, and None where a matrix does not do.
    """
    order = like.stride()
    if all(x.stride() == order for x in inputs):
        return (0,) * (1 + 2 * len(inputs))
    sizes = like.shape
    dims = sorted((d for d, size in enumerate(sizes) if size != 1), key=lambda d: -order[d])
    merged: list[tuple[int, tuple[int, ...]]] = []
    for d in dims:
        strides = tuple(x.stride(d) for x in inputs)
        if merged and all(a == b * sizes[d] for a, b in zip(merged[-1][1], strides, strict=True)):
            merged[-1] = (merged[-1][0] * sizes[d], strides)
        else:
            merged.append((sizes[d], strides))
    if len(merged) > 2:
        return None
    nothing = (0,) * len(inputs)
    columns, within = merged[-1] if merged else (1, nothing)
    rows = merged[0][1] if len(merged) > 1 else nothing
    if len(merged) <= 1 and set(within) <= {1}:
        return (0,) * (1 + 2 * len(inputs))
    return (columns, *(stride for pair in zip(rows, within, strict=True) for stride in pair))


def _laid_out_as(like: Tensor, x: Tensor) -> Tensor:
    """`x` with the strides of `like`, a dense tensor."""
    return x if x.stride() == like.stride() else torch.empty_like(like, dtype=x.dtype).copy_(x)


def _model(inputs: tuple[Tensor, ...]) -> Tensor:
    """The input whose layout the results take: the first that was not expanded."""
    return next((x for x in inputs if 0 not in x.stride()), inputs[0])


def _narrowest(inputs: tuple[Tensor, ...]) -> torch.dtype:
    """The result's type: that of the inputs that are not broadcast."""
    return next((x.dtype for x in inputs if x.dtype is not _COMPUTE[x.dtype]), inputs[0].dtype)


def _promoted(inputs: tuple[Tensor, ...]) -> torch.dtype:
    """The type that PyTorch's operators give for these: tensors without dimensions count only among such."""
    dtypes = [x.dtype for x in inputs if x.dim()] or [x.dtype for x in inputs]
    dtype = dtypes[0]
    for other in dtypes[1:]:
        dtype = dtype if other is dtype else torch.promote_types(dtype, other)
    return dtype


def _as(like: Tensor, result: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
    """A formula's result in the type and strides of `like`, in memory that is no input's."""
    if (
        result.dtype is like.dtype
        and result.stride() == like.stride()
        and all(result is not x for x in inputs)
    ):
        return result
    return like.copy_(result)


class _Value(Function):
    """f under torch.func's transforms and forward-mode AD."""

    @staticmethod
    def forward(operator: JointOperator, parameters: tuple[float, ...], *inputs: Tensor) -> Tensor:
        return operator.compute(inputs, parameters)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.operator, ctx.parameters, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[2:]
        found = iter(_slopes_of(ctx.operator, ctx.parameters, wanted, grads[0], *ctx.saved_tensors))
        return None, None, *(next(found) if want else None for want in wanted)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        total: Tensor | None = None
        for place, tangent in enumerate(tangents[2:]):
            if tangent is not None:
                only = tuple(i == place for i in range(ctx.operator.inputs))
                (term,) = _slopes_of(ctx.operator, ctx.parameters, only, tangent, *ctx.saved_tensors)
                total = term if total is None else total + term
        assert total is not None, "PyTorch asks for a tangent only where there is one"
        return total.to(_narrowest(ctx.saved_tensors))

    @staticmethod
    def vmap(info: Any, in_dims: Any, operator: Any, parameters: Any, *inputs: Tensor) -> tuple[Tensor, int]:
        tensors = _batch_first(info.batch_size, in_dims[2:], inputs)
        return _Value.apply(operator, parameters, *tensors), 0


class _EagerValue(Function):
    """f in eager mode; the context style costs less than setup_context does."""

    @staticmethod
    def forward(ctx: Any, operator: JointOperator, parameters: tuple[float, ...], *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        ctx.operator, ctx.parameters = operator, parameters
        return operator.compute(inputs, parameters)

    backward = _Value.backward


_apply_value: Callable[..., Tensor] = getattr(super(Function, _EagerValue), "apply", _EagerValue.apply)
"""`_EagerValue.apply` without its question for transforms, which the caller has answered."""


class _Slopes(Function):
    """grad times the derivatives by the wanted inputs."""

    @staticmethod
    def forward(
        operator: JointOperator,
        parameters: tuple[float, ...],
        wanted: tuple[bool, ...],
        grad: Tensor,
        *inputs: Tensor,
    ) -> tuple[Tensor, ...]:
        return tuple(operator.compute_slopes(grad, inputs, parameters, list(wanted)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.operator, ctx.parameters, ctx.wanted, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *outers: Tensor) -> tuple[Tensor | None, ...]:
        operator, parameters, wanted = ctx.operator, ctx.parameters, ctx.wanted
        grad, *inputs = ctx.saved_tensors
        by_grad = None
        if ctx.needs_input_grad[3]:
            places = (place for place, want in enumerate(wanted) if want)
            for outer, place in zip(outers, places, strict=True):
                only = tuple(i == place for i in range(operator.inputs))
                (term,) = _slopes_of(operator, parameters, only, outer, *inputs)
                by_grad = term if by_grad is None else by_grad + term
            by_grad = by_grad if by_grad is None else by_grad.to(grad.dtype)
        tensors = (grad, *outers, *inputs)
        by_inputs = [
            _Curvature.apply(operator, parameters, wanted, place, True, *tensors) if needed else None
            for place, needed in enumerate(ctx.needs_input_grad[4:])
        ]
        return None, None, None, by_grad, *by_inputs

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, ...]:
        operator, parameters, wanted = ctx.operator, ctx.parameters, ctx.wanted
        grad, *inputs = ctx.saved_tensors
        along = [
            torch.zeros_like(x) if t is None else t
            for x, t in zip((grad, *inputs), tangents[3:], strict=True)
        ]
        found = _slopes_of(operator, parameters, wanted, along[0], *inputs)
        places = [place for place, want in enumerate(wanted) if want]
        every = (True,) * operator.inputs
        return tuple(
            term + _Curvature.apply(operator, parameters, every, place, False, grad, *along[1:], *inputs)
            for term, place in zip(found, places, strict=True)
        )

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, operator: Any, parameters: Any, wanted: Any, *tensors: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        tensors = tuple(_batch_first(info.batch_size, in_dims[3:], tensors))
        found = _Slopes.apply(operator, parameters, wanted, *tensors)
        return found, (0,) * len(found)


def _slopes_of(
    operator: JointOperator, parameters: Any, wanted: tuple[bool, ...], grad: Tensor, *inputs: Tensor
) -> tuple[Tensor, ...]:
    """`_Slopes`, by the operator alone where no derivative of it is wanted."""
    if torch.is_grad_enabled() or _transforms_active() or forward_ad._current_level >= 0:
        return _Slopes.apply(operator, parameters, wanted, grad, *inputs)  # type: ignore[no-any-return]
    return tuple(operator.compute_slopes(grad, inputs, parameters, list(wanted)))


class _Curvature(Function):
    """`JointOperator.curvature`, linear in grad and in the outer gradients; there is no third derivative."""

    @staticmethod
    def forward(
        operator: JointOperator,
        parameters: tuple[float, ...],
        wanted: tuple[bool, ...],
        place: int,
        by: bool,
        grad: Tensor,
        *tensors: Tensor,
    ) -> Tensor:
        return operator.curvature(place, by, wanted, parameters, grad, tensors)

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


def _traced_function(name: str, formula: Formula, slopes: tuple[Formula, ...]) -> Any:
    """The Function that compilers trace: the formula, with the stable derivatives as its backward."""
    count = len(slopes)

    class Traced(Function):
        @staticmethod
        def forward(ctx: Any, *arguments: Any) -> Tensor:
            inputs, parameters = arguments[:count], arguments[count:]
            ctx.save_for_backward(*inputs)
            ctx.parameters = parameters
            dtype = _narrowest(inputs)
            result = formula(*[_widened(x) for x in inputs], *parameters)
            return result.clone() if any(result is x for x in inputs) else result.to(dtype)

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
            inputs = ctx.saved_tensors
            wide = [_widened(x) for x in inputs]
            factor = _widened(grads[0])
            found: list[Tensor | None] = []
            for place in range(count):
                if ctx.needs_input_grad[place]:
                    slope = slopes[place](*wide, *ctx.parameters)
                    found.append((factor * slope).to(inputs[place].dtype))
                else:
                    found.append(None)
            return (*found, *(None for _ in ctx.parameters))

    Traced.__name__ = Traced.__qualname__ = f"{name}_traced"
    return Traced
