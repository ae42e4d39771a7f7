"""What a benchmark needs to know of activations, as plain data.

In: activations. Out: a `Case` each: how the function is called, PyTorch's own function where the spec
names it, and the formula as somebody would type it in torch.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

from dsl.activation import Activation
from dsl.bench.case import Case
from dsl.expr import Apply, Expr, Number, Symbol, postorder, substitute
from dsl.files import write_atomic
from dsl.ieee import evaluate
from dsl.rewrite.core import lower


def plan(activations: Iterable[Activation]) -> list[Case]:
    """The activations as cases, in their order; one that takes packed tensors is two."""
    return [
        _case(activation, packed)
        for activation in activations
        for packed in ("", activation.packed)[: 2 if activation.packed else 1]
    ]


def write_plan(cases: Iterable[Case], path: Path) -> None:
    """The cases as JSON, for a machine without the compiler."""
    write_atomic(path, json.dumps([asdict(case) for case in cases], indent=1) + "\n")


def _case(activation: Activation, packed: str) -> Case:
    values = {
        each.name: Fraction(1 if each.default is None else each.default) for each in activation.parameters
    }
    whole = bool(packed) or len(activation.inputs) == 1  # PyTorch's gates take one tensor
    reference = next(iter(activation.references), None) if whole else None
    fixed = () if reference is None else reference.arguments
    return Case(
        activation.name,
        activation.class_name,
        tuple(map(float, values.values())),
        "" if reference is None else reference.target,
        tuple((key, _plain(value)) for key, value in fixed),
        typed(activation.body, activation.inputs, values, packed),
        len(activation.inputs),
        packed,
    )


def _plain(value: str | Fraction | bool) -> str | float | bool:
    return float(value) if isinstance(value, Fraction) else value


_SAME_NAME = (
    "exp log sqrt sin cos asin acos atan erf abs sign floor ceil round expm1 exp2 log1p log2 log10 rsqrt "
    "tan sinh cosh tanh asinh acosh atanh erfc sigmoid relu"
).split()
_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**"}
_INFIX |= {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=", "and": "&", "or": "|"}

SPELLINGS: dict[str, str] = {
    **{op: f"torch.{op}({{0}})" for op in _SAME_NAME},
    **{op: f"torch.nn.functional.{op}({{0}})" for op in ("softplus", "softsign", "logsigmoid")},
    **{op: f"{{0}} {sign} {{1}}" for op, sign in _INFIX.items()},
    "neg": "-{0}",
    "not": "~{0}",
    "cast": "{0}",  # every operation of torch's gives its tensors' type
    "cbrt": "torch.sign({0}) * torch.abs({0}) ** (1 / 3)",
    "max": "torch.maximum({0}, {1})",
    "min": "torch.minimum({0}, {1})",
    "clamp": "torch.maximum(torch.minimum({0}, {2}), {1})",
    "where": "torch.where({0}, {1}, {2})",
}
"""How somebody types an operation in torch."""

OF_NUMBERS = {
    "max": "torch.clamp({0}, min={1})",
    "min": "torch.clamp({0}, max={1})",
    "clamp": "torch.clamp({0}, {1}, {2})",
    "where": "torch.where({0}, x.new_full((), {1}), {2})",
}
"""The same where every operand after the first is a number."""


_APART = {
    "halves": "{names} = x.chunk({count}, -1)",
    "interleaved": "{names} = (x[..., k::{count}] for k in range({count}))",
}
"""How somebody takes a tensor apart that holds several."""


def typed(body: Expr, inputs: Sequence[str], parameters: Mapping[str, Fraction], packed: str = "") -> str:
    """The source of `plain(x)`: a formula in torch operations as it stands in the spec, one a line.

    Of several inputs it takes as many tensors, or one that holds them.

    >>> from dsl.expr import call
    >>> t = Symbol("t")
    >>> print(typed(t * call("tanh", call("max", t, 0)), ["t"], {}))
    def plain(x):
        v1 = torch.clamp(x, min=0)
        v2 = torch.tanh(v1)
        v3 = x * v2
        return v3
    """
    body = substitute(body, {Symbol(name): Number(value) for name, value in parameters.items()})
    names = ["x", *(f"x{place}" for place, _ in enumerate(inputs[1:], 1))]
    written: dict[Expr, str] = {Symbol(name): shown for name, shown in zip(inputs, names, strict=True)}
    varying: set[Expr] = set(written)
    lines: list[str] = []
    for node in postorder(body):
        if isinstance(node, Apply) and varying.intersection(node.args):
            written[node] = f"v{len(lines) + 1}"
            lines.append(f"{written[node]} = {_spelled(node, written, varying)}")
            varying.add(node)
        elif node not in varying:
            written[node] = _number(node)
    apart = [_APART[packed].format(names=", ".join(names), count=len(names))] if packed else []
    given = "x" if packed else ", ".join(names)
    return "\n    ".join([f"def plain({given}):", *apart, *lines, f"return {written[body]}"])


def _spelled(node: Apply, written: Mapping[Expr, str], varying: Collection[Expr]) -> str:
    args = node.args
    if node.op in ("max", "min") and args[0] not in varying:
        args = args[::-1]
    plain = node.op in OF_NUMBERS and args[0] in varying and not any(arg in varying for arg in args[1:])
    return (OF_NUMBERS if plain else SPELLINGS)[node.op].format(*(written[arg] for arg in args))


def _number(node: Expr) -> str:
    """A constant, in brackets where it is negative: an integer as such, since torch has powers for those."""
    value = float(evaluate(lower(node), {}))
    text = repr(int(value)) if value.is_integer() and abs(value) < 1e6 else repr(value)
    text = f'float("{text}")' if text.endswith(("inf", "nan")) else text
    return f"({text})" if text.startswith("-") else text
