"""What a generated module says about itself: the text of its docstring.

In: an activation and its program. Out: plain text in a fixed order, *Method*, *Rewrites*, *Accuracy*,
*Special cases*. The special cases are computed, not claimed: the program is run in Python's floats at 0, at
the infinities and at NaN, with the default parameters.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from dsl.activation import Activation
from dsl.expr import Apply, Expr, Number, Symbol, postorder, symbols
from dsl.program import Function, Program
from dsl.show import show_expr

WIDTH = 100
POINTS: tuple[float, ...] = (0.0, math.inf, -math.inf, math.nan)


def header(activation: Activation, program: Program, accuracy: str = "") -> str:
    """The docstring's text; `accuracy` is what a certificate says, empty where none was made."""
    sections = (
        ("Method", method(activation, program)),
        ("Rewrites", rewrites(program)),
        ("Accuracy", accuracy or "Not certified in this build."),
        ("Special cases", special_cases(activation, program)),
    )
    parts = [summary(activation)]
    if activation.doc:
        parts.append(activation.doc.strip())
    parts += [f"{title}\n{textwrap.indent(text, '    ')}" for title, text in sections if text]
    return "\n\n".join(parts)


def summary(activation: Activation) -> str:
    """One line: the definition as its author wrote it."""
    return wrap(f"{signature(activation)} = {activation.formula}", "    ")


def signature(activation: Activation) -> str:
    """The definition's left side, for example `elu(x; alpha)`."""
    parameters = ", ".join(parameter.name for parameter in activation.parameters)
    return f"{activation.name}({', '.join(activation.inputs)}{'; ' if parameters else ''}{parameters})"


def method(activation: Activation, program: Program) -> str:
    """The formulas that are evaluated, with every short name defined."""
    titles = (("value", program.forward), ("derivative", program.gradient))
    return "\n\n".join(_equations(title, function) for title, function in titles)


def rewrites(program: Program) -> str:
    """Which rules fired, and why."""
    rows = dict.fromkeys(program.rewrites)
    return (
        "\n".join(wrap(f"{name}: {reason}", "    ") for name, reason in rows)
        or "None: evaluated as it is written."
    )


def special_cases(activation: Activation, program: Program) -> str:
    """The value and the derivative at zero, the infinities and NaN."""
    if any(parameter.default is None for parameter in activation.parameters):
        return ""
    values = {p.name: float(p.default) for p in activation.parameters if p.default is not None}
    rows = []
    for point in POINTS:
        forward, gradient = (
            run(function, {**values, function.input: point})
            for function in (program.forward, program.gradient)
        )
        rows.append(f"x = {point:g}: value {forward:.6g}, derivative {gradient:.6g}")
    given = ", ".join(f"{name} = {value:g}" for name, value in values.items())
    return "\n".join(([f"With {given}:"] if given else []) + rows)


def run(function: Function, values: Mapping[str, float]) -> float:
    """The value of a program in Python's floats, with IEEE arithmetic's infinities and NaN."""
    names: dict[str, Any] = dict(values)
    names |= {constant.name: float(constant.value) for constant in function.constants}
    for step in function.steps:
        names[step.name] = _evaluate(step.value, names)
    return float(_evaluate(function.result, names))


def _evaluate(root: Expr, names: Mapping[str, Any]) -> Any:
    done: dict[Expr, Any] = {}
    for node in postorder(root):
        match node:
            case Number():
                done[node] = _float(node)
            case Symbol():
                done[node] = names[node.name]
            case Apply():
                done[node] = _call(node.op, [done[arg] for arg in node.args])
    return done[root]


def _float(node: Number) -> float:
    try:
        return float(node.value)
    except OverflowError:
        return math.inf if node.value > 0 else -math.inf


def _call(op: str, args: list[Any]) -> Any:
    try:
        return _FLOAT[op](*args)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.nan


def _divide(a: float, b: float) -> float:
    if b != 0 or math.isnan(a):
        return a / b if b != 0 else math.nan
    return math.nan if a == 0 else math.copysign(math.inf, a) * math.copysign(1.0, b)


def _log(x: float) -> float:
    return -math.inf if x == 0 else math.log(x)


def _log1p(x: float) -> float:
    return -math.inf if x == -1 else math.log1p(x)


def _erfcx(x: float) -> float:
    if x < 20:
        return math.exp(x * x) * math.erfc(x)
    return 0.5641895835477563 / x * (1 - 0.5 / (x * x)) if x == x else x


def _extremum(pick: Callable[[float, float], float]) -> Callable[[float, float], float]:
    return lambda a, b: math.nan if a != a or b != b else pick(a, b)


def _whole(rounding: Callable[[float], int]) -> Callable[[float], float]:
    return lambda x: float(rounding(x)) if math.isfinite(x) else x


def _product_error(a: float, b: float) -> float:
    from fractions import Fraction

    return float(Fraction(a) * Fraction(b) - Fraction(a * b)) if math.isfinite(a * b) else 0.0


def _power(a: float, b: float) -> float:
    if a == 0 and b < 0:
        return math.inf
    return math.pow(a, b)


_FLOAT: Mapping[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": _divide,
    "ratio": _divide,
    "neg": lambda a: -a,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "not": lambda a: not a,
    "where": lambda condition, a, b: a if condition else b,
    "inf": lambda: math.inf,
    "abs": abs,
    "sign": lambda x: x if x != x else float((x > 0) - (x < 0)),
    "max": _extremum(max),
    "min": _extremum(min),
    "floor": _whole(math.floor),
    "ceil": _whole(math.ceil),
    "round": _whole(round),
    "sqrt": math.sqrt,
    "cbrt": math.cbrt,
    "pow": _power,
    "exp": math.exp,
    "exp_sum": lambda hi, lo: math.exp(hi) * (1 + lo) if math.isfinite(hi) else math.exp(hi),
    "expm1": math.expm1,
    "log": _log,
    "log1p": _log1p,
    "sin": math.sin,
    "cos": math.cos,
    "asin": math.asin,
    "acos": math.acos,
    "atan": math.atan,
    "erf": math.erf,
    "erfcx": _erfcx,
    "product_error": _product_error,
}


def _equations(title: str, function: Function) -> str:
    lines = [wrap(f"{title} = {show_expr(function.result)}", "    ")]
    definitions = [f"{step.name} = {show_expr(step.value)}" for step in function.steps]
    used = set(symbols(*(step.value for step in function.steps), function.result))
    definitions += [f"{c.name} = {c.meaning}" for c in function.constants if c.name in used]
    return "\n".join(
        lines + [textwrap.indent(wrap(definition, "    "), "    ") for definition in definitions]
    )


def wrap(text: str, indent: str = "") -> str:
    """A paragraph in lines of at most `WIDTH` characters, the later ones indented."""
    return textwrap.fill(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
