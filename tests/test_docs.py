"""The documentation is true where a test can tell: links, paths, modules, spellings said to be equal."""

import importlib
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from dsl.parse import parse_all
from dsl.pipeline import compile_activation
from dsl.project import check_text
from dsl.resolve import resolve_all
from tests.pages import recorded

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")])
FOLDERS = ("dsl", "docs", "editors", "tests", "benchmarks", "examples", "grammars", "specs")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_paths(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), target
    for path in re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w/.-]*)`", text):
        made = f"`{path}`:\n\n```" in text  # by the reader
        assert "NAME" in path or made or (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pages_end_cleanly(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.endswith("\n")
    assert not re.search(r"[ \t]$", text, re.MULTILINE)


def test_decisions_are_numbered() -> None:
    names = sorted(path.name for path in (ROOT / "docs/adr").glob("*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    for name in names:
        heading = (ROOT / "docs/adr" / name).read_text(encoding="utf-8").splitlines()[0]
        assert heading.startswith(f"# {int(name[:4])}. "), name


def test_spellings_that_are_said_to_give_one_kernel() -> None:
    text = (ROOT / "docs/adr/0001-one-normal-form.md").read_text(encoding="utf-8")
    spellings = re.findall(r"`(x \* [^`]+)`", text)
    assert len(spellings) == 3
    programs = []
    for spelling in spellings:
        definitions, errors, broken = parse_all(f"same(x) = {spelling}\n", "same.act")
        (activation,), wrong = resolve_all(definitions, broken)
        assert not errors
        assert not wrong
        program = compile_activation(activation).program
        programs.append((program.forward, program.gradient, program.curvature))
    assert all(program == programs[0] for program in programs)


def test_layers_in_the_architecture_page_are_those_of_the_contract() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    listed = page.partition("From the top:")[2].partition("\n\nA build")[0]
    named = set(re.findall(r"`(\w+)`", listed))
    modules = {
        path.stem
        for path in (ROOT / "dsl").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert named <= modules


def test_the_python_of_the_pytorch_page_runs() -> None:
    text = (ROOT / "docs/pytorch.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        exec(block, {})


def test_make_help_names_every_target() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert phony is not None
    assert re.findall(r"^make (\w+)", done.stdout, re.MULTILINE) == phony[1].split()


@pytest.mark.parametrize("page", ["tutorial", "howto"])
def test_a_recorded_session_is_what_is_printed(page: str, tmp_path: Path) -> None:
    text = (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")
    assert recorded(text, tmp_path) == text, f"run: python -m tests.pages docs/{page}.md"


SHOWN = {"text", "{toctree}", "{include}"}
"""Blocks in which nothing is to be run."""
RUN = {
    "editors": {"json", "lua", "lisp", "toml"},  # the first and last are read below, the others by editors
    "howto": {"act", "console", "python"},
    "index": {"act"},
    "language": {"act"},  # by tests/test_parse.py
    "models": {"act", "sh"},  # by tests/test_models.py; the shell is the Makefile and a benchmark
    "plugins": {"python", "sh"},  # by tests/plugins, and by tests/test_compile.py
    "pytorch": {"python", "sh"},  # what the shell runs is `tests.conformance`
    "tutorial": {"act", "console", "python"},
}
"""The languages of each page's blocks, all of which some test runs."""


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_every_block_of_the_site_is_run(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```([^\s`]+).*?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    unknown = {language for language, _ in blocks} - SHOWN - RUN.get(page.stem, set())
    assert not unknown, "let a test run these, and name them in RUN"
    readers = {"json": json.loads, "toml": tomllib.loads}
    for language, code in blocks:
        if language in readers:
            assert readers[language](code)
        if language == "act" and page.stem == "index":
            assert not check_text(code)


def test_the_comparison_is_of_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    comparison = importlib.import_module("comparison")
    times = json.loads((ROOT / "benchmarks/results/speed-h200.json").read_text(encoding="utf-8"))
    page = comparison.PAGE.read_text(encoding="utf-8")
    assert comparison.written(page, times) == page, "run: python benchmarks/comparison.py"


def test_the_notebook_is_stripped() -> None:
    notebook = json.loads((ROOT / "docs/notebook.ipynb").read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
