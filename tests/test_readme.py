"""The README is true: its commands and its Python run, in order, and its tables name what there is."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from dsl.cli.group import MODULES
from dsl.cli.tell import STAGES
from dsl.project import read_project

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> Iterator[str]:
    """The fenced blocks of one language, in order."""
    for found in re.finditer(r"^( *)```(\w+)\n(.*?)^\1```$", README, re.MULTILINE | re.DOTALL):
        if found[2] == language:
            yield found[3]


def test_thirty_seconds(tmp_path: Path) -> None:
    (spec,) = blocks("act")
    (tmp_path / "my.act").write_text(spec, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    dslgen = f"{sys.executable} -m dsl"
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("dslgen ")]
    python = "\n".join(blocks("python"))
    for command in [*(line.replace("dslgen", dslgen, 1).split() for line in commands), [sys.executable, "-"]]:
        code = python if command[-1] == "-" else None
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, input=code, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_commands() -> None:
    named = re.findall(r"^\| `dslgen (\w+)", README, re.MULTILINE)
    assert sorted(named) == sorted(MODULES)
    (stages,) = re.findall(r"^\| `dslgen show .*$", README, re.MULTILINE)
    assert re.findall(r"`(\w+)`", stages) == list(STAGES)


def test_specs() -> None:
    rows = re.findall(r"^\| \[(\w+\.act)\]\(specs/\1\) \| (.*) \|$", README, re.MULTILINE)
    told = {file: names.split(", ") for file, names in rows}
    shipped: dict[str, list[str]] = {}
    for activation in read_project([ROOT / "specs"]).checked().activations:
        shipped.setdefault(Path(activation.path).name, []).append(activation.name)
    assert {file: sorted(names) for file, names in told.items()} == {
        file: sorted(names) for file, names in shipped.items()
    }


def test_make_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
