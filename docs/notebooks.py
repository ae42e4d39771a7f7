"""Notebooks as pages: a page's code is run when it is made, so that it shows what the code shows today.

In: an `.ipynb` file without outputs. Out: MyST Markdown with what a notebook would display. An error in a
cell ends the build. Cells run in one namespace, with `IPython`'s rules for what is displayed, and without it.
"""

from __future__ import annotations

import ast
import io
import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser


class NotebookParser(MystParser):
    """Reads notebooks as Sphinx reads pages."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Run a notebook, and read what comes of it as Markdown."""
        super().parse("\n\n".join(markdown(json.loads(inputstring))), document)


def markdown(notebook: dict[str, Any]) -> Iterator[str]:
    """A notebook's text, its code, and what each cell displays."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield source
        else:
            yield f"```python\n{source}\n```"
            yield from displayed(source, names)


def displayed(source: str, names: dict[str, Any]) -> Iterator[str]:
    """Run a cell; what it printed, and its last expression's value."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    value = None
    with redirect_stdout(printed):
        exec(compile(tree, "<cell>", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
    if printed.getvalue():
        yield f"```text\n{printed.getvalue()}```"
    if value is not None:
        yield shown(value)


def shown(value: object) -> str:
    """A value as a notebook shows it: the richest form that it has."""
    bundle: dict[str, str] = getattr(value, "_repr_mimebundle_", dict)()
    html = bundle.get("text/html") or getattr(value, "_repr_html_", lambda: None)()
    svg = getattr(value, "_repr_svg_", lambda: None)()
    if html is None and svg is not None:
        html = f'<img alt="{value!r}" src="data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}">'
    return f"```text\n{value!r}\n```" if html is None else f"```{{raw}} html\n{html}\n```"
