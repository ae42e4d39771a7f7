"""Commands: what they print and how they exit, with never a traceback."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click import Command, Context, Option

from dsl import __version__
from dsl.cli import run as _run
from dsl.cli.group import MODULES, cli
from dsl.cli.tell import STAGES
from dsl.cli.usage import EXAMPLES, SECTIONS
from dsl.targets import SUPPORT

ROOT = Path(__file__).parent.parent


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs/a.act").write_text(
        "silu(x) = x * sigmoid(x)\n  alias swish\n  reference torch.nn.functional.silu\n"
    )
    (tmp_path / "specs/b.act").write_text("twice(x; a = 1/2) = a * silu(2 * x)\n")
    return tmp_path


Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    code = _run(arguments)
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    return code, said.out, said.err


def test_version_and_help(project: Path, capsys: Capture) -> None:
    assert run(capsys, "--version") == (0, f"dslgen {__version__}\n", "")
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(command in out for command in ("build", "check", "fmt", "list", "show"))


@pytest.mark.parametrize(
    "arguments", [["bogus"], ["build", "--bogus"], ["show", "silu", "--after", "bogus"], ["show", "nothing"]]
)
def test_wrong_usage(project: Path, capsys: Capture, arguments: list[str]) -> None:
    assert run(capsys, *arguments)[0] == 2


def test_wrong_configuration(project: Path, capsys: Capture) -> None:
    (project / "pyproject.toml").write_text("[tool.dslgen]\nspec = 1\n")
    code, _, err = run(capsys, "build")
    assert code == 2
    assert "no key 'spec'" in err


def test_check(project: Path, capsys: Capture) -> None:
    assert run(capsys, "check") == (0, "2 definitions in 2 files: no errors\n", "")
    (project / "specs/b.act").write_text("twice(x) = silo(2 * x)\n")
    code, out, err = run(capsys, "check")
    assert (code, err) == (1, "1 error\n")
    assert out.startswith("specs/b.act:1:12: E0101 unknown function 'silo'\n")
    assert "did you mean 'silu'?" in out
    code, out, err = run(capsys, "check", "--error-format=json")
    assert (code, err) == (1, "")
    assert [row["code"] for row in json.loads(out)] == ["E0101"]
    code, out, _ = run(capsys, "build", "--error-format", "github")
    assert code == 1
    assert out.startswith("::error file=specs/b.act")
    assert run(capsys, "check", "missing.act")[0] == 1
    assert run(capsys, "check", "specs/a.act")[0] == 0


def test_no_specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("build", "check", "list"):
        code, out, err = run(capsys, command)
        assert code in (1, 2)
        assert "specs" in out + err


def test_fmt(project: Path, capsys: Capture) -> None:
    assert run(capsys, "fmt", "--check")[0] == 0
    (project / "specs/b.act").write_text("twice(x;a=1/2)=a*silu(2*x)\n")
    code, out, err = run(capsys, "fmt", "--check")
    assert (code, out) == (1, "would format specs/b.act\n")
    assert "run: dslgen fmt" in err
    code, out, _ = run(capsys, "fmt", "--diff")
    assert code == 1
    assert "+twice(x; a = 1/2) = a * silu(2 * x)" in out
    assert run(capsys, "fmt") == (0, "formatted specs/b.act\n", "")
    assert run(capsys, "fmt") == (0, "", "")
    (project / "specs/b.act").write_text("twice(x = 1")
    assert run(capsys, "fmt")[0] == 1


def test_list(project: Path, capsys: Capture) -> None:
    code, out, _ = run(capsys, "list")
    assert code == 0
    first, second = out.splitlines()
    assert first.split("  ")[0] == "silu(x)"
    assert "  swish, " in first
    assert "torch.nn.functional.silu" in first
    assert "twice(x; a=0.5)" in second


@pytest.mark.parametrize("stage", list(STAGES))
def test_show(project: Path, capsys: Capture, stage: str) -> None:
    code, out, err = run(capsys, "show", "twice", "--after", stage)
    assert (code, err) == (0, "")
    assert "x" in out


def test_show_finds_definitions(project: Path, capsys: Capture) -> None:
    by_alias = run(capsys, "show", "swish", "--after", "parse")
    assert by_alias == run(capsys, "show", "specs/a.act:silu", "--after", "parse")
    assert by_alias == run(capsys, "show", "specs/a.act", "--after", "parse")
    assert run(capsys, "show", "specs/b.act", "--after", "parse")[0] == 0
    assert "did you mean 'silu'?" in run(capsys, "show", "sil")[2]


def test_build_and_its_check(project: Path, capsys: Capture) -> None:
    code, out, err = run(capsys, "build", "--check", "-o", "out dir")
    assert code == 1
    assert "would create out dir/silu.py\n" in out
    assert "+++" not in out
    assert err.endswith("run: dslgen build -o 'out dir'\n")
    assert not (project / "out dir").exists()
    report = f"{3 + len(SUPPORT)} written, 0 unchanged, 0 removed"  # and the package
    assert run(capsys, "build", "-o", "out dir") == (0, f"out dir: {report}\n", "")
    assert run(capsys, "build", "--check", "-o", "out dir") == (0, "", "")
    written = (project / "out dir/silu.py").read_text()
    (project / "out dir/silu.py").write_text(written + "# edited\n")
    code, out, err = run(capsys, "build", "--check", "-o", "out dir")
    assert (code, out) == (1, "would change out dir/silu.py\n")
    for options in (["--diff"], ["--check", "--diff"]):
        code, out, err = run(capsys, "build", *options, "-o", "out dir")
        assert code == 1
        assert "+++ out dir/silu.py" in out
        assert "\n-# edited\n" in out
        assert err == "out dir: 1 file out of date; run: dslgen build -o 'out dir'\n"
    assert run(capsys, "build", "--diff", "--watch")[0] == 2
    (project / "out dir/silu.py").write_text("mine\n")
    code, _, err = run(capsys, "build", "-o", "out dir")
    assert code == 2
    assert "not generated by dslgen" in err


def test_an_internal_error_is_short(project: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STAGES, "parse", lambda *_: 1 // 0 and "")
    code, _, err = run(capsys, "show", "silu", "--after", "parse")
    assert code == 2
    assert err == "dslgen: internal error (ZeroDivisionError: integer division or modulo by zero)\n"


def test_a_closed_pipe_is_quiet(project: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    text = f"{sys.executable} -m dsl show silu --after target | head -c 1"
    done = subprocess.run(["bash", "-c", text], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_interrupt_is_quiet(project: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setitem(STAGES, "parse", interrupt)
    assert run(capsys, "show", "silu", "--after", "parse") == (130, "", "\ndslgen: stopped\n")


def test_help_has_every_command_and_an_example_of_each(capsys: Capture) -> None:
    listed = [name for lines in SECTIONS.values() for name in lines]
    assert sorted(listed) == sorted(MODULES) == sorted(EXAMPLES)
    whole = run(capsys, "--help")[1]
    for lines in SECTIONS.values():
        for name, line in lines.items():
            assert re.search(rf"^  {name} +{re.escape(line[:40])}", whole, re.MULTILINE)
    for name, examples in EXAMPLES.items():
        shown = run(capsys, name, "--help")[1]
        command = _command(name)
        assert not [each for each in command.params if isinstance(each, Option) and not _told(each)]
        for example in examples:
            assert f"    {example}\n" in shown
            program, given, *arguments = shlex.split(example.partition(" > ")[0])
            assert (program, given) == ("dslgen", name)
            command.make_context(name, arguments)  # raises what is wrong usage


def _command(name: str) -> Command:
    found = cli.get_command(Context(cli), name)
    assert found is not None
    assert found.name == name
    return found


def _told(option: Option) -> bool:
    return bool(option.help) or option.hidden


def test_a_misspelt_command(capsys: Capture) -> None:
    assert "no command 'plott': did you mean 'plot'?" in run(capsys, "plott")[2]
    assert "no command 'make'; dslgen --help lists them" in run(capsys, "make")[2]
