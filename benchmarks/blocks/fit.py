"""Fits every polynomial of the building blocks: names in, coefficients (lowest degree first) and errors out.

Run `python benchmarks/blocks/fit.py [NAME...]`. The coefficients in `dsl/support/_math.py` are this program's
output, pasted; each is exact in the type that it is fitted for.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

from flint import arb
from remez import Problem, Real, fit, to_float32

NEAR_ZERO = arb(2) ** -40
LN2 = arb(2).log()
HALF_LN2 = LN2 / 2 * arb("1.0002")
QUARTER_PI = arb.pi() / 4 * arb("1.01")


def _erfcx(u: arb) -> arb:
    """exp(u^2) erfc(u), by its asymptotic series where the product would lose its bits."""
    if u < 10000:
        return (u * u).exp() * u.erfc()
    total, term = arb(0), arb(1)
    for k in range(12):
        total += term
        term *= -(2 * k + 1) / (2 * u * u)
    return total / (u * arb.pi().sqrt())


def _mills(u: arb) -> arb:
    """exp(u^2 / 2) erfc(u / sqrt(2))."""
    return _erfcx(u / arb(2).sqrt())


def _relative(
    f: Real, low: arb, high: arb, degree: int, base: Real | None = None, factor: Real | None = None
) -> Problem:
    return Problem(
        f,
        low,
        high,
        degree,
        weight=lambda x: 1 / f(x),
        base=base or (lambda x: arb(0)),
        factor=factor or (lambda x: arb(1)),
    )


def _tail(f: Real, low: arb, high: arb, degree: int) -> Problem:
    """f(x) = x + x^2 P(x)."""
    return _relative(f, low, high, degree, lambda x: x, lambda x: x * x)


def _odd(f: Real, high: arb, degree: int, first: int | None) -> Problem:
    """f(x) / x in z = x^2: P(z), or `first` + z P(z)."""

    def over(z: arb) -> arb:
        return f(z.sqrt()) / z.sqrt()

    if first is None:
        return _relative(over, NEAR_ZERO, high**2, degree)
    return _relative(over, NEAR_ZERO, high**2, degree, lambda z: arb(first), lambda z: z)


def _in_q(f: Real, k: arb, degree: int) -> Problem:
    """(u + k) f(u) as a polynomial in q = (u - k) / (u + k)."""

    def scaled(q: arb) -> arb:
        u = k * (1 + q) / (1 - q)
        return f(u) * (u + k)

    return _relative(scaled, arb(-1), 1 - arb(2) ** -30, degree)


def _in_r(f: Real, k: arb, degree: int) -> Problem:
    """(u + k) f(u) as a polynomial in r = 1 / (u + k)."""
    return _relative(lambda r: f(1 / r - k) / r, arb(2) ** -20, 1 / k, degree)


def _atanh2(s: arb) -> arb:
    return ((1 + s) / (1 - s)).log()


def _erf_far(low: arb, high: arb, degree: int) -> Problem:
    """log2(erfc(x)), weighted so that the error is erf's."""
    return Problem(
        lambda x: x.erfc().log() / LN2, low, high, degree, weight=lambda x: x.erfc() / x.erf() * LN2
    )


def _cos_tail(degree: int) -> Problem:
    return _relative(
        lambda z: z.sqrt().cos(), NEAR_ZERO, QUARTER_PI**2, degree, lambda z: 1 - z / 2, lambda z: z * z
    )


Rounding = Callable[[float], float]


def _double(value: float) -> float:
    return value


PROBLEMS: dict[str, tuple[Problem, Rounding]] = {
    "EXP": (
        _relative(lambda r: r.exp(), -HALF_LN2, HALF_LN2, 4, lambda r: 1 + r, lambda r: r * r),
        to_float32,
    ),
    "EXPM1": (_tail(lambda r: r.expm1(), -HALF_LN2, HALF_LN2, 5), to_float32),
    "EXPM1_DOUBLE": (_tail(lambda r: r.expm1(), -HALF_LN2, HALF_LN2, 11), _double),
    "EXPM1_FAST": (_tail(lambda r: r.expm1(), -arb("0.0625"), arb("0.0625"), 1), to_float32),
    "LOG1P": (_tail(lambda m: m.log1p(), arb("-0.25"), arb("0.5"), 8), to_float32),
    "LOG1P_FAST": (_tail(lambda m: m.log1p(), arb("-0.25"), arb("0.5"), 5), to_float32),
    "LOG1P_UNIT": (_tail(lambda m: m.log1p(), NEAR_ZERO, arb(1), 9), to_float32),
    "LOG1P_UNIT_FAST": (
        _relative(lambda m: m.log1p(), NEAR_ZERO, arb(1), 6, factor=lambda m: m),
        to_float32,
    ),
    "ERF_NEAR": (
        _relative(
            lambda z: z.sqrt().erf() / z.sqrt(), NEAR_ZERO, arb(1), 6, lambda z: arb(1), lambda z: arb(1)
        ),
        to_float32,
    ),
    "ERF_FAR": (_erf_far(arb(1), arb(4), 6), to_float32),
    "ERF_NEAR_FAST": (_odd(lambda x: x.erf(), arb("0.8"), 3, None), to_float32),
    "ERF_FAR_FAST": (_erf_far(arb("0.8"), arb("3.5"), 3), to_float32),
    "ERFCX": (_in_q(_erfcx, arb(2), 10), to_float32),
    "ERFCX_DOUBLE": (_in_q(_erfcx, arb(4), 22), _double),
    "ERFCX_FAST": (_in_r(_erfcx, arb("2.53"), 6), to_float32),
    "MILLS": (_in_q(_mills, arb("2.75"), 10), to_float32),
    "MILLS_FAST": (_in_r(_mills, arb("3.578"), 6), to_float32),
    "SIN": (_odd(lambda x: x.sin(), QUARTER_PI, 2, 1), to_float32),
    "SIN_FAST": (_odd(lambda x: x.sin(), QUARTER_PI, 1, 1), to_float32),
    "COS": (_cos_tail(2), to_float32),
    "COS_FAST": (_cos_tail(1), to_float32),
    "ATAN": (_odd(lambda x: x.atan(), arb(1), 8, 1), to_float32),
    "ATAN_DOUBLE": (_odd(lambda x: x.atan(), arb(1), 20, 1), _double),
    "ASIN": (_odd(lambda x: x.asin(), arb("0.5"), 4, 1), to_float32),
    "ASIN_DOUBLE": (_odd(lambda x: x.asin(), arb("0.5"), 12, 1), _double),
    "ATANH": (_odd(_atanh2, arb("0.2005"), 3, 2), to_float32),
    "ATANH_DOUBLE": (_odd(_atanh2, arb("0.2005"), 8, 2), _double),
}
"""What to fit, by the name in `_math.py`, and to which type its coefficients round."""


def main(names: list[str]) -> None:
    """Fits the named problems, or all."""
    for name in names or PROBLEMS:
        problem, rounding = PROBLEMS[name]
        result = fit(problem, rounding, grid=600)
        print(f"{name}: error 2^{math.log2(result.error):.2f}")
        for power, value in enumerate(result.coefficients):
            print(f"    {power:2} {value!r}")


if __name__ == "__main__":
    main(sys.argv[1:])
