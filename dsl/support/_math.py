"""Elementary functions for activation kernels, first in Triton and then in torch.

In: tensors of float32 or float64 (16-bit inputs are computed in float32 with `fast` set). Out: the function's
value, rounded once or nearly so, with infinities, NaN and the edges of the range in their places.
"""

import torch
import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def exp(u, fast: tl.constexpr):
    if fast:
        return tl.exp2(u * LOG2E)
    return tl.exp(u)


@triton.jit
def exp_sum(hi, lo, fast: tl.constexpr):
    e = exp(hi, fast)
    return tl.where((e > 0.0) & (e < float("inf")), e + e * lo, e)


@triton.jit
def expm1(u, fast: tl.constexpr):
    e = exp(u, fast) - 1.0
    series = u * (1.0 + u * (0.5 + u * (1.0 / 6 + u * (1.0 / 24 + u * (1.0 / 120 + u * (1.0 / 720))))))
    return tl.where(tl.abs(u) < 0.125, series, e)


@triton.jit
def log(u, fast: tl.constexpr):
    return tl.log(u)


@triton.jit
def log1p(u, fast: tl.constexpr):
    s = 1.0 + u
    value = tl.log(s) + (u - (s - 1.0)) / s
    return tl.where((s > 0.0) & (s < float("inf")), value, tl.log(s))


@triton.jit
def erf(u, fast: tl.constexpr):
    return tl.erf(u)


@triton.jit
def erfcx(u, fast: tl.constexpr):
    wide = u.to(tl.float64)
    near = tl.exp(wide * wide) * (1.0 - tl.erf(wide))
    far = 0.5641895835477563 / (wide + 0.5 / (wide + 1.0 / (wide + 1.5 / (wide + 2.0 / (wide + 2.5 / wide)))))
    return tl.where(u < 2.5, near, far).to(u.dtype)


@triton.jit
def product_error(a, b):
    p = a * b
    if INTERPRETED:
        return (a.to(tl.float64) * b.to(tl.float64) - p.to(tl.float64)).to(p.dtype)
    return tl.fma(a, b, -p)


@triton.jit
def ratio(a, b, fast: tl.constexpr):
    if fast:
        return a * (1.0 / b)
    return a / b


@triton.jit
def maximum(a, b):
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def minimum(a, b):
    return tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def sign(x):
    return tl.where(x > 0.0, 1.0, tl.where(x < 0.0, -1.0, x))


@triton.jit
def floor(x):
    return tl.floor(x)


@triton.jit
def ceil(x):
    return tl.ceil(x)


@triton.jit
def round(x):
    near = tl.floor(x)
    rest = x - near
    odd = near - 2.0 * tl.floor(near * 0.5)
    up = (rest > 0.5) | ((rest == 0.5) & (odd == 1.0))
    return tl.where(up, near + 1.0, near)


@triton.jit
def sin(x, fast: tl.constexpr):
    return tl.sin(x)


@triton.jit
def cos(x, fast: tl.constexpr):
    return tl.cos(x)


@triton.jit
def atan(x, fast: tl.constexpr):
    a = tl.abs(x)
    small = tl.where(a > 1.0, 1.0 / a, a)
    z = small / (1.0 + tl.sqrt(1.0 + small * small))
    s = z * z
    series = 1.0 / 17 - s * (1.0 / 19 - s * (1.0 / 21))
    series = 1.0 / 9 - s * (1.0 / 11 - s * (1.0 / 13 - s * (1.0 / 15 - s * series)))
    value = 2.0 * z * (1.0 - s * (1.0 / 3 - s * (1.0 / 5 - s * (1.0 / 7 - s * series))))
    value = tl.where(a > 1.0, 1.5707963267948966 - value, value)
    return tl.where(x < 0.0, -value, value)


@triton.jit
def asin(x, fast: tl.constexpr):
    return atan(x / tl.sqrt((1.0 - x) * (1.0 + x)), fast)


