"""Spec files as they come: missing, too large, not text, and in directories."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsl.project import MAX_BYTES, read_project, spec_files


def codes(path: Path) -> list[str]:
    return [error.code for error in read_project([path]).errors]


def test_bad_files(tmp_path: Path) -> None:
    assert codes(tmp_path / "missing.act") == ["E0001"]
    (tmp_path / "dir.act").mkdir()
    assert codes(tmp_path / "dir.act") == ["E0002"]
    (tmp_path / "large.act").write_bytes(b"f(x) = x\n" * (10 * MAX_BYTES // 9))
    assert codes(tmp_path / "large.act") == ["E0003"]
    (tmp_path / "latin.act").write_bytes(b"f(x) = x\n# caf\xe9\n")
    (error,) = read_project([tmp_path / "latin.act"]).errors
    assert (error.code, error.span.line, error.span.column) == ("E0004", 2, 6)
    assert codes(tmp_path / "a\0b") == ["E0005"]
    (tmp_path / "a\nimport os.act").write_text("f(x) = x")
    assert codes(tmp_path / "a\nimport os.act") == ["E0005"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.act").write_text("f(x) = x")
    (tmp_path / "a.act").chmod(0)
    assert codes(tmp_path / "a.act") == ["E0005"]


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.act").write_bytes(data)
    project = read_project([tmp_path / "a.act"])
    assert all(str(error) for error in project.errors)


def test_byte_order_marks_and_line_ends(tmp_path: Path) -> None:
    (tmp_path / "a.act").write_bytes(b"\xef\xbb\xbff(x) = x\r\n\r\n# c\rg(x) = y\r\n")
    project = read_project([tmp_path / "a.act"])
    assert [activation.name for activation in project.activations] == ["f"]
    assert [(error.code, error.span.line, error.source_line) for error in project.errors] == [
        ("E0106", 4, "g(x) = y")
    ]


def test_directories(tmp_path: Path) -> None:
    for name in ("b.act", "a.act", "sub/c.act", ".hidden/d.act", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    names = [file.relative_to(tmp_path).as_posix() for file in spec_files([tmp_path, tmp_path / "a.act"])]
    assert names == ["a.act", "b.act", "sub/c.act"]


def test_one_file_of_a_project_may_call_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.act").write_text("f(x) = g(x) + 1")
    (tmp_path / "b.act").write_text("g(x) = 2 * x\n\nbad(x) = y")
    assert codes(tmp_path / "a.act") == ["E0101"]
    project = read_project([tmp_path / "a.act"], [tmp_path])
    assert [activation.name for activation in project.activations] == ["f"]
    assert project.errors == ()
