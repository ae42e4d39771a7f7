"""Findings, written: for a reader, and for the machines that show them at their places.

In: `SpecError`s. Out: text, JSON, GitHub's annotations, or SARIF 2.1.0. Nothing is read or printed here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from dsl import __version__
from dsl.errors import CODES, Fix, Span, SpecError, as_text
from dsl.lessons import LESSONS

SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_ESCAPES = {"place": "1", "code": "1;31", "caret": "1;31", "help": "36"}
"""The terminal's attributes of each part of a finding."""


def paint(part: str, text: str) -> str:
    r"""A part of a finding in its colour.

    >>> paint("help", "help:")
    '\x1b[36mhelp:\x1b[0m'
    """
    return f"\x1b[{_ESCAPES[part]}m{text}\x1b[0m"


def wants_colour(environment: Mapping[str, str], terminal: bool) -> bool:
    """Whether to write colours: what the environment says, otherwise whether a terminal reads.

    `NO_COLOR` and `FORCE_COLOR` count if they are set and not empty (`FORCE_COLOR=0` is no); NO_COLOR wins.

    >>> wants_colour({"FORCE_COLOR": "1"}, terminal=False), wants_colour({"NO_COLOR": "1"}, terminal=True)
    (True, False)
    """
    if environment.get("NO_COLOR"):
        return False
    forced = environment.get("FORCE_COLOR")
    return forced != "0" if forced else terminal and environment.get("TERM") != "dumb"


def coloured(errors: Iterable[SpecError]) -> str:
    """Findings as text for a terminal."""
    return "\n".join(as_text(error, paint) for error in errors)


def _place(span: Span) -> dict[str, Any]:
    return {
        "line": span.line,
        "column": span.column,
        "end_line": span.end_line,
        "end_column": span.end_column,
    }


def _as_json(errors: Iterable[SpecError]) -> str:
    def fix(given: Fix | None) -> dict[str, Any] | None:
        return {**_place(given.span), "text": given.text, "safe": given.safe} if given else None

    rows = [
        {
            "code": error.code,
            "message": error.message,
            "path": error.span.path,
            **_place(error.span),
            "help": error.suggestion,
            "fix": fix(error.fix),
        }
        for error in errors
    ]
    return json.dumps(rows, indent=2)


def _as_github(errors: Iterable[SpecError]) -> str:
    def escape(text: str) -> str:
        return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")

    return "\n".join(
        f"::error file={escape(error.span.path).replace(':', '%3A').replace(',', '%2C')},"
        f"line={max(1, error.span.line)},col={max(1, error.span.column)},title={error.code}::"
        + escape(error.message + (f" ({error.suggestion})" if error.suggestion else ""))
        for error in errors
    )


def _as_sarif(errors: Iterable[SpecError]) -> str:
    codes = list(CODES)
    driver = {
        "name": "dslgen",
        "version": __version__,
        "rules": [
            {
                "id": code,
                "shortDescription": {"text": meaning},
                "fullDescription": {"text": LESSONS[code].why},
                "defaultConfiguration": {"level": "error"},
            }
            for code, meaning in CODES.items()
        ],
    }
    results = []
    for error in errors:
        text = error.message + (f" ({error.suggestion})" if error.suggestion else "")
        physical: dict[str, Any] = {"artifactLocation": _artifact(error.span.path)}
        if error.span.line:
            physical["region"] = _region(error.span)
        result: dict[str, Any] = {
            "ruleId": error.code,
            "ruleIndex": codes.index(error.code),
            "level": "error",
            "message": {"text": text},
            "locations": [{"physicalLocation": physical}],
        }
        if error.fix is not None:
            edit = {"deletedRegion": _region(error.fix.span), "insertedContent": {"text": error.fix.text}}
            change = {"artifactLocation": _artifact(error.fix.span.path), "replacements": [edit]}
            result["fixes"] = [{"description": {"text": error.suggestion}, "artifactChanges": [change]}]
        results.append(result)
    # A column counts characters, as in every other format here.
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _artifact(path: str) -> dict[str, str]:
    given = PurePath(path)
    if given.is_absolute():
        return {"uri": given.as_uri()}
    return {"uri": quote(given.as_posix()), "uriBaseId": "%SRCROOT%"}


def _region(span: Span) -> dict[str, int]:
    return {
        "startLine": span.line,
        "startColumn": span.column,
        "endLine": span.end_line,
        "endColumn": span.end_column,
    }


FORMATS: Mapping[str, Callable[[Iterable[SpecError]], str]] = {
    "text": lambda errors: "\n".join(map(str, errors)),
    "json": _as_json,
    "github": _as_github,
    "sarif": _as_sarif,
}
"""How findings can be written, by the name that `--error-format` takes."""
