"""Specs in colour for editors: a TextMate grammar, which VS Code, Sublime Text, JetBrains and GitHub read.

In: the parser's terminals. Out: the grammar as JSON; `python -m dsl.textmate` writes
`editors/act.tmLanguage.json`.

A TextMate grammar sees one line at a time. So a clause's word is a keyword where a line begins with it, as
the formatter writes it, and a definition's name where its line goes on to the equals sign.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dsl.files import write_atomic
from dsl.highlight import BUILTINS, HEAD, any_of
from dsl.ops import CONSTANTS
from dsl.vocabulary import LOGIC, WORDS, clauses, terminals

FILE = Path(__file__).parent.parent / "editors" / "act.tmLanguage.json"


def grammar() -> dict[str, Any]:
    """The grammar; of two patterns that match at the same place, the first counts."""
    t = terminals()
    matches = [
        ("comment.line.number-sign.act", t["COMMENT"]),
        ("keyword.declaration.act", rf"^\s*(?:{any_of(tuple(clauses()))})"),
        ("entity.name.function.act", rf"^\s*{HEAD}"),
        ("keyword.operator.word.act", any_of(LOGIC)),
        ("keyword.control.act", any_of(WORDS)),
        ("constant.numeric.act", t["NUMBER"]),
        ("support.function.act", rf"\b(?:{'|'.join(sorted(BUILTINS))})(?=\s*\()"),
        ("constant.language.act", rf"\b(?:{'|'.join(CONSTANTS)})\b(?!\s*\()"),
        ("variable.other.act", t["NAME"]),
        ("keyword.operator.act", any_of(("COMPARE", "POWER", "ARROW", "RANGE", "SIGN", "TIMES", "EQUAL"))),
    ]
    strings = [("double.documentation", '"""'), ("double", '"'), ("single", "'")]
    return {
        "name": "act",
        "scopeName": "source.act",
        "fileTypes": ["act"],
        "patterns": [
            *(
                {
                    "name": f"string.quoted.{kind}.act",
                    "begin": quote,
                    "end": quote if len(quote) > 1 else f"{quote}|$",
                    "patterns": [{"name": "constant.character.escape.act", "match": r"\\[\"'\\]"}],
                }
                for kind, quote in strings
            ),
            *({"name": name, "match": pattern} for name, pattern in matches),
        ],
    }


def text() -> str:
    """The grammar as JSON."""
    return json.dumps(grammar(), indent=2) + "\n"


if __name__ == "__main__":
    write_atomic(FILE, text())
