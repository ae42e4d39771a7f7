"""Expressions, definitions and programs in the language's own syntax.

In: an expression, an activation or a function of a program. Out: text; `parse(show_expr(e))` is `e` again for
everything that the parser can make. Brackets stand only where the grammar needs them. The printer keeps its
own stack, so that depth costs memory and not Python's stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import TypeVar

from dsl.activation import Activation, Bound, Learned, Parameter, Reference
from dsl.expr import ONE, ZERO, Apply, Expr, Number, Symbol, is_op, postorder
from dsl.forms import DRAWS, slopes_given
from dsl.ops import OPS
from dsl.program import GRAD, LENGTH, Function, RowFunction, Step
from dsl.syntax import Term

CONDITIONAL, OR, AND, NOT, COMPARISON, SUM, PRODUCT, SIGNED, POWER, ATOM = range(10)
"""How tightly a form binds, loosest first, as the grammar has it."""

Node = TypeVar("Node")
Pieces = Sequence["str | tuple[Node, int]"]
"""A form: its spelling, and its operands with how tightly each must bind to go without brackets."""

_INFIX: dict[str, tuple[int, int, str, int]] = {
    "add": (SUM, SUM, " + ", PRODUCT),
    "sub": (SUM, SUM, " - ", PRODUCT),
    "mul": (PRODUCT, PRODUCT, " * ", SIGNED),
    "div": (PRODUCT, PRODUCT, " / ", SIGNED),
    "pow": (POWER, ATOM, "**", SIGNED),
    "lt": (COMPARISON, SUM, " < ", SUM),
    "le": (COMPARISON, SUM, " <= ", SUM),
    "gt": (COMPARISON, SUM, " > ", SUM),
    "ge": (COMPARISON, SUM, " >= ", SUM),
    "eq": (COMPARISON, SUM, " == ", SUM),
    "ne": (COMPARISON, SUM, " != ", SUM),
    "and": (AND, AND, " and ", NOT),
    "or": (OR, OR, " or ", AND),
}
"""Operation: how tightly it binds, what its left operand needs, its spelling, what its right one needs."""

_PREFIX: dict[str, tuple[int, str]] = {"neg": (SIGNED, "-"), "not": (NOT, "not ")}

OPERATORS: dict[str, str] = {spelling.strip(): op for op, (_, _, spelling, _) in _INFIX.items()}
"""The operation that an infix operator of the language stands for."""


def show_expr(root: Expr) -> str:
    """An expression as text, with no more brackets than it needs.

    >>> x = Symbol("x")
    >>> show_expr(-(x + 1) * x ** -2 / 3)
    '-(x + 1) * x**-2 / 3'
    """
    return _print(root, _describe)


def show_term(root: Term) -> str:
    """A syntax tree as text: numbers as the author wrote them, calls not inlined."""
    return _print(root, _describe_term)


def _print(root: Node, describe: Callable[[Node], tuple[int, Pieces[Node]]]) -> str:
    out: list[str] = []
    stack: list[str | tuple[Node, int]] = [(root, CONDITIONAL)]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            out.append(item)
            continue
        node, needed = item
        binding, pieces = describe(node)
        stack.extend(reversed(pieces if binding >= needed else ("(", *pieces, ")")))
    return "".join(out)


def _call(name: str, args: Sequence[Node]) -> Pieces[Node]:
    pieces: list[str | tuple[Node, int]] = [f"{name}("]
    for position, arg in enumerate(args):
        pieces += [", " if position else "", (arg, CONDITIONAL)]
    return [*pieces, ")"]


def _describe(node: Expr) -> tuple[int, Pieces[Expr]]:
    if isinstance(node, Number):
        return _describe_number(node.value)
    if isinstance(node, Symbol):
        return ATOM, (node.name,)
    assert isinstance(node, Apply)
    if node.op in _INFIX:
        binding, left, spelling, right = _INFIX[node.op]
        return binding, ((node.args[0], left), spelling, (node.args[1], right))
    if node.op in _PREFIX:
        binding, spelling = _PREFIX[node.op]
        return binding, (spelling, (node.args[0], binding))
    if node.op in DRAWS:  # the last operand is the number of the draw
        return ATOM, (_call(node.op, node.args[:-1] or (ZERO, ONE)))
    return ATOM, (_call(node.op, node.args) if node.args else (node.op,))


def _describe_number(value: Fraction) -> tuple[int, tuple[str]]:
    text = show_number(value)
    return (PRODUCT if "/" in text else SIGNED if value < 0 else ATOM), (text,)


def show_number(value: Fraction) -> str:
    """An exact number: as a decimal where that is short, otherwise as a quotient of integers.

    >>> [show_number(Fraction(text)) for text in ("0.044715", "1e-300", "-3", "1e25", "1/3")]
    ['0.044715', '1e-300', '-3', '1e25', '1/3']
    """
    places, power = 0, value.denominator
    for prime in (2, 5):
        count = 0
        while power % prime == 0:
            power //= prime
            count += 1
        places = max(places, count)
    digits = str(abs(value.numerator) * (10**places // value.denominator)) if power == 1 else ""
    significant = digits.rstrip("0") or "0"
    if power != 1 or len(significant) > 60:
        return str(value)
    sign = "-" if value < 0 else ""
    exponent = len(digits) - len(significant) - places
    if places == 0 and len(digits) <= 16:
        return sign + digits
    if places and places - len(digits) <= 6:
        padded = digits.zfill(places + 1)
        return f"{sign}{padded[:-places]}.{padded[-places:]}"
    return f"{sign}{significant}e{exponent}"


_TERM_BINDING: dict[tuple[str, str], tuple[int, int, str, int]] = {
    ("binary", spelling.strip()): row for row in _INFIX.values() for spelling in (row[2],)
}


def _describe_term(node: Term) -> tuple[int, Pieces[Term]]:
    return _TERMS[node.kind](node)


def _infix_term(node: Term) -> tuple[int, Pieces[Term]]:
    binding, left, spelling, right = _TERM_BINDING[node.kind, node.text]
    return binding, ((node.operands[0], left), spelling, (node.operands[1], right))


def _prefix_term(node: Term) -> tuple[int, Pieces[Term]]:
    binding, spelling = (NOT, "not ") if node.text == "not" else (SIGNED, node.text)
    return binding, (spelling, (node.operands[0], binding))


def _chain_term(node: Term) -> tuple[int, Pieces[Term]]:
    pieces: list[str | tuple[Term, int]] = [(node.operands[0], SUM)]
    for operator, operand in zip(node.text.split(), node.operands[1:], strict=True):
        pieces += [f" {operator} ", (operand, SUM)]
    return COMPARISON, pieces


def _call_term(node: Term) -> tuple[int, Pieces[Term]]:
    pieces: list[str | tuple[Term, int]] = [f"{node.text}("]
    positional = len(node.operands) - len(node.keywords)
    labels = [""] * positional + [f"{name.text} = " for name in node.keywords]
    for position, (label, operand) in enumerate(zip(labels, node.operands, strict=True)):
        pieces += [f"{', ' if position else ''}{label}", (operand, CONDITIONAL)]
    return ATOM, [*pieces, ")"]


def _conditional_term(node: Term) -> tuple[int, Pieces[Term]]:
    condition, then, otherwise = node.operands
    return CONDITIONAL, ((then, OR), " if ", (condition, OR), " else ", (otherwise, CONDITIONAL))


def _series_term(node: Term) -> tuple[int, Pieces[Term]]:
    low, high, body = ((operand, CONDITIONAL) for operand in node.operands)
    return ATOM, (f"{node.text}({node.index} in ", low, "..", high, ": ", body, ")")


_TERMS: dict[str, Callable[[Term], tuple[int, Pieces[Term]]]] = {
    "number": lambda node: (ATOM, (node.text,)),
    "name": lambda node: (ATOM, (node.text,)),
    "call": _call_term,
    "unary": _prefix_term,
    "binary": _infix_term,
    "chain": _chain_term,
    "conditional": _conditional_term,
    "tuple": lambda node: (ATOM, _call("", node.operands)),
    "index": lambda node: (ATOM, (f"{node.text}[", (node.operands[0], CONDITIONAL), "]")),
    "series": _series_term,
    "text": lambda node: (ATOM, (quote(node.text),)),
}


def quote(text: str) -> str:
    r"""A string literal of the language that denotes a text.

    >>> print(quote('the "tanh" form'))
    "the \"tanh\" form"
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"""{escaped}"""' if "\n" in text else f'"{escaped}"'


