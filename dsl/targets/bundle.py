"""Modules of a package as one file: what a class needs of them, and nothing else.

In: the modules' sources by name, and the class. Out: Python source, not yet formatted, in this order: imports
of torch, torch.nn, triton and its language, then others; jit functions; functions, classes and constants that
launch them; the class. Of docstrings the first paragraph stays.

Names that two modules have, and all those of `_math`, which locals of kernels share, get the module's name in
front. Sources are the compiler's own, so that not all of Python has to be understood: a name is a global
unless the definition that it stands in binds it.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

FIRST = "import torch\nimport torch.nn as nn\nimport triton\nimport triton.language as tl\n"
"""The imports that come first, whatever is used of them."""

_PREFIXED = ("_math",)

Place = tuple[str, str]
"""A module's name and that of a definition in it."""


@dataclass
class _Module:
    """A module taken apart: statements by the names they bind; what its imports mean."""

    name: str
    lines: list[str]
    statements: dict[str, ast.stmt] = field(default_factory=dict)
    docs: dict[ast.stmt, ast.stmt] = field(default_factory=dict)
    siblings: dict[str, Place] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)


def _take_apart(name: str, source: str) -> _Module:
    module = _Module(name, source.split("\n"))
    before: ast.stmt | None = None
    for node in ast.parse(source).body:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                module.statements[node.name] = node
            case ast.Assign() | ast.AnnAssign():
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [
                    each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)
                ]
                module.statements.update(dict.fromkeys(names, node))
            case ast.Import():
                for each in node.names:
                    module.imports[each.asname or each.name] = ast.unparse(ast.Import([each]))
            case ast.ImportFrom(level=0):
                for each in node.names:
                    line = ast.unparse(ast.ImportFrom(node.module, [each], 0))
                    module.imports[each.asname or each.name] = line
            case ast.ImportFrom(module=None):
                module.modules.update({each.asname or each.name: each.name for each in node.names})
            case ast.ImportFrom():
                for each in node.names:
                    module.siblings[each.asname or each.name] = (node.module or "", each.name)
            case ast.Expr(ast.Constant()) if isinstance(before, ast.Assign | ast.AnnAssign):
                module.docs[before] = node
        before = node
    return module


