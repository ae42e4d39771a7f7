"""The documentation is true where a test can tell: links, paths, modules, spellings said to be equal."""

import re
import subprocess
from pathlib import Path

import pytest

from dsl.parse import parse_all
from dsl.pipeline import compile_activation
from dsl.resolve import resolve_all

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")])
FOLDERS = ("dsl", "docs", "editors", "tests", "benchmarks", "examples", "grammars", "specs")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_paths(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), target
    for path in re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w/.-]*)`", text):
        assert "NAME" in path or (ROOT / path).exists(), path


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
