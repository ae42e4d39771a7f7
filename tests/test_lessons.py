"""Every code has a lesson, and lessons are true: the wrong example gives the code, the right one nothing."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dsl.cli import run as _run
from dsl.errors import CODES
from dsl.lessons import LESSONS
from dsl.project import check_text

ROOT = Path(__file__).parent.parent
SPECS = [code for code, lesson in LESSONS.items() if not lesson.shell]
COMMANDS = [code for code, lesson in LESSONS.items() if lesson.shell]


def test_every_code_has_a_lesson() -> None:
    assert list(LESSONS) == list(CODES)


@pytest.mark.parametrize("code", SPECS)
def test_specs(code: str) -> None:
    assert {error.code for error in check_text(LESSONS[code].wrong)} == {code}
    assert check_text(LESSONS[code].right) == ()


def shell(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    python = f"PYTHONPATH={shlex.quote(str(ROOT))} {shlex.quote(sys.executable)}"
    script = f'dslgen() {{ {python} -m dsl "$@"; }}\n{text}'
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("code", COMMANDS)
def test_commands(code: str, tmp_path: Path) -> None:
    wrong = shell(LESSONS[code].wrong, tmp_path / "wrong")
    assert (wrong.returncode, wrong.stderr) == (1, "1 error\n")
    assert f" {code} " in wrong.stdout
    right = shell(LESSONS[code].right, tmp_path / "right")
    assert (right.returncode, right.stderr) == (0, "")
    assert right.stdout.endswith("no errors\n")


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["explain", "e0101"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("E0101: unknown function\n")
    assert "help: did you mean 'softplus'?" in said
    assert said.endswith("Right:\n\n    f(x) = softplus(x)\n")
    assert _run(["explain", "E0199"]) == 2
    assert "did you mean 'E0190'?" in capsys.readouterr().err


def test_the_language_page_lists_every_code() -> None:
    page = (ROOT / "docs/language.md").read_text(encoding="utf-8")
    assert [code for code in CODES if code not in page] == ["E0002", "E0003", "E0004"]  # E0001 to E0005