def share(
    roots: Mapping[str, Expr], names: Mapping[Expr, str], taken: Iterable[str] = ()
) -> tuple[tuple[Step, ...], dict[str, Expr]]:
    """The roots, each shared subexpression a step of its own, so that the text stays linear in the DAG.

    A subexpression is named where `names` names it, and `t1`, `t2`, ... where it is used more than once.
    """
    uses: dict[Expr, int] = {}
    for node in postorder(*roots.values()):
        for arg in node.args:
            uses[arg] = uses.get(arg, 0) + 1
    used = {node.name for node in postorder(*roots.values()) if isinstance(node, Symbol)} | set(taken)
    whole = set(roots.values())
    done: dict[Expr, Expr] = {}
    steps: list[Step] = []
    counter = 0
    for node in postorder(*roots.values()):
        args = tuple(done[arg] for arg in node.args)
        shown = Apply(node.op, *args) if isinstance(node, Apply) else node
        name = names.get(node)
        clause = is_op(node, "mode")  # which stands in a clause of its own, and nowhere else
        shared = uses.get(node, 0) > 1 and not _is_condition(node)  # a `with` names numbers
        if name in used or (node in whole and not clause) or not node.args:
            name = None
        if name is None and node.args and (shared or clause):
            while name is None or name in used:
                counter += 1
                name = f"t{counter}"
        if name is not None:
            steps.append(Step(name, shown))
            used.add(name)
            shown = Symbol(name)
        done[node] = shown
    return tuple(steps), {label: done[root] for label, root in roots.items()}


