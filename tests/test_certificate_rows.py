"""Certificates of functions of rows and of learnable parameters: what is measured, and in which unit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dsl import assess
from dsl.activation import Bound
from dsl.assess import Job
from dsl.certificate import Certificate, Row, findings, read_lock
from dsl.certify import truth
from dsl.certify.joint import Sweep, in_terms, is_flat
from dsl.certify.learned import Sum, measure_sum
from dsl.certify.rows import RowTruth, measure_rows, row_truths
from dsl.digest import digest
from dsl.evaluate.rows import RowReference
from dsl.evaluate.terms import beside_parameters
from dsl.expr import Symbol, call
from dsl.program import GRAD
from dsl.ulp import Array
from tests.test_certificate import run

X, W = Symbol("x"), Symbol("w")
SOFTMAX = call("exp", X) / call("rowsum", call("exp", X))
SPECS = """
share(x) = exp(x) / rowsum(exp(x))
  accuracy forward 3 ulp

bent(x; learn w[channel] = 0.25, learn b = 1) = where(x > 0, x, w * x) + b
"""


@pytest.fixture(scope="module")
def truths() -> list[RowTruth]:
    return [*row_truths(SOFTMAX, ["x"], "float32", {}, False)]


def exactly(tensors: Mapping[str, Array]) -> Array:
    """Softmax in float64, which rounds to what is exact or its neighbour."""
    x = tensors["x"]
    power = np.exp(x - x.max(axis=1, keepdims=True))
    result: Array = (power / power.sum(axis=1, keepdims=True)).astype(np.float32).astype(np.float64)
    return result


def test_a_wrong_element_of_a_row_is_found(truths: list[RowTruth]) -> None:
    right = measure_rows(exactly, truths).measurement
    assert right.worst_ulp <= 0.501
    assert right.failed == right.undecided == 0

    def wrong(tensors: Mapping[str, Array]) -> Array:
        found = exactly(tensors)
        if found.shape[1] == 17:
            found[2, 5] *= 1 + 2**-20
        return found

    found = measure_rows(wrong, truths)
    assert 7 < found.measurement.worst_ulp < 17
    assert found.case == "normal times 30, element 6 of 17"

    def lost(tensors: Mapping[str, Array]) -> Array:
        with np.errstate(invalid="ignore", over="ignore"):
            power = np.exp(tensors["x"])
            result: Array = power / power.sum(axis=1, keepdims=True)
            return result

    assert measure_rows(lost, truths).measurement.failed


def test_a_gradients_unit_is_that_of_its_terms() -> None:
    """Of equal gradients softmax makes 0, which no sum of rounded numbers does."""
    grad = Symbol(GRAD)
    root = SOFTMAX * (grad - call("rowsum", SOFTMAX * grad))
    reference = RowReference(root, {})
    row = {"x": np.array([0.0, 0.0]), GRAD: np.array([3.0, 3.0])}
    assert reference(row).rounded.tolist() == [0.0, 0.0]
    assert reference.sizes(row).tolist() == [3.0, 3.0]
    assert RowReference(X - call("rowmean", X), {}).cancels({"x": np.array([1.0, 1.5, 8.0])}).tolist() == [
        False,
        False,
        False,
    ]
    assert RowReference(X - call("rowmean", X), {}).cancels({"x": np.array([10.0, 10.5, 8.0])}).all()


def test_terms_with_other_parameters_are_terms() -> None:
    begins = beside_parameters({"w": 1})
    assert begins(W * X + X)
    assert not begins(X * W + W)
    assert not begins(call("exp", W * X) - 1)
    sizes = RowReference(W * X + X, {"w": Fraction(-1)}).sizes({"x": np.array([2.0])}, begins)
    assert sizes.tolist() == [4.0]


def test_a_sum_of_functions_of_two_inputs_is_measured_by_its_terms() -> None:
    sweep = Sweep("x", {"w": Fraction(1)})
    plain, mixed = (X + 1) * call("exp", W), call("exp", X) - call("exp", W)
    for root, is_mixed in ((plain, False), (mixed, True)):
        known = truth(root, "x", "float32", {"w": Fraction(1)}, 200)
        units = in_terms(known, sweep, root, {})
        assert (units.sizes is not None) is is_mixed
    assert units.sizes is not None
    np.testing.assert_allclose(units.sizes(np.array([1.0, 0.0])), [2 * np.e, 1 + np.e])


def test_what_the_others_make_zero_is_flat() -> None:
    for root, flat in ((X * (W - 1), True), (X * W, False)):
        assert is_flat(truth(root, "x", "float32", {"w": Fraction(1)}, 200)) is flat


def test_sums_are_measured_by_the_size_of_their_terms() -> None:
    known = Sum("w", 1.0, (np.zeros(1),), np.zeros(1), (Fraction(0),), np.array([1.5]))
    assert measure_sum(known, np.array([2.0**-22]), "float32").worst_ulp == 2.0
    assert measure_sum(known, np.array([np.nan]), "float32").failed == 1


def test_a_broken_bound_names_the_row() -> None:
    row = Row("kernel", "float32", "value", 9.5, 0.5, 100, False, of="rows", case="normal, element 2 of 17")
    held = Certificate("share", "0" * 32, 100, "", (row,))
    (line,) = findings(held, Bound(Fraction(3)))
    assert "share: Triton kernel, float32, value: 9.5 ulp at 0.5 (normal, element 2 of 17), bound 3" in line
    assert findings(held, Bound(Fraction(10))) == ()
    assert findings(replace(held, rows=(replace(row, worst_ulp=8.0),)), Bound()) == ()


def test_the_digest_takes_in_what_kernels_call() -> None:
    module = "def total(x): return x\n\ndef other(x): return x\n"
    code, support = "y = _rows.total(x)", ""
    one = digest(code, support, "", {"_rows": module})
    assert one != digest(
        code, support, "", {"_rows": module.replace("total(x): return x", "total(x): return 2")}
    )
    assert one == digest(
        code, support, "", {"_rows": module.replace("other(x): return x", "other(x): return 2")}
    )


def spoilt(job: Job) -> Iterator[tuple[str, str]]:
    """The modules of a job, whose kernels are a little wrong in a row's sum and in a parameter's gradient."""
    for name, text in _modules(job):
        wrong = text.replace("_rows.total(", "1.000001 * _rows.total(")
        yield name, wrong.replace("d_w += tl.where(inside, grad", "d_w += tl.where(inside, 1.000001 * grad")


_modules = assess._modules


def test_rows_and_parameters_are_certified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kernels made wrong are found, and the formulas beside them are not; all that is known is quoted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(assess, "_modules", spoilt)
    (tmp_path / "pyproject.toml").write_text("[tool.dslgen]\n")
    (tmp_path / "specs").mkdir()
    spec = tmp_path / "specs/a.act"
    spec.write_text(SPECS)
    assert run("certify", "--samples", "50") == 1
    said = capsys.readouterr().err
    assert "share: Triton kernel, float32, value" in said
    assert "bent: Triton kernel, float32, gradient_w" in said
    assert "torch formula" not in said
    held = read_lock(Path("certificates.json"))
    assert held["share"].kinds == ("value", "gradient_x")
    assert held["bent"].kinds == ("value", "gradient_b", "gradient_w", "gradient_x", "gradient summed")
    assert held["bent"].parameters.startswith(
        "w = 0.25, b = 1; also w = 0.09375, or w = 1.5, or w = -0.25, or b"
    )
    assert run("build", "-o", "built") == 0
    assert "rows of 1, 2, 17, 1000 and 17001 elements" in Path("built/share.py").read_text()
    assert "sums        float32" in Path("built/bent.py").read_text()
    capsys.readouterr()
    assert run("explain", "share") == 0
    assert "The worst errors found" in capsys.readouterr().out
    spec.write_text(SPECS.replace("exp(x) /", "2 * exp(x) /").replace("w * x", "x * w * 0.5"))
    assert run("certify", "--check") == 1
    assert "not certified as they are now: share, bent" in capsys.readouterr().err
