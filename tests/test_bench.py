"""The benchmark on a CPU, where its times mean nothing and everything else must hold."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest
import torch

from dsl.bench import measure, rivals
from dsl.bench.case import Case
from dsl.bench.clock import NoDevice, device
from dsl.bench.plan import SPELLINGS, plan, typed
from dsl.bench.rivals import eager, liger_gate, plain
from dsl.bench.run import Options, load, means, run
from dsl.build import build
from dsl.expr import Symbol, call
from dsl.ops import FUNCTIONS
from dsl.project import read_project

ROOT = Path(__file__).parent.parent
ACTIVATIONS = [
    each
    for each in read_project([ROOT / "specs"]).checked().activations
    if not each.others and not each.learned and each.dim is None
]
CASES = {case.label: case for case in plan(ACTIVATIONS)}
CPU = torch.device("cpu")


def test_every_function_can_be_typed() -> None:
    assert set(FUNCTIONS) <= set(SPELLINGS)


@pytest.mark.parametrize("name", CASES)
def test_typed_formulas_are_the_function(name: str) -> None:
    case = CASES[name]
    x = torch.linspace(-3, 3, 102, dtype=torch.float64)
    tensors = [x] if case.packed else [x.roll(k) for k in range(case.inputs)]
    torch.testing.assert_close(plain(case)(*tensors), eager(case)(*tensors))


@pytest.mark.parametrize("op", ["max", "min"])
def test_the_order_of_a_number_and_a_tensor_does_not_matter(op: str) -> None:
    x = Symbol("x")
    assert typed(call(op, x, 2), ["x"], {}) == typed(call(op, 2, x), ["x"], {})


def test_parameters_become_numbers() -> None:
    source = typed(Symbol("x") * call("exp", Symbol("a")), ["x"], {"a": Fraction(0)})
    assert source == "def plain(x):\n    v1 = x * 1\n    return v1"


def test_cases_survive_json() -> None:
    for case in CASES.values():
        assert Case.from_json(json.loads(json.dumps(asdict(case)))) == case


@pytest.mark.parametrize("kept", [True, False])
def test_what_was_measured_before_ctrl_c_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kept: bool
) -> None:
    def throughput(case: Case, *_: object) -> list[measure.Row]:
        if case.name == "relu":
            raise KeyboardInterrupt
        return [{"name": case.name, "ms": {"dslgen": 1.0}}]

    monkeypatch.setattr(measure, "throughput", throughput)
    monkeypatch.setattr(measure, "wrong", lambda _: None)
    file = tmp_path / "found.json"
    options = Options(device="cpu", dtypes=("float32",), json=file if kept else None)
    with pytest.raises(KeyboardInterrupt) as stopped:
        run([CASES["mish"], CASES["relu"], CASES["silu"]], ROOT / "generated", options, "bench")
    assert str(stopped.value) == (f"{file} holds what was measured" if kept else "nothing is kept")
    assert file.exists() is kept
    if kept:
        found = json.loads(file.read_text(encoding="utf-8"))
        assert [row["name"] for row in found["throughput"]] == ["mish"]
        assert found["wrong"] == ["stopped"]
    assert capsys.readouterr().err == ""  # no terminal reads


def test_rows_hold_times_errors_and_fractions() -> None:
    package = load(ROOT / "generated")
    for offset, n in ((0, 64), (1, 333)):
        rows = measure.throughput(CASES["mish"], package, "float32", n, offset, CPU, ("dslgen", "eager"))
        assert [row["kind"] for row in rows] == ["value", "gradient"]
        for row in rows:
            assert measure.wrong(row) is None
            assert row["fraction"] == row["roof"] / row["ms"]["dslgen"] > 0
            assert set(row["ms"]) == {"dslgen", "eager"}
            assert not row["failed"]


def test_gates_are_timed_in_two_tensors_and_in_one(tmp_path: Path) -> None:
    build([ROOT / "specs"], tmp_path / "timed")
    package = load(tmp_path / "timed")
    for name in ("swiglu", "swiglu packed", "swiglu_oai packed", "glu packed"):
        for n in (measure.WIDTH * 2, 333):
            rows = measure.throughput(CASES[name], package, "float32", n, 0, CPU, ("dslgen", "eager"))
            for row in rows:
                assert (row["name"], measure.wrong(row), row["failed"]) == (name, None, {})
    assert "glu" in CASES["glu packed"].reference
    assert len(measure.host(CASES["swiglu packed"], package, CPU)["dslgen"]) == 3


def test_gates_of_other_libraries_are_found_by_what_they_compute() -> None:
    found = {case.name: gate for case in CASES.values() if (gate := liger_gate(case))}
    gate = ("LigerSiLUMulFunction", True)
    assert found == {"swiglu": gate, "swiglu_rounded": gate, "geglu_tanh": ("LigerGELUMulFunction", False)}


def test_a_wrong_result_is_found() -> None:
    row = {"name": "f", "dtype": "float32", "kind": "value", "n": 2, "offset": 0, "failed": {}}
    assert measure.wrong(row | {"error": {"dslgen": 1e-7}}) is None
    assert "off by" in str(measure.wrong(row | {"error": {"dslgen": 1e-3}}))
    assert "off by" in str(measure.wrong(row | {"error": {"dslgen": math.nan}}))
    exact = (torch.ones(2, dtype=torch.float64),)
    assert measure._error((torch.tensor([1.0, math.nan]),), exact) == math.inf


def test_a_run_writes_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out" / "speed.json"
    options = Options("cpu", ("float32",), 256, ("relu",), 10, json=file)
    assert run([CASES["relu"]], ROOT / "generated", options, "the command") == 0
    found = json.loads(file.read_text())
    assert found["command"] == "the command"
    assert found["environment"]["torch"] == torch.__version__
    assert [row["n"] for row in found["sweep"]] == [1024, 1024, 255, 255, 256, 256, 255, 255]
    assert len(found["throughput"]) == 2
    assert len(found["host"][0]["dslgen"]) == 3
    assert "relu" in capsys.readouterr().out


def test_means_compare_like_with_like() -> None:
    rows = [
        {"dtype": "float32", "kind": "value", "ms": {"dslgen": 1.0, "eager": 2.0, "compile": 1.0}},
        {"dtype": "float32", "kind": "value", "ms": {"dslgen": 1.0, "eager": 8.0}},
    ]
    assert means(rows) == {("float32", "value"): {"eager": pytest.approx(4.0), "compile": 1.0}}


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_message_says_what_to_do() -> None:
    with pytest.raises(NoDevice, match="--device cpu"):
        device(None)
    with pytest.raises(NoDevice, match="cuda"):
        device("cuda")
    assert device("cpu") == CPU


def test_liger_s_gates_get_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take a row to a program, and refuse long ones."""
    seen = []

    class Gate:
        @staticmethod
        def apply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            seen.append(a.shape)
            return torch.nn.functional.silu(a) * b

    monkeypatch.setitem(sys.modules, "liger_kernel", ModuleType("liger_kernel"))
    ops = ModuleType("liger_kernel.ops")
    ops.LigerSiLUMulFunction = Gate  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "liger_kernel.ops", ops)
    rival = rivals._liger(CASES["swiglu"])
    assert rival is not None
    a, b = torch.randn(2, 3 * 8192)
    assert torch.equal(rival.function(a, b), torch.nn.functional.silu(a) * b)
    assert seen == [(3, 8192)]


def test_helion_s_kernels_are_modules_that_python_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    helion = ModuleType("helion")
    helion.language = ModuleType("helion.language")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "helion", helion)
    monkeypatch.setitem(sys.modules, "helion.language", helion.language)
    module = rivals._helion_module(CASES["silu"])
    assert sys.modules.pop(module.__name__) is module
