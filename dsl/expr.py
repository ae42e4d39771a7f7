"""The ground of the compiler: expressions as immutable nodes, shared by construction.

In: numbers, names and nodes. Out: nodes. A node is a `Number` (an exact rational), a `Symbol` (an input, a
parameter, a bound name) or an `Apply` (an operation of the table in `dsl.ops`, with its arguments). Nodes are
interned: two nodes that are built alike are the same object, so equality is identity, hashing is cheap, and
an expression is a DAG whose size stays linear under differentiation. Every walk in the compiler is a loop
over `postorder`, never recursion, so that depth is bounded by memory and not by Python's stack.

>>> x = Symbol("x")
>>> x * 2 + 1 is x * 2 + 1
True
>>> [type(node).__name__ for node in postorder(x * 2)]
['Symbol', 'Number', 'Apply']
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any, ClassVar
from weakref import WeakValueDictionary


class Expr:
    """A node. Never constructed itself: build a `Number`, a `Symbol` or an `Apply`."""

    __slots__ = ("__weakref__",)
    _interned: ClassVar[WeakValueDictionary[Any, Any]] = WeakValueDictionary()

    args: tuple[Expr, ...] = ()
    """The operands, in order; empty for leaves."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("an expression is immutable")

    def __add__(self, other: Operand) -> Expr:
        return Apply("add", self, expr(other))

    def __radd__(self, other: Operand) -> Expr:
        return Apply("add", expr(other), self)

    def __sub__(self, other: Operand) -> Expr:
        return Apply("sub", self, expr(other))

    def __rsub__(self, other: Operand) -> Expr:
        return Apply("sub", expr(other), self)

    def __mul__(self, other: Operand) -> Expr:
        return Apply("mul", self, expr(other))

    def __rmul__(self, other: Operand) -> Expr:
        return Apply("mul", expr(other), self)

    def __truediv__(self, other: Operand) -> Expr:
        return Apply("div", self, expr(other))

    def __rtruediv__(self, other: Operand) -> Expr:
        return Apply("div", expr(other), self)

    def __pow__(self, other: Operand) -> Expr:
        return Apply("pow", self, expr(other))

    def __neg__(self) -> Expr:
        return Apply("neg", self)

    def __reduce__(self) -> tuple[Any, ...]:
        raise NotImplementedError


def _intern(cls: type[Any], key: tuple[Any, ...], slots: Mapping[str, Any]) -> Any:
    node = Expr._interned.get(key)
    if node is None:
        node = object.__new__(cls)
        for name, value in slots.items():
            object.__setattr__(node, name, value)
        Expr._interned[key] = node
    return node


class Number(Expr):
    """An exact rational: `0.1` in a spec is the number one tenth."""

    __slots__ = ("value",)
    value: Fraction

    def __new__(cls, value: int | Fraction) -> Number:
        value = Fraction(value)
        node: Number = _intern(cls, (cls, value), {"value": value})
        return node

    def __reduce__(self) -> tuple[Any, ...]:
        return (Number, (self.value,))

    def __repr__(self) -> str:
        return f"Number({self.value})"


class Symbol(Expr):
    """A name: an input, a parameter, or a value that a program has bound."""

    __slots__ = ("name",)
    name: str

    def __new__(cls, name: str) -> Symbol:
        node: Symbol = _intern(cls, (cls, name), {"name": name})
        return node

    def __reduce__(self) -> tuple[Any, ...]:
        return (Symbol, (self.name,))

    def __repr__(self) -> str:
        return f"Symbol({self.name})"


class Apply(Expr):
    """An operation, named as in `dsl.ops.OPS`, applied to operands."""

    __slots__ = ("args", "op")
    op: str
    args: tuple[Expr, ...]

    def __new__(cls, op: str, *args: Expr) -> Apply:
        node: Apply = _intern(cls, (cls, op, args), {"op": op, "args": args})
        return node

    def __reduce__(self) -> tuple[Any, ...]:
        return (Apply, (self.op, *self.args))

    def __repr__(self) -> str:
        return f"Apply({self.op}, {len(self.args)} args)"


Operand = Expr | int | Fraction

ZERO = Number(0)
ONE = Number(1)
TWO = Number(2)
HALF = Number(Fraction(1, 2))
PI = Apply("pi")
INF = Apply("inf")


def expr(value: Operand) -> Expr:
    """The node of an operand: an `Expr` is itself, an int or a Fraction becomes a `Number`."""
    return value if isinstance(value, Expr) else Number(value)


def call(op: str, *args: Operand) -> Expr:
    """`Apply` for operands that may be plain numbers.

    >>> call("max", Symbol("x"), 0) is Apply("max", Symbol("x"), ZERO)
    True
    """
    return Apply(op, *(expr(arg) for arg in args))


def is_op(node: Expr, *ops: str) -> bool:
    """Whether a node applies one of the operations named."""
    return isinstance(node, Apply) and node.op in ops


def postorder(*roots: Expr) -> Iterator[Expr]:
    """Every distinct node below the roots once, operands before what uses them, left before right."""
    seen: set[Expr] = set()
    stack: list[Expr | None] = [*reversed(roots)]  # None stands on a node whose operands have had their turn
    while stack:
        node = stack.pop()
        if node is None:
            node = stack.pop()
            assert node is not None
            yield node
        elif node not in seen:
            seen.add(node)
            if node.args:
                stack += (node, None)
                stack += reversed(node.args)
            else:
                yield node


@lru_cache(maxsize=128)
def straight_line(root: Expr) -> tuple[tuple[Expr, tuple[int, ...]], ...]:
    """The nodes below a root, each with the places of its operands before it: for evaluating it many times.

    >>> straight_line(Symbol("x") * 2)
    ((Symbol(x), ()), (Number(2), ()), (Apply(mul, 2 args), (0, 1)))
    """
    places: dict[Expr, int] = {}
    steps = []
    for node in postorder(root):
        steps.append((node, tuple(places[arg] for arg in node.args)))
        places[node] = len(places)
    return tuple(steps)


def rebuild(root: Expr, step: Callable[[Expr], Expr]) -> Expr:
    """The expression with `step` applied to every node, operands first.

    `step` sees a node whose operands are already rebuilt, and returns what stands in its place.
    """
    return rebuild_all((root,), step)[0]


def rebuild_all(roots: tuple[Expr, ...], step: Callable[[Expr], Expr]) -> tuple[Expr, ...]:
    """`rebuild` for several roots at once, so that what they share is visited once."""
    done: dict[Expr, Expr] = {}
    for node in postorder(*roots):
        done[node] = step(_with_args(node, done))
    return tuple(done[root] for root in roots)


def substitute(root: Expr, values: Mapping[Expr, Expr]) -> Expr:
    """The expression with every node that is a key replaced by its value (the values are not searched)."""
    done: dict[Expr, Expr] = dict(values)
    for node in postorder(root):
        if node not in done:
            done[node] = _with_args(node, done)
    return done[root]


def _with_args(node: Expr, done: Mapping[Expr, Expr]) -> Expr:
    """A node applied to what became of its operands."""
    if not isinstance(node, Apply):
        return node
    args = tuple([done[arg] for arg in node.args])
    return node if args == node.args else Apply(node.op, *args)


def symbols(*roots: Expr) -> tuple[str, ...]:
    """The names that occur below the roots, in order of first use."""
    return tuple(node.name for node in postorder(*roots) if isinstance(node, Symbol))


def size(*roots: Expr) -> int:
    """The number of distinct nodes below the roots."""
    return sum(1 for _ in postorder(*roots))