@triton.jit
def acos(x, fast: tl.constexpr):
    return 2.0 * atan(tl.sqrt((1.0 - x) / (1.0 + x)), fast)


@triton.jit
def cbrt(x, fast: tl.constexpr):
    a = tl.abs(x)
    root = tl.exp2(tl.log2(tl.where(a == 0.0, 1.0, a)) * (1.0 / 3))
    root = tl.where((a == 0.0) | (a == float("inf")), a, root - (root - a / (root * root)) * (1.0 / 3))
    return tl.where(x < 0.0, -root, root)


@triton.jit
def pow(a, b, fast: tl.constexpr):
    integer = tl.floor(b) == b
    odd = integer & (b - 2.0 * tl.floor(b * 0.5) == 1.0)
    value = tl.exp2(b * tl.log2(tl.abs(a)))
    value = tl.where(a < 0.0, tl.where(integer, tl.where(odd, -value, value), float("nan")), value)
    return tl.where((b == 0.0) | (a == 1.0), 1.0, value)


@triton.jit
def sqrt(x, fast: tl.constexpr):
    if fast or x.dtype == tl.float64:
        return tl.sqrt(x)
    return tl.sqrt_rn(x)


def exp_sum_torch(hi: torch.Tensor, lo: torch.Tensor) -> torch.Tensor:
    """exp(hi + lo) for a small correction lo."""
    e = torch.exp(hi)
    return torch.where((e > 0) & torch.isfinite(e), e + e * lo, e)


def erfcx_torch(u: torch.Tensor) -> torch.Tensor:
    """exp(u * u) * erfc(u) for u >= 0."""
    return torch.special.erfcx(u)


def product_error_torch(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a * b minus its rounded value."""
    a, b = torch.broadcast_tensors(torch.as_tensor(a), torch.as_tensor(b))
    integer, mask = (torch.int64, -(1 << 27)) if a.dtype == torch.float64 else (torch.int32, -(1 << 12))
    a_hi = (a.view(integer) & mask).view(a.dtype)
    b_hi = (b.view(integer) & mask).view(b.dtype)
    a_lo, b_lo = a - a_hi, b - b_hi
    return ((a_hi * b_hi - a * b) + (a_hi * b_lo + a_lo * b_hi)) + a_lo * b_lo


def cbrt_torch(x: torch.Tensor) -> torch.Tensor:
    """The real cube root."""
    a = torch.abs(x)
    root = torch.pow(a, 1 / 3)
    return torch.copysign(torch.where((a == 0) | torch.isinf(a), a, root - (root - a / (root * root)) / 3), x)


# operation       Triton                        torch
# exp             _math.exp(u, fast)            torch.exp(u)
# exp_sum         _math.exp_sum(hi, lo, fast)   _math.exp_sum_torch(hi, lo)
# expm1           _math.expm1(u, fast)          torch.expm1(u)
# log             _math.log(u, fast)            torch.log(u)
# log1p           _math.log1p(u, fast)          torch.log1p(u)
# erf             _math.erf(u, fast)            torch.erf(u)
# erfcx           _math.erfcx(u, fast)          _math.erfcx_torch(u)
# product_error   _math.product_error(a, b)     _math.product_error_torch(a, b)
# ratio           _math.ratio(a, b, fast)       a / b
# max, min        _math.maximum / minimum       torch.maximum / minimum
# sign            _math.sign(x)                 torch.where(x == x, torch.sign(x), x)
# abs             tl.abs(x)                     torch.abs(x)
# floor, ceil     _math.floor / ceil(x)         torch.floor / ceil(x)
# round           _math.round(x)                torch.round(x)
# sin, cos        _math.sin / cos(x, fast)      torch.sin / cos(x)
# asin acos atan  _math.asin(x, fast) ...       torch.asin(x) ...
# cbrt            _math.cbrt(x, fast)           _math.cbrt_torch(x)
# pow             _math.pow(a, b, fast)         torch.pow(a, b)
# sqrt            _math.sqrt(x, fast)           torch.sqrt(x)
