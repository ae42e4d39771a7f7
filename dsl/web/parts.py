"""A derivation as a page.

In: `Part`s. Out: HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from dsl.derivation import Part
from dsl.latex import align
from dsl.mathml import equations
from dsl.web import html

LONG = 40
"""Code of more lines is folded away."""


def article(parts: Sequence[Part], level: int = 2) -> str:
    """Parts as sections, their headings of a level."""
    return "\n".join(section(part, level) for part in parts)


def section(part: Part, level: int = 2) -> str:
    """A part under its heading."""
    name = anchor(part.title)
    return (
        f'<section aria-labelledby="{name}"><h{level} id="{name}">{escape(part.title)}</h{level}>'
        f"{''.join(contents(part))}</section>"
    )


def links(titles: Iterable[str]) -> str:
    """Links to the sections of a page."""
    items = "".join(f'<li><a href="#{anchor(title)}">{escape(title)}</a></li>' for title in titles)
    return f'<nav class="contents" aria-label="On this page"><ul>{items}</ul></nav>\n'


def anchor(title: str) -> str:
    """A title as the name of its place.

    >>> anchor("As it is written, in float32")
    'as-it-is-written-in-float32'
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def contents(part: Part) -> Iterator[str]:
    """What stands below a part's heading."""
    if part.prose:
        yield f"<p>{html.text(part.prose)}</p>"
    for block in part.equations:
        yield f'<div class="math" tabindex="0">{equations(block)}</div>'
    if part.lines:
        yield html.bullets(map(html.text, part.lines))
    if part.pairs:
        rows = "".join(f"<dt>{escape(name)}</dt><dd>{html.text(reason)}</dd>" for name, reason in part.pairs)
        yield f"<dl>{rows}</dl>"
    if part.table:
        yield html.table([[escape(cell) for cell in row] for row in part.table], kind="numbers")
    if part.code:
        yield _code(part.code, part.language)
    if part.equations:
        yield folded("LaTeX", html.code(align(part.equations), "latex"))


def _code(text: str, language: str) -> str:
    shown = html.code(text, language)
    lines = text.count("\n") + 1
    return folded(f"{lines} lines", shown) if lines > LONG else shown


def folded(summary: str, body: str) -> str:
    """Something under a line that opens it."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def page(title: str, sections: Sequence[tuple[str, Sequence[Part]]]) -> str:
    """A document in one file: each section a heading and its parts."""
    several = len(sections) > 1
    body = "\n".join(
        f"<h2>{escape(name)}</h2>{article(parts, 3)}" if several else article(parts)
        for name, parts in sections
    )
    return html.alone(title, f"<main>\n<h1>{escape(title)}</h1>\n{body}\n</main>")
