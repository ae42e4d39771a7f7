"""Entries of vectors, and sums and products over an index.

In: a term such as `a[k - 1]` or `sum(k in 0..5: a[k] * x**k)`, and the scope it stands in. Out: the `Expr`
that it denotes, the sum written out; or None with the errors noted in the scope. Indices are exact, and known
here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import TYPE_CHECKING

from dsl.constants import constant
from dsl.errors import did_you_mean
from dsl.expr import ONE, ZERO, Apply, Expr, Number
from dsl.names import objection
from dsl.ops import OPS
from dsl.syntax import Term

if TYPE_CHECKING:
    from dsl.translate import Scope

Translate = Callable[[Term, "Scope"], Expr | None]

SERIES: Mapping[str, tuple[str, Expr]] = {"sum": ("add", ZERO), "prod": ("mul", ONE)}
"""What joins the terms of a series, and the value that it leaves out."""

MOST_TERMS = 256
"""Terms that the series of one definition may have together."""

DEEPEST = 8
"""Series inside one another."""


def _index(node: Term, scope: Scope, translate: Translate) -> Expr | None:
    """The entry of a vector at a place that is known."""
    place = whole(node.operands[0], scope, translate)
    entries = scope.vectors.get(node.text)
    if node.text in scope.silent:
        return None
    if entries is None:
        if node.text in scope.names:
            scope.note("E0112", f"'{node.text}' is a number and has no entries", node.span)
        else:
            help_ = did_you_mean(node.text, scope.vectors)
            scope.note("E0106", f"undefined name '{node.text}'", node.span, help_)
        return None
    if place is None:
        return None
    if not 0 <= place < len(entries):
        held = f"'{node.text}' has the entries 0 to {len(entries) - 1}"
        scope.note("E0125", f"no entry {place}: {held}", node.operands[0].span)
        return None
    return entries[place]


def whole(term: Term, scope: Scope, translate: Translate) -> int | None:
    """The whole number that a term denotes; notes it where it is none."""
    value = translate(term, scope)
    if value is None:
        return None
    try:
        number = constant(value)
    except ValueError as error:
        scope.note("E0125", f"no whole number that is known: {error}", term.span)
        return None
    if number.denominator != 1:
        scope.note("E0125", f"{number} is no whole number", term.span)
        return None
    return int(number)


def _series(node: Term, scope: Scope, translate: Translate) -> Expr | None:
    """The sum or product over a range, written out."""
    low_term, high_term, body = node.operands
    joined = SERIES.get(node.text)
    if joined is None:
        scope.note("E0101", f"'{node.text}' goes over no index", node.span, "write 'sum' or 'prod'")
        return None
    low, high = whole(low_term, scope, translate), whole(high_term, scope, translate)
    if low is None or high is None or not _is_free(node, scope):
        return None
    if high < low:
        scope.note("E0125", f"the range {low}..{high} is empty", low_term.span.to(high_term.span))
        return None
    scope.terms += high - low + 1
    if scope.terms > MOST_TERMS or len(scope.running) >= DEEPEST:
        what = f"sums and products of more than {MOST_TERMS} terms, or inside more than {DEEPEST} others"
        scope.note("E0111", what, node.span)
        return None
    terms: list[Expr] = []
    value: Expr | None = None
    scope.running.append(node.index)
    for number in range(low, high + 1):
        scope.names[node.index] = Number(number)
        value = translate(body, scope)
        if value is None or _is_condition(value):
            break
        terms.append(value)
    del scope.names[scope.running.pop()]
    if value is not None and _is_condition(value):
        scope.note("E0112", "a condition where a number is expected", body.span)
    if len(terms) <= high - low:
        return None
    operation, neutral = joined
    kept = [term for term in terms if term is not neutral] or [neutral]
    return reduce(lambda a, b: Apply(operation, a, b), kept)


def _is_condition(value: Expr) -> bool:
    return isinstance(value, Apply) and OPS[value.op].result == "b"


def _is_free(node: Term, scope: Scope) -> bool:
    """Whether the running name of a series may be given."""
    refused = objection(node.index)
    if refused is not None:
        scope.note("E0107", refused[0], node.span, refused[1])
    elif node.index in scope.names:
        scope.note("E0108", f"'{node.index}' is already defined here", node.span)
    return refused is None and node.index not in scope.names


INDEXED: Mapping[str, Callable[[Term, Scope, Translate], Expr | None]] = {
    "index": _index,
    "series": _series,
}
"""The kinds of term that are read as a whole, and not after their operands."""
