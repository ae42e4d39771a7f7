"""Every way a spec can be wrong, as pairs: `errors/NAME.act` and what is said about it in `errors/NAME.txt`.

`DSLGEN_ACCEPT=1 pytest tests/test_errors.py` writes the expected texts anew.
"""

import json
import os
from pathlib import Path

import pytest

from dsl.errors import CODES, Span, SpecError, did_you_mean
from dsl.findings import FORMATS
from dsl.project import read_project

SPECS = sorted((Path(__file__).parent / "errors").glob("*.act"))


def findings(path: Path) -> str:
    errors = read_project([path]).errors
    ordered = sorted(errors, key=lambda error: (error.span.line, error.span.column))
    return "".join(f"{error}\n" for error in ordered).replace(path.as_posix(), path.name)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_findings(path: Path) -> None:
    expected = path.with_suffix(".txt")
    said = findings(path)
    if os.environ.get("DSLGEN_ACCEPT"):
        expected.write_text(said, encoding="utf-8")
    assert said == expected.read_text(encoding="utf-8")
    assert said


def test_every_code_of_the_language_has_a_pair() -> None:
    said = {error.code for path in SPECS for error in read_project([path]).errors}
    needs_a_file = {code for code in CODES if code.startswith("E00")}
    assert said == set(CODES) - needs_a_file


ERROR = SpecError("E0101", "unknown function 'a%b'", Span("s.act", 2, 3, 2, 5), "f(x) = ab", "did you mean?")


def test_json() -> None:
    (row,) = json.loads(FORMATS["json"]([ERROR]))
    assert row["code"] == "E0101"
    assert (row["line"], row["column"], row["path"]) == (2, 3, "s.act")


def test_github_escapes() -> None:
    said = FORMATS["github"]([ERROR])
    assert said.startswith("::error file=s.act,line=2,col=3,title=E0101::")
    assert "a%25b" in said


def test_a_long_line_is_cut_around_the_place() -> None:
    line = "x" * 100_000
    said = str(SpecError("E0103", "m", Span("s.act", 1, 50_000, 1, 50_001), line))
    shown, caret = said.splitlines()[1:]
    assert len(shown) < 120
    assert shown[caret.index("^")] == "x"


def test_control_characters_do_not_reach_the_terminal() -> None:
    said = str(SpecError("E0113", "m", Span("s.act", 1, 1, 1, 2), "\x1b[31mred"))
    assert "\x1b" not in said


def test_suggestions() -> None:
    assert did_you_mean("Softplus", ["softplus"]) == "did you mean 'softplus'?"
    assert did_you_mean("qqq", ["softplus"]) is None
