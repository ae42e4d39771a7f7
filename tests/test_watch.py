"""`build --watch`: a turn for every change, errors shown and gone on from, an end at Ctrl-C."""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dsl.cli import run as _run
from dsl.watch import changes

ROOT = Path(__file__).parent.parent


def turns(folder: Path, *edits: Callable[[], object]) -> tuple[Iterator[None], list[int]]:
    """The turns of a loop over the specs of a folder; each pause makes the next edit and is counted."""
    pauses: list[int] = []
    todo = iter(edits)

    def pause(_: float) -> None:
        pauses.append(1)
        next(todo)()

    return changes(lambda: sorted(folder.glob("*.act")), pause), pauses


def test_a_turn_for_every_change(tmp_path: Path) -> None:
    file, other = tmp_path / "a.act", tmp_path / "b.act"
    file.write_text("1")
    nothing = file.exists
    found, pauses = turns(
        tmp_path,
        *(nothing, nothing, lambda: file.write_text("22"), nothing),
        *(lambda: other.write_text("new"), nothing),
        *(lambda: other.unlink(), nothing),
    )
    for expected in (0, 4, 6, 8):
        next(found)
        assert len(pauses) == expected


def test_an_editor_that_writes_in_steps_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "a.act"
    steps = [lambda text=text: file.write_text(text) for text in ("1", "22", "333")]
    found, pauses = turns(tmp_path, *steps, file.exists, StopIteration)
    next(found)
    next(found)
    assert (len(pauses), file.read_text()) == (4, "333")


def test_a_change_during_a_turn_begins_another(tmp_path: Path) -> None:
    found, _ = turns(tmp_path, tmp_path.exists)
    next(found)
    (tmp_path / "a.act").write_text("1")
    next(found)


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    spec = tmp_path / "specs/a.act"
    spec.write_text("f(x) = softplu(x)\n")
    command = [sys.executable, "-u", "-m", "dsl", "build", "--watch"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)

    def until_watching() -> str:
        said = ""
        while not said.endswith("watching for changes; Ctrl-C ends\n"):
            said += lines.get(timeout=60)
        return said

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert "E0101 unknown function 'softplu'" in until_watching()
        spec.write_text("f(x) = softplus(x)\n")
        assert "generated: 13 written, 0 unchanged, 0 removed\n" in until_watching()
        (tmp_path / "pyproject.toml").write_text("[tool.dslgen]\nspec = 1\n")
        assert "no key 'spec'" in until_watching()
        (tmp_path / "pyproject.toml").write_text("[tool.dslgen]\nout = 'kernels'\n")
        assert "kernels: 13 written" in until_watching()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        reader.join()
        process.wait()
    assert lines.get_nowait() == "\n"
    assert lines.empty()


def test_not_with_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["build", "--watch", "--check"]) == 2
    assert "not both" in capsys.readouterr().err
