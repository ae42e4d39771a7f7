"""A page of the documentation, run as a reader would run it: its files, its commands, its Python, in order.

A fenced block after a line that ends with a path in backticks and a colon is that file. A block `console` is
a session: commands after `$`, and what they print. `python -m tests.pages PAGE...` records sessions anew.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from dsl.cli import run as _run

ROOT = Path(__file__).parent.parent
_FENCE = re.compile(r"(?:`([^`\n]+)`:\n\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sections(page: str) -> dict[str, list[tuple[str, str]]]:
    """The fenced blocks of a page below each heading: their language and what they hold."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found: dict[str, list[tuple[str, str]]] = {}
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, rest = part.partition("\n")
        found[title] = re.findall(r"^```(\w+)\n(.*?)^```$", rest, re.MULTILINE | re.DOTALL)
    return found


def run(blocks: list[tuple[str, str]]) -> None:
    """Run the commands `dslgen` and the Python of some blocks, in the working directory."""
    for language, code in blocks:
        if language == "python":
            exec(compile(code, "<page>", "exec"), {"__name__": "__page__"})
        for line in code.splitlines() if language == "sh" else ():
            name, *arguments = shlex.split(line)
            assert name == "dslgen"
            assert _run(arguments) == 0


def recorded(text: str, folder: Path) -> str:
    """A page with its files written into a folder, its sessions run there, and what they print put in."""
    here = folder

    def block(found: re.Match[str]) -> str:
        nonlocal here
        path, language, code = found.groups()
        if path is not None:
            (here / path).parent.mkdir(parents=True, exist_ok=True)
            (here / path).write_text(code, encoding="utf-8")
        if language != "console":
            return found[0]
        lines = []
        for command in re.findall(r"^\$ (.*)$", code, re.MULTILINE):
            lines.append(f"$ {command}\n")
            if command.startswith("cd "):
                here /= command.removeprefix("cd ")
            else:
                lines.append(_printed(command, here))
        return found[0].replace(code, "".join(lines))

    return _FENCE.sub(block, text)


def _printed(command: str, folder: Path) -> str:
    """What a command prints, on both streams; `dslgen` and `python` are those of the tests."""
    programs = {"dslgen": [sys.executable, "-m", "dsl"], "python": [sys.executable]}
    name, *arguments = shlex.split(command)
    paths = os.pathsep.join([str(ROOT), str(folder)])
    done = subprocess.run(
        [*programs.get(name, [name]), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "100", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout


def main() -> None:
    """Record the sessions of pages anew, in place."""
    for name in sys.argv[1:]:
        page = Path(name)
        with TemporaryDirectory() as folder:
            page.write_text(recorded(page.read_text(encoding="utf-8"), Path(folder)), encoding="utf-8")


if __name__ == "__main__":
    main()
