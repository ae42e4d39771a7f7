"""Several inputs in one tensor, and several outputs: what a definition says about them.

In: a definition of the syntax tree. Out: the terms of its outputs, and the layouts that its clauses `packed`
and `concat` name, with the errors noted in the scope.
"""

from __future__ import annotations

from typing import get_args

from dsl.activation import Layout
from dsl.syntax import Clause, Definition, Term
from dsl.translate import Scope

DIM = "dim"
"""The argument of packed and concatenating activations: the dimension along which tensors lie in one."""

LAYOUTS: tuple[Layout, ...] = tuple(layout for layout in get_args(Layout) if layout)


def output_terms(definition: Definition, scope: Scope) -> tuple[Term, ...]:
    """The formulas of a definition's outputs: those of a tuple, or the one that there is."""
    body = definition.body
    if body.kind != "tuple":
        return (body,)
    if len(body.operands) < 2:
        scope.note("E0102", "a tuple of one output", body.span, "write the formula without the comma")
    return body.operands


def layouts(definition: Definition, scope: Scope) -> tuple[Layout, Layout]:
    """How one tensor may hold the inputs, and how one holds the outputs."""
    outputs = len(definition.body.operands) if definition.body.kind == "tuple" else 1
    found: list[Layout] = []
    for word, what, count in (("packed", "inputs", len(definition.inputs)), ("concat", "outputs", outputs)):
        clause = next(iter(definition.clause(word)), None)
        found.append("" if clause is None else _layout(clause, scope))
        if clause is not None and count < 2:
            scope.note("E0115", f"'{word}' is for several {what}, and here is one", clause.span)
    if any(found):
        _check_arguments(definition, bool(found[0]), scope)
    return found[0], found[1]


def _layout(clause: Clause, scope: Scope) -> Layout:
    assert clause.name is not None
    for layout in LAYOUTS:
        if clause.name.text == layout:
            return layout
    choices = " or ".join(f"'{clause.word} {layout}'" for layout in LAYOUTS)
    scope.note("E0115", f"unexpected '{clause.name.text}'", clause.name.span, f"write {choices}")
    return ""


def _check_arguments(definition: Definition, packed: bool, scope: Scope) -> None:
    """The function gets an argument `dim`, and its later inputs become optional."""
    for name in (*definition.inputs, *(parameter.name for parameter in definition.parameters)):
        if name.text == DIM:
            message = f"'{DIM}' says along which dimension tensors lie in one"
            scope.note("E0107", message, name.span, f"write '{DIM}_'")
    for parameter in definition.parameters if packed else ():
        if parameter.default is None:
            message = f"parameter '{parameter.name.text}' of a packed definition needs a default"
            help_ = "it comes after inputs that a call may leave out"
            scope.note("E0117", message, parameter.span, help_)
