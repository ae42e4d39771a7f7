"""Functions of rows in a form that floating point evaluates well.

In: an expression with reductions. Out: the same function, in which no exponential overflows, or underflows
where it should not, on the way to a result that does neither.

Every value is carried as a product and an exponent, value = product * exp(exponent), and exponents are sums
with exact coefficients, so that those which cancel are gone before anything is computed. A sum over a row
takes the greatest exponent of the row out: sum(f * exp(a)) = exp(peak) * sum(f * exp(a - peak)). That is an
identity for any peak, and no derivative goes through it. What depends on no reduction, or on the row's
numbers alone, is made stable as an elementwise function is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from dsl.expr import ONE, ZERO, Apply, Expr, Number, Symbol, is_op, postorder, rebuild, substitute
from dsl.ops import OPS, REDUCTIONS
from dsl.program import GRAD
from dsl.rewrite.core import lower
from dsl.rewrite.guard import propagate_nan
from dsl.rewrite.probe import probe
from dsl.rewrite.separate import Treatment, separate
from dsl.rewrite.simplify import simplify, simplify_top
from dsl.rows.exponent import NOTHING, Exponent
from dsl.rows.extent import LENGTH_OF_ROW, Extent, elementwise_part

RULES = {
    "greatest exponent taken out": (
        "exp overflows beyond 88.7 in float32; over exp of the row's greatest, what overflowed is at most "
        "1, and the greatest is exactly 1"
    ),
    "variance about the mean": (
        "the mean square less the squared mean loses all digits where the mean is large"
    ),
    "distance from the mean, twice": (
        "the mean is rounded; the distances from it have a mean that says by how much"
    ),
}
"""What is done to a function of rows, and why."""

_HUGE = 10**30
_FAR = 1000
_POLYNOMIAL = frozenset(
    "add sub mul div neg pow sqrt abs sign floor ceil round where max min "
    "lt le gt ge eq ne and or not".split()
)
"""Operations that need no treatment of their own."""


@dataclass(frozen=True)
class Stable:
    """A function of rows made stable: its expression, the rules that were used, and the sums over a row that
    can be found while their peak grows: each has a factor exp(-rate * peak).
    """

    value: Expr
    rules: tuple[str, ...]
    online: Mapping[Expr, tuple[Expr, Fraction]]


def stabilise_rows(root: Expr, inputs: Sequence[str], treat: Treatment) -> Stable:
    """`root` over tensors called `inputs`, with `treat` for what is elementwise in one number."""
    worker = _Worker(inputs, treat)
    root = lower(rebuild(lower(root), worker.expanded))
    for node in postorder(root):
        if isinstance(node, Apply) and node.op in REDUCTIONS:
            worker.reduce(node)
    value = worker.spelled(worker.scaled(root))
    return Stable(value, tuple(worker.fired), worker.online)


@dataclass(frozen=True)
class _Scaled:
    """number * product of powers of `factors` * exp(exponent)."""

    factors: Mapping[Expr, int]
    number: Fraction = Fraction(1)
    exponent: Exponent = NOTHING

    def times(self, other: _Scaled) -> _Scaled:
        factors = dict(self.factors)
        for node, power in other.factors.items():
            factors[node] = factors.get(node, 0) + power
        kept = {node: power for node, power in factors.items() if power}
        return _Scaled(kept, self.number * other.number, self.exponent + other.exponent)

    def power(self, n: int) -> _Scaled:
        factors = {node: n * power for node, power in self.factors.items() if n}
        return _Scaled(factors, self.number**n, self.exponent * Fraction(n))


def _whole(node: Expr) -> int | None:
    """The value of an integer."""
    return int(node.value) if isinstance(node, Number) and node.value.denominator == 1 else None


def _one(node: Expr) -> _Scaled:
    return _Scaled({}, node.value) if isinstance(node, Number) else _Scaled({node: 1})


class _Worker:
    def __init__(self, names: Sequence[str], treat: Treatment) -> None:
        self.names = names
        self.extent = Extent([*names, GRAD])
        self.inputs = [Symbol(name) for name in (*names, GRAD)]
        self.treat = treat
        self.reduced: dict[Expr, _Scaled] = {}
        self.fired: dict[str, None] = {}
        self.online: dict[Expr, tuple[Expr, Fraction]] = {}

    # -- reductions in terms of two ------------------------------------------------------------------------

    def expanded(self, node: Expr) -> Expr:
        """Means, variances and minima by sums and maxima; distances from a mean, without its rounding."""
        if is_op(node, "rowmean"):
            return self._mean(node.args[0])
        if is_op(node, "rowmin"):
            return -Apply("rowmax", -node.args[0])
        if is_op(node, "rowvar"):
            self.fired["variance about the mean"] = None
            rest = node.args[0] - self._mean(node.args[0])
            return Apply("max", self._mean(rest * rest) - self._mean(rest) ** 2, ZERO)
        if is_op(node, "sub") and node.args[1] is self._mean(node.args[0]) and self.extent.varies(node):
            self.fired["distance from the mean, twice"] = None
            return node - self._mean(node)
        return self._near_its_mean(node)

    def _near_its_mean(self, node: Expr) -> Expr:
        """A sum that holds a distance from the mean in parts, with the distance in one."""
        if not is_op(node, "add", "sub") or not self.extent.varies(node):
            return node
        terms = Exponent.of(node).terms
        for each, factor in terms.items():
            mean = self._mean(each)
            if self.extent.varies(each) and terms.get(mean) == -factor and len(terms) > 2:
                distance = self.expanded(each - mean)
                rest = Exponent({n: f for n, f in terms.items() if n not in (each, mean)}).plain_sum()
                return distance * Number(factor) + rest if factor != 1 else distance + rest
        return node

    def _mean(self, e: Expr) -> Expr:
        return Apply("rowsum", e) / LENGTH_OF_ROW

    def reduce(self, node: Apply) -> None:
        """Find what a reduction is; those below it are known."""
        value = self.scaled(node.args[0])
        varying, uniform = value.exponent.split(self.extent)
        greatest = is_op(node, "rowmax")
        outer = {n: p for n, p in value.factors.items() if not greatest and not self.extent.varies(n)}
        inner = {n: p for n, p in value.factors.items() if n not in outer}
        if not inner and not varying.terms:
            whole = _Scaled(value.factors, value.number, uniform)
            self.reduced[node] = whole if greatest else whole.times(_one(LENGTH_OF_ROW))
            return
        number = value.number if greatest else Fraction(1)
        shift, peak, rate = Exponent({}), None, Fraction(0)
        if varying.terms:
            self.fired["greatest exponent taken out"] = None
            rate = abs(next(iter(varying.terms.values())))
            peak = Apply("rowpeak", (varying * (1 / rate)).plain_sum())
            shift = Exponent({peak: rate})
        found = Apply(node.op, self.spelled(_Scaled(inner, number, varying - shift)))
        if peak is not None and not greatest and all(peak not in set(postorder(each)) for each in inner):
            self.online[found] = (peak, rate)
        result = _Scaled({found: 1}, Fraction(1) if greatest else value.number, uniform + shift)
        self.reduced[node] = result.times(_Scaled(outer))

    # -- elementwise parts ---------------------------------------------------------------------------------

    def scaled(self, root: Expr) -> _Scaled:
        """An expression as a product and an exponent; the reductions in it are known."""
        nodes = list(elementwise_part(root))
        plain: dict[Expr, bool] = {}
        exponential: dict[Expr, bool] = {}
        free: dict[Expr, bool] = {}
        for node in nodes:
            leaf = is_op(node, *REDUCTIONS)
            own = not leaf or (not self.reduced[node].exponent.terms)
            plain[node] = own and (leaf or all(plain[arg] for arg in node.args))
            # Products in which exponentials stand by themselves; with others inside, as in a quotient of
            # sums, they may cancel, and the whole is better treated than taken apart.
            product = is_op(node, *_PRODUCTS)
            free[node] = leaf or not (is_op(node, "exp") or any(not free[arg] for arg in node.args))
            exponential[node] = is_op(node, "exp") or (
                product
                and any(exponential[arg] for arg in node.args)
                and all(exponential[arg] or free[arg] for arg in node.args)
            )
        atoms: dict[Expr, Expr] = {}
        needed = {root}
        for node in reversed(nodes):
            if node not in needed or not node.args or is_op(node, *REDUCTIONS):
                continue
            if plain[node] and not exponential[node]:
                leaves, flat = self._flat(node)
                if not self._explodes(flat, leaves):
                    atoms[node] = self._treated(flat, leaves)
                    continue
            needed.update(node.args)
        done: dict[Expr, _Scaled] = {}
        for node in nodes:
            if node in atoms:
                done[node] = self._factored(atoms[node])
            elif node in needed:
                done[node] = self._step(node, done)
        return done[root]

    def _flat(self, root: Expr) -> tuple[dict[Expr, Expr], Expr]:
        """What each leaf of an expression stands for, and the expression of these leaves."""
        flat, numbers = self.extent.flat(root)
        leaves: dict[Expr, Expr] = {
            symbol: self.spelled(self.scaled(node)) for symbol, node in numbers.items()
        }
        leaves |= {node: node for node in postorder(flat) if node in self.inputs}
        return leaves, flat

    def _explodes(self, root: Expr, leaves: Mapping[Expr, Expr]) -> bool:
        """Whether an expression grows as exponentials do."""
        if not any(is_op(node, "exp") for node in postorder(root)):
            return False
        names = [leaf.name for leaf in leaves if isinstance(leaf, Symbol)]
        base = {node.name: Fraction(1, 2) for node in postorder(root) if isinstance(node, Symbol)}
        values = [probe(root, {**base, name: Fraction(far)}) for name in names for far in (_FAR, -_FAR)]
        return any(value is not None and not abs(value) < _HUGE for value in values)

    def _treated(self, root: Expr, leaves: Mapping[Expr, Expr]) -> Expr:
        names = [leaf.name for leaf in leaves if isinstance(leaf, Symbol)]
        if all(not node.args or is_op(node, *_POLYNOMIAL) for node in postorder(root)):
            root = simplify(root)
        elif names:
            root = simplify(separate(simplify(root), names, self.treat))
            if not isinstance(root, Apply) or OPS[root.op].result == "r":
                for name in self.names:
                    root = propagate_nan(root, name) if Symbol(name) in set(postorder(root)) else root
        return _tidied(substitute(root, leaves))

    def _factored(self, root: Expr) -> _Scaled:
        """An expression by its factors, so that those of a whole row leave the sums over it."""
        done: dict[Expr, _Scaled] = {}
        for node in postorder(root):
            if is_op(node, "mul"):
                done[node] = done[node.args[0]].times(done[node.args[1]])
            elif is_op(node, "div"):
                done[node] = done[node.args[0]].times(done[node.args[1]].power(-1))
            elif is_op(node, "neg"):
                done[node] = done[node.args[0]].times(_Scaled({}, Fraction(-1)))
            elif is_op(node, "pow") and _whole(node.args[1]) is not None:
                done[node] = done[node.args[0]].power(_whole(node.args[1]) or 0)
            else:
                done[node] = _one(node)
        return done[root]

    def _step(self, node: Expr, done: Mapping[Expr, _Scaled]) -> _Scaled:
        if node in self.reduced:
            return self.reduced[node]
        parts = [done[arg] for arg in node.args if arg in done]
        rule = _RULES.get(node.op) if isinstance(node, Apply) else None
        found = rule(self, node, parts) if rule is not None else None
        if found is not None:
            return found
        if not isinstance(node, Apply) or not parts:
            return _one(node)
        if is_op(node, *_ALIGNED):
            return self._aligned(node, parts)
        return _one(Apply(node.op, *map(self.spelled, parts)))

    def _power(self, node: Expr, parts: Sequence[_Scaled]) -> _Scaled | None:
        exponent = _whole(node.args[1])
        return None if exponent is None else parts[0].power(exponent)

    def _root(self, node: Expr, parts: Sequence[_Scaled]) -> _Scaled:
        inside = self.spelled(_Scaled(parts[0].factors, parts[0].number))
        return _Scaled({Apply("sqrt", inside): 1}, exponent=parts[0].exponent * Fraction(1, 2))

    def _exponential(self, node: Expr, parts: Sequence[_Scaled]) -> _Scaled:
        """exp(c * log(u) + rest) is u**c * exp(rest) for a whole c."""
        terms = dict(Exponent.of(self.spelled(parts[0])).terms)
        logs = {n: c for n, c in terms.items() if is_op(n, "log") and c.denominator == 1}
        rest = Exponent({n: c for n, c in terms.items() if n not in logs})
        return _Scaled({n.args[0]: int(c) for n, c in logs.items()}, exponent=rest)

    def _logarithm(self, node: Expr, parts: Sequence[_Scaled]) -> _Scaled | None:
        """log(product * exp(exponent)), the product's logarithm by itself."""
        (value,) = parts
        inside, sign = _Scaled(value.factors, value.number), 1
        if value.number == 1 and value.factors and all(power < 0 for power in value.factors.values()):
            inside, sign = inside.power(-1), -1
        log = Apply("log", self.spelled(inside))
        own = Exponent({} if not inside.factors and inside.number == 1 else {log: Fraction(sign)})
        return _one(_regrouped(own + value.exponent))

    def _sum(self, node: Expr, parts: Sequence[_Scaled]) -> _Scaled:
        sign = Fraction(-1 if is_op(node, "sub") else 1)
        (first, second), exponent = self._common(parts)
        common = {
            n: min(p, second.factors[n], key=abs)
            for n, p in first.factors.items()
            if n in second.factors and p * second.factors[n] > 0 and not self.extent.varies(n)
        }
        divided = [each.times(_Scaled(common).power(-1)) for each in (first, second)]
        a, b = map(self.spelled, divided)
        if b is a:
            whole = _one(a).times(_Scaled({}, 1 + sign))
        elif isinstance(b, Apply) and b.op == "neg":
            whole = _one(simplify_top(a + b.args[0] if sign < 0 else a - b.args[0]))
        else:
            whole = _one(simplify_top(a + b if sign > 0 else a - b))
        if len(whole.factors) == 1 and not exponent.terms:
            (sum_,) = whole.factors
            whole = _one(_regrouped(Exponent.of(sum_), sum_))
        return whole.times(_Scaled(common, exponent=exponent))

    def _aligned(self, node: Apply, parts: Sequence[_Scaled]) -> _Scaled:
        """An operation that a common positive factor of its operands goes through, or does not change."""
        real = [place for place, sort in enumerate(OPS[node.op].sorts[: len(parts)]) if sort == "r"]
        values, exponent = self._common([parts[place] for place in real])
        operands = [self.spelled(part) for part in parts]
        for place, value in zip(real, values, strict=True):
            operands[place] = self.spelled(value)
        result = Apply(node.op, *operands)
        return (
            _one(result) if OPS[node.op].result == "b" else _one(result).times(_Scaled({}, exponent=exponent))
        )

    def _common(self, parts: Sequence[_Scaled]) -> tuple[list[_Scaled], Exponent]:
        """The parts over exp of one exponent, none of which is large beside it; and that exponent."""
        common = parts[0].exponent
        for part in parts[1:]:
            if (part.exponent - common).never_positive():
                continue
            if (common - part.exponent).never_positive():
                common = part.exponent
            else:
                common = Exponent({Apply("max", common.plain(), part.exponent.plain()): Fraction(1)})
        over = _Scaled({}, exponent=common * Fraction(-1))
        return [
            _one(self.spelled(part.times(over))) if part.exponent.terms != common.terms else part.times(over)
            for part in parts
        ], common

    # -- spelling ------------------------------------------------------------------------------------------

    def spelled(self, value: _Scaled) -> Expr:
        """A product as an expression; its factors of a whole row are multiplied before the others.

        Beside an exponential, what divides the whole row is as good as a factor: a sum over the greatest.
        Else it divides, for its reciprocal may overflow, or vanish, where the quotient does not.
        """
        row = {n: p for n, p in value.factors.items() if not self.extent.varies(n)}
        own = {n: p for n, p in value.factors.items() if n not in row}
        exponential = value.exponent.exponential() if value.exponent.terms else None
        divides = exponential is None and all(power < 0 for power in row.values())
        if divides or not any(map(self.extent.of_row, row)):
            row, own = {}, {**own, **row}
        of_row = exponential is not None and not self.extent.varies(exponential)
        number: Expr = Number(abs(value.number))
        uniform = _quotient(
            [exponential] if exponential is not None and of_row else [], row, number if row else ONE
        )
        varying = _quotient(
            [exponential] if exponential is not None and not of_row else [], own, ONE if row else number
        )
        whole = varying if uniform is ONE else uniform if varying is ONE else varying * uniform
        return simplify_top(-whole) if value.number < 0 else ZERO if value.number == 0 else whole


