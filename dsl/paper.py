"""The way from a definition to its kernel as a LaTeX document.

In: a title and `Part`s. Out: a document for any LaTeX that has amsmath, booktabs and geometry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dsl.derivation import Part
from dsl.latex import align, escape

_HEAD = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{amsmath,booktabs}
\usepackage[margin=2.5cm]{geometry}
\allowdisplaybreaks
\sloppy
"""


def document(sections: Sequence[tuple[str, Sequence[Part]]]) -> str:
    """A document of sections, each a title and its parts."""
    body = "\n\n".join(
        "\n\n".join([rf"\section*{{{escape(title)}}}", *map(_part, parts)]) for title, parts in sections
    )
    return f"{_HEAD}\\begin{{document}}\n\n{body}\n\n\\end{{document}}"


def fragment(parts: Sequence[Part]) -> str:
    """What of parts can stand in a paper of one's own: their equations; their code where there are none."""
    return "\n\n".join(align(part.equations) if part.equations else _code(part.code) for part in parts)


def _part(part: Part) -> str:
    return "\n\n".join([rf"\subsection*{{{escape(part.title)}}}", *_contents(part)])


def _contents(part: Part) -> Iterator[str]:
    if part.prose:
        yield escape(part.prose)
    if part.equations:
        yield align(part.equations)
    if part.lines:
        yield _list("itemize", [rf"\item {escape(line)}" for line in part.lines])
    if part.pairs:
        yield _list(
            "description", [rf"\item[{escape(name)}] {escape(reason)}" for name, reason in part.pairs]
        )
    if part.table:
        yield _table(part.table)
    if part.code and not part.equations:
        yield _code(part.code)


def _list(kind: str, items: Sequence[str]) -> str:
    return "\n".join([rf"\begin{{{kind}}}", *(f"  {item}" for item in items), rf"\end{{{kind}}}"])


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = (" & ".join(map(escape, row)) + r" \\" for row in rows)
    lines = [r"\toprule", head, r"\midrule", *body, r"\bottomrule"]
    return "\n".join([rf"\begin{{tabular}}{{{'l' * len(rows[0])}}}", *lines, r"\end{tabular}"])


def _code(text: str) -> str:
    return f"{{\\scriptsize\n\\begin{{verbatim}}\n{text}\n\\end{{verbatim}}}}"
