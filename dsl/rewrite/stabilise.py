"""The stabiliser: from a real function to an expression that floating point evaluates well everywhere.

In: an expression in the language's operations, the input's name, the parameters that are known positive.
Out: an equal expression in the targets' vocabulary, and the rules that made it.

The expression is cut at its choices (`where`). Each piece is written as one quotient of polynomials in the
input's magnitude, in exponentials that decay, in logarithms and roots (`canonical`), once for each sign of
the input; each quotient is spelled so that nothing in it cancels or overflows (`emit`); and the two are put
together again (`merge`). A piece that has no such form is treated operand by operand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from dsl.expr import (
    ZERO,
    Apply,
    Expr,
    Number,
    Symbol,
    call,
    is_op,
    postorder,
    rebuild,
    size,
    substitute,
    symbols,
)
from dsl.ops import OPS, where
from dsl.rewrite.angles import square_angles
from dsl.rewrite.bind import bind
from dsl.rewrite.canonical import Canonical, Case
from dsl.rewrite.conditions import settle
from dsl.rewrite.core import lower
from dsl.rewrite.emit import Speller
from dsl.rewrite.faults import count_faults
from dsl.rewrite.field import Field, Generator, Rational, TooLarge, terms
from dsl.rewrite.merge import merge
from dsl.rewrite.probe import probe
from dsl.rewrite.simplify import simplify
from dsl.rewrite.units import Units
from dsl.rewrite.vanish import vanish

LARGEST_PIECE = 400
"""Nodes in a piece that is worth a normal form; larger expressions are treated operand by operand."""

MOST_NESTS = 12
"""So many times, in one expression, is a piece tried as a function of what stands inside it."""

_SIGN_MATTERS = frozenset(("exp", "log", "erf", "atan", "abs", "sign", "sqrt", "pow"))


@dataclass(frozen=True)
class Stable:
    """The stabilised expression and the names of the rules that were used, in order."""

    value: Expr
    rules: tuple[str, ...]


def stabilise(root: Expr, input: str, positive: frozenset[str] = frozenset()) -> Stable:
    """An expression for the same function that is accurate at every floating-point input."""
    worker = _Stabiliser(Symbol(input), positive)
    exact, rules = square_angles(simplify(lower(root)))
    value = worker.run(simplify(exact), None)
    return Stable(simplify(value), (*rules, *worker.fired))


@dataclass(frozen=True)
class _Plan:
    """One way to write a piece: the expression, how many of its sums may cancel, the rules used."""

    value: Expr
    unresolved: int
    fired: dict[str, None]


class _Stabiliser:
    def __init__(self, x: Symbol, positive: frozenset[str], nests: int = MOST_NESTS) -> None:
        self.x = x
        self.positive = positive
        self._nests = nests
        self.fired: dict[str, None] = {}
        self._done: dict[tuple[Expr, int | None], Expr] = {}
        self._depth = 0

    def run(self, root: Expr, sign: int | None) -> Expr:
        """The stable form of a node, where the input is known to have a sign (or not)."""
        key = (root, sign)
        if key not in self._done:
            self._done[key] = self._run(root, sign)
        return self._done[key]

    def _run(self, root: Expr, sign: int | None) -> Expr:
        if not root.args:
            return root
        if size(root) > LARGEST_PIECE:
            return self._large(root)
        if self._depth > 50:
            return root
        self._depth += 1
        try:
            if OPS[root.op].result == "b" or not self._depends(root):  # type: ignore[attr-defined]
                return self._operands(root, sign)
            if is_op(root, "where"):
                return self._choice(root, sign)
            if not any(is_op(node, *_SIGN_MATTERS) for node in postorder(root)):
                return self._operands(root, sign)
            try:
                return self._piece(root, sign)
            except (TooLarge, ZeroDivisionError):
                return self._operands(root, sign)
        finally:
            self._depth -= 1

    def _depends(self, root: Expr) -> bool:
        return any(node is self.x for node in postorder(root))

    def _operands(self, root: Expr, sign: int | None) -> Expr:
        """The operation kept, its operands stabilised."""
        assert isinstance(root, Apply)
        root = _divided_early(root)
        return Apply(root.op, *(self.run(arg, sign) for arg in root.args))

    def _large(self, root: Expr) -> Expr:
        """An expression too large for one normal form: its small parts are stabilised, the rest is kept."""
        done: dict[Expr, Expr] = {}
        weight: dict[Expr, int] = {}
        for node in postorder(root):
            weight[node] = 1 + sum(weight[arg] for arg in node.args)
            if weight[node] > LARGEST_PIECE:
                assert isinstance(node, Apply)
                for arg in node.args:
                    if arg not in done:
                        done[arg] = self.run(arg, None)
                done[node] = Apply(node.op, *(done[arg] for arg in node.args))
        return done[root]

    # -- choices -----------------------------------------------------------------------------------------

    def _choice(self, root: Expr, sign: int | None) -> Expr:
        condition, then, otherwise = root.args
        holds = {s: self._holds(condition, s) for s in (1, -1)}
        if sign is not None and holds[sign] is not None:
            return self.run(then if holds[sign] else otherwise, sign)
        sign_then = sign_otherwise = sign
        for s in (1, -1):
            if sign is None and holds[s] is False:
                sign_then = -s
            if sign is None and holds[s] is True:
                sign_otherwise = -s
        settled = settle(condition)
        then, otherwise = self.run(then, sign_then), self.run(otherwise, sign_otherwise)
        return simplify(where(self._operands(settled, sign) if settled.args else settled, then, otherwise))

    def _holds(self, condition: Expr, sign: int) -> bool | None:
        try:
            return self._canonical(Field(self.x.name, self.positive), Case(self.x.name, sign)).condition(
                condition
            )
        except (TooLarge, ZeroDivisionError):
            return None

    # -- pieces ------------------------------------------------------------------------------------------

    def _canonical(self, field: Field, case: Case) -> Canonical:
        return Canonical(field, case, lambda node: self._atom(node, case.sign))

    def _atom(self, node: Expr, sign: int | None) -> Expr:
        if is_op(node, "where"):
            return self._choice(node, sign)
        return self._operands(node, sign) if node.args else node

    def _piece(self, root: Expr, sign: int | None) -> Expr:
        if sign is not None:
            return self._one_case(root, Case(self.x.name, sign))
        candidates = [plan for plan in (self._without_split(root), self._by_cases(root)) if plan is not None]
        best = min(candidates, key=lambda plan: (plan.unresolved, size(rebuild(plan.value, _uncorrected))))
        # One quotient for unrelated terms may overflow where neither does, and one for quantities of several
        # unknown signs takes no side that is right for all: then they are better apart.
        faults = self._faults(best.value, root)
        others = [self._operands(root, None), *self._nested(root)] if faults else []
        ranked = [(self._faults(other, root), i) for i, other in enumerate(others)]
        if ranked and min(ranked)[0] < faults:
            return others[min(ranked)[1]]
        self.fired.update(best.fired)
        return best.value

    def _faults(self, value: Expr, exact: Expr) -> int:
        """At how many points a form is wrong, as it stands or with products zero where exponentials are."""
        forms = [value] if len(symbols(exact)) == 1 else [value, vanish(value, self.x.name)]
        return min(count_faults(form, exact, self.x.name, self.positive) for form in forms)

    def _nested(self, root: Expr) -> Iterator[Expr]:
        """f(w), if that is what the piece is for some w(x): stable in w, and w stable in x."""
        if symbols(root) == (self.x.name,):
            return
        w = Symbol(next(name for name in ("w", "w_", "w__") if name not in symbols(root)))
        functions = [node for node in postorder(root) if isinstance(node, Apply) and node.op in _SIGN_MATTERS]
        for node in dict.fromkeys(part for each in functions for part in (each.args[0], each)):
            if not self._nests or node in (root, self.x) or not self._depends(node):
                continue
            outer = substitute(root, {node: w})
            if self.x.name not in symbols(outer):
                self._nests -= 1
                inner = self.run(node, None)
                yield substitute(_Stabiliser(w, self.positive, nests=0).run(outer, None), {w: inner})

    def _by_cases(self, root: Expr) -> _Plan:
        """The piece as one quotient for each sign of the input, put together."""
        field = Field(self.x.name, self.positive)
        cases = [self._canonical(field, Case(self.x.name, s)) for s in (1, -1)]
        values = [case(root) for case in cases]
        if any(case.undetermined for case in cases):
            split = self._split_on_quantity(root)
            if split is not None:
                return split
        speller = Speller(field, Units.of(field, values), call("abs", self.x))
        return self._plan(speller, self._place_zero(root, speller, *values), *values)

    def _one_case(self, root: Expr, case: Case) -> Expr:
        field = Field(self.x.name, self.positive)
        value = self._canonical(field, case)(root)
        magnitude = self.x if case.sign == 1 else -self.x
        speller = Speller(field, Units.of(field, [value]), magnitude)
        plan = self._plan(speller, speller.compose(speller.product(value)), value)
        self.fired.update(plan.fired)
        return plan.value

    def _without_split(self, root: Expr) -> _Plan | None:
        """The piece as one quotient in x itself, where no sign has to be known for that."""
        field = Field(self.x.name, self.positive)
        canonical = self._canonical(field, Case(self.x.name))
        value = canonical(root)
        if canonical.needs_sign or any(g.kind == "log" and not g.positive for g in field.generators):
            return None
        growing = [g for g in field.of_kind("exp") if not g.argument_decays]
        if any(is_op(gen.expr, "abs", "sign", "erf") for gen in field.of_kind("atom") if gen.expr):
            return None
        values = [value, *(g.argument for g in field.generators if g.argument is not None)]
        for gen in growing:
            if not all(_harmless(v, gen, i == 0) for i, v in enumerate(values)):
                return None
        speller = Speller(field, Units.of(field, [value]), self.x)
        return self._plan(speller, speller.compose(speller.product(value)), value)

    def _split_on_quantity(self, root: Expr) -> _Plan | None:
        """Cases by the sign of a quantity that is not the input, such as a parameter times the input."""
        field = Field(self.x.name, self.positive)
        first = self._canonical(field, Case(self.x.name))
        first(root)
        if not first.undetermined:
            return None
        quantity = first.undetermined[0]
        speller = Speller(field, Units.of(field, [quantity]), self.x)
        spelled = bind(speller, speller.quotient(quantity))
        size_of = call("abs", spelled)
        gen = field.generator(size_of, lambda i: Generator(i, "size", True, size_of))
        field.split = (quantity, field.value(gen))
        values = []
        for sign in (1, -1):
            canonical = self._canonical(field, Case(self.x.name, None, sign))
            values.append(canonical(root))
            if canonical.undetermined:
                return None
        speller = Speller(field, Units.of(field, values), self.x)
        parts = [speller.compose(speller.product(value)) for value in values]
        merged = parts[0] if values[0] == values[1] else where(call("ge", spelled, 0), *parts)
        return self._plan(speller, merged, *values)

    def _place_zero(self, root: Expr, speller: Speller, plus: Rational, minus: Rational) -> Expr:
        """The merged cases, with zero on the side whose limit it has (or apart, if it has neither)."""
        side = call("ge", self.x, 0)
        merged = merge(speller, side, self.x, plus, minus)
        if not any(is_op(node, "abs", "sign", "where", "max", "min") for node in postorder(root)):
            return merged
        names = {node.name for node in postorder(root) if isinstance(node, Symbol)} - {self.x.name}
        generic = {name: Fraction(7 + 2 * i, 9) for i, name in enumerate(sorted(names))}
        tiny = Fraction(1, 2**400)
        at = {s: probe(root, {**generic, self.x.name: s * tiny}) for s in (0, 1, -1)}
        if at[0] is None or any(value is None for value in at.values()) or _close(at[0], at[1]):
            return merged
        if _close(at[0], at[-1]):
            return merge(speller, call("gt", self.x, 0), self.x, plus, minus)
        at_zero = self.run(simplify(substitute(root, {self.x: ZERO})), None)
        return where(call("eq", self.x, 0), at_zero, merged)

    def _plan(self, speller: Speller, value: Expr, *cases: Rational) -> _Plan:
        unresolved = sum(len(speller.product(case).unresolved) for case in cases)
        return _Plan(bind(speller, value), unresolved, speller.fired)


def _harmless(value: Rational, gen: Generator, whole: bool) -> bool:
    """Whether an exponential of unknown sign occurs only as a factor, or in the value's numerator."""
    if whole and value.den.degrees()[gen.index] < 1:
        return True
    return all(len({monomial[gen.index] for monomial in terms(poly)}) <= 1 for poly in (value.num, value.den))


def _uncorrected(node: Expr) -> Expr:
    """An exponential without what its exponent's rounding lost: that costs sums, and makes no choices."""
    return call("exp", node.args[0]) if is_op(node, "exp_sum") else node


def _divided_early(root: Apply) -> Apply:
    """a * b / c as a * (b / c) for a number c > 1, so that a * b does not overflow."""
    if root.op != "div" or not is_op(root.args[0], "mul") or not isinstance(root.args[1], Number):
        return root
    a, b = root.args[0].args
    if root.args[1].value <= 1 or isinstance(a, Number):
        return root
    quotient = Apply("mul", a, b / root.args[1])
    assert isinstance(quotient, Apply)
    return quotient


def _close(a: object, b: object) -> bool:
    return bool(abs(a - b) < Fraction(1, 2**100).__float__())  # type: ignore[operator]
