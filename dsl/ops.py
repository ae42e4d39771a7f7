"""What each operation means: one row per name, and nothing about how a target spells it.

A row gives arity and sorts, the exact value (as a method on python-flint's balls, which this module never
imports), the partial derivatives, and the definition in core operations where there is one. The language's
functions are the rows whose `spec` is true; the rest are the operators and what the stabiliser may write.

To add a function: one row here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dsl.expr import HALF, ONE, PI, TWO, ZERO, Apply, Expr, Number, call, is_op, postorder

Partials = Callable[..., tuple[Expr, ...]]


@dataclass(frozen=True)
class Op:
    """One operation.

    `sorts` holds one letter per operand, `r` for a real and `b` for a condition, and after a colon that of
    the result (`"brr:r"` is `where`). `exact` evaluates on Arb balls. `partials` gives the derivative with
    respect to each operand. `definition` says the operation in simpler ones; None means that it is core.
    """

    name: str
    sorts: str
    meaning: str
    exact: Callable[..., Any] | None = None
    partials: Partials | None = None
    definition: Callable[..., Expr] | None = None
    spec: bool = True

    @property
    def arity(self) -> int:
        return self.sorts.index(":")

    @property
    def result(self) -> str:
        return self.sorts[-1]


def where(condition: Expr, then: Expr | int, otherwise: Expr | int) -> Expr:
    """`then` if the condition holds, else `otherwise`."""
    return call("where", condition, then, otherwise)


def exp(x: Expr) -> Expr:
    """The exponential function."""
    return Apply("exp", x)


def log(x: Expr) -> Expr:
    """The natural logarithm."""
    return Apply("log", x)


def sqrt(x: Expr) -> Expr:
    """The square root."""
    return Apply("sqrt", x)


def power(x: Expr, n: int) -> Expr:
    """x to an integer power, with the trivial ones removed."""
    return ONE if n == 0 else x if n == 1 else call("pow", x, n)


def _pow_partials(a: Expr, b: Expr) -> tuple[Expr, ...]:
    return (b * a ** (b - 1), a**b * log(a))


def _piecewise_constant(*args: Expr) -> tuple[Expr, ...]:
    return (ZERO,) * len(args)


def _gt(a: Expr, b: Expr | int) -> Expr:
    return call("gt", a, b)


def _lt(a: Expr, b: Expr | int) -> Expr:
    return call("lt", a, b)


_OPERATORS = (
    Op("add", "rr:r", "sum", lambda a, b: a + b, lambda a, b: (ONE, ONE), spec=False),
    Op("sub", "rr:r", "difference", lambda a, b: a - b, lambda a, b: (ONE, -ONE), spec=False),
    Op("mul", "rr:r", "product", lambda a, b: a * b, lambda a, b: (b, a), spec=False),
    Op("div", "rr:r", "quotient", lambda a, b: a / b, lambda a, b: (1 / b, -(a / b) / b), spec=False),
    Op("neg", "r:r", "negation", lambda a: -a, lambda a: (-ONE,), spec=False),
    Op("pow", "rr:r", "a to the power b", lambda a, b: a**b, _pow_partials),
    Op("lt", "rr:b", "less than", spec=False),
    Op("le", "rr:b", "at most", spec=False),
    Op("gt", "rr:b", "greater than", spec=False),
    Op("ge", "rr:b", "at least", spec=False),
    Op("eq", "rr:b", "equal", spec=False),
    Op("ne", "rr:b", "not equal", spec=False),
    Op("and", "bb:b", "both", spec=False),
    Op("or", "bb:b", "either", spec=False),
    Op("not", "b:b", "not", spec=False),
    Op("where", "brr:r", "the second operand where the first holds, else the third"),
    Op("true", ":b", "a condition that always holds", spec=False),
    Op("false", ":b", "a condition that never holds", spec=False),
    Op("pi", ":r", "the circle's constant", lambda: _arb().pi(), lambda: (), spec=False),
    Op("e", ":r", "the base of the natural logarithm", lambda: _arb().const_e(), lambda: (), spec=False),
    Op("inf", ":r", "infinity", lambda: _arb().pos_inf(), lambda: (), spec=False),
)

_CORE_FUNCTIONS = (
    Op("exp", "r:r", "exponential", lambda x: x.exp(), lambda x: (exp(x),)),
    Op("log", "r:r", "natural logarithm", lambda x: x.log(), lambda x: (1 / x,)),
    Op("sqrt", "r:r", "square root", lambda x: x.sqrt(), lambda x: (HALF / sqrt(x),)),
    Op("cbrt", "r:r", "real cube root", None, lambda x: (1 / (3 * call("cbrt", x) ** 2),)),
    Op("sin", "r:r", "sine", lambda x: x.sin(), lambda x: (call("cos", x),)),
    Op("cos", "r:r", "cosine", lambda x: x.cos(), lambda x: (-call("sin", x),)),
    Op("asin", "r:r", "inverse sine", lambda x: x.asin(), lambda x: (1 / sqrt(1 - x**2),)),
    Op("acos", "r:r", "inverse cosine", lambda x: x.acos(), lambda x: (-1 / sqrt(1 - x**2),)),
    Op("atan", "r:r", "inverse tangent", lambda x: x.atan(), lambda x: (1 / (1 + x**2),)),
    Op("erf", "r:r", "error function", lambda x: x.erf(), lambda x: (2 / sqrt(PI) * exp(-(x**2)),)),
    Op("abs", "r:r", "absolute value", lambda x: abs(x), lambda x: (call("sign", x),)),
    Op("sign", "r:r", "-1, 0 or 1, as x is", None, _piecewise_constant),
    Op(
        "cast",
        "r:r",
        "x rounded to the type of the tensors; its derivative is 1",
        lambda x: x,
        lambda x: (ONE,),
    ),
    Op("floor", "r:r", "greatest integer not above x", None, _piecewise_constant),
    Op("ceil", "r:r", "least integer not below x", None, _piecewise_constant),
    Op("round", "r:r", "nearest integer, ties to even", None, _piecewise_constant),
    Op(
        "max",
        "rr:r",
        "the greater; a tie takes the second's derivative",
        None,
        lambda a, b: (where(_gt(a, b), 1, 0), where(_gt(a, b), 0, 1)),
    ),
    Op(
        "min",
        "rr:r",
        "the smaller; a tie takes the second's derivative",
        None,
        lambda a, b: (where(_lt(a, b), 1, 0), where(_lt(a, b), 0, 1)),
    ),
)


def _tanh(x: Expr) -> Expr:
    e = exp(2 * x)
    return (e - 1) / (e + 1)


_DEFINED_FUNCTIONS = (
    Op("expm1", "r:r", "exp(x) - 1", lambda x: x.expm1(), definition=lambda x: exp(x) - 1),
    Op("exp2", "r:r", "2 to the power x", definition=lambda x: exp(x * log(TWO))),
    Op("log1p", "r:r", "log(1 + x)", lambda x: x.log1p(), definition=lambda x: log(1 + x)),
    Op("log2", "r:r", "logarithm to base 2", definition=lambda x: log(x) / log(TWO)),
    Op("log10", "r:r", "logarithm to base 10", definition=lambda x: log(x) / log(Number(10))),
    Op("rsqrt", "r:r", "1 / sqrt(x)", lambda x: x.rsqrt(), definition=lambda x: 1 / sqrt(x)),
    Op("tan", "r:r", "tangent", lambda x: x.tan(), definition=lambda x: call("sin", x) / call("cos", x)),
    Op("sinh", "r:r", "hyperbolic sine", lambda x: x.sinh(), definition=lambda x: (exp(x) - exp(-x)) / 2),
    Op("cosh", "r:r", "hyperbolic cosine", lambda x: x.cosh(), definition=lambda x: (exp(x) + exp(-x)) / 2),
    Op("tanh", "r:r", "hyperbolic tangent", lambda x: x.tanh(), definition=_tanh),
    Op(
        "asinh",
        "r:r",
        "inverse hyperbolic sine",
        lambda x: x.asinh(),
        definition=lambda x: call("sign", x) * log(call("abs", x) + sqrt(x**2 + 1)),
    ),
    Op(
        "acosh",
        "r:r",
        "inverse hyperbolic cosine",
        lambda x: x.acosh(),
        definition=lambda x: log(x + sqrt(x - 1) * sqrt(x + 1)),
    ),
    Op(
        "atanh",
        "r:r",
        "inverse hyperbolic tangent",
        lambda x: x.atanh(),
        definition=lambda x: log((1 + x) / (1 - x)) / 2,
    ),
    Op("erfc", "r:r", "1 - erf(x)", lambda x: x.erfc(), definition=lambda x: 1 - call("erf", x)),
    Op("sigmoid", "r:r", "1 / (1 + exp(-x))", definition=lambda x: 1 / (1 + exp(-x))),
    Op("logsigmoid", "r:r", "log(sigmoid(x))", definition=lambda x: -log(1 + exp(-x))),
    Op("softplus", "r:r", "log(1 + exp(x))", definition=lambda x: log(1 + exp(x))),
    Op("softsign", "r:r", "x / (1 + abs(x))", definition=lambda x: x / (1 + call("abs", x))),
    Op("relu", "r:r", "max(x, 0)", definition=lambda x: call("max", x, 0)),
    Op(
        "clamp",
        "rrr:r",
        "x held between two bounds",
        definition=lambda x, low, high: call("min", call("max", x, low), high),
    ),
)


def _erfcx(x: Any) -> Any:
    return (x * x).exp() * x.erfc()


def _turned(x: Any) -> Any:
    return (x + _arb().pi() / 4).sin()


# What only the stabiliser writes: spellings that floating point evaluates well. Their exact values say what
# they stand for; error terms are exactly zero in exact arithmetic.
_MACHINE_OPERATIONS = (
    Op("exp_sum", "rr:r", "exp(a + b), b a correction of a", lambda a, b: (a + b).exp(), spec=False),
    Op("exp_high", "r:r", "exp(x) for x <= 0, but for a power of two below its range", spec=False),
    Op("exp_low", "r:r", "the power of two that exp_high leaves", spec=False),
    Op("exp_sum_high", "rr:r", "exp_high(a + b), b a correction of a", spec=False),
    Op("turned", "rr:r", "sin(a + b + pi / 4), b a correction of a", lambda a, b: _turned(a + b), spec=False),
    Op(
        "pow_sum",
        "rrr:r",
        "a to the power b + c, c a correction of b",
        lambda a, b, c: a ** (b + c),
        spec=False,
    ),
    Op(
        "exp_error",
        "rrr:r",
        "what t, an exp(a + b) that was computed, lacks",
        lambda t, a, b: t * 0,
        spec=False,
    ),
    Op("log1p_unit", "r:r", "log(1 + x) for x in [0, 1]", lambda x: x.log1p(), spec=False),
    Op("erfcx", "r:r", "exp(x * x) * erfc(x)", _erfcx, spec=False),
    Op("mills", "r:r", "erfcx(x / sqrt(2))", lambda x: _erfcx(x / _arb()(2).sqrt()), spec=False),
    Op("ratio", "rr:r", "a / b, b well inside the range", lambda a, b: a / b, spec=False),
    Op("copysign", "rr:r", "a with the sign of b", spec=False),
    Op("product", "rr:r", "a * b rounded, never fused with what uses it", lambda a, b: a * b, spec=False),
    Op("product_error", "rr:r", "what rounding a * b loses", lambda a, b: a * 0, spec=False),
    Op("sum_error", "rr:r", "what rounding a + b loses", lambda a, b: a * 0, spec=False),
    Op("fit", "rrrr:r", "a fitted polynomial, one table of coefficients for each precision", spec=False),
    Op("table", "r:r", "a polynomial's coefficients, lowest first", spec=False),
    Op("precise", "b:b", "the condition, where more than 16 bits are wanted", spec=False),
    Op("leading", "r:r", "a constant's first 24 bits", lambda a: a, spec=False),
    Op("trailing", "r:r", "a constant beyond its first 24 bits", lambda a: a * 0, spec=False),
    Op("nearest", "rrr:r", "the number of a format, by its place in `dsl.ulp`, that is nearest", spec=False),
)

# Over the elements of a row. `dsl.rows` derives and compiles them; nothing else meets one.
_REDUCTIONS = (
    Op("rowsum", "r:r", "sum over the row", spec=False),
    Op("rowmean", "r:r", "mean of the row", spec=False),
    Op("rowmax", "r:r", "greatest of the row; equal ones share the derivative", spec=False),
    Op("rowmin", "r:r", "least of the row; equal ones share the derivative", spec=False),
    Op("rowvar", "r:r", "mean square of the distances from the row's mean", spec=False),
    Op("rowpeak", "r:r", "greatest of the row, as a shift that the result does not depend on", spec=False),
)

# What forms are marked with (`dsl.forms`): they are gone before an expression is evaluated or rewritten.
_MARKS = (
    Op("stop_gradient", "r:r", "x, whose derivative is 0", None, _piecewise_constant, spec=False),
    Op("slope", "rr:r", "0, whose derivative by a is b", None, lambda a, b: (b, ZERO), spec=False),
    Op("mode", "rr:r", "a in training, b in evaluation", spec=False),
    Op("uniform", "rrr:r", "a draw from a to b, without b", None, _piecewise_constant, spec=False),
    Op("normal", "r:r", "a draw of mean 0 and deviation 1", None, _piecewise_constant, spec=False),
)

OPS: dict[str, Op] = {
    row.name: row
    for row in (
        *_OPERATORS,
        *_CORE_FUNCTIONS,
        *_DEFINED_FUNCTIONS,
        *_MACHINE_OPERATIONS,
        *_REDUCTIONS,
        *_MARKS,
    )
}
"""Every operation by name."""

FUNCTIONS: tuple[str, ...] = tuple(name for name, row in OPS.items() if row.spec)
"""The names that a spec may call."""

REDUCTIONS: tuple[str, ...] = tuple(row.name for row in _REDUCTIONS)
"""The operations over the elements of a row."""

ROW_FUNCTIONS: tuple[str, ...] = REDUCTIONS[:-1]
"""Those that a spec may call."""

CONSTANTS: tuple[str, ...] = ("pi", "e", "inf")
"""The names that a spec may use as numbers."""


def has_cast(*roots: Expr) -> bool:
    """Whether expressions round in the middle.

    >>> from dsl.expr import Symbol
    >>> has_cast(1 + call("cast", Symbol("x")))
    True
    """
    return any(is_op(node, "cast") for node in postorder(*roots))


def _arb() -> Any:
    from flint import arb

    return arb


def define(node: Expr) -> Expr:
    """A node with its own operation replaced by its definition; a core operation stays.

    >>> from dsl.expr import Symbol
    >>> define(call("relu", Symbol("x"))) is call("max", Symbol("x"), 0)
    True
    """
    if not isinstance(node, Apply):
        return node
    definition = OPS[node.op].definition
    return node if definition is None else definition(*node.args)
