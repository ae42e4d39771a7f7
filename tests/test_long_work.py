"""Long work on a terminal: how far it is, and Ctrl-C, which ends it in a line and keeps what is done."""

from __future__ import annotations

import json
import os
import pty
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code, and what a terminal showed of it."""

    code: int
    shown: str


def interrupted(command: Sequence[str], folder: Path, moment: Callable[[str], object]) -> Done:
    """Run a command on a terminal of its own, and press Ctrl-C there when it shows the moment."""
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(folder)
        os.execvpe(sys.executable, [sys.executable, "-m", *command], ENVIRONMENT)
    shown, pressed, ends = "", False, time.monotonic() + 60
    while time.monotonic() < ends:
        try:
            shown += os.read(terminal, 4096).decode()
        except OSError:  # Nobody is left at the other end.
            break
        if not pressed and moment(shown):
            os.write(terminal, b"\x03")  # to every process of the terminal, as it is in life
            pressed = True
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert pressed, shown
    return Done(os.waitstatus_to_exitcode(status), shown)


def test_certify_keeps_what_is_done(tmp_path: Path) -> None:
    (tmp_path / "two.act").write_text("one(x) = max(x, 0)\ntwo(x) = min(x, 0)\n", encoding="utf-8")
    command = ["dsl", "certify", "two.act", "--samples", "50", "--jobs", "1"]
    done = interrupted(command, tmp_path, lambda shown: "[9/16] two" in shown)
    assert done.code == 130
    *_, last = done.shown.rstrip().splitlines()
    assert re.sub(r"\x1b\[K", "", last).strip() == (
        "dslgen: stopped: 1 of 2 certified, which certificates.json keeps; run it again to go on"
    )
    assert "Traceback" not in done.shown
    held = json.loads((tmp_path / "certificates.json").read_text(encoding="utf-8"))
    assert "one" in json.dumps(held)
    assert '"two"' not in json.dumps(held)


def test_a_gallery_shows_how_far_it_is_and_leaves_nothing_half_made(tmp_path: Path) -> None:
    (tmp_path / "two.act").write_text("one(x) = max(x, 0)\ntwo(x) = min(x, 0)\n", encoding="utf-8")
    command = ["dsl", "gallery", "two.act", "-o", "site", "--jobs", "1"]
    done = interrupted(command, tmp_path, lambda shown: "[1/2] one" in shown)
    assert done.code == 130
    assert done.shown.endswith("dslgen: stopped\r\n")
    assert "Traceback" not in done.shown
    assert [each.name for each in tmp_path.iterdir()] == ["two.act"]
