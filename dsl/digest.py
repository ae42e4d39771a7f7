"""What a certificate is for, as a digest: whatever code is computed, and nothing else.

In: the text of an activation's kernels and formulas, that of the building blocks, the parameters. Out: text.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from hashlib import sha256


def digest(code: str, support: str, parameters: str) -> str:
    """What a certificate is for: the kernels and formulas, the blocks that they call, the parameters.

    Of the building blocks' text, `support`, only what the code calls counts, and what that calls in turn.
    """
    return sha256("\0".join((code, *_called(code, support), parameters)).encode()).hexdigest()[:32]


def _called(code: str, support: str) -> Iterator[str]:
    """The definitions in the building blocks that code reaches, in their order there."""
    definitions = _definitions(support)
    reached: set[str] = set()
    stack = [name for name in _BLOCK.findall(code) if name in definitions]
    while stack:
        name = stack.pop()
        if name not in reached:
            reached.add(name)
            stack += [word for word in _WORD.findall(definitions[name]) if word in definitions]
    return (text for name, text in definitions.items() if name in reached)


_BLOCK = re.compile(r"\b_math\.(\w+)")
_WORD = re.compile(r"\w+")


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