def _is_condition(node: Expr) -> bool:
    return isinstance(node, Apply) and OPS[node.op].result == "b"


def _header(name: str, inputs: Iterable[str], parameters: Iterable[str]) -> str:
    after = ", ".join(parameters)
    return f"{name}({', '.join(inputs)}{'; ' if after else ''}{after})"


def _parameter(parameter: Parameter) -> str:
    default = parameter.default
    return parameter.name if default is None else f"{parameter.name} = {show_number(default)}"


def _learned(learned: Learned) -> str:
    shape = {"scalar": "", "channel": "[channel]", "vector": f"[{len(learned.entries)}]"}[learned.kind]
    values = ", ".join(map(show_number, learned.default or ()))
    default = f"({values})" if len(learned.entries) > 1 else values
    return f"learn {learned.name}{shape}" + (f" = {default}" if learned.default is not None else "")


def show_parameters(activation: Activation) -> list[str]:
    """The parameters as a definition declares them, the learnable ones first."""
    return [*map(_learned, activation.learned), *map(_parameter, activation.parameters)]


def _reference(reference: Reference) -> str:
    spelled = [f"{name} = {_fixed(value)}" for name, value in reference.arguments]
    return f"reference {reference.target}" + (f"({', '.join(spelled)})" if spelled else "")


def _fixed(value: str | Fraction | bool) -> str:
    return (
        str(value)
        if isinstance(value, bool)
        else quote(value) if isinstance(value, str) else show_number(value)
    )


def _accuracy(bound: Bound) -> list[str]:
    amounts = (("forward", bound.forward), ("backward", bound.backward))
    given = [f"{word} {show_number(amount)} ulp" for word, amount in amounts if amount is not None]
    return [f"accuracy {', '.join(given)}"] if given else []


