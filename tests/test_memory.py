"""What the stabiliser found, and the file that keeps it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given

from dsl.cli import run as _run
from dsl.expr import Expr, Symbol, call
from dsl.memory import Damaged, Found, Memory, read, recalled, remembering, search_digest, show
from dsl.parse import parse_all
from dsl.pipeline import Stages, stages
from dsl.resolve import resolve
from tests.strategies import expressions

X = Symbol("x")


@given(expressions())
def test_any_expression_is_read_as_it_was_shown(root: Expr) -> None:
    assert read(show(root)) is root


@pytest.mark.parametrize(
    "line",
    ["", "x;nothing 0", "x;add 0 1", "1/0", "x;add 0 -5", "__import__('os')", "x y", "y", "x;exp 0 0", "x;"],
)
def test_what_is_no_expression_of_the_input_is_refused(line: str) -> None:
    with pytest.raises(Damaged):
        read(line, ("x",))


def kept(path: Path, found: Expr) -> Memory:
    with remembering(path) as memory:
        recalled(("q",), call("exp", X), lambda: Found(found, ("rule",)))
        memory.write(whole=True)
    return memory


def test_what_was_found_is_not_searched_again(tmp_path: Path) -> None:
    kept(tmp_path / "found.json", X)
    with remembering(tmp_path / "found.json") as memory:
        again = recalled(("q",), call("exp", X), lambda: pytest.fail("searched again"))
        assert again == Found(X, ("rule",))
        assert memory.is_current
        other = recalled(("another question",), call("exp", X), lambda: Found(X * 2, ()))
        assert other.value is X * 2
        assert not memory.is_current


@pytest.mark.parametrize(
    ("field", "value"),
    [("search", "of another stabiliser"), ("format", 0), ("found", []), ("found", {"k": 1})],
)
def test_what_does_not_fit_is_searched_again(tmp_path: Path, field: str, value: object) -> None:
    path = tmp_path / "found.json"
    kept(path, X)
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with remembering(path):
        assert recalled(("q",), call("exp", X), lambda: Found(X * 2, ())).value is X * 2


@pytest.mark.parametrize("line", ["x;nothing 0", "other", "", "1;tanh 0 | rule"])
def test_a_damaged_line_is_searched_again_if_it_is_no_expression(tmp_path: Path, line: str) -> None:
    path = tmp_path / "found.json"
    kept(path, X)
    file = json.loads(path.read_text())
    path.write_text(json.dumps({**file, "found": dict.fromkeys(file["found"], line)}))
    with remembering(path):
        value = recalled(("q",), call("exp", X), lambda: Found(X * 2, ())).value
        assert value is (call("tanh", 1) if line.startswith("1") else X * 2)


def test_a_file_that_is_none_is_as_good_as_none(tmp_path: Path) -> None:
    for text in ("", "{", "[]", '"found"', "null"):
        (tmp_path / "found.json").write_text(text)
        with remembering(tmp_path / "found.json"):
            assert recalled(("q",), X, lambda: Found(X * 2, ())).value is X * 2


def test_part_of_a_project_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    kept(path, X)
    with remembering(path) as memory:
        recalled(("q",), call("tanh", X), lambda: Found(X, ()))
        memory.write(whole=False)
        assert len(json.loads(path.read_text())["found"]) == 2
        memory.write(whole=True)
        assert len(json.loads(path.read_text())["found"]) == 1


def test_a_program_from_memory_is_the_one_that_is_found(tmp_path: Path) -> None:
    activation = resolve(parse_all("f(x; a = 1.0) = x * tanh(a * softplus(x))")[0])[0]
    with remembering(tmp_path / "found.json") as memory:
        first = stages(activation)
        memory.write(whole=True)
    with remembering(tmp_path / "found.json"):
        second = stages(activation)
    assert isinstance(first, Stages)
    assert first == second
    assert len(memory.used) == 3


def test_certify_keeps_what_was_found_and_check_says_if_it_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("specs").mkdir()
    Path("specs/one.act").write_text("double(x) = 2 * x\n")
    assert _run(["certify", "--samples", "50"]) == 0
    file = Path("stabilised.json")
    assert json.loads(file.read_text())["search"] == search_digest()
    assert _run(["certify", "--check"]) == 0
    file.write_text(file.read_text().replace(search_digest(), "0" * 20))
    assert _run(["certify", "--check"]) == 1
    said = capsys.readouterr().err
    assert "stabilised.json: not what the stabiliser finds now; run: dslgen certify" in said