class Bundle:
    """The definitions that one class needs; `instead` gives definitions that take the place of others."""

    def __init__(
        self, sources: Mapping[str, str], root: Place, instead: Mapping[Place, Place], name: str
    ) -> None:
        self.modules = {each: _take_apart(each, text) for each, text in sources.items()}
        self.instead, self.root = instead, root
        self.imports: dict[str, None] = {}
        self.reached: dict[Place, None] = {}
        self._reach(root)
        self.flat = self._flat_names() | {root: name}

    def _reach(self, root: Place) -> None:
        stack = [root]
        while stack:
            place = stack.pop()
            if place in self.reached:
                continue
            self.reached[place] = None
            module = self.modules[place[0]]
            for name, attribute, _ in self._globals(module, module.statements[place[1]]):
                found = self._resolve(module, name, attribute)
                if found is not None:
                    stack.append(found)
                elif name in module.imports:
                    self.imports[module.imports[name]] = None

    def _resolve(self, module: _Module, name: str, attribute: str | None) -> Place | None:
        """The definition that a name, or an attribute of a module, means."""
        found: Place | None = None
        if attribute is not None and name in module.modules:
            found = (module.modules[name], attribute)
        elif name in module.siblings:
            found = module.siblings[name]
        elif name in module.statements:
            found = (module.name, name)
        return found if found is None else self.instead.get(found, found)

    def _globals(self, module: _Module, statement: ast.AST) -> Iterator[tuple[str, str | None, ast.expr]]:
        """The names that a statement reads and does not bind; with the attribute where one is a module's."""
        if isinstance(statement, ast.ClassDef):  # whose methods do not see what another binds
            for part in (*statement.decorator_list, *statement.bases, *statement.body):
                yield from self._globals(module, part)
            return
        bound = _bound(statement)
        inside = {
            part for node in ast.walk(statement) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)
        }
        taken = set()
        for node in ast.walk(statement):
            match node:
                case ast.Attribute(value=ast.Name(id=name) as value, attr=attribute) if (
                    name in module.modules
                ):
                    taken.add(value)
                    yield name, attribute, node
                case ast.Name(id=name) if node not in taken and name not in bound:
                    if node not in inside or name in module.imports:
                        yield name, None, node

    def _flat_names(self) -> dict[Place, str]:
        count = Counter(name for _, name in self.reached)
        flat = {}
        for module, name in self.reached:
            prefix = module.strip("_").upper() if name.isupper() else module.strip("_")
            apart = module in _PREFIXED or count[name] > 1
            flat[module, name] = f"{prefix}_{name.strip('_')}" if apart else name
        return flat

    def text(self) -> str:
        """The whole file."""
        root = self.modules[self.root[0]].statements[self.root[1]]
        in_kernels = self._reached_by_kernels()
        jit: list[str] = []
        others: list[str] = []
        for module, statement, place in self._ordered():
            if statement is not root:
                (jit if place in in_kernels else others).append(self._source(module, statement))
        last = self._source(self.modules[self.root[0]], root)
        known = {"import torch", "import triton", "import triton.language as tl", "from torch import nn"}
        imports = "\n".join(_merged(set(self.imports) - known))
        return "\n\n".join([f"{FIRST}{imports}\n", *jit, *others, last])

    def _ordered(self) -> list[tuple[_Module, ast.stmt, Place]]:
        """The statements in the modules' order, but none before what it needs at once."""
        found: dict[ast.stmt, tuple[_Module, ast.stmt, Place]] = {}

        def visit(place: Place) -> None:
            module = self.modules[place[0]]
            statement = module.statements[place[1]]
            if statement in found or statement in entered:
                return
            entered.add(statement)
            for part in _at_once(statement):
                for name, attribute, _ in self._globals(module, part):
                    needed = self._resolve(module, name, attribute)
                    if needed is not None:
                        visit(needed)
            found[statement] = (module, statement, place)

        entered: set[ast.stmt] = set()
        for module in self.modules.values():
            for name in module.statements:
                if (module.name, name) in self.reached:
                    visit((module.name, name))
        return list(found.values())

    def _reached_by_kernels(self) -> set[Place]:
        """The jit functions, and the constants that they read."""
        found = set()
        for place in self.reached:
            statement = self.modules[place[0]].statements[place[1]]
            if _is_jit(statement):
                found.add(place)
                for name, attribute, _ in self._globals(self.modules[place[0]], statement):
                    target = self._resolve(self.modules[place[0]], name, attribute)
                    if target is not None:
                        found.add(target)
        return found

    def _source(self, module: _Module, statement: ast.stmt) -> str:
        """A statement's text, its names flattened; comments stay."""
        first = min([statement.lineno, *(each.lineno for each in getattr(statement, "decorator_list", []))])
        last = module.docs.get(statement, statement).end_lineno
        lines = [line.encode() for line in module.lines[first - 1 : last]]
        edits = []
        for name, attribute, node in self._globals(module, statement):
            place = self._resolve(module, name, attribute)
            if place is not None and (new := self.flat[place]) != ast.unparse(node):
                edits.append((node.lineno - first, node.col_offset, node.end_col_offset or 0, new))
        for row, start, end, new in sorted(edits, reverse=True):
            lines[row] = lines[row][:start] + new.encode() + lines[row][end:]
        gone: set[int] = set()
        for summary, end in _long_docstrings(statement):
            lines[summary - first] += b'"""'
            gone.update(range(summary - first + 1, end - first + 1))
        kept = [line for row, line in enumerate(lines) if row not in gone]
        text = b"\n".join(kept).decode() + "\n"
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            new = self.flat[module.name, statement.name]
            kind = "class" if isinstance(statement, ast.ClassDef) else "def"
            text = text.replace(f"{kind} {statement.name}", f"{kind} {new}", 1)
        return text


def _bound(statement: ast.AST) -> set[str]:
    """The names that a function binds inside: arguments, assignments, definitions within."""
    if not isinstance(statement, ast.FunctionDef):
        return set()
    found = set()
    for node in ast.walk(statement):
        match node:
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) if node is not statement:
                found.add(name)
    return found


def _at_once(statement: ast.AST) -> Iterator[ast.AST]:
    """The parts of a statement that are evaluated when it is met: all but the bodies of functions."""
    match statement:
        case ast.FunctionDef(args=arguments, decorator_list=decorators, returns=result):
            each = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
            rest = (arguments.vararg, arguments.kwarg)
            annotations = [one.annotation for one in (*each, *rest) if one is not None]
            defaults = (*arguments.defaults, *arguments.kw_defaults)
            yield from filter(None, (*annotations, *defaults, *decorators, result))
        case ast.ClassDef(bases=bases, body=body, decorator_list=decorators):
            yield from (*bases, *decorators)
            for part in body:
                yield from _at_once(part)
        case _:
            yield statement


def _long_docstrings(statement: ast.stmt) -> Iterator[tuple[int, int]]:
    """Docstrings that say more than a paragraph: the last line of that, and their own last line."""
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (
            text := ast.get_docstring(node, clean=False)
        ):
            lines = text.split("\n")
            if "" in lines:
                doc = node.body[0]
                yield doc.lineno + lines.index("") - 1, doc.end_lineno or 0


def _is_jit(statement: ast.stmt) -> bool:
    decorators = statement.decorator_list if isinstance(statement, ast.FunctionDef) else []
    return any(ast.unparse(each) == "triton.jit" for each in decorators)


def _merged(lines: set[str]) -> list[str]:
    """Imports in order, those from one module on one line.

    >>> _merged({"from b import d", "import z", "from b import c"})
    ['import z', 'from b import c, d']
    """
    names: dict[str, list[str]] = {}
    for line in sorted(lines, key=lambda line: (line.startswith("from "), line)):
        head, _, name = line.partition(" import ")
        names.setdefault(head, []).append(name)
    return [f"{head} import {', '.join(each)}" if each != [""] else head for head, each in names.items()]
