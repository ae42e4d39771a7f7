"""Programs as torch operations: the formula that runs where no kernel does, and that torch.compile fuses.

In: a `Function`. Out: the source of a Python function from a float32 or float64 tensor and float parameters
to a tensor of the same type and shape.

Plain numbers need care here: `torch.where` of two of them would take the default dtype, most functions refuse
them, and a division of Python floats by zero raises. Literals become 0-d tensors of the input's dtype
(`x.new_full`) where that matters. Parameters stay plain floats, which is cheapest, unless an operation needs
them to be tensors; then all of them become so in the function's first lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dsl.program import Function
from dsl.targets.spelling import (
    ARITHMETIC,
    ATOM,
    ELEMENTWISE_LOGIC,
    SUM,
    UNARY,
    Kind,
    Row,
    Text,
    Writer,
    literal,
    write,
)

RESERVED = frozenset({"dtype", "float", "torch", "Tensor", "_math"})
"""Names that a program's own may not hide inside a formula."""

NOTHING: Mapping[str, str] = {}

_FUNCTIONS = {
    "abs": "torch.abs({0})",
    "exp": "torch.exp({0})",
    "exp_sum": "_math.exp_sum_torch({0}, {1})",
    "exp_high": "_math.exp_high_torch({0})",
    "exp_low": "_math.exp_low_torch({0})",
    "exp_sum_high": "_math.exp_sum_high_torch({0}, {1})",
    "exp_error": "_math.exp_error_torch({0}, {1}, {2})",
    "expm1": "torch.expm1({0})",
    "log": "torch.log({0})",
    "log1p": "torch.log1p({0})",
    "log1p_unit": "torch.log1p({0})",
    "erf": "torch.erf({0})",
    "erfcx": "_math.erfcx_torch({0})",
    "mills": "_math.mills_torch({0})",
    "product": "_math.product_torch({0}, {1})",
    "product_error": "_math.product_error_torch({0}, {1})",
    "sum_error": "_math.sum_error_torch({0}, {1})",
    "copysign": "torch.copysign({0}, {1})",
    "floor": "torch.floor({0})",
    "ceil": "torch.ceil({0})",
    "round": "torch.round({0})",
    "sqrt": "torch.sqrt({0})",
    "cbrt": "_math.cbrt_torch({0})",
    "sin": "torch.sin({0})",
    "cos": "torch.cos({0})",
    "turned": "_math.turned_torch({0}, {1})",
    "asin": "torch.asin({0})",
    "acos": "torch.acos({0})",
    "atan": "torch.atan({0})",
    "pow": "torch.pow({0}, {1})",
    "pow_sum": "_math.pow_sum_torch({0}, {1}, {2})",
    "cast": "_math.cast_torch({0}, dtype)",
}

_SIGN = Row("torch.where({0} == {0}, torch.sign({0}), {0})", operands=(UNARY,))
"""torch.sign(NaN) is 0; ours is NaN."""

_EXTREMA = {
    "max": (Row("torch.maximum({0}, {1})"), Row("torch.clamp({0}, min={1})")),
    "min": (Row("torch.minimum({0}, {1})"), Row("torch.clamp({0}, max={1})")),
}
"""Of two tensors, and of a tensor and a plain number; both propagate NaN."""

_QUOTIENTS = {"ratio": ARITHMETIC["div"]}

_FLOAT_OPERATIONS = frozenset({"add", "sub", "mul", "neg", "inf"})
"""What Python's floats do exactly as tensors do."""


class _FloatParameterError(Exception):
    """An operation met a parameter that it cannot take as a plain float."""


