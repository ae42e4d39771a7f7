"""What the activations that draw random numbers share: the draws, dispatch and derivatives.

In: an activation's kernels and formulas in training (`ChanceOperator`). Out: an operator that PyTorch knows.

A call takes one number from PyTorch's generator, its seed. Everything else follows from that: a draw is a
function of the seed, of the place of the element among all elements in their logical order, and of the
draw's stream (Philox 4x32-10; Salmon et al., 2011). So a draw depends neither on the layout nor on how a
kernel is launched, the backward pass makes the draws again where others would keep them, and whatever
restores PyTorch's generators, such as activation checkpointing, restores the draws. The operator has the
seed as an input, and is itself no more random than any other.

A seed may hold several numbers: the elements, in order, are divided evenly among them. That is how `vmap`
runs.
"""

import re
from collections.abc import Callable
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
from ._runtime import (
    _COMPUTE,
    _batch_first,
    _in_one_transform,
    _is_plain,
    _laid_out_as,
    _no_third_derivative,
    _rounded,
    _unsupported,
    _widened,
    known,
)

Formula = Callable[..., Tensor]

_SEEDS = 2**62
_WORD = 2**32 - 1
_UNIT = 2.0**-24
_FINE_UNIT = 2.0**-53
_TURN = 6.283185307179586


# -- draws in kernels: all four words of a counter are used, where Triton's `tl.rand` takes one -------------


@triton.jit
def uniform(seed_ptr, stream, start, x, tile: tl.constexpr, wide: tl.constexpr):
    """Numbers from 0 to 1, without 1, for this program's elements, in the precision of `x`.

    They have 24 bits in float32, and these and 29 more in float64.
    """
    a, b, c, d = _words(seed_ptr, stream, 0, start, tile, wide)
    if x.dtype == tl.float64:
        e, f, g, h = _words(seed_ptr, stream, 1, start, tile, wide)
        a, b, c, d = _fine(a, e), _fine(b, f), _fine(c, g), _fine(d, h)
        y = _dealt(a, b, c, d) * 1.1102230246251565e-16
    else:
        y = (_dealt(a, b, c, d) >> 8).to(tl.float32) * 5.9604644775390625e-08
    return y


@triton.jit
def normal(seed_ptr, stream, start, x, tile: tl.constexpr, wide: tl.constexpr):
    """Normally distributed numbers of mean 0 and deviation 1 for this program's elements, as `x`.

    Method: Box and Muller's, two numbers from two; the greatest magnitude is 6.7 in float32, 8.6 in float64.
    """
    a, b, c, d = _words(seed_ptr, stream, 0, start, tile, wide)
    if x.dtype == tl.float64:
        e, f, g, h = _words(seed_ptr, stream, 1, start, tile, wide)
        scale = tl.full((), 1.1102230246251565e-16, tl.float64)
        a, b, c, d = _fine(a, e), _fine(b, f) * scale, _fine(c, g), _fine(d, h) * scale
    else:
        scale = tl.full((), 2.3283064365386963e-10, tl.float32)
        a, c = a.to(tl.float32), c.to(tl.float32)
        b = (b >> 8).to(tl.float32) * 5.9604644775390625e-08
        d = (d >> 8).to(tl.float32) * 5.9604644775390625e-08
    p, q = _radius((a + 0.5) * scale), _radius((c + 0.5) * scale)
    b_cos, b_sin = _circle(b)
    d_cos, d_sin = _circle(d)
    return _dealt(p * b_cos, p * b_sin, q * d_cos, q * d_sin)


@triton.jit
def _radius(u):
    return tl.sqrt(tl.maximum(-2.0 * tl.log(u), 0.0))


