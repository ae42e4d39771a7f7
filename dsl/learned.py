"""Learnable parameters of a definition: their shapes, their initial values, the names that they may have.

In: what stands after the semicolon, and the scope of the definition. Out: `Learned`, and in the scope what
was wrong. The entries of a vector `a` are the symbols `a[0]`, `a[1]`, ..., which the language prints as it
reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from dsl.activation import Learned, Parameter
from dsl.constants import constant
from dsl.expr import Symbol
from dsl.indexed import whole
from dsl.names import MODULE_ATTRIBUTES
from dsl.syntax import Definition, ParameterSyntax, Term
from dsl.translate import Scope, check_sort, translate

CHANNEL = "channel"
"""The word in brackets for one value per channel."""

LONGEST = 64
"""Entries of a vector."""


def read(parameter: ParameterSyntax, scope: Scope) -> Learned | None:
    """A learnable parameter, which `scope` then knows as a vector if it is one; None where it is wrong."""
    name = parameter.name.text
    if not parameter.learned:
        help_ = f"write 'learn {name}[...]'"
        scope.note("E0103", "a parameter that has a shape is a learnable one", parameter.span, help_)
        return None
    bare = Scope(scope.source, scope.owner, {}, frozenset(), scope.callees, scope.silent)
    shape = parameter.shape
    channelled = is_channelled(parameter)
    length = 1 if shape is None or channelled else _length(shape, bare)
    values = None if length is None else _initial(parameter, length, bare)
    scope.errors.extend(bare.errors)
    if length is None or bare.errors:
        scope.silent |= {name}
        return None
    if shape is None or channelled:
        return Learned(name, "channel" if channelled else "scalar", (name,), values)
    entries = tuple(f"{name}[{place}]" for place in range(length))
    scope.vectors[name] = tuple(map(Symbol, entries))
    return Learned(name, "vector", entries, values)


def is_channelled(parameter: ParameterSyntax) -> bool:
    """Whether a parameter is written as one with a value for each channel."""
    shape = parameter.shape
    return shape is not None and shape.kind == "name" and shape.text == CHANNEL


def _length(shape: Term, scope: Scope) -> int | None:
    if shape.kind == "name":
        message = f"'{shape.text}' is no shape: a shape is 'channel' or a number"
        scope.note("E0125", message, shape.span)
        return None
    length = whole(shape, scope, translate)
    if length is None or 1 <= length <= LONGEST:
        return length
    scope.note("E0125", f"a vector has from 1 to {LONGEST} entries, not {length}", shape.span)
    return None


def _initial(parameter: ParameterSyntax, length: int, scope: Scope) -> tuple[Fraction, ...] | None:
    """The initial values, one for each entry: as many as are given, or one for all."""
    term = parameter.default
    if term is None:
        return None
    given = term.operands if term.kind == "tuple" else (term,)
    if term.kind == "tuple" and len(given) != length:
        message = f"'{parameter.name.text}' has {_values(length)}, and {len(given)} are given"
        scope.note("E0117", message, term.span)
        return None
    found = [value for each in given if (value := _constant(each, scope)) is not None]
    return tuple(found) if len(found) == length else tuple(found) * length


def _values(count: int) -> str:
    return f"{count} value" + "s" * (count != 1)


def _constant(term: Term, scope: Scope) -> Fraction | None:
    value = translate(term, scope)
    if not check_sort(term, value, "r", scope) or value is None:
        return None
    try:
        return constant(value)
    except ValueError as error:
        scope.note("E0117", f"not a constant that can be used: {error}", term.span)
        return None


def numbers(learned: Iterable[Learned]) -> tuple[Parameter, ...]:
    """The entries of learnable parameters as parameters that are numbers."""
    return tuple(
        Parameter(entry, None if each.default is None else each.default[place])
        for each in learned
        for place, entry in enumerate(each.entries)
    )


def refuse_hidden(definition: Definition, learned: Sequence[Learned], scope: Scope) -> None:
    """Note the names of parameters that the module of an activation with learnable ones has for itself."""
    if not learned:
        return
    channelled = any(each.kind == CHANNEL for each in learned)
    arguments = {"dim"} if channelled else set()
    taken = {"device", "dtype"} | MODULE_ATTRIBUTES | ({"dim", "num_parameters"} if channelled else set())
    names = [(name, arguments) for name in definition.inputs]
    names += [(parameter.name, taken) for parameter in definition.parameters]
    for name, refused in names:
        if name.text in refused:
            message = f"'{name.text}' is a name that the module of learnable parameters has for itself"
            scope.note("E0107", message, name.span, f"write '{name.text}_'")
