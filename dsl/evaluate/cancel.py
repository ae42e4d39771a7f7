"""Cancel what cancels by algebra, so that no precision has to resolve it.

In: an expression in the operations that balls have. Out: the same real function, its rational parts written
as one reduced fraction of polynomials in what is not rational (input, parameters, constants, functions).

With e = exp(2 exp(x)), the derivative of tanh(exp(x)) by the quotient rule subtracts two products of size
e**2 to get one of size e. At x = 100 that takes 10**43 bits; as a reduced fraction it takes none.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from flint import Ordering, fmpq, fmpq_mpoly_ctx

from dsl.expr import ONE, ZERO, Apply, Expr, Number, is_op, postorder
from dsl.ops import OPS, power

MOST_TERMS = 3000
MOST_POWER = 64
Polynomial = Any
Quotient = tuple[Polynomial, Polynomial]


class TooLarge(Exception):
    """The fraction grows beyond what is worth writing down."""


def cancelled(root: Expr) -> Expr | None:
    """The expression with its rational parts reduced; None where that would be too large.

    A removable singularity may be gone from the result.

    >>> from dsl.expr import Symbol
    >>> x = Symbol("x")
    >>> cancelled((x**2 - 1) / (x - 1)) is x + 1
    True
    """
    try:
        return _Reduction(root).result()
    except (TooLarge, ZeroDivisionError):
        return None


class _Reduction:
    def __init__(self, root: Expr) -> None:
        self._root = root
        count = sum(1 for _ in postorder(root)) + 1
        self._ring = fmpq_mpoly_ctx.get([f"g{place}" for place in range(count)], Ordering.lex)
        self._free = list(self._ring.gens())
        self._generators: dict[Expr, Polynomial] = {}
        self._one = self._ring.constant(1)
        self._quotients: dict[Expr, Quotient] = {}
        self._written: dict[Expr, Expr] = {}

    def result(self) -> Expr:
        for node in postorder(self._root):
            if isinstance(node, Apply) and OPS[node.op].result == "b":
                self._written[node] = Apply(node.op, *(self._write(arg) for arg in node.args))
            else:
                self._quotients[node] = self._reduced(node)
        return self._write(self._root)

    def _reduced(self, node: Expr) -> Quotient:
        if isinstance(node, Number):
            return self._ring.constant(fmpq(node.value.numerator, node.value.denominator)), self._one
        if is_op(node, *_ARITHMETIC):
            return self._arithmetic(node)
        if is_op(node, "pow") and isinstance(node.args[1], Number):
            exponent = node.args[1].value
            if exponent.denominator == 1 and abs(exponent) <= MOST_POWER:
                return self._power(self._quotients[node.args[0]], int(exponent))
        if is_op(node, "exp"):
            return self._exponential(node)
        atom = Apply(node.op, *(self._write(arg) for arg in node.args)) if isinstance(node, Apply) else node
        return self._generator(atom), self._one

    def _arithmetic(self, node: Expr) -> Quotient:
        parts = [self._quotients[arg] for arg in node.args]
        (a, b), (c, d) = parts if len(parts) == 2 else (parts[0], (self._one, self._one))
        top, bottom = _ARITHMETIC[_name(node)](a, b, c, d)
        return self._small(top, bottom)

    def _power(self, base: Quotient, exponent: int) -> Quotient:
        top, bottom = base if exponent >= 0 else (base[1], base[0])
        if max(len(top), len(bottom)) > 1 and (len(top) + len(bottom)) ** min(abs(exponent), 9) > 10**6:
            raise TooLarge
        return self._small(top ** abs(exponent), bottom ** abs(exponent))

    def _exponential(self, node: Expr) -> Quotient:
        """exp(-2 u) as 1 / exp(u)**2, so that exponentials that belong together are seen to."""
        top, bottom = self._quotients[node.args[0]]
        if not len(top):
            return self._one, self._one
        leading = top.leading_coefficient()
        times = (
            int(leading.p) if leading.q == 1 and abs(leading.p) <= MOST_POWER else 1 if leading > 0 else -1
        )
        unit = self._generator(Apply("exp", self._spelt(top / times, bottom)))
        return self._power((unit, self._one), times)

    def _small(self, top: Polynomial, bottom: Polynomial) -> Quotient:
        if not len(bottom):
            raise ZeroDivisionError
        if len(top) + len(bottom) > MOST_TERMS:
            raise TooLarge
        common = top.gcd(bottom)
        return top // common, bottom // common

    def _generator(self, atom: Expr) -> Polynomial:
        if atom not in self._generators:
            self._generators[atom] = self._free[len(self._generators)]
        return self._generators[atom]

    def _write(self, node: Expr) -> Expr:
        """A node's normal form, as an expression."""
        if node not in self._written:
            self._written[node] = self._spelt(*self._quotients[node])
        return self._written[node]

    def _spelt(self, top: Polynomial, bottom: Polynomial) -> Expr:
        return self._sum(top) if bottom == self._one else self._sum(top) / self._sum(bottom)

    def _sum(self, polynomial: Polynomial) -> Expr:
        atoms = list(self._generators)
        total: Expr = ZERO
        for exponents, coefficient in polynomial.terms():
            term: Expr = Number(Fraction(int(coefficient.p), int(coefficient.q)))
            for atom, exponent in zip(atoms, exponents, strict=False):
                if exponent:
                    factor = power(atom, int(exponent))
                    term = factor if term is ONE else term * factor
            total = term if total is ZERO else total + term
        return total


def _name(node: Expr) -> str:
    assert isinstance(node, Apply)
    return node.op


_ARITHMETIC: dict[str, Any] = {
    "add": lambda a, b, c, d: (a * d + c * b, b * d),
    "sub": lambda a, b, c, d: (a * d - c * b, b * d),
    "mul": lambda a, b, c, d: (a * c, b * d),
    "div": lambda a, b, c, d: (a * d, b * c),
    "neg": lambda a, b, c, d: (-a, b),
}
"""How fractions a / b and c / d are combined."""
