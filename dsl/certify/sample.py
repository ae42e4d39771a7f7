"""Points to try: where a function of one input is likely to be wrong.

In: a format, and points of interest. Out: sorted float64 arrays of the format's values, each once (both
zeros, both infinities and NaN among them).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dsl.certify.roots import crossings
from dsl.evaluate import Reference
from dsl.evaluate.columns import expand
from dsl.expr import Expr, Number, Symbol, is_op, postorder, symbols
from dsl.ulp import Array, Format

STEPS = 24
"""How many neighbours on each side of a point of interest are tried."""
_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne", "max", "min")


def sample(
    fmt: Format, count: int, interest: Iterable[float] = (), seed: int = 0, every: bool = True
) -> Array:
    """At least about `count` points: every value of a 16-bit format; else a mixture, reproducible by `seed`.

    A fourth is uniform over bit patterns, so over all exponents; half is dense where activations move,
    2**-30 to 2**10; the rest is uniform in [-24, 24]. Added to these are the neighbourhoods of small
    integers, of their halves and of the points of interest, the powers of two, the subnormals' ends and the
    extremes. Without `every`, 16-bit formats are sampled, too.
    """
    if fmt.bits <= 16 and every:
        return _tidy(fmt.every_value())
    rng = np.random.default_rng(seed)
    top = int(fmt.order(np.array([np.inf]))[0])
    patterns = fmt.from_order(rng.integers(-top, top, count // 4))
    dense = np.exp2(rng.uniform(-30.0, 10.0, count // 2)) * rng.choice([-1.0, 1.0], count // 2)
    even = rng.uniform(-24.0, 24.0, count - count // 4 - count // 2)
    around = _around(fmt, np.array([*interest, *np.arange(-64, 65) / 2], dtype=np.float64))
    return _tidy(
        np.concatenate([fmt.round(np.concatenate([patterns, dense, even])), around, _landmarks(fmt)])
    )


def kinks(root: Expr, name: str, parameters: Mapping[str, Fraction] | None = None) -> tuple[float, ...]:
    """Where the expression may change its branch: what it compares with, and where a comparison turns.

    >>> from dsl.expr import call
    >>> kinks(call("max", Symbol("x") - 3, 0), "x")
    (-3.0, 0.0, 3.0)
    """
    values = dict(parameters or {})
    found: set[float] = set()
    for node in postorder(expand(root)):
        if is_op(node, *_COMPARISONS):
            for operand in node.args:
                found |= _constants(operand, values)
            found |= set(_turns(node.args[0] - node.args[1], name, values))
        elif is_op(node, "abs", "sign"):
            found |= set(_turns(node.args[0], name, values))
    return tuple(sorted(found))


def is_rounded_across(
    root: Expr, name: str, parameters: Mapping[str, Fraction] | None, fmt: Format, points: Array
) -> NDArray[np.bool_]:
    """At which points a comparison holds or not by less than arithmetic in a format sees.

    0.375 * x > 20 is true at the float64 next above 160 / 3, and false once the product is rounded. Where a
    function jumps there, it has the one side's value or the other's.
    """
    found = np.zeros(len(points), dtype=np.bool_)
    for node in postorder(expand(root)):
        if is_op(node, *_COMPARISONS) and name in symbols(node):
            one, other = (Reference(arg, name, parameters)(points) for arg in node.args)
            same = fmt.round(one.rounded) == fmt.round(other.rounded)
            found |= same & ((one.rounded != other.rounded) | (one.rest != other.rest))
    return found


def _constants(operand: Expr, values: Mapping[str, Fraction]) -> set[float]:
    found: set[float] = set()
    for node in postorder(operand):
        if isinstance(node, Number):
            found |= {float(node.value), -float(node.value)}
        elif isinstance(node, Symbol) and node.name in values:
            found |= {float(values[node.name]), -float(values[node.name])}
    return {value + 0.0 for value in found}


def _turns(difference: Expr, name: str, values: Mapping[str, Fraction]) -> list[float]:
    """Where an expression changes its sign, or is zero, on a coarse grid."""
    grid = np.concatenate([np.linspace(-64, 64, 257), np.exp2(np.arange(-20.0, 40.0, 4))])
    grid = np.unique(np.concatenate([grid, -grid])) + 0.0
    reference = Reference(difference, name, values)
    exact = reference(grid).rounded
    zeros = grid[exact == 0]
    few = zeros.tolist() if len(zeros) <= 16 else []
    return few + [float(place) for place in crossings(reference, grid, exact)]


def _around(fmt: Format, centres: Array) -> Array:
    centres = fmt.round(centres[np.isfinite(centres)])
    steps = np.arange(-STEPS, STEPS + 1)
    return fmt.from_order((fmt.order(centres)[:, None] + steps[None, :]).reshape(-1))


def _landmarks(fmt: Format) -> Array:
    low = fmt.emin - fmt.precision + 1
    powers = np.exp2(np.arange(low, fmt.emax + 1, dtype=np.float64))
    ends = _around(fmt, np.array([0.0, fmt.smallest_normal, fmt.max]))
    positive = np.concatenate([powers, np.abs(ends), [0.0, np.inf]])
    return np.concatenate([positive, -positive, [np.nan]])


def _tidy(points: Array) -> Array:
    """Sorted and each once; -0.0 stands before 0.0, NaN last and once."""
    points = points[~np.isnan(points)]
    plain = np.unique(points[points != 0])
    place = int(np.searchsorted(plain, 0.0))
    return np.concatenate([plain[:place], [-0.0, 0.0], plain[place:], [np.nan]])
