"""The words and signs of the language, as the parser knows them: the terminals of `grammars/act.lark`.

In: the grammar. Out: its text, for the parser, and its terminals as regular expressions, for whoever colours
specs.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_TERMINAL = re.compile(r'^([A-Z]+)(?:\.[0-9]+)?: (?:/(.*)/(s?)|"(.*)")$', re.MULTILINE)

LOGIC = ("AND", "OR", "NOT")
"""The terminals that are operators written as words."""
WORDS = ("IF", "ELSE", "IN", "LEARN")
"""The terminals that are words wherever they stand."""


def grammar() -> str:
    """The grammar's text: from the installed package, or from the checkout."""
    here = Path(__file__).parent
    shipped, checkout = here / "_grammars" / "act.lark", here.parent / "grammars" / "act.lark"
    return (shipped if shipped.exists() else checkout).read_text(encoding="utf-8")


@cache
def terminals() -> dict[str, str]:
    r"""The regular expression of every terminal, by its name.

    >>> terminals()["IF"], terminals()["ARROW"]
    ('if\\b', '\\->')
    """
    return {
        name: f"(?s:{pattern})" if dotall else pattern or re.escape(text)
        for name, pattern, dotall, text in _TERMINAL.findall(grammar())
    }


@cache
def clauses() -> dict[str, str]:
    """The terminals that begin a clause or a statement, and are ordinary names elsewhere.

    They are those with a priority that are not reserved everywhere.

    >>> sorted(clauses())[:3]
    ['ACCURACY', 'ALIAS', 'CONCAT']
    """
    first = re.findall(r"^([A-Z]+)\.[0-9]+:", grammar(), re.MULTILINE)
    return {name: terminals()[name] for name in first if name not in (*LOGIC, *WORDS)}
