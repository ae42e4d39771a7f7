"""Where a project's specs and output are."""

from pathlib import Path

import pytest

from dsl.config import Config, ConfigError, load

DEFAULT = Config((Path("specs"),), Path("generated"))


def test_defaults(tmp_path: Path) -> None:
    assert load(tmp_path) == DEFAULT
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'a'\n")
    assert load(tmp_path) == DEFAULT


def test_the_nearest_file_counts_and_its_paths_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.dslgen]\nspecs = ['a', 'b']\nout = 'pkg/acts'\n")
    assert load(tmp_path) == Config((Path("a"), Path("b")), Path("pkg/acts"))
    below = tmp_path / "below"
    below.mkdir()
    given = Config((tmp_path / "a", tmp_path / "b"), tmp_path / "pkg/acts", tmp_path / "certificates.json")
    assert load(below) == given
    (below / "pyproject.toml").write_text("")
    assert load(below) == DEFAULT


@pytest.mark.parametrize(
    "text",
    [
        "[tool.dslgen]\nspec = ['a']",
        "[tool.dslgen]\nspecs = 'a'",
        "[tool.dslgen]\nspecs = []",
        "[tool.dslgen]\nout = 3",
        "[tool]\ndslgen = 3",
        "tool = 3\n[tool]",
        "tool = 3",
        "\xff",
    ],
)
def test_bad_configuration(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"pyproject\.toml"):
        load(tmp_path)
