"""What the activations of this package share: dispatch, derivatives and layouts.

In: an activation's kernels and formulas (`Operator`). Out: an operator that PyTorch knows. Three paths lead
through it, chosen per call:

- eager: an operator of PyTorch's dispatcher, with a lean `autograd.Function` in front where gradients are on;
- transforms (`torch.func`, forward-mode AD): the same operator under a Function that also has jvp and vmap;
- `torch.compile` and `torch.export`: the formula in torch operations, which fuses with its neighbours, under
  a Function whose backward is the stable derivative and not what autograd would make of the formula; after
  `set_compile_mode("kernel")`, the operator.

The operator itself runs the Triton kernels on a GPU and the formulas everywhere else; with TRITON_INTERPRET=1
the kernels run on CPU tensors too, in Triton's interpreter.
"""

import re
import sys
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch._C import _are_functorch_transforms_active as _transforms_active
from torch._C import _get_tracing_state, _len_torch_dispatch_stack
from torch.autograd import Function, forward_ad
from torch.compiler import is_compiling
from torch.nn import Parameter

from ._launch import COUNTS, Launcher

Formula = Callable[..., Tensor]

_COMPUTE = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float32: torch.float32,
    torch.float64: torch.float64,
}
"""The types that activations accept, and the type of their arithmetic."""

_DEPTH_IS_TRACED = torch.torch_version.TorchVersion(torch.__version__) >= "2.13"
"""Before that, Dynamo cannot count the transforms that surround a call."""

CompileMode = Literal["fuse", "kernel"]

_compile_mode: CompileMode = "fuse"


def set_compile_mode(mode: CompileMode) -> None:
    """What `torch.compile` makes of this package's activations, from here on.

    With "fuse", as in the beginning, their formulas, which fuse with their neighbours. With "kernel" their
    Triton kernels, as in eager mode. What was compiled before is compiled anew when it is called again.
    Transforms of `torch.func` inside a compiled function, and `torch.export`, get the formula in either mode.
    Raises ValueError for another mode.
    """
    global _compile_mode
    if mode not in get_args(CompileMode):
        raise ValueError(f"compile mode must be 'fuse' or 'kernel', got {mode!r}")
    _compile_mode = mode


def get_compile_mode() -> CompileMode:
    """The mode that `set_compile_mode` chose."""
    return _compile_mode


def warmup(
    activation: Any, *, device: str | torch.device = "cuda", dtype: torch.dtype = torch.float32
) -> None:
    """Compile and load an activation's kernels, value and gradient, for tensors of a device and type.

    Takes a function or module of this package. After that a call compiles nothing, as the capture of a CUDA
    graph and a measurement want it, but for tensors that do not begin at a multiple of 16 bytes and for those
    of more than 2^31 elements. Raises TypeError for what is no activation of this package.
    """
    home = activation.__module__ if hasattr(activation, "__module__") else ""
    module = sys.modules.get(home)
    operator: Any = getattr(module, "_packing", getattr(module, "_operator", None))
    operators: list[Any] = [operator, getattr(module, "_training_operator", None)]
    if not hasattr(operator, "warmup"):
        raise TypeError(f"warmup(): {activation!r} is no activation of this package")
    for each in operators:
        if each is not None:
            each.warmup(torch.device(device), dtype)


_TORCH_NAMES = {
    torch.float16: "Half",
    torch.bfloat16: "BFloat16",
    torch.float32: "Float",
    torch.float64: "Double",
    torch.bool: "Bool",
    torch.uint8: "Byte",
    torch.int8: "Char",
    torch.int16: "Short",
    torch.int32: "Int",
    torch.int64: "Long",
    torch.complex32: "ComplexHalf",
    torch.complex64: "ComplexFloat",
    torch.complex128: "ComplexDouble",
}
"""What PyTorch's own messages call the types."""