def _spellings(x: str, floats: bool) -> Mapping[str, Writer]:
    """How torch writes each operation; `x` is the input, `floats` says that parameters are plain floats."""
    where = Row("torch.where({0}, {1}, {2})")
    indicator = Row(f"{{0}}.to({x}.dtype)", operands=(ATOM,))

    def tensor(arg: Text) -> Text:
        if arg.kind is Kind.UNIFORM and floats:
            raise _FloatParameterError
        return _lift(arg, x)

    def operator(row: Row) -> Writer:
        def writer(args: tuple[Text, ...]) -> Text:
            text = row.write(args)
            if text.kind is Kind.UNIFORM and floats:
                raise _FloatParameterError
            return text

        return writer

    def call(row: Row) -> Writer:
        return lambda args: row.write(tuple(tensor(arg) for arg in args))

    def extremum(of_tensors: Row, of_number: Row) -> Writer:
        def writer(args: tuple[Text, ...]) -> Text:
            a, b = sorted(args, key=lambda arg: -arg.kind)
            if a.kind is Kind.VARYING and b.kind is not Kind.VARYING:
                return of_number.write((a, b))
            return of_tensors.write((tensor(args[0]), tensor(args[1])))

        return writer

    def choose(args: tuple[Text, ...]) -> Text:
        condition, then, otherwise = tensor(args[0]), args[1], args[2]
        if then.is_number(1) and otherwise.is_number(0):
            return indicator.write((condition,))
        if max(then.kind, otherwise.kind) is not Kind.VARYING:
            then, otherwise = tensor(then), otherwise if then.kind is Kind.STATIC else tensor(otherwise)
        return where.write((condition, then, otherwise))

    operators = {**ARITHMETIC, **ELEMENTWISE_LOGIC, **_QUOTIENTS}
    rows: dict[str, Writer] = {
        op: row.write if op in _FLOAT_OPERATIONS else operator(row) for op, row in operators.items()
    }
    rows |= {op: call(Row(template)) for op, template in _FUNCTIONS.items()}
    rows |= {op: extremum(*pair) for op, pair in _EXTREMA.items()}
    rows["fit"] = lambda args: Row("_math.fit_torch({0}, {1}, {2})").write((args[0], *args[2:]))
    return rows | {"where": choose, "sign": call(_SIGN), "precise": lambda args: args[0]}


def formula(
    function: Function,
    name: str,
    summary: str,
    rename: Mapping[str, str],
    more: Mapping[str, str] = NOTHING,
    last: str = "",
    casts: bool = False,
) -> str:
    """The source of `function` in torch operations, as a Python function called `name`.

    `rename` gives the names that the inputs, the parameters and the steps take in the text. `more` are
    functions of tensors beside those that all programs have, and `last` is what they need declared. With
    `casts` it takes the inputs in their own type.
    """
    try:
        body = _body(function, rename, more, floats=True)
    except _FloatParameterError:
        body = _body(function, rename, more, floats=False)
    if casts:
        own = ", ".join(rename[each] for each in function.inputs)
        rounds = any("dtype)" in line for line in body if "cast_torch" in line)
        body.insert(0, f"{'dtype' if rounds else '_'}, {own} = _math.opened_torch({own})")
    inputs = ", ".join(f"{rename[each]}: Tensor" for each in function.inputs)
    parameters = "".join(f", {rename[p]}: float" for p in function.parameters)
    head = f'def {name}({inputs}{parameters}{last}) -> Tensor:\n    """{summary}"""\n'
    return head + "".join(f"    {line}\n" for line in body)


def _body(function: Function, rename: Mapping[str, str], more: Mapping[str, str], floats: bool) -> list[str]:
    x = rename[function.input]
    table = {**_spellings(x, floats), **{op: Row(template).write for op, template in more.items()}}
    names = {name: Text(rename[name], ATOM, Kind.VARYING) for name in function.inputs}
    names |= {p: Text(rename[p], ATOM, Kind.UNIFORM) for p in function.parameters}
    names |= {c.name: Text(c.name, ATOM, Kind.STATIC, c.value) for c in function.constants}
    lines = []
    if not floats:  # Under names that no spec has: an argument keeps its type.
        lines += [f"_{rename[p]} = {x}.new_full((), {rename[p]})" for p in function.parameters]
        names |= {p: Text(f"_{rename[p]}", ATOM, Kind.UNIFORM) for p in function.parameters}
    for step in function.steps:
        text = write(step.value, names, table)
        names[step.name] = Text(rename[step.name], ATOM, text.kind, text.value)
        lines.append(f"{rename[step.name]} = {text.source}")
    lines.append(f"return {_shaped(write(function.result, names, table), x)}")
    written = set(re.findall(r"\w+", " ".join(lines)))  # Of a fit, torch takes two of its three tables.
    constants = [c for c in function.constants if c.name in written]
    return [*(f"{c.name} = {literal(c)}  # {c.meaning}" for c in constants), *lines]


def _lift(arg: Text, x: str) -> Text:
    """A number as a 0-d tensor of the dtype of `x`; a tensor as it is."""
    return Text(f"{x}.new_full((), {arg.source})", ATOM, Kind.UNIFORM) if arg.kind is Kind.STATIC else arg


def _shaped(result: Text, x: str) -> str:
    """A result in the shape of the input, though it may not depend on it."""
    match result.kind:
        case Kind.STATIC:
            return f"torch.full_like({x}, {result.source})"
        case Kind.UNIFORM:
            return f"torch.zeros_like({x}) + {result.within(SUM + 1)}"
        case _:
            return result.source