def show_activation(activation: Activation, typed: bool = False) -> str:
    """An activation as a definition, ready to parse again: calls inlined, or as it was `typed`."""
    taken = {*activation.inputs, *(each.name for each in activation.settable)}
    outputs = {f"output {number}": root for number, root in enumerate(activation.wholes)}
    slopes: dict[str, Expr] = {}
    if not activation.others:
        outputs["output 0"], slopes = slopes_given(activation.whole)
    given = {f"gradient {name}": slope for name, slope in slopes.items()}
    steps, results = share(outputs | given, _first_of_each_name(activation.names), taken)
    parameters = show_parameters(activation)
    if activation.dim is not None and activation.dim != -1:
        parameters.append(f"dim = {activation.dim}")
    header = _header(activation.name, activation.inputs, parameters)
    lines = [quote(activation.doc)] if activation.doc else []
    formula, *clauses = activation.formula.split("\n")
    if not typed:
        shown = ", ".join(show_expr(results[output]) for output in outputs)
        formula = f"({shown})" if activation.others else shown
        clauses = [f"with {step.name} = {_with(step.value)}" for step in steps]
        clauses += [f"{name} = {show_expr(results[name])}" for name in given]
    lines.append(f"{header} = {formula}")
    clauses += [_reference(reference) for reference in activation.references]
    clauses += [f"domain {show_expr(activation.domain)}"] if activation.domain is not None else []
    clauses += [f"require {show_expr(condition)}" for condition in activation.requires]
    clauses += _accuracy(activation.accuracy)
    clauses += [f"packed {activation.packed}"] if activation.packed else []
    clauses += [f"concat {activation.concat}"] if activation.concat else []
    clauses += [f"alias {alias}" for alias in activation.aliases]
    clauses += [f"module {activation.class_name}"]
    return "\n".join([*lines, *(f"  {clause}" for clause in clauses)])


def _first_of_each_name(names: Mapping[Expr, str]) -> dict[Expr, str]:
    """Without what a named part of a form is in training or in evaluation, which has its name too."""
    first: dict[str, Expr] = {}
    for node, name in names.items():
        first.setdefault(name, node)
    return {node: name for name, node in first.items()}


def _with(value: Expr) -> str:
    """The right side of a `with`; draws stand where there is training and evaluation."""
    if is_op(value, "mode"):
        training, evaluation = map(show_expr, value.args)
        return f"{training} in training, {evaluation} in eval"
    draws = any(is_op(node, *DRAWS) for node in postorder(value))
    return show_expr(value) + (" in training, 0 in eval" if draws else "")


def show_stage(activation: Activation, roots: Sequence[Expr]) -> str:
    """The value and its derivatives, first and second, as definitions that share their steps.

    Each definition names what it alone repeats, so that the text stays linear in the size of the DAG.
    """
    parameters = [parameter.name for parameter in activation.settable]
    blocks = []
    named = [label.replace("value", activation.name) for label in activation.labels[: len(roots)]]
    for name, root in zip(named, roots, strict=False):
        steps, results = share({name: root}, activation.names, (*activation.inputs, *parameters))
        lines = [f"{_header(name, activation.inputs, parameters)} = {show_expr(results[name])}"]
        blocks.append(
            "\n".join([*lines, *(f"  with {step.name} = {show_expr(step.value)}" for step in steps)])
        )
    return "\n\n".join(blocks)


def show_function(function: Function) -> str:
    """A function of a program: its result, then its constants and steps in the order of evaluation."""
    lines = [f"{_header(function.name, function.inputs, function.parameters)} = {show_expr(function.result)}"]
    lines += [
        f"  with {constant.name} = {_decimal(constant.value)}  # {constant.meaning}"
        for constant in function.constants
    ]
    lines += [f"  with {step.name} = {show_expr(step.value)}" for step in function.steps]
    return "\n".join(lines)


def show_passes(function: RowFunction) -> str:
    """Which numbers of a row are found in which pass, where the row does not fit on chip."""
    lines = []
    for level in range(function.levels):
        found = [
            f"{each.name} while {each.peak} grows" if each.peak else each.name
            for each in function.reductions
            if each.level == level
        ]
        lines.append(f"pass {level + 1}: {', '.join(found)}")
    return "\n".join([*lines, f"pass {function.levels + 1}: the result"])


def show_row_names(text: str) -> str:
    """The names that only the compiler gives, as they are in generated code."""
    return text.replace(GRAD, "grad").replace(LENGTH, "length")


def _decimal(value: Fraction) -> str:
    with localcontext(prec=17):
        return show_number(Fraction(Decimal(value.numerator) / Decimal(value.denominator)))
