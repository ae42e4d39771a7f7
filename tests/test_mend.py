"""`check --fix`: what is mended, what is left to the author, and files that are written whole."""

import json
from pathlib import Path

import pytest

from dsl.cli import run as _run
from dsl.mend import fixes, mend
from dsl.mistakes import _MEANT
from dsl.project import check_text

Capture = pytest.CaptureFixture[str]


def mended(text: str, folder: Path, unsafe: bool = False) -> str:
    file = folder / "a.act"
    file.write_text(text, encoding="utf-8")
    done = mend([file], unsafe=unsafe)
    assert file.read_text(encoding="utf-8") == text  # writing is the command's part
    return done.texts.get(file, text)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("x^2^3", "x**2**3"),
        ("2x", "2 * x"),
        ("1 - 0.5x", "1 - 0.5 * x"),
        ("Tanh(x)", "tanh(x)"),
        ("tnah(x)", "tanh(x)"),
        ("a(x + 1)", "a * (x + 1)"),
        ("-a(x)**2", "-a * (x)**2"),
        ("(x > 0) * x", "(where(x > 0, 1, 0)) * x"),
        ("x < 1", "where(x < 1, 1, 0)"),
        ("x \N{MULTIPLICATION SIGN} {x \N{MINUS SIGN} a}\N{SUPERSCRIPT TWO}", "x * (x - a)**2"),
        ("where(x \N{LESS-THAN OR EQUAL TO} 0, 0, x)", "where(x <= 0, 0, x)"),
        ("x +\u202e 1", "x + 1"),
        ("2x + exp(X)^2", "2 * x + exp(x)**2"),
    ],
)
def test_slips_are_mended(wrong: str, right: str, tmp_path: Path) -> None:
    assert mended(f"f(x; a = 2) = {wrong}\n", tmp_path) == f"f(x; a = 2) = {right}\n"
    assert check_text(f"f(x; a = 2) = {right}\n") == ()


@pytest.mark.parametrize(
    "kept",
    [
        "1/2x",  # a half of x, or the inverse of 2x
        "x**2x",
        "1/a(x + 1)",
        "0x1F",
        "1.5f + x",
        "2e",
        "(x + 1)(x - 1)",
        "sinc(x)",
        "alpha * x",
        "x\N{GREEK SMALL LETTER ALPHA}",
        "(x) + 1 < (2)",  # the comparison's place is without its last bracket
        "x % 2",
    ],
)
def test_what_may_be_meant_otherwise_is_left(kept: str, tmp_path: Path) -> None:
    text = f"f(x; a = 2) = {kept}\n"
    assert check_text(text)
    assert mended(text, tmp_path) == text


def test_guesses_are_taken_on_demand(tmp_path: Path) -> None:
    text = "f(x; scale = 1) = softplu(x) * scal\n"
    assert mended(text, tmp_path) == text
    assert mended(text, tmp_path, unsafe=True) == "f(x; scale = 1) = softplus(x) * scale\n"


def test_clauses_and_several_definitions(tmp_path: Path) -> None:
    wrong = "f(x) = u^2\n  wiht u = 2x\n\n# kept\ng(x) = F(x) + 3x\n"
    assert mended(wrong, tmp_path) == "f(x) = u**2\n  with u = 2 * x\n\n# kept\ng(x) = f(x) + 3 * x\n"


def test_a_replacement_is_no_finding_itself() -> None:
    for char, meant in _MEANT.items():
        (error,) = fixes(check_text(f"f(x) = x {char} x")) or fixes(check_text(f'{char}d" f(x) = x'))
        assert error.text == meant


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {"a": "f(x) = x^2\n", "b": "g(x) = softplu(x)\n", "c": "h(x) = x\n"}.items():
        (tmp_path / f"{name}.act").write_text(text)
    before = (tmp_path / "c.act").stat().st_mtime_ns
    assert _run(["check", "."]) == 1
    assert capsys.readouterr().err == "2 errors; dslgen check --fix mends 1 of them\n"
    assert _run(["check", ".", "--fix", "--error-format", "json"]) == 1
    said = capsys.readouterr()
    assert said.err == "mended a.act: 1 edit\n"
    assert [row["code"] for row in json.loads(said.out)] == ["E0101"]
    assert (tmp_path / "a.act").read_text() == "f(x) = x**2\n"
    assert _run(["check", ".", "--unsafe-fixes"]) == 0
    assert (tmp_path / "b.act").read_text() == "g(x) = softplus(x)\n"
    assert (tmp_path / "c.act").stat().st_mtime_ns == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.act", "b.act", "c.act"]
    assert _run(["check", "--fix", "missing.act"]) == 1


def test_only_what_was_named_is_mended(tmp_path: Path) -> None:
    (tmp_path / "a.act").write_text("f(x) = g(x)^2\n")
    (tmp_path / "b.act").write_text("g(x) = x^3\n")
    done = mend([tmp_path / "a.act"], [tmp_path])
    assert list(done.texts) == [tmp_path / "a.act"]