def _tidied(root: Expr) -> Expr:
    """An expression simplified down to its reductions, which stay as they are."""
    done: dict[Expr, Expr] = {}
    for node in elementwise_part(root):
        if isinstance(node, Apply) and node.op not in REDUCTIONS:
            done[node] = simplify_top(Apply(node.op, *(done[arg] for arg in node.args)))
        else:
            done[node] = node
    return done[root]


def _quotient(first: Sequence[Expr], factors: Mapping[Expr, int], number: Expr) -> Expr:
    above = [*first, *(_raised(n, p) for n, p in factors.items() if p > 0)]
    quotient = _product(above if number is ONE else [number, *above])
    for node, power in factors.items():
        # One after the other, if they are few: a square may overflow.
        for divisor in [node] * -power if power >= -3 else [_raised(node, -power)]:
            quotient = quotient / divisor
    return quotient


def _raised(node: Expr, power: int) -> Expr:
    return node if power == 1 else node ** Number(power)


def _product(factors: Sequence[Expr]) -> Expr:
    product: Expr = ONE
    for factor in factors:
        product = factor if product is ONE else product * factor
    return product


def _regrouped(total: Exponent, otherwise: Expr | None = None) -> Expr:
    """A sum with every number next to the greatest of its row, if that is in it: both are large."""
    if otherwise is not None and not any(is_op(node, "rowpeak") for node in total.terms):
        return otherwise
    return total.plain()


_PRODUCTS = ("mul", "div", "neg", "sqrt", "pow")
_ALIGNED = ("max", "min", "where", "lt", "le", "gt", "ge", "eq", "ne")

_RULES: dict[str, Callable[[_Worker, Expr, Sequence[_Scaled]], _Scaled | None]] = {
    "add": _Worker._sum,
    "sub": _Worker._sum,
    "mul": lambda _, node, parts: parts[0].times(parts[1]),
    "div": lambda _, node, parts: parts[0].times(parts[1].power(-1)),
    "neg": lambda _, node, parts: parts[0].times(_Scaled({}, Fraction(-1))),
    "pow": _Worker._power,
    "sqrt": _Worker._root,
    "exp": _Worker._exponential,
    "log": _Worker._logarithm,
}
"""What each operation makes of products with exponents; None where it has no rule."""
