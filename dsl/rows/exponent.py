"""Exponents: sums with exact coefficients, and how they are spelled.

In: expressions. Out: `Exponent`, a sum of multiples of expressions, and the exponential of one with the
rounding errors of its argument put back. A number less the greatest of its row is never positive; such
differences are found and kept together, so that nothing overflows and the greatest loses no digits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from dsl.expr import ONE, ZERO, Expr, Number, is_op
from dsl.rewrite.compensate import Sum, constant, negated, plus, times
from dsl.rows.extent import Extent, elementwise_part


@dataclass(frozen=True)
class Exponent:
    """The sum of `terms`, each an expression with its coefficient; a plain number is a multiple of one."""

    terms: Mapping[Expr, Fraction]

    @classmethod
    def of(cls, root: Expr) -> Exponent:
        """The sum that an expression is.

        >>> from dsl.expr import Symbol
        >>> x, y = Symbol("x"), Symbol("y")
        >>> Exponent.of(3 - (x - 2 * y)).terms == {ONE: 3, x: -1, y: 2}
        True
        """
        sums: dict[Expr, Exponent] = {}
        for node in elementwise_part(root):
            sums[node] = cls._combined(node, [sums[arg] for arg in node.args if arg in sums])
        return sums[root]

    @classmethod
    def _combined(cls, node: Expr, parts: list[Exponent]) -> Exponent:
        if isinstance(node, Number):
            return cls({ONE: node.value} if node.value else {})
        if is_op(node, "add"):
            return parts[0] + parts[1]
        if is_op(node, "sub"):
            return parts[0] - parts[1]
        if is_op(node, "neg"):
            return parts[0] * Fraction(-1)
        if is_op(node, "mul"):
            for one, other in (parts, parts[::-1]):
                if set(one.terms) == {ONE}:
                    return other * one.terms[ONE]
        if is_op(node, "div") and set(parts[1].terms) == {ONE}:
            return parts[0] * (1 / parts[1].terms[ONE])
        return cls({node: Fraction(1)})

    def __add__(self, other: Exponent) -> Exponent:
        total = dict(self.terms)
        for node, factor in other.terms.items():
            total[node] = total.get(node, Fraction(0)) + factor
        return Exponent({node: factor for node, factor in total.items() if factor})

    def __mul__(self, factor: Fraction) -> Exponent:
        return Exponent({node: factor * own for node, own in self.terms.items() if factor})

    def __sub__(self, other: Exponent) -> Exponent:
        return self + other * Fraction(-1)

    def split(self, extent: Extent) -> tuple[Exponent, Exponent]:
        """What differs from element to element, and what does not."""
        varying = {node: factor for node, factor in self.terms.items() if extent.varies(node)}
        return Exponent(varying), Exponent({n: f for n, f in self.terms.items() if n not in varying})

    def never_positive(self) -> bool:
        """Whether this is a sum of numbers less the greatest of those among which they are."""
        groups, rest = self._grouped()
        return not rest.terms and all(factor > 0 for factor, _, _ in groups)

    def plain(self) -> Expr:
        """The sum as an expression; differences to a greatest first."""
        return self._spelled().high

    def exponential(self) -> Expr:
        """exp of the sum."""
        return self._spelled().exponential()

    def _spelled(self) -> Sum:
        groups, rest = self._grouped()
        parts = [
            (times(Sum(Number(abs(factor))), _minus(_with_errors(below), Sum(above))), factor > 0)
            for factor, below, above in groups
        ]
        parts += [(times(Sum(Number(abs(f))), _with_errors(node)), f > 0) for node, f in rest.terms.items()]
        total = Sum(ZERO)
        for part, added in parts:
            if total.high is ZERO:
                total = part if added else negated(part)
            else:
                total = plus(total, part) if added else _minus(total, part)
        return total

    def plain_sum(self) -> Expr:
        """The sum as an expression, term by term."""
        total: Expr | None = None
        for node, factor in self.terms.items():
            size = (
                Number(abs(factor))
                if node is ONE
                else node if abs(factor) == 1 else Number(abs(factor)) * node
            )
            if total is None:
                total = size if factor > 0 else -size
            else:
                total = total + size if factor > 0 else total - size
        return ZERO if total is None else total

    def _grouped(self) -> tuple[list[tuple[Fraction, Expr, Expr]], Exponent]:
        """Differences factor * (below - above), above the greater, and what is left."""
        groups: list[tuple[Fraction, Expr, Expr]] = []
        rest = self
        for above, factor in self.terms.items():
            # What is in the sum before a plain 0, which any sum has: peak - max(0, peak) is never positive.
            shares = [(below, (Exponent.of(below) * -factor).terms) for below in _below(above)]
            for below, terms in sorted(shares, key=lambda share: not share[1]):
                if all(rest.terms.get(node) == own for node, own in terms.items()):
                    groups.append((-factor, below, above))
                    rest = rest - Exponent({**terms, above: factor})
                    break
        return groups, rest


NOTHING = Exponent({})
"""The exponent of one."""


def _below(node: Expr) -> Iterator[Expr]:
    """What a number is never below."""
    if is_op(node, "rowpeak", "rowmax", "max"):
        yield from node.args


def _minus(a: Sum, b: Sum) -> Sum:
    """a - b, spelled as a difference."""
    if a.high is ZERO:
        return negated(b)
    added = plus(a, negated(b))
    return Sum(a.high - b.high, added.low)


def _with_errors(root: Expr) -> Sum:
    """An expression's value and what its last roundings lose: those of sums, products and quotients."""
    done: dict[Expr, Sum] = {}
    for node in elementwise_part(root):
        parts = [done[arg] for arg in node.args if arg in done]
        if isinstance(node, Number):
            done[node] = constant(node)
        elif is_op(node, "add"):
            done[node] = plus(parts[0], parts[1])
        elif is_op(node, "sub"):
            done[node] = _minus(parts[0], parts[1])
        elif is_op(node, "neg"):
            done[node] = negated(parts[0])
        elif is_op(node, "mul"):
            done[node] = times(parts[0], parts[1])
        elif is_op(node, "div"):
            done[node] = _over(parts[0], parts[1])
        elif is_op(node, "pow") and node.args[1] is Number(2):
            done[node] = times(parts[0], parts[0])
        else:
            done[node] = Sum(node)
    return done[root]


def _over(a: Sum, b: Sum) -> Sum:
    """A quotient and what its rounding loses, from the remainder, which is exact."""
    quotient = a.high / b.high
    back = times(Sum(quotient), Sum(b.high))
    rest = (a.high - back.high) - back.low if back.low is not ZERO else a.high - back.high
    for low, sign in ((a.low, 1), (b.low, -1)):
        if low is not ZERO:
            rest = rest + low if sign > 0 else rest - quotient * low
    return Sum(quotient, rest / b.high)