class Operator:
    """An elementwise activation: called with a tensor and its parameters, it returns a tensor like the input.

    Accepts float16, bfloat16, float32 and float64 in any layout of strides. Raises TypeError for what is no
    tensor, and NotImplementedError, naming the activation, for other types. `kernels` are the value and the
    gradient, `formulas` the value and the first and second derivatives in torch operations. With
    `own_derivative` the derivative is not that of the value. With `casts` the formulas take tensors in their
    own type, to which they round in the middle.
    """

    def __init__(
        self,
        name: str,
        *,
        kernels: tuple[Any, Any],
        formulas: tuple[Formula, Formula, Formula],
        parameters: tuple[str, ...] = (),
        own_derivative: bool = False,
        casts: bool = False,
        version: str = "",
    ) -> None:
        self.name = name
        self._widened = _itself if casts else _widened
        self._formula, self._grad_formula, self._curvature_formula = formulas
        self._launch = Launcher(kernels[0])
        self._launch_grad = Launcher(kernels[1])
        self._interpreted = not self._launch.jitted
        self._parameters = len(parameters)
        self.own_derivative = own_derivative
        self._traced = _traced_function(name, self._formula, self._grad_formula, self._widened)
        self.value, self.slope = self._register(parameters, version)
        self._sharded = False

    def __call__(self, x: Tensor, *parameters: float) -> Tensor:
        """The activation of every element of `x`."""
        if not isinstance(x, Tensor):
            raise TypeError(f"{self.name}(): argument must be Tensor, not {type(x).__name__}")
        if is_compiling():
            return self._trace(x, parameters)
        if _transforms_active() or forward_ad._current_level >= 0:
            return _TransformedValue.apply(x, self, parameters)  # type: ignore[no-any-return]
        if x.requires_grad and torch.is_grad_enabled():
            return _apply_value(x, self, parameters)
        return self.compute(x, parameters)

    def compute(self, x: Tensor, parameters: tuple[float, ...]) -> Tensor:
        """f(x) without a derivative; by PyTorch's dispatcher only where something may listen there."""
        if _is_plain(x):
            return self._value(x, *parameters)
        self._meet(x)
        with torch._C._AutoDispatchBelowAutograd():
            result: Tensor = self.value(x, *parameters)
            return result

    def compute_slope(self, grad: Tensor, x: Tensor, parameters: tuple[float, ...]) -> Tensor:
        """grad * f'(x) without a derivative."""
        if _is_plain(x) and _is_plain(grad):
            return self._slope(grad, x, *parameters)
        self._meet(x)
        with torch._C._AutoDispatchBelowAutograd():
            result: Tensor = self.slope(grad, x, *parameters)
            return result

    def warmup(self, device: torch.device, dtype: torch.dtype) -> None:
        """Launch both kernels once in every way that Triton compiles apart."""
        for count in COUNTS:
            x = torch.zeros(count, device=device, dtype=dtype)
            parameters = (1.0,) * self._parameters
            self.compute_slope(x, self.compute(x, parameters), parameters)

    def _meet(self, x: Tensor) -> None:
        """Tell DTensor the operators' rule, once, when the first DTensor comes."""
        if self._sharded or type(x).__name__ != "DTensor":
            return
        from . import _sharding

        _sharding.register(self.value, 1, self._parameters)
        _sharding.register(self.slope, 2, self._parameters)
        self._sharded = True

    def _trace(self, x: Tensor, parameters: tuple[float, ...]) -> Tensor:
        """f(x) for a compiler.

        Dynamo refuses a custom Function under most of torch.func's transforms, and inside one `grad` takes
        it only if it knows that the input requires grad, which it learns from a view. Under the others it
        gets the formula alone, and differentiates that itself. An exported program keeps no backward, and so
        holds the formula alone too, as does what needs no gradient: there Dynamo calls a Function's forward
        without its context if there are as many arguments as it has parameters.
        """
        if x.dtype not in _COMPUTE:
            raise _unsupported(self.name, x)
        # Before torch 2.12, is_exporting() is True in every compilation; the flag behind it is not.
        if getattr(torch.compiler, "_is_exporting_flag", False):
            traceable = False
        elif _transforms_active():
            view = x.view_as(x)
            traceable = _in_one_transform() and view.requires_grad and not x.requires_grad
            x = view
        elif _compile_mode == "kernel":
            return self.value(x, *parameters)  # type: ignore[no-any-return]
        else:
            traceable = torch.is_grad_enabled() and x.requires_grad
        if traceable:
            return self._traced.apply(x, *known(parameters))  # type: ignore[no-any-return]
        wide = self._widened(x)
        if self.own_derivative and _transforms_active():
            formulas = (self._formula, self._grad_formula, self._curvature_formula)
            return _rounded(x, expanded(wide, formulas, parameters))
        return _rounded(x, self._formula(wide, *parameters))

    def __repr__(self) -> str:
        return f"<activation {self.name}>"

    def _register(self, parameters: tuple[str, ...], version: str) -> tuple[Any, Any]:
        """The two operators in PyTorch's registry, under a namespace that no other package has."""
        namespace = re.sub(r"\W", "_", f"{__package__}_{version}")
        while hasattr(getattr(torch.ops, namespace), self.name):  # a second import of the same package
            namespace += "_"
        floats = "".join(f", float {name}" for name in parameters)
        self._library = torch.library.Library(namespace, "FRAGMENT")
        tags = (torch.Tag.pointwise, torch.Tag.pt2_compliant_tag)
        self._library.define(f"{self.name}(Tensor x{floats}) -> Tensor", tags=tags)
        self._library.define(f"{self.name}_backward(Tensor grad, Tensor x{floats}) -> Tensor", tags=tags)
        operators = getattr(torch.ops, namespace)
        value = getattr(operators, self.name).default
        slope = getattr(operators, f"{self.name}_backward").default
        self._library.impl(value, self._value, "CompositeExplicitAutograd")
        self._library.impl(slope, self._slope, "CompositeExplicitAutograd")
        self._library.impl(value, self._value_meta, "Meta")
        self._library.impl(slope, self._slope_meta, "Meta")
        self._library.impl(value, self._value_autograd, "Autograd")
        self._library.impl(slope, self._slope_autograd, "Autograd")
        return value, slope

    def _value_autograd(self, x: Tensor, *parameters: float) -> Tensor:
        if x.requires_grad and torch.is_grad_enabled():
            return _apply_value(x, self, parameters)
        return self.compute(x, parameters)

    def _slope_autograd(self, grad: Tensor, x: Tensor, *parameters: float) -> Tensor:
        if (grad.requires_grad or x.requires_grad) and torch.is_grad_enabled():
            result: Tensor = _Slope.apply(grad, x, self, parameters)
            return result
        return self.compute_slope(grad, x, parameters)

    def _value(self, x: Tensor, *parameters: float) -> Tensor:
        """f(x), outside autograd."""
        if x.dtype not in _COMPUTE or x.layout is not torch.strided:
            raise _unsupported(self.name, x)
        if not self._has_kernel(x):
            return _rounded(x, self._formula(self._widened(x), *parameters))
        y = torch.empty_like(x)
        self._launch((x if x.is_contiguous() else _laid_out_as(y, x), y), parameters)
        return y

    def _slope(self, grad: Tensor, x: Tensor, *parameters: float) -> Tensor:
        """grad * f'(x), outside autograd, laid out as x."""
        if x.dtype not in _COMPUTE or x.layout is not torch.strided:
            raise _unsupported(self.name, x)
        if not self._has_kernel(x):
            dx = _rounded(x, _widened(grad) * self._grad_formula(self._widened(x), *parameters))
            return dx if dx.stride() == x.stride() else _laid_out_as(torch.empty_like(x), dx)
        dx = torch.empty_like(x)
        self._launch_grad((_laid_out_as(dx, grad), _laid_out_as(dx, x), dx), parameters)
        return dx

    def _has_kernel(self, x: Tensor) -> bool:
        return x.is_cuda or x.is_xpu or (self._interpreted and x.is_cpu)

    def _value_meta(self, x: Tensor, *parameters: float) -> Tensor:
        """What f(x) looks like."""
        if x.dtype not in _COMPUTE or x.layout is not torch.strided:
            raise _unsupported(self.name, x)
        return torch.empty_like(x)

    def _slope_meta(self, grad: Tensor, x: Tensor, *parameters: float) -> Tensor:
        """What grad * f'(x) looks like."""
        return self._value_meta(x)

    def curvature(self, a: Tensor, b: Tensor, x: Tensor, *parameters: float) -> Tensor:
        """a * b * f''(x)."""
        factor = _widened(a) * _widened(b)
        return _rounded(x, factor * self._curvature_formula(self._widened(x), *parameters))


