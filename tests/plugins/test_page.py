"""docs/plugins.md is true: every section runs, with the libraries themselves."""

from pathlib import Path

import pytest

from tests.pages import ROOT, run, sections

SECTIONS = sections("docs/plugins.md")


@pytest.mark.parametrize("title", SECTIONS)
def test_section(title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "specs").symlink_to(ROOT / "specs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DSLGEN_CACHE", str(tmp_path / "cache"))
    assert SECTIONS[title]
    run(SECTIONS[title])
