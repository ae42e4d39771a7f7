"""The functions that a spec may call, each as it is called and what it means: for the checker and editors.

In: the operations. Out: `CALLABLE`, a row for each name. An operation that a spec may call is one; what says
more than a value (`dsl.forms`), and what is written out (`dsl.indexed`), has its row in this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dsl.ops import FUNCTIONS, OPS, ROW_FUNCTIONS

Kind = Literal["value", "row", "mark", "series"]

_OPERANDS = "xyzuvw"


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language: how it is called, and what it means.

    A `value` is of numbers, a `row` reduces one, a `mark` says how something is differentiated or drawn, a
    `series` is a sum or product over an index.
    """

    name: str
    kind: Kind
    call: str
    meaning: str
    arity: int


def _of_ops(name: str, kind: Kind) -> Function:
    row = OPS[name]
    operands = iter(_OPERANDS)
    said = ("c" if sort == "b" else next(operands) for sort in row.sorts[: row.arity])
    return Function(name, kind, f"{name}({', '.join(said)})", row.meaning, row.arity)


_OWN = (
    Function("stop_gradient", "mark", "stop_gradient(x)", "x, whose derivative is 0", 1),
    Function("slope", "mark", "slope(x, s)", "0, whose derivative by x is s", 2),
    Function(
        "uniform",
        "mark",
        "uniform(low, high)",
        "a random number for each element, from low on and below high: "
        "`with a = uniform(low, high) in training, (low + high) / 2 in eval`",
        2,
    ),
    Function(
        "normal",
        "mark",
        "normal(mean, deviation)",
        "a normally distributed random number for each element: "
        "`with z = normal(0, 1) in training, 0 in eval`",
        2,
    ),
    Function("sum", "series", "sum(k in a..b: u)", "the sum of u for k from a to b, both included", 2),
    Function("prod", "series", "prod(k in a..b: u)", "the product of u for k from a to b, both included", 2),
)

CALLABLE: dict[str, Function] = {
    row.name: row
    for row in (
        *(_of_ops(name, "value") for name in FUNCTIONS),
        *(_of_ops(name, "row") for name in ROW_FUNCTIONS),
        *_OWN,
    )
}
"""Every function of the language by its name."""


def named(*kinds: Kind) -> tuple[str, ...]:
    """The names of the functions of some kinds.

    >>> named("series")
    ('sum', 'prod')
    """
    return tuple(name for name, row in CALLABLE.items() if row.kind in kinds)
