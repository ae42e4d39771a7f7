"""The pieces of pages: text made safe, code in colour, tables, documents, and the files beside them.

In: text. Out: HTML that fetches nothing: styles and scripts are files of `assets`, beside a page or in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

from dsl.highlight import ActLexer

ASSETS = Path(__file__).parent / "assets"
_LINKS = re.compile(r"\barXiv:(\d{4}\.\d{4,5})(v\d+)?\b|\bdoi:(10\.\d{4,9}/[^\s,;)\]]+)", re.IGNORECASE)
_DASHED = re.compile(r"`([^`]+)`")


def asset(name: str) -> str:
    """The text of a file of `assets`."""
    return (ASSETS / name).read_text(encoding="utf-8")


def text(given: str) -> str:
    """A text with its references to papers as links and its code as code.

    >>> text("Mish (arXiv:1908.08681) & `x < 1`")
    'Mish (<a href="https://arxiv.org/abs/1908.08681">arXiv:1908.08681</a>) &amp; <code>x &lt; 1</code>'
    """
    linked = _LINKS.sub(_link, escape(given))
    return _DASHED.sub(r"<code>\1</code>", linked)


def _link(found: re.Match[str]) -> str:
    url = f"https://arxiv.org/abs/{found[1]}" if found[1] else f"https://doi.org/{found[3]}"
    return f'<a href="{url}">{found[0]}</a>'


@cache
def _formatter() -> HtmlFormatter:
    return HtmlFormatter(nowrap=True, classprefix="k-")


def code(given: str, language: str) -> str:
    """Code in colour, in a box that scrolls and that the keyboard reaches.

    >>> code("1", "python")
    '<pre class="code" tabindex="0"><code><span class="k-mi">1</span></code></pre>'
    """
    lexer = ActLexer() if language == "act" else get_lexer_by_name(language, stripnl=False)
    spans = highlight(given, lexer, _formatter()).rstrip("\n")
    return f'<pre class="code" tabindex="0"><code>{spans}</code></pre>'


def table(rows: Sequence[Sequence[str]], caption: str = "", kind: str = "") -> str:
    """A table whose first row is its head, of cells that are HTML already."""
    head, *body = rows
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    first = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>'
        for row in body
    )
    return (
        f'<div class="scroll" tabindex="0"><table class="{kind}">{said}<thead><tr>{first}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def bullets(items: Iterable[str]) -> str:
    """A list of items that are HTML already."""
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"


def page(title: str, body: str, styles: Sequence[str], scripts: Sequence[str] = (), head: str = "") -> str:
    """A whole document; styles and scripts are addresses."""
    links = "".join(f'<link rel="stylesheet" href="{each}">\n' for each in styles)
    links += "".join(f'<script src="{each}" defer></script>\n' for each in scripts)
    return _document(title, body, links + head)


def alone(title: str, body: str) -> str:
    """A whole document in one file, its style in it."""
    return _document(title, body, f"<style>\n{asset('style.css')}</style>\n")


def _document(title: str, body: str, head: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n{head}</head>\n'
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def attributes(values: Mapping[str, str]) -> str:
    """Attributes, each after a blank.

    >>> attributes({"data-name": 'a "b"'})
    ' data-name="a &quot;b&quot;"'
    """
    return "".join(f' {name}="{escape(value)}"' for name, value in values.items())
