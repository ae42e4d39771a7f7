"""The stabiliser's rules, as rows.

In: nothing (plain data). Out: `RULES`, by name. A row is an identity between two real functions, in the
language's own syntax, and why floating point prefers the right side. Every row is tested by evaluating both
sides in exact arithmetic at samples of its domain; a rule that was tried and is unsound stands in the tests
with the point that breaks it.

What applies them: `canonical` and `field` (one quotient for all spellings), `sums` and `emit` (how each
factor is written), `guard` and `patch` (the ends of the line, and zero).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """One row. `low` and `high` bound the values of the symbols for which the identity holds."""

    name: str
    left: str
    right: str
    why: str
    low: float = -30.0
    high: float = 30.0


_ROWS = (
    Rule(
        "quotient in a decaying exponential",
        "1 / (1 + exp(-u))",
        "where(u >= 0, 1, exp(-abs(u))) / (1 + exp(-abs(u)))",
        "exp overflows beyond 88.7 in float32, exp(-abs(u)) never, and sums of positive terms do not cancel",
    ),
    Rule(
        "power of an exponentiated logarithm",
        "exp(2 * log(u))",
        "u**2",
        "two transcendental functions undo each other: tanh(softplus(x)) needs one exponential",
        low=0.01,
    ),
    Rule(
        "logarithm of a quotient of exponentials",
        "log(1 + exp(u))",
        "max(u, 0) + log1p(exp(-abs(u)))",
        "exp(u) overflows for large u and is lost beside 1 for very negative u",
    ),
    Rule(
        "log1p",
        "log(1 + u)",
        "log1p(u)",
        "1 + u rounds away what is left of a small u: log(1 + 1e-8) is 0 in float32",
        low=-0.9,
    ),
    Rule(
        "expm1",
        "1 - exp(-u)",
        "-expm1(-u)",
        "near 0 the difference cancels: 1 - exp(-1e-8) is 0 in float32",
    ),
    Rule(
        "erf",
        "1 - erfc(u)",
        "erf(u)",
        "near 0 the difference cancels",
    ),
    Rule(
        "scaled erfc",
        "1 - erf(u)",
        "exp(-u**2) * (exp(u**2) * erfc(u))",
        "erf(u) rounds to 1 beyond 3.9 in float32, where erfc still has 35 decades to go; erfcx(u) = "
        "exp(u**2) * erfc(u) falls like 1/u",
        high=8.0,
    ),
    Rule(
        "arc tangent of the reciprocal",
        "pi / 2 - atan(u)",
        "atan(1 / u)",
        "for large u the difference cancels: atan(1e8) is pi/2 in float32",
        low=0.01,
    ),
    Rule(
        "root minus one",
        "sqrt(1 + u) - 1",
        "u / (sqrt(1 + u) + 1)",
        "near 0 the difference cancels",
        low=-0.9,
    ),
    Rule(
        "conjugate",
        "u - sqrt(u**2 + 4)",
        "-4 / (u + sqrt(u**2 + 4))",
        "for large positive u the two terms agree in all their digits",
        low=0.0,
    ),
    Rule(
        "one plus a cosine",
        "1 + cos(2 * u)",
        "2 * cos(u)**2",
        "where the cosine nears -1 the sum cancels; cos(u) is relatively accurate at its roots",
    ),
    Rule(
        "one plus a sine",
        "1 + 2 * sin(u) * cos(u)",
        "2 * sin(u + pi / 4)**2",
        "where the sine nears -1 the sum cancels; a sine is relatively accurate at its roots",
    ),
    Rule(
        "exponent in bounded and other terms",
        "exp(u - exp(-abs(u)))",
        "exp(u) * exp(-exp(-abs(u)))",
        "a growing exponential that is a factor of its own divides out before it overflows",
    ),
    Rule(
        "Bernstein form",
        "1 - exp(-2 * u) + 4 * u * exp(-2 * u)",
        "(-expm1(-2 * u))**2 + (2 + 4 * u) * -expm1(-2 * u) * exp(-2 * u) - (-expm1(-2 * u)) * exp(-2 * u) + "
        "4 * u * exp(-2 * u)**2",
        "a polynomial that is positive on [0, 1] has positive coefficients in t and 1 - t together, so "
        "that nothing cancels",
        low=0.0,
    ),
    Rule(
        "decaying exponential last, in halves",
        "u * exp(-u)",
        "u * exp(-u / 2) * exp(-u / 2)",
        "exp(-90) is subnormal in float32 and has lost digits that 90 * exp(-90) still has",
    ),
    Rule(
        "growing exponential in halves",
        "exp(u) / 2",
        "exp(u / 2) / 2 * exp(u / 2)",
        "exp(89) overflows in float32, exp(89) / 2 does not",
    ),
    Rule(
        "magnitude held",
        "u * exp(-abs(u))",
        "max(min(u, 2048), -2048) * exp(-abs(u))",
        "at infinity the product is infinity times zero; where the exponential is zero, any factor serves",
    ),
    Rule(
        "logarithm of a square",
        "log(u**2 + 1)",
        "where(abs(u) < 4611686018427387904, log1p(u**2), 2 * log(abs(u)))",
        "u**2 overflows beyond 1.8e19 in float32, where its logarithm is 88",
    ),
    Rule(
        "root of a square",
        "sqrt(u**2 + 1)",
        "where(abs(u) < 4611686018427387904, sqrt(u**2 + 1), abs(u))",
        "u**2 overflows beyond 1.8e19 in float32, where the root has long been abs(u)",
    ),
    Rule(
        "root of a cube",
        "cbrt(abs(u)**3 + 1)",
        "where(abs(u) < 2199023255552, cbrt(abs(u)**3 + 1), abs(u))",
        "u**3 overflows beyond 6.9e12 in float32, where the root has long been abs(u)",
    ),
)

RULES: dict[str, Rule] = {row.name: row for row in _ROWS}
"""Every rule by name."""
