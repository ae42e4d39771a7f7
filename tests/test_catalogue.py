"""The list of definitions, in its forms, and under the names of other frameworks."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from dsl.catalogue import (
    as_markdown,
    entries,
    frameworks_as_markdown,
    into_page,
    model_entry,
    read_frameworks,
)
from dsl.certificate import read_lock
from dsl.cli import run as _run
from dsl.config import ConfigError, load
from dsl.project import read_project
from dsl.resolve import activations

ROOT = Path(__file__).parents[1]
PROJECT = read_project([ROOT / "specs"]).checked()
SHIPPED = PROJECT.activations
FRAMEWORKS = read_frameworks(load(ROOT).frameworks, (a.name for a in SHIPPED))
OURS = """\
["Other's"]
version = "2"
names = { theirs = "f", too = "f" }
missing = { more = "sorts" }
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs/a.act").write_text('"""First."""\nf(x; a = 2) = max(x, a) + 1\n')
    (tmp_path / "names.toml").write_text(OURS)
    (tmp_path / "pyproject.toml").write_text('[tool.dslgen]\nframeworks = "names.toml"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_forms(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["list"]) == 0
    assert capsys.readouterr().out == "f(x; a=2)  max(x, a) + 1\n"
    assert _run(["list", "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["about"], row["frameworks"]) == ("f", "First.", {"Other's": ["theirs", "too"]})
    assert _run(["list", "--format", "markdown"]) == 0
    assert "| `f(x; a=2)` | `max(x, a) + 1` | First. |" in capsys.readouterr().out


def test_a_page(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = project / "page.md"
    page.write_text("# A\n<!-- names -->\nold\n<!-- end of names -->\n")
    assert _run(["list", "--into", str(page)]) == 0
    text = page.read_text()
    assert "| Other's 2 | `theirs` | `f` |" in text
    assert "| Other's 2 | `more` | - sorts |" in text
    assert "old" not in text
    page.write_text("# A\n")
    assert _run(["list", "--into", str(page)]) == 2
    assert "no <!-- list -->" in capsys.readouterr().err
    assert page.read_text() == "# A\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OURS.replace('"f"', '"g"'), "theirs is 'g', which is no definition"),
        (OURS.replace("version", "edition"), "no table of frameworks ('version')"),
        ("x = 1", "no table of frameworks"),
        ("=", "no table of frameworks"),
        (None, "names no file"),
    ],
)
def test_what_is_wrong_with_names(
    project: Path, capsys: pytest.CaptureFixture[str], text: str | None, message: str
) -> None:
    file = project / "names.toml"
    file.unlink() if text is None else file.write_text(text)
    assert _run(["list"]) == 2
    assert message in capsys.readouterr().err


def test_the_page_of_the_shipped_ones_is_current(tmp_path: Path) -> None:
    page = tmp_path / "catalogue.md"
    shutil.copy(ROOT / "docs/catalogue.md", page)
    found = entries(SHIPPED, read_lock(ROOT / "certificates.json"), FRAMEWORKS)
    found += map(model_entry, PROJECT.models)
    text = page.read_text(encoding="utf-8")
    tables = {"list": as_markdown(found), "names": frameworks_as_markdown(FRAMEWORKS)}
    assert into_page(text, tables) == text, "run dslgen list --into docs/catalogue.md"


def test_every_name_that_the_installed_framework_has() -> None:
    """All activations in the documentation of torch.nn but attention and the adaptive softmax."""
    (ours,) = (each for each in FRAMEWORKS if each.name == "torch.nn")
    module = torch.nn.modules.activation
    theirs = {*module.__all__} - {"MultiheadAttention"} | {"GLU"}
    assert theirs == {*ours.names}
    assert not ours.missing


def test_a_name_is_one_definition() -> None:
    (a,) = activations("f(x) = x")
    assert entries([a], {})[0].errors == {}
    with pytest.raises(ConfigError):
        read_frameworks(Path("there/is/none.toml"), ["f"])
