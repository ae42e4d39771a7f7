"""What a certificate is for, as a digest: whatever code is computed, and nothing else.

In: the text of an activation's kernels and formulas, that of the building blocks, the parameters. Out: text.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import sha256

EMPTY: Mapping[str, str] = {}


def digest(code: str, support: str, parameters: str, kernels: Mapping[str, str] = EMPTY) -> str:
    """What a certificate is for: the kernels and formulas, the blocks that they call, the parameters.

    Of the building blocks' text, `support`, only what the code calls counts, and what that calls in turn; so
    it is of `kernels`, the text of other modules whose functions kernels call, by their names.
    """
    own = [text for name, module in kernels.items() for text in _called(code, module, name)]
    code = "\0".join((code, *own))
    return sha256("\0".join((code, *_called(code, support), parameters)).encode()).hexdigest()[:32]


def _called(code: str, support: str, module: str = "_math") -> Iterator[str]:
    """The definitions in the building blocks that code reaches, in their order there."""
    definitions = _definitions(support)
    reached: set[str] = set()
    stack = [name for name in re.findall(rf"\b{module}\.(\w+)", code) if name in definitions]
    while stack:
        name = stack.pop()
        if name not in reached:
            reached.add(name)
            stack += [word for word in _words(definitions[name]) if word in definitions]
    return (text for name, text in definitions.items() if name in reached)


@cache
def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


@cache
def _definitions(module: str) -> dict[str, str]:
    """The text of every function and constant at the top of a module, decorators included."""
    lines = module.splitlines()
    found = {}
    for node in ast.parse(module).body:
        first = node.lineno
        if isinstance(node, ast.FunctionDef):
            names = [node.name]
            first = min([first, *(decorator.lineno for decorator in node.decorator_list)])
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)]
        else:
            continue
        text = "\n".join(lines[first - 1 : node.end_lineno])
        found.update(dict.fromkeys(names, text))
    return found