def expanded(x: Tensor, formulas: tuple[Formula, Formula, Formula], arguments: tuple[Any, ...]) -> Tensor:
    """f(x) for whoever differentiates it by himself, once or twice, where f has derivatives of its own."""
    at = x.detach()
    value, slope, curvature = (formula(at, *arguments) for formula in formulas)
    step = x - at
    change = step * (slope + 0.5 * step * curvature)  # 0, but for those who differentiate, and for infinities
    return value + torch.where(torch.isfinite(change), change, 0.0)


def known(parameters: tuple[float, ...]) -> tuple[float, ...]:
    """Parameters that Dynamo has met outside of a Function.

    Under `dynamic=True` it makes variables of them. One that it first meets in a Function
    is lost in the next.
    """
    return tuple(parameter * 1.0 for parameter in parameters)


def _in_one_transform() -> bool:
    """Whether one transform of torch.func is active and not several, as far as Dynamo can tell."""
    return _DEPTH_IS_TRACED and torch._C._functorch.get_dynamic_layer_stack_depth() == 1


def overwrite(function: Callable[..., Tensor], x: Tensor, *parameters: float) -> Tensor:
    """`function(x)` written into `x`, which is returned.

    Where a gradient will be wanted, the backward pass needs the input, so that a copy of it is kept: the
    result is right, but no memory is saved. A leaf that requires grad is refused, as PyTorch refuses it.
    """
    source = x.clone() if x.requires_grad and torch.is_grad_enabled() else x
    return x.copy_(function(source, *parameters))


