"""From an expression to a straight-line program.

In: a stabilised expression. Out: a `Function`: constants folded and named, integer powers as products, every
value that is used twice (or would make a line too long) bound to a name that says what it is.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from fractions import Fraction

from dsl.expr import ONE, Apply, Expr, Number, Symbol, is_op, postorder, rebuild, substitute
from dsl.ops import OPS, REDUCTIONS
from dsl.program import Constant, Function, Step
from dsl.rewrite.probe import constant_fraction
from dsl.show import show_expr

LARGEST_STATEMENT = 10
"""Operations in one statement before it is split."""

DEEPEST_STATEMENT = 6

LONGEST_CONSTANT_NAME = 28


def schedule(
    name: str,
    root: Expr,
    input: str,
    parameters: tuple[str, ...] = (),
    names: Mapping[Expr, str] | None = None,
    others: tuple[str, ...] = (),
) -> Function:
    """The straight-line program of an expression; `names` says what to call certain subexpressions.

    `others` are the inputs beside the first.

    >>> from dsl.expr import call
    >>> x = Symbol("x")
    >>> [step.name for step in schedule("f", call("exp", x) / (1 + call("exp", x)), "x").steps]
    ['t']
    """
    root = rebuild(root, _expand_power)
    namer = _Namer({input, *others, *parameters})
    constants = _constants(root, namer)
    root = substitute(root, {node: Symbol(constant.name) for node, constant in constants.items()})
    uses: dict[Expr, int] = {}
    for node in postorder(root):
        for arg in node.args:
            uses[arg] = uses.get(arg, 0) + 1
    steps: list[Step] = []
    done: dict[Expr, Expr] = {}
    size: dict[Expr, int] = {}
    depth: dict[Expr, int] = {}
    for node in postorder(root):
        size[node] = depth[node] = 0
        if not isinstance(node, Apply) or not node.args:
            done[node] = node
        else:
            value = Apply(node.op, *(done[arg] for arg in node.args))
            size[node] = 1 + sum(size[arg] for arg in node.args)
            depth[node] = 1 + max(depth[arg] for arg in node.args)
            large = size[node] > LARGEST_STATEMENT or depth[node] > DEEPEST_STATEMENT
            large = large or node.op in REDUCTIONS
            hint = (names or {}).get(node)
            if node is not root and (hint or large or (uses.get(node, 0) > 1 and not _is_cheap(node))):
                bound = Symbol(namer.unique(hint or _NAMES.get(node.op, "v")))
                steps.append(Step(bound.name, value))
                done[node] = bound
                size[node] = depth[node] = 0
            else:
                done[node] = value
    used = {node for value in (*(s.value for s in steps), done[root]) for node in postorder(value)}
    kept = {c.name: c for c in constants.values() if Symbol(c.name) in used}
    return Function(name, input, parameters, tuple(kept.values()), tuple(steps), done[root], others)


def _expand_power(node: Expr) -> Expr:
    """Integer powers as products, by squaring; another exponent with what its rounding loses."""
    if not (isinstance(node, Apply) and node.op == "pow" and isinstance(node.args[1], Number)):
        return node
    base, exponent = node.args[0], node.args[1].value
    if exponent == Fraction(1, 2):
        return Apply("sqrt", base)
    if exponent.denominator != 1 or abs(exponent) > 64:
        parts = (Apply("leading", node.args[1]), Apply("trailing", node.args[1]))
        return node if constant_fraction(parts[1]) == 0 else Apply("pow_sum", base, *parts)
    result = _integer_power(base, abs(int(exponent)))
    return result if exponent >= 0 else ONE / result


def _integer_power(base: Expr, n: int) -> Expr:
    if n == 0:
        return ONE
    if n == 1:
        return base
    half = _integer_power(base, n // 2)
    return half * half * base if n % 2 else half * half


def _is_cheap(node: Apply) -> bool:
    """Whether writing a value twice costs nothing: the negation of a leaf."""
    return node.op == "neg" and not node.args[0].args


# -- constants -------------------------------------------------------------------------------------------


def _constants(root: Expr, namer: _Namer) -> dict[Expr, Constant]:
    """The largest subexpressions without a symbol, each with its value and a name; plain numbers stay."""
    fixed: dict[Expr, bool] = {}
    for node in postorder(root):
        real = isinstance(node, Number) or (isinstance(node, Apply) and OPS[node.op].result == "r")
        real = real and not is_op(node, "table", "inf", "cast")
        fixed[node] = real and all(fixed[arg] for arg in node.args)
    tables = [node for node in fixed if is_op(node, "table")]
    wanted: dict[Expr, None] = {}
    for node in postorder(root):
        if not fixed[node]:
            wanted.update((arg, None) for arg in node.args if fixed[arg] and not isinstance(arg, Number))
    if fixed[root] and not isinstance(root, Number):
        wanted[root] = None
    found: dict[Expr, Constant] = {}
    by_value: dict[Fraction, Constant] = {}
    for node in wanted:
        value = constant_fraction(node)
        if value is None:
            continue
        if value not in by_value:
            by_value[value] = Constant(namer.unique(_constant_name(node)), value, show_expr(_inner(node)))
        found[node] = by_value[value]
    for node in tables:
        values = tuple(arg.value for arg in node.args if isinstance(arg, Number))
        meaning = f"a fit of degree {len(values) - 1}"
        found[node] = Constant(namer.unique("FIT"), Fraction(0), meaning, values)
    return found


def _inner(node: Expr) -> Expr:
    return node.args[0] if isinstance(node, Apply) and node.op in ("leading", "trailing") else node


def _constant_name(node: Expr) -> str:
    """A name that says how a constant arises: SQRT_2_OVER_PI."""
    suffix = {"leading": "_HI", "trailing": "_LO"}.get(node.op, "") if isinstance(node, Apply) else ""
    text = show_expr(_inner(node))
    for pattern, replacement in (
        (r"\*\*", "_POW_"),
        (r"\*", "_TIMES_"),
        (r"/", "_OVER_"),
        (r"\+", "_PLUS_"),
        (r"-", "_MINUS_"),
    ):
        text = re.sub(pattern, replacement, text)
    text = re.sub(r"[^0-9A-Za-z]+", "_", text).strip("_").upper()
    text = f"K_{text}" if text[:1].isdigit() else text
    return (text if len(text) <= LONGEST_CONSTANT_NAME else "SCALE") + suffix


# -- names -----------------------------------------------------------------------------------------------


class _Namer:
    """Names that are free: no two values share one, and none shadows a word of Python or of the targets."""

    def __init__(self, taken: set[str]) -> None:
        self.taken = taken | set(keyword.kwlist) | _RESERVED

    def unique(self, wish: str) -> str:
        name, count = wish, 2
        while name in self.taken:
            name, count = f"{wish}{count}", count + 1
        self.taken.add(name)
        return name


_RESERVED = {"fast", "tl", "torch", "triton", "math"}

# What a value is called when nobody named it: the letters that numerical analysis uses.
_NAMES = {
    "abs": "a",
    "exp": "t",
    "exp_sum": "t",
    "exp_high": "t",
    "exp_low": "rest",
    "exp_sum_high": "t",
    "exp_error": "err",
    "expm1": "m",
    "log": "ln",
    "log1p": "ln",
    "log1p_unit": "ln",
    "erf": "e",
    "erfcx": "w",
    "mills": "w",
    "sqrt": "root",
    "sin": "s",
    "cos": "c",
    "turned": "s",
    "where": "side",
    "ge": "right",
    "gt": "right",
    "lt": "left",
    "le": "left",
    "eq": "at",
    "max": "held",
    "min": "held",
    "ratio": "q",
    "div": "q",
    "mul": "p",
    "product": "p",
    "add": "d",
    "sub": "d",
    "product_error": "err",
    "sum_error": "err",
    "fit": "near",
    "cast": "rounded",
    "rowsum": "total",
    "rowmax": "greatest",
    "rowpeak": "peak",
}
