"""How Sphinx makes the site of the pages beside this file: `make docs`, from the repository's root."""

from __future__ import annotations

from sphinx.application import Sphinx

from docs.notebooks import NotebookParser
from dsl import __version__
from dsl.highlight import ActLexer

project = "dslgen"
author = "the authors of dslgen"
release = version = __version__
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"dslgen {__version__}"
html_show_copyright = False
nitpicky = True


def setup(app: Sphinx) -> None:
    """Colour specs, though dslgen may not be installed; run notebooks."""
    app.add_lexer("act", ActLexer)
    app.add_source_suffix(".ipynb", "notebook")
    app.add_source_parser(NotebookParser)