def _is_plain(x: Tensor) -> bool:
    """Whether a tensor is plain memory and no mode, trace or transform watches what is done with it.

    It has no address if it is a batch of gradients, which `torch.autograd.grad(..., is_grads_batched=True)`
    makes, and 0 for one if it is zeros that are not stored. The tensor has to be asked: the backward pass of
    a GPU runs in another thread, which does not know what surrounds the call.
    """
    try:
        return (
            (type(x) is Tensor or type(x) is Parameter)
            and _len_torch_dispatch_stack() == 0
            and not _transforms_active()
            and _get_tracing_state() is None
            and not x.is_neg()
            and (x.data_ptr() != 0 or x.numel() == 0)
        )
    except RuntimeError:
        return False


def _widened(x: Tensor) -> Tensor:
    compute = _COMPUTE[x.dtype]
    return x if x.dtype is compute else x.to(compute)


def _itself(x: Tensor) -> Tensor:
    return x


def _rounded(x: Tensor, result: Tensor) -> Tensor:
    """A formula's result in the type of `x`, and in memory of its own."""
    if result is x:
        return x.clone()
    return result if result.dtype is x.dtype else result.to(x.dtype)


def _laid_out_as(like: Tensor, x: Tensor) -> Tensor:
    """`x` with the strides and type of `like`, a dense tensor; then offset i is the same element in both."""
    if x.dtype is like.dtype and x.stride() == like.stride():
        return x
    return torch.empty_like(like).copy_(x)


def _unsupported(name: str, x: Tensor) -> NotImplementedError:
    kind = _TORCH_NAMES.get(x.dtype, str(x.dtype).removeprefix("torch."))
    layout = "" if x.layout is torch.strided else f" in layout {x.layout}"
    return NotImplementedError(f"\"{name}\" not implemented for '{kind}'{layout}")


class _Value(Function):
    """f in eager mode; the context style costs a quarter of what setup_context costs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, operator: Operator, parameters: tuple[float, ...]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.operator, ctx.parameters = operator, parameters
        return operator.compute(x, parameters)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        if _transforms_active():  # torch.vmap around torch.autograd.grad
            dx = _TransformedSlope.apply(grads[0], x, ctx.operator, ctx.parameters)
        elif torch.is_grad_enabled():
            dx = _Slope.apply(grads[0], x, ctx.operator, ctx.parameters)
        else:
            dx = ctx.operator.compute_slope(grads[0], x, ctx.parameters)
        return dx, None, None


_apply_value: Callable[[Tensor, Operator, tuple[float, ...]], Tensor] = getattr(
    super(Function, _Value), "apply", _Value.apply
)
"""`_Value.apply` without its question for transforms, which the caller has answered: 1 us less."""


class _Slope(Function):
    """g * f'(x) in eager mode, where its own derivative is wanted."""

    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, x: Tensor, operator: Operator, parameters: tuple[float, ...]
    ) -> Tensor:
        ctx.save_for_backward(grad, x)
        ctx.operator, ctx.parameters = operator, parameters
        return operator.compute_slope(grad, x, parameters)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if _transforms_active():
            return _slope_gradients(ctx, grads[0], _TransformedSlope, _TransformedCurvature)
        return _slope_gradients(ctx, grads[0], _Slope, _Curvature)


class _Curvature(Function):
    """a * b * f''(x), linear in a and b; there is no third derivative."""

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, x: Tensor, operator: Operator, parameters: tuple[float, ...]
    ) -> Tensor:
        ctx.operator = operator
        return operator.curvature(a, b, x, *parameters)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        raise _no_third_derivative(ctx.operator)


