"""An expression of several inputs, put together from parts that depend on one input each.

In: an expression and the names of its inputs. Out: the same function; the factors of a product and the terms
of a sum are gathered by the inputs they depend on, and what depends on one input alone is as a treatment of
expressions of one input makes it. Where inputs mix in no other way than in one sum such as x + b, or in one
quantity such as x * y or a * x + b * y with parameters a and b, that is treated as if it were the input. What
mixes them otherwise is kept, its operands treated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from dsl.expr import ONE, ZERO, Apply, Expr, Number, Symbol, is_op, postorder, substitute
from dsl.ops import OPS
from dsl.rewrite.simplify import simplify

Treatment = Callable[[Expr, str], Expr]
"""What is done to an expression of one input, whose name comes with it."""

_Plan = tuple[Sequence[Expr], Callable[[Sequence[Expr]], Expr]]
"""The parts of an expression, and what makes the expression of its treated parts."""

_Operands = Sequence[tuple[Expr, bool]]
"""Factors or terms, with False for those that divide or are subtracted."""

_Join = Callable[[_Operands], Expr]


ALGEBRA = frozenset(
    "add sub mul div neg where abs sign max min lt le gt ge eq ne and or not true false inf".split()
)
"""What may stand in a function whose normal form is worth no more than the function itself."""


def is_algebra(root: Expr) -> bool:
    """Whether there is nothing but arithmetic, whole powers and choices in an expression."""
    return all(
        node.op in ALGEBRA or is_whole_power(node) for node in postorder(root) if isinstance(node, Apply)
    )


def is_whole_power(node: Expr) -> bool:
    """Whether an expression is a power whose exponent is a whole number."""
    return is_op(node, "pow") and isinstance(node.args[1], Number) and node.args[1].value.denominator == 1


def _as_it_is(root: Expr) -> Expr:
    return root


def separate(
    root: Expr, inputs: Sequence[str], treat: Treatment, free: Callable[[Expr], Expr] = _as_it_is
) -> Expr:
    """`root`, each part of one input as `treat` makes it, and each without any as `free` does.

    >>> from dsl.expr import call
    >>> x, y = Symbol("x"), Symbol("y")
    >>> separate(x * y * call("exp", x), ("x", "y"), lambda part, name: part) is x * call("exp", x) * y
    True
    """
    worker = _Separator(inputs, treat, free)
    plans: dict[Expr, _Plan] = {}
    done: dict[Expr, Expr] = {}
    stack = [root]
    while stack:
        node = stack[-1]
        if node not in plans:
            plans[node] = worker.plan(node)
        parts, join = plans[node]
        missing = [part for part in parts if part not in done]
        if missing:
            stack.extend(reversed(missing))
            continue
        done[node] = join([done[part] for part in parts])
        stack.pop()
    return done[root]


class _Separator:
    def __init__(self, inputs: Sequence[str], treat: Treatment, free: Callable[[Expr], Expr]) -> None:
        self.inputs: dict[Expr, str] = {Symbol(name): name for name in inputs}
        self.treat, self.free = treat, free
        self._within: dict[Expr, frozenset[Expr]] = {}
        self._narrow: dict[Expr, Expr | None] = {}
        self._depth: dict[Expr | None, int] = {None: 0}

    def within(self, root: Expr) -> frozenset[Expr]:
        """The inputs that an expression depends on."""
        if root not in self._within:
            for node in postorder(root):
                own = frozenset([node] if node in self.inputs else [])
                self._within[node] = own.union(*(self._within[arg] for arg in node.args))
        return self._within[root]

    def plan(self, node: Expr) -> _Plan:
        """The parts that an expression is made of, and how."""
        inputs = self.within(node)
        if not inputs:
            return (), lambda _: self.free(node)
        if not node.args:
            return (), lambda _: node
        assert isinstance(node, Apply)
        if OPS[node.op].result == "b":
            return node.args, lambda parts: Apply(node.op, *parts)
        if len(inputs) == 1:
            (x,) = inputs
            name = self.inputs[x]
            return (), lambda _: self.treat(node, name)
        quantity = self._only_sum(node)
        if quantity is not None:
            return (), lambda _: self._of_sum(node, quantity)
        mixed = self._only_mixture(node)
        if mixed is not None:
            return (mixed,), lambda parts: self._of_mixture(node, mixed, parts[0])
        for operations, joined in ((_PRODUCTS, _product), (_SUMS, _sum)):
            if node.op in operations:
                groups = self._gathered(_flattened(node, operations, self._mixed), joined)
                if len(groups) > 1:
                    return _plan_of(groups, joined)
        return node.args, lambda parts: Apply(node.op, *parts)

    def _mixed(self, node: Expr) -> bool:
        return len(self.within(node)) > 1

    def _gathered(self, operands: _Operands, joined: _Join) -> _Operands:
        """The operands of a product or sum, those of the same inputs joined; constants go with the first."""
        groups: dict[frozenset[Expr], list[tuple[Expr, bool]]] = {}
        for operand, plain in operands:
            groups.setdefault(self.within(operand), []).append((operand, plain))
        constants = groups.pop(frozenset(), [])
        first = min(groups, key=len)
        groups[first] = [*constants, *groups[first]]
        return [_group(operands, joined) for operands in groups.values()]

    # -- one sum in the place of the inputs ----------------------------------------------------------------

    def _only_sum(self, root: Expr) -> dict[Expr, tuple[Expr, Expr]] | None:
        """The sums of inputs in an expression that depends on its inputs by multiples of one sum alone.

        With each comes what it is beside the first: a factor and a term. 1 - x - b is -1 and 1 beside x + b.
        """
        found: dict[Expr, tuple[Expr, Expr]] = {}
        first: tuple[Fraction, ...] = ()
        forms = self._linear_forms(root)
        if forms[root] is not None:
            return None
        stack, seen = [root], {root}
        while stack:
            node = stack.pop()
            form = forms[node]
            if form is None:
                fresh = [arg for arg in dict.fromkeys(node.args) if arg not in seen]
                seen.update(fresh)
                stack.extend(reversed(fresh))
            elif self.within(node):
                weights, rest = form
                if not any(weights):
                    return None
                first = first or weights
                place = next(i for i, weight in enumerate(weights) if weight)
                factor = weights[place] / first[place] if first[place] else Fraction(0)
                if not factor or tuple(factor * weight for weight in first) != weights:
                    return None
                found[node] = (Number(factor), rest)
        return found

    def _linear_forms(self, root: Expr) -> dict[Expr, tuple[tuple[Fraction, ...], Expr] | None]:
        """What each node is as a sum of inputs: a weight for each input, and the rest; None if it is none."""
        nothing = tuple(Fraction(0) for _ in self.inputs)
        forms: dict[Expr, tuple[tuple[Fraction, ...], Expr] | None] = {}
        for node in postorder(root):
            forms[node] = None
            if node in self.inputs:
                forms[node] = tuple(Fraction(node is x) for x in self.inputs), ZERO
            elif not self.within(node):
                forms[node] = nothing, node
            elif is_op(node, "add", "sub", "neg"):
                operands = [forms[arg] for arg in node.args]
                a, b = operands if len(operands) == 2 else ((nothing, ZERO), *operands)
                if a is not None and b is not None:
                    plain = is_op(node, "add")
                    weights = (v + w if plain else v - w for v, w in zip(a[0], b[0], strict=True))
                    forms[node] = tuple(weights), _plus(a[1], b[1], plain)
        return forms

    def _of_sum(self, root: Expr, sums: dict[Expr, tuple[Expr, Expr]]) -> Expr:
        """An expression of one sum, treated as one of a single input."""
        total = _unused(root)
        # The sum that is spelled is one without a rest, if there is any: nothing is taken away again then.
        spelled = min(sums, key=lambda each: (sums[each][1] is not ZERO, sums[each][0] is not ONE))
        factor, rest = sums[spelled]
        given: dict[Expr, Expr] = {}
        for each, (own_factor, own_rest) in sums.items():
            ratio = simplify(own_factor / factor)
            given[each] = simplify(_plus(ratio * total, _plus(own_rest, ratio * rest, False), True))
        return substitute(self.treat(simplify(substitute(root, given)), total.name), {total: spelled})

    # -- one quantity in the place of the inputs -----------------------------------------------------------

    def _only_mixture(self, root: Expr) -> Expr | None:
        """The smallest part that mixes inputs, if a function that is no mere algebra depends on it alone."""
        self._find_narrows(root)
        found, node = None, self._narrow[root]
        while node is not None:
            if isinstance(node, Apply) and OPS[node.op].result != "b":
                found = node
            node = self._narrow[node]
        return None if found is None or is_algebra(substitute(root, {found: _unused(root)})) else found

    def _find_narrows(self, root: Expr) -> None:
        """For each node the next one that all ways from it down to inputs pass; None where there is none."""
        for node in postorder(root) if root not in self._narrow else ():
            if node in self._narrow or not self.within(node):
                continue
            below = [arg for arg in node.args if self.within(arg)]
            narrow = below[0] if below else None
            for other in below[1:]:
                narrow = self._meeting(narrow, other)
            self._narrow[node] = narrow
            self._depth[node] = self._depth[narrow] + 1

    def _meeting(self, a: Expr | None, b: Expr | None) -> Expr | None:
        """The first node that all ways from two others pass."""
        while a is not b:
            if a is not None and self._depth[a] >= self._depth[b]:
                a = self._narrow[a]
            elif b is not None:
                b = self._narrow[b]
        return a

    def _of_mixture(self, root: Expr, mixed: Expr, treated: Expr) -> Expr:
        """An expression of one quantity, treated as one of a single input."""
        total = _unused(root)
        return substitute(
            self.treat(simplify(substitute(root, {mixed: total})), total.name), {total: treated}
        )


def _unused(root: Expr) -> Symbol:
    """A name that an expression does not have."""
    name = "total"
    while Symbol(name) in set(postorder(root)):
        name += "_"
    return Symbol(name)


def _plus(a: Expr, b: Expr, plain: bool) -> Expr:
    if isinstance(a, Number) and isinstance(b, Number):
        return Number(a.value + b.value if plain else a.value - b.value)
    if b is ZERO:
        return a
    if a is ZERO:
        return b if plain else -b
    return a + b if plain else a - b


_PRODUCTS = ("mul", "div", "neg")
_SUMS = ("add", "sub", "neg")


def _plan_of(groups: _Operands, joined: _Join) -> _Plan:
    signs = [plain for _, plain in groups]
    return [part for part, _ in groups], lambda parts: joined(list(zip(parts, signs, strict=True)))


def _group(operands: _Operands, joined: _Join) -> tuple[Expr, bool]:
    """Operands joined; if all of them divide, what they divide by."""
    if any(plain for _, plain in operands):
        return joined(operands), True
    return joined([(operand, True) for operand, _ in operands]), False


def _flattened(root: Expr, operations: tuple[str, ...], goes_on: Callable[[Expr], bool]) -> _Operands:
    """The operands of nested products or sums."""
    found: list[tuple[Expr, bool]] = []
    stack = [(root, True)]
    while stack:
        node, plain = stack.pop()
        if not is_op(node, *operations) or not goes_on(node):
            found.append((node, plain))
        elif is_op(node, "neg") and operations is _PRODUCTS:
            stack += [(node.args[0], plain), (Number(-1), True)]
        elif is_op(node, "neg"):
            stack.append((node.args[0], not plain))
        else:
            stack += [(node.args[1], plain == is_op(node, "mul", "add")), (node.args[0], plain)]
    return found


def _product(operands: _Operands) -> Expr:
    return _joined(operands, "mul", "div", ONE)


def _sum(operands: _Operands) -> Expr:
    return _joined(operands, "add", "sub", ZERO)


def _joined(operands: _Operands, plain: str, inverse: str, neutral: Expr) -> Expr:
    """The operands in order, but that one comes first which is not inverse."""
    ordered = sorted(operands, key=lambda operand: not operand[1])
    value = ordered[0][0] if ordered[0][1] else Apply(inverse, neutral, ordered[0][0])
    for operand, is_plain in ordered[1:]:
        value = Apply(plain if is_plain else inverse, value, operand)
    return value
