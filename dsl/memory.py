"""What was found about functions, kept beside the certificates so that a build need not search for it again.

In: a function as the stabiliser gets it. Out: what it made of that the last time, if the stabiliser has not
changed since; else what it makes now. Text in, text out: an expression is a line of nodes, each of them an
operation and the places of its operands before it, so that a file can hold no more than an expression. Names
are those of the function that was asked for, operations those of the table.

>>> x = Symbol("x")
>>> read(show(x * Number(Fraction(1, 2)) + x)) is x * Number(Fraction(1, 2)) + x
True
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path

from dsl.expr import Apply, Expr, Number, Symbol, straight_line, symbols
from dsl.files import read_text, write_atomic
from dsl.ops import OPS

FORMAT = 1

_HERE = Path(__file__).parent
_SEARCH = ("expr.py", "ieee.py", "ops.py", "pipeline.py")
"""What decides on the result besides the modules of `dsl.rewrite`."""


class Damaged(Exception):
    """A line that is no expression."""


@dataclass(frozen=True)
class Found:
    """A stabilised expression, and the names of the rules that were used."""

    value: Expr
    rules: tuple[str, ...]


@dataclass
class Memory:
    """What a file holds, by keys, and of that and of what was found since what was asked for."""

    path: Path
    used: dict[str, str] = field(default_factory=dict)

    @cached_property
    def lines(self) -> dict[str, str]:
        """What the file holds, if the stabiliser that it is of is this one."""
        try:
            held = json.loads(read_text(self.path) or "{}")
            right = held.get("format") == FORMAT and held.get("search") == search_digest()
            return {str(key): str(line) for key, line in held["found"].items()} if right else {}
        except (AttributeError, KeyError, ValueError):
            return {}

    @property
    def is_current(self) -> bool:
        """Whether the file holds all that was asked for."""
        return self.used.items() <= self.lines.items()

    def recall(self, question: tuple[object, ...], root: Expr, search: Callable[[], Found]) -> Found:
        """What is known of a function; `question` has all else that the search depends on."""
        key = sha256(f"{show(root)}\0{question!r}".encode()).hexdigest()[:20]
        line = self.used.get(key) or self.lines.get(key)
        if line is not None:
            try:
                found = _entry(line, symbols(root))
            except Damaged:
                line = None
        if line is None:
            found = search()
            line = " | ".join([show(found.value), *found.rules])
        self.used[key] = line
        return found

    def write(self, whole: bool) -> None:
        """Keep what was asked for; if it was not the `whole` project, what the file holds besides, too."""
        lines = self.used if whole else {**self.lines, **self.used}
        body = ",\n".join(f"{json.dumps(key)}: {json.dumps(lines[key])}" for key in sorted(lines))
        text = f'{{\n"format": {FORMAT},\n"search": "{search_digest()}",\n"found": {{\n{body}\n}}\n}}\n'
        if text != read_text(self.path):
            write_atomic(self.path, text)


_current: ContextVar[Memory | None] = ContextVar("memory", default=None)


def recalled(question: tuple[object, ...], root: Expr, search: Callable[[], Found]) -> Found:
    """What `search` finds, from memory where there is one."""
    memory = _current.get()
    return search() if memory is None else memory.recall(question, root, search)


def current() -> Memory | None:
    """The memory of the innermost `remembering` block."""
    return _current.get()


@contextmanager
def remembering(path: Path) -> Iterator[Memory]:
    """What the block compiles is looked up in a file; a file of another stabiliser's is as good as none."""
    memory = Memory(path)
    token = _current.set(memory)
    try:
        yield memory
    finally:
        _current.reset(token)


@cache
def search_digest() -> str:
    """The stabiliser's code, as a digest: other code may find something else."""
    files = [*sorted((_HERE / "rewrite").glob("*.py")), *(_HERE / name for name in _SEARCH)]
    return sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:20]


def show(root: Expr) -> str:
    """An expression as a line.

    >>> show(Symbol("x") * 2 + Symbol("x"))
    'x;2;mul 0 1;add 2 0'
    """
    return ";".join(_node(node, places) for node, places in straight_line(root))


def _node(node: Expr, places: tuple[int, ...]) -> str:
    match node:
        case Number():
            return str(node.value)
        case Symbol():
            return node.name
        case Apply():
            return " ".join([node.op, *map(str, places)]) if places else f"{node.op} -"
    raise TypeError(node)


def read(line: str, names: tuple[str, ...] | None = None) -> Expr:
    """The expression of a line; raises `Damaged` for one that is none, or has other names."""
    nodes: list[Expr] = []
    for part in line.split(";"):
        word, *places = part.split(" ")
        try:
            if places:
                operands = [nodes[_place(place)] for place in places if place != "-"]
                nodes.append(Apply(_known(word, len(operands)), *operands))
            elif word[:1].isdigit() or word[:1] == "-":
                nodes.append(Number(Fraction(word)))
            else:
                nodes.append(Symbol(_given(word, names)))
        except (ValueError, IndexError, ZeroDivisionError) as error:
            raise Damaged(part) from error
    return nodes[-1]


def _known(op: str, operands: int) -> str:
    if op not in OPS or (OPS[op].arity != operands and op != "table"):
        raise Damaged(op)
    return op


def _place(text: str) -> int:
    if not text.isdecimal():
        raise Damaged(text)
    return int(text)


def _given(name: str, names: tuple[str, ...] | None) -> str:
    if not name.isidentifier() or (names is not None and name not in names):
        raise Damaged(name)
    return name


def _entry(line: str, names: tuple[str, ...]) -> Found:
    value, *rules = line.split(" | ")
    return Found(read(value, names), tuple(rules))