class _TransformedValue(Function):
    """f under torch.func's transforms and forward-mode AD."""

    @staticmethod
    def forward(x: Tensor, operator: Operator, parameters: tuple[float, ...]) -> Tensor:
        result: Tensor = operator.value(x, *parameters)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.operator, ctx.parameters = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return _TransformedSlope.apply(grads[0], x, ctx.operator, ctx.parameters), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        (x,) = ctx.saved_tensors
        result: Tensor = _TransformedSlope.apply(tangent, x, ctx.operator, ctx.parameters)
        return result

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, operator: Operator, parameters: Any) -> tuple[Tensor, int]:
        return _TransformedValue.apply(x, operator, parameters), in_dims[0]


class _TransformedSlope(Function):
    """g * f'(x) under transforms."""

    @staticmethod
    def forward(grad: Tensor, x: Tensor, operator: Operator, parameters: tuple[float, ...]) -> Tensor:
        result: Tensor = operator.slope(grad, x, *parameters)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        grad, x, ctx.operator, ctx.parameters = inputs
        ctx.save_for_backward(grad, x)
        ctx.save_for_forward(grad, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _slope_gradients(ctx, grads[0], _TransformedSlope, _TransformedCurvature)

    @staticmethod
    def jvp(ctx: Any, grad_tangent: Tensor, x_tangent: Tensor, *_: Any) -> Tensor:
        grad, x = ctx.saved_tensors
        along_grad: Tensor = _TransformedSlope.apply(grad_tangent, x, ctx.operator, ctx.parameters)
        along_x: Tensor = _TransformedCurvature.apply(x_tangent, grad, x, ctx.operator, ctx.parameters)
        return along_grad + along_x

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, grad: Tensor, x: Tensor, operator: Operator, parameters: Any
    ) -> tuple[Tensor, int]:
        tensors = _batch_first(info.batch_size, in_dims, (grad, x))
        return _TransformedSlope.apply(*tensors, operator, parameters), 0


class _TransformedCurvature(Function):
    """a * b * f''(x) under transforms."""

    @staticmethod
    def forward(a: Tensor, b: Tensor, x: Tensor, operator: Operator, parameters: tuple[float, ...]) -> Tensor:
        return operator.curvature(a, b, x, *parameters)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.operator = inputs[3]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        raise _no_third_derivative(ctx.operator)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        raise _no_third_derivative(ctx.operator)

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, a: Tensor, b: Tensor, x: Tensor, operator: Operator, parameters: Any
    ) -> tuple[Tensor, int]:
        tensors = _batch_first(info.batch_size, in_dims, (a, b, x))
        return _TransformedCurvature.apply(*tensors, operator, parameters), 0


def _slope_gradients(ctx: Any, outer: Tensor, slope: Any, curvature: Any) -> tuple[Tensor | None, ...]:
    """The derivatives of g * f'(x) by g and by x."""
    grad, x = ctx.saved_tensors
    by_grad = by_x = None
    if ctx.needs_input_grad[0]:
        by_grad = slope.apply(outer, x, ctx.operator, ctx.parameters)
    if ctx.needs_input_grad[1]:
        by_x = curvature.apply(outer, grad, x, ctx.operator, ctx.parameters)
    return by_grad, by_x, None, None


def _batch_first(size: int, in_dims: tuple[Any, ...], tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """The tensors with their batch dimension in front, expanded where they have none."""
    return [
        tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip(tensors, in_dims, strict=False)
    ]


def _no_third_derivative(operator: Operator) -> NotImplementedError:
    return NotImplementedError(f"{operator.name}: derivatives beyond the second are not implemented")


def _traced_function(
    name: str, formula: Formula, grad_formula: Formula, widened: Callable[[Tensor], Tensor] = _widened
) -> Any:
    """The Function that compilers trace: the formula, with the stable derivative as its backward.

    It has no jvp, which torch.compile refuses, and it is made per activation because the compiler can trace
    a formula that it finds in a closure, but not one that comes in as an argument.
    """

    class Traced(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, *parameters: float) -> Tensor:
            ctx.save_for_backward(x)
            ctx.parameters = parameters
            return _rounded(x, formula(widened(x), *parameters))

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
            (x,) = ctx.saved_tensors
            slope = grad_formula(widened(x), *ctx.parameters)
            dx = _rounded(x, _widened(grads[0]) * slope)
            return dx, *(None for _ in ctx.parameters)

    Traced.__name__ = Traced.__qualname__ = f"{name}_traced"
    return Traced
