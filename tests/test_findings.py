"""Findings written for machines: SARIF's structure, and when colours are written."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dsl.cli.options import ERROR_FORMATS
from dsl.errors import CODES, Fix, Span, SpecError
from dsl.findings import FORMATS, coloured, wants_colour
from dsl.project import check_text, read_project

ERRORS = sorted((Path(__file__).parent / "errors").glob("*.act"))

# The schema of SARIF 2.1.0 as Microsoft's validator carries it (@microsoft/sarif-multitool-linux 5.7.0).
SCHEMA = json.loads((Path(__file__).parent / "sarif-2.1.0.json").read_text(encoding="utf-8"))


def test_the_schema_refuses_what_is_wrong() -> None:
    log = json.loads(FORMATS["sarif"](check_text("f(x) = x^2", "a.act")))
    log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"] = 0
    with pytest.raises(jsonschema.ValidationError, match="0 is less than the minimum of 1"):
        jsonschema.validate(log, SCHEMA)


def test_sarif_of_every_error_there_is() -> None:
    errors = [error for path in ERRORS for error in read_project([path, Path("missing.act")]).errors]
    log = json.loads(FORMATS["sarif"](errors))
    jsonschema.validate(log, SCHEMA)
    (run,) = log["runs"]
    assert log["version"] == "2.1.0"
    assert len(run["results"]) == len(errors)
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == list(CODES)
    for result, error in zip(run["results"], errors, strict=True):
        assert rules[result["ruleIndex"]] == result["ruleId"] == error.code
        place = result["locations"][0]["physicalLocation"]
        assert ("region" in place) == (error.span.line > 0)
        region = place.get("region", {"startLine": 1, "startColumn": 1})
        assert region["startLine"] >= 1
        assert region["startColumn"] >= 1


def test_sarif_names_files_by_uri() -> None:
    def uri(path: str) -> Any:
        log = json.loads(FORMATS["sarif"]([SpecError("E0001", "m", Span(path, 0, 0, 0, 1))]))
        return log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]

    assert uri("my specs/a.act") == {"uri": "my%20specs/a.act", "uriBaseId": "%SRCROOT%"}
    assert uri("/a b.act") == {"uri": "file:///a%20b.act"}


def test_json_and_sarif_carry_the_edit() -> None:
    errors = check_text("f(x) = x^2", "a.act")
    (row,) = json.loads(FORMATS["json"](errors))
    edit = {"line": 1, "column": 9, "end_line": 1, "end_column": 10, "text": "**", "safe": True}
    assert row["fix"] == edit
    (result,) = json.loads(FORMATS["sarif"](errors))["runs"][0]["results"]
    (replacement,) = result["fixes"][0]["artifactChanges"][0]["replacements"]
    assert replacement["insertedContent"] == {"text": "**"}
    assert replacement["deletedRegion"] == {"startLine": 1, "startColumn": 9, "endLine": 1, "endColumn": 10}


def test_github_escapes_the_path() -> None:
    said = FORMATS["github"]([SpecError("E0001", "m", Span("a,b:c.act", 0, 0, 0, 1))])
    assert said.startswith("::error file=a%2Cb%3Ac.act,line=1,")


def test_colours_change_nothing_but_the_colour() -> None:
    errors = check_text("f(x) = softplu(x)", "a.act")
    said = coloured(errors)
    assert said.count("\x1b[0m") == 4
    for attributes in ("0", "1", "1;31", "36"):
        said = said.replace(f"\x1b[{attributes}m", "")
    assert said == FORMATS["text"](errors)


@pytest.mark.parametrize(
    ("environment", "terminal", "wanted"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, True, False),
    ],
)
def test_when_colours_are_written(environment: dict[str, str], terminal: bool, wanted: bool) -> None:
    assert wants_colour(environment, terminal) is wanted


def test_the_command_offers_every_format() -> None:
    assert tuple(FORMATS) == ERROR_FORMATS


def test_a_finding_without_an_edit() -> None:
    assert SpecError("E0101", "m", Span("a", 1, 1, 1, 2)).fix is None
    assert Fix(Span("a", 1, 1, 1, 2), "b", safe=True).safe
