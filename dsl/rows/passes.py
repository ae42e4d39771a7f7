"""How a function of rows is computed: in which passes over the row its reductions are found.

In: a stable expression. Out: a `RowFunction`. A row that fits on chip is read once, whatever its reductions;
one that does not is read once for every level of reductions, and once more for the map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import count

from dsl.expr import Apply, Expr, Symbol, is_op, postorder, substitute, symbols
from dsl.ops import REDUCTIONS
from dsl.program import GRAD, LENGTH, Function, Reduction, RowFunction
from dsl.rows.extent import elementwise_part
from dsl.rows.scaled import Stable
from dsl.schedule import schedule

_NAMES = {"rowsum": "total", "rowmax": "greatest", "rowpeak": "peak"}
"""What the numbers of a row are called."""


def plan(
    label: str, stable: Stable, inputs: Sequence[str], parameters: Sequence[str], names: Mapping[Expr, str]
) -> RowFunction:
    """The passes of an expression over tensors called `inputs`; `label` is what the function is called."""
    nodes = [node for node in postorder(stable.value) if isinstance(node, Apply) and node.op in REDUCTIONS]
    below = {node: _below(node.args[0]) for node in nodes}
    found: dict[Expr, Symbol] = {}
    levels: dict[Expr, int] = {}
    reductions = []
    taken = {*inputs, *parameters, *symbols(stable.value)}
    for node in nodes:
        peak, rate = stable.online.get(node, (None, None))
        before = max((levels[each] for each in below[node] if each is not peak), default=-1)
        online = peak is not None and before < levels[peak]
        after = before if peak is None else max(before, levels[peak])
        levels[node] = levels[peak] if online and peak is not None else 1 + after
        name = _unique(_NAMES[node.op], taken)
        term = _function(
            name, substitute(node.args[0], {e: found[e] for e in below[node]}), inputs, parameters, names
        )
        grows = found[peak].name if online and peak is not None else ""
        shrinks = rate if grows and rate is not None else Fraction(0)
        reductions.append(Reduction(name, node.op, levels[node], term, grows, shrinks))
        found[node] = Symbol(name)
    order = sorted(range(len(nodes)), key=lambda place: (levels[nodes[place]], place))
    after_all = substitute(stable.value, {each: found[each] for each in _below(stable.value)})
    return RowFunction(
        tuple(reductions[place] for place in order),
        _function(label, after_all, inputs, parameters, names),
        _function(label, stable.value, inputs, parameters, names),
    )


def _below(root: Expr) -> list[Expr]:
    return [node for node in elementwise_part(root) if is_op(node, *REDUCTIONS)]


def _unique(wish: str, taken: set[str]) -> str:
    names = (wish if number == 1 else f"{wish}{number}" for number in count(1))
    name = next(name for name in names if name not in taken)
    taken.add(name)
    return name


def _function(
    label: str, root: Expr, inputs: Sequence[str], parameters: Sequence[str], names: Mapping[Expr, str]
) -> Function:
    """The program of an expression, whose inputs are the tensors and the row's numbers that are in it."""
    used = symbols(root)
    tensors = [name for name in (*inputs, GRAD) if name in used] or [inputs[0]]
    own = [name for name in (*parameters, LENGTH) if name in used]
    of_row = [name for name in used if name not in (*tensors, *own)]
    first, *others = (*tensors, *of_row)
    return schedule(label, root, first, tuple(own), names, tuple(others))
