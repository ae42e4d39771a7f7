"""`dslgen doctor`: what is found, what is missing, and the exit code that says whether it matters."""

import json
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from dsl import doctor
from dsl.cli import run as _run
from dsl.doctor import Check, as_json, examine, gpus, package, probe, report

Capture = pytest.CaptureFixture[str]
NEEDED = Requirement("lark>=1.2")


@pytest.mark.parametrize(
    ("extra", "found", "status", "advice"),
    [
        ("", "1.3", "ok", ""),
        ("", None, "broken", "pip install 'lark>=1.2'"),
        ("", "1.1", "broken", "pip install 'lark>=1.2'"),
        ("plot", None, "absent", "pip install 'dslgen[plot]'"),
        ("plot", "1.1", "broken", "pip install 'lark>=1.2'"),
        ("plot", "1.3.0+cpu", "ok", ""),
    ],
)
def test_a_package(extra: str, found: str | None, status: str, advice: str) -> None:
    check = package(NEEDED, extra, found)
    assert (check.name, check.status, check.advice) == ("lark", status, advice)


def statuses(checks: Sequence[Check]) -> dict[str, str]:
    return {check.name: check.status for check in checks}


def test_this_environment(tmp_path: Path) -> None:
    found = statuses(examine(tmp_path))
    assert list(found)[:2] == ["Python", "dslgen"]
    assert {found[name] for name in ("Python", "dslgen", "lark", "black", "click", "torch")} == {"ok"}
    assert found["configuration"] == "absent"


def test_gpus() -> None:
    cpu: dict[str, Any] = {"CUDA": None, "ROCm": None, "devices": []}
    cuda: dict[str, Any] = {"CUDA": "13.0", "ROCm": None, "devices": [["H200", "9.0", 150 * 2**30]]}
    (one,) = gpus(cuda, "H200 with driver 580")
    assert (one.status, one.found) == ("ok", "H200, compute capability 9.0, 150 GiB")
    (none,) = gpus(cpu, "")
    assert (none.status, none.found) == ("absent", "none; torch is built for CPUs")
    (unseen,) = gpus(cpu, "H200 with driver 580")
    assert unseen.status == "broken"
    assert unseen.found == "H200 with driver 580, which torch does not see; torch is built for CPUs"
    (bad,) = gpus("ImportError: no libcudart", "")
    assert (bad.status, bad.found) == ("broken", "torch cannot be imported: ImportError: no libcudart")


def test_a_torch_that_cannot_be_imported_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe("raise ImportError('no libcudart')") == "ImportError: no libcudart"
    assert probe("import os; os._exit(3)") == "exit code 3"
    monkeypatch.setattr(doctor, "TIMEOUT", 0.2)
    assert probe("import time; time.sleep(60)") == "not imported within 0.2 s"


def test_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    assert statuses(examine(tmp_path))["configuration"] == "ok"
    (tmp_path / "pyproject.toml").write_text("[tool.dslgen]\nspec = 1\n")
    assert statuses(examine(tmp_path))["configuration"] == "broken"


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DSLGEN_CACHE", str(tmp_path / "file/below"))
    assert statuses(examine(tmp_path))["cache"] == "absent"
    monkeypatch.setenv("DSLGEN_CACHE", str(tmp_path / "new/below"))
    assert statuses(examine(tmp_path))["cache"] == "ok"
    assert not (tmp_path / "new").exists()


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    assert _run(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok  Python ")
    assert _run(["doctor", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {tuple(row) for row in rows} == {("name", "status", "found", "advice")}

    def nowhere(_: str) -> None:
        raise PackageNotFoundError

    monkeypatch.setattr(doctor, "requires", nowhere)
    assert _run(["doctor"]) == 1
    assert "!!  dslgen " in capsys.readouterr().out


def test_the_report_says_what_to_do_below() -> None:
    checks = [Check("a", "ok", "1"), Check("long", "broken", "0, and >=1 is needed", "pip install long")]
    assert report(checks) == "ok  a     1\n!!  long  0, and >=1 is needed\n          pip install long"
    assert json.loads(as_json(checks))[1]["advice"] == "pip install long"
