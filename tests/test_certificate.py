"""Certificates: what they are for, the file that keeps them, what quotes them, and the bounds they break."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dsl import assess
from dsl import certificate as certificates
from dsl.activation import Bound
from dsl.build import build, plan
from dsl.certificate import Certificate, LockError, Row, findings, read_lock, show_lock
from dsl.certify import around_worst, truth
from dsl.cli import main
from dsl.digest import digest as code_digest
from dsl.expr import Symbol
from dsl.project import read_project

ROOT = Path(__file__).parent.parent
SPECS = [Path("specs")]
ROW = Row("kernel", "float32", "value", 2.5, -0.75, 1000, False)
HELD = Certificate("half", "0" * 32, 1000, "", (ROW,))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one small spec."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.dslgen]\n")
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs/a.act").write_text("half(x) = x / 2\n")
    return tmp_path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    code = stop.value.code
    assert isinstance(code, int)
    return code


def hold(certificate: Certificate) -> None:
    Path("certificates.json").write_text(show_lock({certificate.name: certificate}))


def digest() -> str:
    (job,) = assess.jobs(read_project(SPECS).activations)
    return job.digest


def test_the_digest_is_that_of_the_code(project: Path) -> None:
    before = digest()
    assert digest() == before
    spec = project / "specs/a.act"
    spec.write_text('# a comment\n"A line about it."\nhalf(x) = x / 2\n  accuracy forward 2 ulp\n')
    assert digest() == before
    spec.write_text("half(x) = x / 3\n")
    assert digest() != before
    assert code_digest("code", "", "a = 1") != code_digest("code", "", "a = 2")


BLOCKS = """
LN2 = 0.7

# How it works.
@jit
def exp(u, fast):
    return scaled(u, LN2)

def scaled(u, by): return u * by

