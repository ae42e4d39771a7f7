"""Constraints on parameters as Python conditions on plain floats.

In: a condition over parameters. Out: a Python expression that is true where it holds.
"""

from __future__ import annotations

from collections.abc import Mapping

from dsl.expr import Expr, symbols
from dsl.targets.spelling import AND, ARITHMETIC, ATOM, NOT, OR, Kind, Row, Text, Writer, write

_LOGIC = {
    "and": Row("{0} and {1}", AND, (AND, NOT)),
    "or": Row("{0} or {1}", OR, (OR, AND)),
    "not": Row("not {0}", NOT, (NOT,)),
    "where": Row("({1} if {0} else {2})", ATOM, (OR, OR, OR)),
}

_FUNCTIONS = {
    "abs": "abs({0})",
    "max": "max({0}, {1})",
    "min": "min({0}, {1})",
    "pow": "({0}) ** ({1})",
    "pi": "math.pi",
    "e": "math.e",
    "sqrt": "math.sqrt({0})",
    "exp": "math.exp({0})",
    "log": "math.log({0})",
    "floor": "math.floor({0})",
    "ceil": "math.ceil({0})",
    "round": "round({0})",
}

_TABLE: Mapping[str, Writer] = {
    **{op: row.write for op, row in {**ARITHMETIC, **_LOGIC}.items()},
    **{op: Row(template).write for op, template in _FUNCTIONS.items()},
}


def condition(root: Expr) -> str:
    """A condition over parameters, in Python.

    >>> from dsl.expr import Symbol, call
    >>> condition(call("and", call("gt", Symbol("a"), 0), call("ne", Symbol("b"), Symbol("a"))))
    'a > 0.0 and b != a'
    """
    names = {name: Text(name, ATOM, Kind.UNIFORM) for name in symbols(root)}
    return write(root, names, _TABLE).source
