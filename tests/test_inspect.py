"""The command `dslgen inspect`: the counts themselves are held in tests/kernels/test_kernels_compiled.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dsl.cli.group import cli

pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter compiles nothing"
)

ONE = ("relu", "--dtypes", "float32")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["inspect", *map(str, arguments)])


@pytest.mark.parametrize(("target", "width"), [("sm_90", "128"), ("gfx942", "128")])
def test_a_line_for_each_kernel(target: str, width: str) -> None:
    lines = run(*ONE, "--target", target).stdout.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        f"| {target}/float32/relu/{kind}" for kind in ("value", "gradient")
    ]
    assert all(line.endswith(f"| {width} | {width} |") for line in lines[2:])


def test_what_is_written_checks_until_something_changes(tmp_path: Path) -> None:
    file = tmp_path / "counts.json"
    assert run(*ONE, "--write", file).exit_code == 0
    assert run(*ONE, "--check", file).exit_code == 0
    text = file.read_text()
    file.write_text(text.replace('"spills": 0', '"spills": 8', 1))
    found = run(*ONE, "--check", file)
    assert found.exit_code == 1
    assert found.stdout == "sm_90/float32/relu/value: spills 8 -> 0\n"
    assert f"--write {file}" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--all"),
        (("relu", "--all"), "--all"),
        (("rleu",), "did you mean 'relu'?"),
        (("relu", "--target", "gtx"), "sm_90"),
        (("relu", "--dtypes", "half"), "float16"),
        (("relu", "--check", "nowhere.json"), "--write"),
        (("relu", "--check", "a", "--write", "b"), "not both"),
    ],
)
def test_wrong_usage_is_told(arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code != 0
    assert message in result.stderr


def test_counts_of_another_triton_are_not_compared(tmp_path: Path) -> None:
    file = tmp_path / "counts.json"
    file.write_text('{"triton": "0.1", "kernels": {}}')
    assert "Triton 0.1" in run(*ONE, "--check", file).stderr