def log(u): return u
"""


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("0.7", "0.8", False),
        ("u * by", "by * u", False),
        ("@jit", "@other", False),
        ("log(u): return u", "log(u): return 2 * u", True),
        ("# How", "# Why", True),
    ],
)
def test_only_the_blocks_that_are_called_count(before: str, after: str, same: bool) -> None:
    code = "y = _math.exp(x, fast)"
    digests = {code_digest(code, text, "") for text in (BLOCKS, BLOCKS.replace(before, after))}
    assert (len(digests) == 1) == same


def test_the_lock_keeps_everything(tmp_path: Path) -> None:
    rows = (
        replace(ROW, kind="gradient", failed=2, failure=(math.inf, -math.inf, 0.5), worst_ulp=1e9),
        replace(ROW, by="formula", near_roots=1.5, near_roots_input=0.25, flushed=3, signs=1, undecided=4),
        replace(ROW, dtype="float16", exhaustive=True, interval=(-1.0, 0.1)),
    )
    held = {name: Certificate(name, "1" * 32, 7, "a = 1", rows) for name in ("b", "a")}
    file = tmp_path / "lock.json"
    file.write_text(show_lock(held))
    read = read_lock(file)
    assert {name: set(each.rows) for name, each in read.items()} == {name: set(rows) for name in held}
    assert show_lock(read) == show_lock(held)
    assert list(json.loads(file.read_text())["certificates"]) == ["a", "b"]
    assert read_lock(tmp_path / "none.json") == {}


@pytest.mark.parametrize("text", ["", "[]", '{"format": 0}', '{"format": 1, "certificates": {"a": {}}}'])
def test_a_lock_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "lock.json"
    file.write_text(text)
    with pytest.raises(LockError, match=r"lock\.json"):
        read_lock(file)


def test_broken_bounds_name_the_input_and_the_interval() -> None:
    row = replace(ROW, worst_ulp=9.0, interval=(-1.0, -0.5), near_roots=5.0, near_roots_input=0.3)
    failed = replace(ROW, dtype="float64", failed=3, failure=(1e300, math.nan, 0.0))
    lines = findings(replace(HELD, rows=(row, failed)), Bound())
    assert len(lines) == 3
    assert "9 ulp at -0.75, bound 4; the bound is broken between -1 and -0.5" in lines[0]
    assert "beside a root, at 0.3" in lines[1]
    assert "at 1e+300 nan in the place of 0.0" in lines[2]
    assert findings(replace(HELD, rows=(replace(row, near_roots=None),)), Bound(Fraction(9))) == ()
    assert findings(HELD, Bound(Fraction(2)))


def test_the_interval_around_the_worst() -> None:
    known = truth(Symbol("x"), "x", "float16")

    def wrong(points: np.ndarray) -> np.ndarray:
        return np.where((points >= 1) & (points <= 2), points * np.float16(1.25), points)

    with np.errstate(all="ignore"):
        assert around_worst(wrong, known, 1.5, 4.0) == (1.0, 2.0)


def test_a_build_quotes_what_holds_and_only_that(project: Path) -> None:
    module, lock = Path("generated/half.py"), Path("certificates.json")
    build(SPECS, Path("generated"), lock=lock)
    assert certificates.NOT_CERTIFIED in module.read_text()
    hold(HELD)
    build(SPECS, Path("generated"), lock=lock)
    assert certificates.NOT_CERTIFIED in module.read_text()
    hold(replace(HELD, digest=digest()))
    assert len(plan(SPECS, Path("generated"), lock=lock).changes) == 1
    build(SPECS, Path("generated"), lock=lock)
    text = module.read_text()
    assert certificates.NOT_CERTIFIED not in text
    assert "2.5 at -0.75" in text
    assert plan(SPECS, Path("generated"), lock=lock).changes == ()


def test_checking_measures_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assess, "measure", lambda *_: pytest.fail("measured"))
    assert run("certify", "--check") == 1
    assert "half; run: dslgen certify" in capsys.readouterr().err
    assert not Path("certificates.json").exists()
    hold(replace(HELD, digest=digest()))
    assert run("certify", "--check") == 0
    hold(replace(HELD, digest=digest(), rows=(replace(ROW, worst_ulp=40.0),)))
    assert run("certify", "--check") == 1
    assert "40 ulp at -0.75" in capsys.readouterr().err


def test_without_torch_it_says_what_to_install(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assess, "find_spec", lambda name: None if name == "torch" else name)
    assert run("certify") == 2
    assert "pip install 'dslgen[torch]'" in capsys.readouterr().err


def test_certify_measures_kernel_and_formula(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hold(replace(HELD, name="gone"))
    assert run("certify", "--samples", "50", "--jobs", "1") == 0
    held = read_lock(Path("certificates.json"))
    assert set(held) == {"half"}
    assert len(held["half"].rows) == 16
    assert all(row.worst_ulp <= 0.5 for row in held["half"].rows)
    assert all(row.exhaustive == (row.dtype in ("float16", "bfloat16")) for row in held["half"].rows)
    output = capsys.readouterr()
    assert "half" in output.out
    assert output.err == ""
    assert run("certify", "--check") == 0


def test_gates_are_certified_in_every_input(project: Path) -> None:
    """Of each result that depends on it, every input is tried; the header has both where it is worst."""
    (project / "specs/a.act").write_text("gate(x, u) = max(x, 0) * u\n  packed halves\n")
    assert run("certify", "--samples", "50") == 0
    held = read_lock(Path("certificates.json"))["gate"]
    assert held.kinds == ("value", "gradient_u", "gradient_x")
    tried = {row.kind: row.tried for row in held.rows if row.dtype == "float16"}
    assert tried["value"] == tried["gradient_x"] == 2 * tried["gradient_u"]
    assert all(row.point is not None and row.worst_ulp <= 0.51 and not row.failed for row in held.rows)
    assert run("build", "-o", "built") == 0
    text = Path("built/gate.py").read_text()
    assert "by u        float32   0 at (" in text
    assert "against a few values of the others" in text
    assert run("certify", "--check") == 0


def test_explain_tells_the_derivation(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "specs/a.act").write_text("bare(x) = 1 / (1 + exp(-x))\n\nsquare(x; a) = a * x * x\n")
    assert run("explain", "bare") == 0
    text = capsys.readouterr().out
    titles = (
        "Spec",
        "As it is written",
        "Rules that fired",
        "Polynomials and ends",
        "Program",
        "Certificate",
    )
    places = [text.index(title) for title in titles]
    assert places == sorted(places)
    assert "quotient in a decaying exponential" in text
    assert "ulp, most at -" in text
    assert certificates.NOT_CERTIFIED in text
    assert run("explain", "square") == 0
    assert run("explain", "E0101") == 0
    assert "unknown function" in capsys.readouterr().out


def test_explain_says_what_kernels_cost(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("explain", "half", "--target", "sm_90") == 0
    text = capsys.readouterr().out
    (line,) = (line for line in text.splitlines() if "float32 value" in line and "instructions" in line)
    assert 3 < float(line.split()[2]) < 8  # a load, a product, a store, addresses
    assert run("explain", "half", "--target", "h1000") == 2
    assert "sm_90" in capsys.readouterr().err


def test_parameters_are_certified_at_several_settings(project: Path) -> None:
    (project / "specs/a.act").write_text("ramp(x; slope) = max(x, 0) * slope\n  require slope < 3\n")
    assert run("certify", "--samples", "400") == 0
    held = read_lock(Path("certificates.json"))["ramp"]
    assert held.parameters == "slope = 1; also slope = 0.375, or slope = -1"


def test_what_cannot_be_certified_is_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "specs/a.act").write_text("narrow(x; c) = c * x\n  require c > 17\n")
    assert run("certify") == 2
    assert "no parameters were found" in capsys.readouterr().err


def test_a_build_that_changes_nothing_imports_no_mathematics(project: Path) -> None:
    hold(replace(HELD, digest=digest()))
    build(SPECS, Path("generated"), lock=Path("certificates.json"))
    code = (
        "import sys\nfrom dsl.cli import main\ntry:\n    main(['build'])\nexcept SystemExit as stop:\n"
        "    loaded = {'flint', 'numpy', 'torch', 'triton', 'black'} & set(sys.modules)\n"
        "    sys.exit(f'{stop.code} {loaded}' if stop.code or loaded else 0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "0 written" in done.stdout
