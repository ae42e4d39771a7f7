"""A page of the documentation, run as a reader would run it: its commands and its Python, in order."""

import re
import shlex
from pathlib import Path

from dsl.cli import _run

ROOT = Path(__file__).parent.parent


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