@triton.jit
def _circle(turns):
    """The cosine and the sine of a number of turns between 0 and 1.

    Method: what is left of the nearest quarter, in polynomials (Moshier's sinf and cosf); float64 is
    Triton's own.
    """
    if turns.dtype == tl.float64:
        turns *= tl.full((), 6.283185307179586, tl.float64)
        cosine, sine = tl.cos(turns), tl.sin(turns)
    else:
        quarter = (turns * 4.0 + 0.5).to(tl.int32)
        t = (turns * 4.0 - quarter.to(tl.float32)) * 1.5707963267948966
        z = t * t
        s = ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1) * z * t + t
        c = (2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2
        c = c * z * z - 0.5 * z + 1.0
        turned = (quarter & 1) != 0
        cosine, sine = tl.where(turned, s, c), tl.where(turned, c, s)
        cosine = tl.where(((quarter + 1) & 2) != 0, -cosine, cosine)
        sine = tl.where((quarter & 2) != 0, -sine, sine)
    return cosine, sine


@triton.jit
def _fine(high, low):
    """The first 53 bits of two words, as a float64."""
    return ((high.to(tl.uint64) << 21) | (low >> 11).to(tl.uint64)).to(tl.float64)


@triton.jit
def _words(seed_ptr, stream, part, start, tile: tl.constexpr, wide: tl.constexpr):
    """Four words of 32 bits for every four elements of this program; a tile begins at a multiple of 4."""
    program = tl.program_id(0)
    if wide:
        program = program.to(tl.int64)
    i = (start + program * tile) // 4 + tl.arange(0, tile // 4)
    low = i.to(tl.int32)
    zero = low * 0
    high = zero
    if wide:
        high = (i >> 32).to(tl.int32)
    return tl.philox(tl.load(seed_ptr), low, high, zero + stream, zero + part)


@triton.jit
def _dealt(a, b, c, d):
    """One of each in turn."""
    return tl.interleave(tl.interleave(a, c), tl.interleave(b, d))


# -- the same draws in torch operations ------------------------------------------------------------------


def _uniform_torch(seed: Tensor, stream: int, count: int, dtype: torch.dtype) -> Tensor:
    words = _philox(seed, stream, 0, count)
    if dtype is torch.float64:
        fine = [_fine_torch(*pair) for pair in zip(words, _philox(seed, stream, 1, count), strict=True)]
        return _dealt_torch(fine) * _FINE_UNIT
    return (_dealt_torch(words) >> 8).to(torch.float32) * _UNIT


def _normal_torch(seed: Tensor, stream: int, count: int, dtype: torch.dtype) -> Tensor:
    a, b, c, d = _philox(seed, stream, 0, count)
    if dtype is torch.float64:
        e, f, g, h = _philox(seed, stream, 1, count)
        a, b, c, d = _fine_torch(a, e), _fine_torch(b, f), _fine_torch(c, g), _fine_torch(d, h)
        scale, b, d = _FINE_UNIT, b * (_FINE_UNIT * _TURN), d * (_FINE_UNIT * _TURN)
    else:
        a, c = a.to(dtype), c.to(dtype)
        scale, b, d = 2.0**-32, (b >> 8).to(dtype) * (_UNIT * _TURN), (d >> 8).to(dtype) * (_UNIT * _TURN)
    p, q = (torch.sqrt(torch.clamp(-2.0 * torch.log((u + 0.5) * scale), min=0.0)) for u in (a, c))
    return _dealt_torch([p * torch.cos(b), p * torch.sin(b), q * torch.cos(d), q * torch.sin(d)])


_DISTRIBUTIONS = {"uniform": _uniform_torch, "normal": _normal_torch}


def _fine_torch(high: Tensor, low: Tensor) -> Tensor:
    return ((high << 21) | (low >> 11)).to(torch.float64)


def _philox(seed: Tensor, stream: int, part: int, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Words of 32 bits for `count` groups of four elements, a row for every number of the seed.

    Products are taken modulo 2^64, of which the sign bit is one like any other.
    """
    seed = seed.reshape(-1, 1)
    i = torch.arange(count, device=seed.device).expand(seed.shape[0], count)
    k0, k1 = seed & _WORD, (seed >> 32) & _WORD
    c0, c1, c2, c3 = i & _WORD, i >> 32, torch.full_like(i, stream), torch.full_like(i, part)
    for _ in range(10):
        a, b = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1 = ((b >> 32) & _WORD) ^ c1 ^ k0, b & _WORD
        c2, c3 = ((a >> 32) & _WORD) ^ c3 ^ k1, a & _WORD
        k0, k1 = (k0 + 0x9E3779B9) & _WORD, (k1 + 0xBB67AE85) & _WORD
    return c0, c1, c2, c3


def _dealt_torch(words: Any) -> Tensor:
    return torch.stack(tuple(words), -1).flatten(-2)


def draw(distributions: tuple[str, ...], seed: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    """The draws for every element of `x`, float32 or float64, one tensor for each distribution."""
    rows = seed.numel()
    each = x.numel() // rows
    found = []
    for stream, distribution in enumerate(distributions):
        values = _DISTRIBUTIONS[distribution](seed, stream, (each + 3) // 4, x.dtype)
        found.append(values[:, :each].reshape(x.shape))
    return tuple(found)


# -- the operator ----------------------------------------------------------------------------------------


class ChanceOperator:
    """An activation in training: called with a tensor and its parameters, it returns a tensor like the input.

    Accepts what `Operator` accepts, but no DTensor. `kernels` are the value and the gradient, `formulas` the
    value and the first and second derivatives, of a tensor and its draws, in torch operations, and `draws`
    the distributions, `uniform` or `normal`. With `own_derivative` the derivative is not that of the value.
    """

    def __init__(
        self,
        name: str,
        *,
        kernels: tuple[Any, Any],
        formulas: tuple[Formula, Formula, Formula],
        draws: tuple[str, ...],
        parameters: tuple[str, ...] = (),
        own_derivative: bool = False,
        version: str = "",
    ) -> None:
        self.name = name
        self._draws = draws
        self._formula, self._grad_formula, self._curvature_formula = formulas
        self._launch, self._launch_grad = map(Launcher, kernels)
        self._interpreted = not self._launch.jitted
        self._parameters = len(parameters)
        self.own_derivative = own_derivative
        self._traced = _traced_function(name, self._formula, self._grad_formula, draws)
        self.value, self.slope = self._register(parameters, version)

    def __call__(self, x: Tensor, *parameters: float, generator: torch.Generator | None = None) -> Tensor:
        """The activation of every element of `x`, with new draws."""
        if not isinstance(x, Tensor):
            raise TypeError(f"{self.name}(): argument must be Tensor, not {type(x).__name__}")
        self._check(x)
        seed = torch.randint(_SEEDS, (1,), device=x.device, generator=generator)
        if is_compiling():
            return self._trace(x, seed, parameters)
        if _transforms_active() or forward_ad._current_level >= 0:
            return _Value.apply(x, seed, self, parameters)  # type: ignore[no-any-return]
        if x.requires_grad and torch.is_grad_enabled():
            return _apply_value(x, seed, self, parameters)
        return self.compute(x, seed, parameters)

    def compute(self, x: Tensor, seed: Tensor, parameters: tuple[float, ...]) -> Tensor:
        """f(x) without a derivative; by PyTorch's dispatcher only where something may listen there."""
        if _is_plain(x):
            return self._value(x, seed, *parameters)
        with torch._C._AutoDispatchBelowAutograd():
            result: Tensor = self.value(x, seed, *parameters)
            return result

    def compute_slope(self, grad: Tensor, x: Tensor, seed: Tensor, parameters: tuple[float, ...]) -> Tensor:
        """grad * f'(x) without a derivative."""
        if _is_plain(x) and _is_plain(grad):
            return self._slope(grad, x, seed, *parameters)
        with torch._C._AutoDispatchBelowAutograd():
            result: Tensor = self.slope(grad, x, seed, *parameters)
            return result

    def curvature(self, a: Tensor, b: Tensor, x: Tensor, seed: Tensor, *parameters: float) -> Tensor:
        """a * b * f''(x)."""
        wide = _widened(x)
        second = self._curvature_formula(wide, *draw(self._draws, seed, wide), *parameters)
        return (_widened(a) * _widened(b) * second).to(x.dtype)

    def warmup(self, device: torch.device, dtype: torch.dtype) -> None:
        """Launch both kernels once in every way that Triton compiles apart."""
        seed = torch.zeros(1, device=device, dtype=torch.int64)
        for count in COUNTS:
            x = torch.zeros(count, device=device, dtype=dtype)
            parameters = (1.0,) * self._parameters
            self.compute_slope(self.compute(x, seed, parameters), x, seed, parameters)

    def __repr__(self) -> str:
        return f"<activation {self.name} in training>"

    def _check(self, x: Tensor) -> None:
        if x.dtype not in _COMPUTE or x.layout is not torch.strided:
            raise _unsupported(self.name, x)
        if type(x).__name__ == "DTensor":
            raise NotImplementedError(f"{self.name}: DTensors are not drawn for; use their to_local()")

    def _trace(self, x: Tensor, seed: Tensor, parameters: tuple[float, ...]) -> Tensor:
        """f(x) for a compiler; see `Operator._trace`."""
        if getattr(torch.compiler, "_is_exporting_flag", False):
            traceable = False
        elif _transforms_active():
            view = x.view_as(x)
            traceable = _in_one_transform() and view.requires_grad and not x.requires_grad
            x = view
        elif _runtime._compile_mode == "kernel":
            return self.value(x, seed, *parameters)  # type: ignore[no-any-return]
        else:
            traceable = torch.is_grad_enabled() and x.requires_grad
        if traceable:
            return self._traced.apply(x, seed, *known(parameters))  # type: ignore[no-any-return]
        wide = _widened(x)
        arguments = (*draw(self._draws, seed, wide), *parameters)
        if self.own_derivative and _transforms_active():
            formulas = (self._formula, self._grad_formula, self._curvature_formula)
            return _runtime.expanded(wide, formulas, arguments).to(x.dtype)
        return self._formula(wide, *arguments).to(x.dtype)

    def _register(self, parameters: tuple[str, ...], version: str) -> tuple[Any, Any]:
        """The two operators in PyTorch's registry, under a namespace that no other package has."""
        namespace = re.sub(r"\W", "_", f"{__package__}_{version}_training")
        while hasattr(getattr(torch.ops, namespace), self.name):  # a second import of the same package
            namespace += "_"
        rest = "Tensor x, Tensor seed" + "".join(f", float {name}_" for name in parameters)
        self._library = torch.library.Library(namespace, "FRAGMENT")
        tag = torch.Tag.pt2_compliant_tag
        self._library.define(f"{self.name}({rest}) -> Tensor", tags=(tag,))
        self._library.define(f"{self.name}_backward(Tensor grad, {rest}) -> Tensor", tags=(tag,))
        operators = getattr(torch.ops, namespace)
        value = getattr(operators, self.name).default
        slope = getattr(operators, f"{self.name}_backward").default
        for operator, implementations in (
            (value, (self._value, self._value_meta, self._value_autograd)),
            (slope, (self._slope, self._slope_meta, self._slope_autograd)),
        ):
            keys = ("CompositeExplicitAutograd", "Meta", "Autograd")
            for key, implementation in zip(keys, implementations, strict=True):
                self._library.impl(operator, implementation, key)
        return value, slope

    def _value_autograd(self, x: Tensor, seed: Tensor, *parameters: float) -> Tensor:
        if x.requires_grad and torch.is_grad_enabled():
            return _apply_value(x, seed, self, parameters)
        return self.compute(x, seed, parameters)

    def _slope_autograd(self, grad: Tensor, x: Tensor, seed: Tensor, *parameters: float) -> Tensor:
        if (grad.requires_grad or x.requires_grad) and torch.is_grad_enabled():
            return _Slope.apply(grad, x, seed, self, parameters)  # type: ignore[no-any-return]
        return self.compute_slope(grad, x, seed, parameters)

    def _value(self, x: Tensor, seed: Tensor, *parameters: float) -> Tensor:
        """f(x), outside autograd."""
        self._check(x)
        if self._has_kernel(x):
            return self._run(self._launch, (x,), seed, parameters)
        wide = _widened(x)
        return _like(x, self._formula(wide, *draw(self._draws, seed, wide), *parameters))

    def _slope(self, grad: Tensor, x: Tensor, seed: Tensor, *parameters: float) -> Tensor:
        """grad * f'(x), outside autograd, laid out as x."""
        self._check(x)
        if self._has_kernel(x):
            return self._run(self._launch_grad, (grad, x), seed, parameters)
        wide = _widened(x)
        slope = self._grad_formula(wide, *draw(self._draws, seed, wide), *parameters)
        return _like(x, _widened(grad) * slope)

    def _run(
        self, launch: Launcher, inputs: tuple[Tensor, ...], seed: Tensor, parameters: tuple[float, ...]
    ) -> Tensor:
        """A kernel over all elements in their logical order, once for every number of the seed."""
        x = inputs[-1]
        flat = [t.to(x.dtype).reshape(seed.numel(), -1) for t in inputs]
        out = torch.empty_like(flat[-1], memory_format=torch.contiguous_format)
        for row, number in enumerate(seed.view(-1, 1)):
            launch((*(t[row].contiguous() for t in flat), number, out[row]), parameters)
        return _laid_out_as(torch.empty_like(x), out.view(x.shape))

    def _has_kernel(self, x: Tensor) -> bool:
        return (x.is_cuda or x.is_xpu or (self._interpreted and x.is_cpu)) and x.numel() > 0

    def _value_meta(self, x: Tensor, seed: Tensor, *parameters: float) -> Tensor:
        """What f(x) looks like."""
        self._check(x)
        return torch.empty_like(x)

    def _slope_meta(self, grad: Tensor, x: Tensor, seed: Tensor, *parameters: float) -> Tensor:
        """What grad * f'(x) looks like."""
        return self._value_meta(x, seed)


def _like(x: Tensor, result: Tensor) -> Tensor:
    """A formula's result in the type and layout of `x`, in memory of its own."""
    return x.clone() if result is x else _laid_out_as(torch.empty_like(x), result)


def _batched(size: int, in_dims: tuple[Any, ...], tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """Tensors, of which the last is the seed, with a batch in front, and a seed for every example of it."""
    *values, seed = _batch_first(size, in_dims, tensors)
    return [*values, seed.reshape(-1)]


class _Value(Function):
    """f under torch.func's transforms and forward-mode AD."""

    @staticmethod
    def forward(x: Tensor, seed: Tensor, operator: ChanceOperator, parameters: tuple[float, ...]) -> Tensor:
        return operator.compute(x, seed, parameters)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, seed, ctx.operator, ctx.parameters = inputs
        ctx.save_for_backward(x, seed)
        ctx.save_for_forward(x, seed)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, seed = ctx.saved_tensors
        return _slope_of(grads[0], x, seed, ctx.operator, ctx.parameters), None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        x, seed = ctx.saved_tensors
        return _slope_of(tangent, x, seed, ctx.operator, ctx.parameters)

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, x: Tensor, seed: Tensor, operator: Any, parameters: Any
    ) -> tuple[Tensor, int]:
        tensors = _batched(info.batch_size, in_dims, (x, seed))
        return _Value.apply(*tensors, operator, parameters), 0


class _EagerValue(Function):
    """f in eager mode; the context style costs less than setup_context does."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, seed: Tensor, operator: ChanceOperator, parameters: tuple[float, ...]
    ) -> Tensor:
        ctx.save_for_backward(x, seed)
        ctx.operator, ctx.parameters = operator, parameters
        return operator.compute(x, seed, parameters)

    backward = _Value.backward


_apply_value: Callable[..., Tensor] = getattr(super(Function, _EagerValue), "apply", _EagerValue.apply)
"""`_EagerValue.apply` without its question for transforms, which the caller has answered."""


def _slope_of(grad: Tensor, x: Tensor, seed: Tensor, operator: ChanceOperator, parameters: Any) -> Tensor:
    """`_Slope`, by the operator alone where no derivative of it is wanted."""
    if torch.is_grad_enabled() or _transforms_active() or forward_ad._current_level >= 0:
        return _Slope.apply(grad, x, seed, operator, parameters)  # type: ignore[no-any-return]
    return operator.compute_slope(grad, x, seed, parameters)


class _Slope(Function):
    """g * f'(x) at the draws of a seed."""

    @staticmethod
    def forward(
        grad: Tensor, x: Tensor, seed: Tensor, operator: ChanceOperator, parameters: tuple[float, ...]
    ) -> Tensor:
        return operator.compute_slope(grad, x, seed, parameters)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        grad, x, seed, ctx.operator, ctx.parameters = inputs
        ctx.save_for_backward(grad, x, seed)
        ctx.save_for_forward(grad, x, seed)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (outer,) = grads
        grad, x, seed = ctx.saved_tensors
        by_grad = by_x = None
        if ctx.needs_input_grad[0]:
            by_grad = _slope_of(outer, x, seed, ctx.operator, ctx.parameters)
        if ctx.needs_input_grad[1]:
            by_x = _Curvature.apply(outer, grad, x, seed, ctx.operator, ctx.parameters)
        return by_grad, by_x, None, None, None

    @staticmethod
    def jvp(ctx: Any, grad_tangent: Any, x_tangent: Any, *_: Any) -> Tensor:
        grad, x, seed = ctx.saved_tensors
        along_grad = _slope_of(grad_tangent, x, seed, ctx.operator, ctx.parameters)
        along_x: Tensor = _Curvature.apply(x_tangent, grad, x, seed, ctx.operator, ctx.parameters)
        return along_grad + along_x

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, grad: Tensor, x: Tensor, seed: Tensor, operator: Any, parameters: Any
    ) -> tuple[Tensor, int]:
        tensors = _batched(info.batch_size, in_dims, (grad, x, seed))
        return _Slope.apply(*tensors, operator, parameters), 0


class _Curvature(Function):
    """a * b * f''(x), linear in a and b; there is no third derivative."""

    @staticmethod
    def forward(a: Tensor, b: Tensor, x: Tensor, seed: Tensor, operator: Any, parameters: Any) -> Tensor:
        result: Tensor = operator.curvature(a, b, x, seed, *parameters)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.operator = inputs[4]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        raise _no_third_derivative(ctx.operator)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        raise _no_third_derivative(ctx.operator)

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, a: Tensor, b: Tensor, x: Tensor, seed: Tensor, operator: Any, parameters: Any
    ) -> tuple[Tensor, int]:
        tensors = _batched(info.batch_size, in_dims, (a, b, x, seed))
        return _Curvature.apply(*tensors, operator, parameters), 0


def _traced_function(name: str, formula: Formula, grad_formula: Formula, draws: tuple[str, ...]) -> Any:
    """The Function that compilers trace: the formula, with the stable derivative as its backward."""

    class Traced(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, seed: Tensor, *parameters: float) -> Tensor:
            ctx.save_for_backward(x, seed)
            ctx.parameters = parameters
            wide = _widened(x)
            result = formula(wide, *draw(draws, seed, wide), *parameters)
            return _rounded(x, result)

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
            x, seed = ctx.saved_tensors
            wide = _widened(x)
            slope = grad_formula(wide, *draw(draws, seed, wide), *ctx.parameters)
            return (_widened(grads[0]) * slope).to(x.dtype), None, *(None for _ in ctx.parameters)

    Traced.__name__ = Traced.__qualname__ = f"{name}_traced"
    return Traced
