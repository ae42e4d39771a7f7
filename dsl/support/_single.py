"""What a file of one module alone has in the place of `_runtime.py`'s operator, which PyTorch registers.

In: an activation's kernels and formulas. Out: a function of tensors with its stable derivative. Not part of a
package.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.compiler import is_compiling

from ._launch import Launcher
from ._runtime import (
    _COMPUTE,
    Formula,
    _itself,
    _laid_out_as,
    _rounded,
    _traced_function,
    _unsupported,
    _widened,
)


def _tuned() -> dict[str, dict[str, list[int]]]:
    """Nothing is tuned: a file of one module has no other beside it."""
    return {}


class Operator:
    """An elementwise activation: a launch each way, or the formula where no kernel runs.

    Called with a tensor of float16, bfloat16, float32 or float64, of any strides, and the parameters. Twice
    differentiable. Raises NotImplementedError for other types. `own_derivative` needs nothing here: the
    derivatives that are given are all that is used.
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
        self.widened = _itself if casts else _widened
        self.formula, self.grad_formula, self.curvature_formula = formulas
        self.launch, self.launch_grad = map(Launcher, kernels)
        self.traced = _traced_function(name, self.formula, self.grad_formula, self.widened)

    def __call__(self, x: Tensor, *parameters: float) -> Tensor:
        """The activation of every element."""
        if x.dtype not in _COMPUTE or x.layout is not torch.strided:
            raise _unsupported(self.name, x)
        if is_compiling():
            return self.traced.apply(x, *parameters)  # type: ignore[no-any-return]
        return _Value.apply(x, self, parameters)  # type: ignore[no-any-return]

    def value(self, x: Tensor, parameters: tuple[float, ...]) -> Tensor:
        """f(x)"""
        if not self._has_kernel(x):
            return _rounded(x, self.formula(self.widened(x), *parameters))
        y = torch.empty_like(x)
        self.launch((_laid_out_as(y, x), y), parameters)
        return y

    def slope(self, grad: Tensor, x: Tensor, parameters: tuple[float, ...]) -> Tensor:
        """grad * f'(x)"""
        if not self._has_kernel(x):
            return _rounded(x, _widened(grad) * self.grad_formula(self.widened(x), *parameters))
        dx = torch.empty_like(x)
        self.launch_grad((_laid_out_as(dx, grad), _laid_out_as(dx, x), dx), parameters)
        return dx

    def _has_kernel(self, x: Tensor) -> bool:
        return x.is_cuda or x.is_xpu or (not self.launch.jitted and x.is_cpu)


class _Value(Function):
    """f(x)"""

    @staticmethod
    def forward(ctx: Any, x: Tensor, operator: Operator, parameters: tuple[float, ...]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.operator, ctx.parameters = operator, parameters
        return operator.value(x, parameters)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return _Slope.apply(grads[0], x, ctx.operator, ctx.parameters), None, None


class _Slope(Function):
    """grad * f'(x)"""

    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, x: Tensor, operator: Operator, parameters: tuple[float, ...]
    ) -> Tensor:
        ctx.save_for_backward(grad, x)
        ctx.operator, ctx.parameters = operator, parameters
        return operator.slope(grad, x, parameters)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad, x = ctx.saved_tensors
        operator, parameters = ctx.operator, ctx.parameters
        if torch.is_grad_enabled():
            raise NotImplementedError(f"{operator.name}: derivatives beyond the second are not implemented")
        curvature = operator.curvature_formula(operator.widened(x), *parameters)
        by_x = _rounded(x, _widened(grads[0]) * _widened(grad) * curvature)
        return operator.slope(grads[0], x, parameters), by_x, None, None
