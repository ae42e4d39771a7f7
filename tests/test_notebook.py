"""What a notebook shows of a compiled formula, and what can be asked of it elsewhere."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch

import dsl
from dsl import notebook
from dsl.certificate import Certificate, ToolsMissing


def html(layer: Any) -> str:
    bundle = layer._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"] == repr(layer)
    return str(bundle["text/html"])


def test_formula_picture_and_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "SAMPLES", 50)
    layer: Any = dsl.compile("max(1 - abs(x), 0)", name="bump")
    first = html(layer)
    assert "bump(x) = max(1 - abs(x), 0)" in first
    assert "data:image/svg+xml;base64," in first
    assert "Not certified" in first
    found = layer.certificate
    assert isinstance(found, Certificate)
    row = found.row("kernel", "float32", "value")
    assert row is not None
    assert row.worst_ulp < 4
    assert str(found).startswith("bump\n  kernel  float32   value")
    assert "Not certified" not in html(layer)
    assert "kernel  float32   value" in html(layer)
    assert layer.source.count("@triton.jit") == 4

    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert again.certificate == found


def test_a_picture_at_the_modules_own_parameters(tmp_path: Path) -> None:
    layer: Any = dsl.compile("max(width - abs(x), 0)", width=3.0)
    drawn = layer.plot(-4, 4)
    assert "width = 3" in drawn._repr_svg_()
    drawn.save(tmp_path / "bump.png")
    assert (tmp_path / "bump.png").read_bytes() == drawn._repr_png_()
    with pytest.raises(ValueError, match=r"ends in \.svg or \.png"):
        drawn.save("bump.gif")


def test_a_picture_of_what_was_trained() -> None:
    layer: Any = dsl.compile(
        "bent(x; learn a[2] = (1, 0.5), learn b[channel] = 2) = a[0] * x + a[1] * b * x**2"
    )
    assert "a_0 = 1, a_1 = 0.5, b = 2" in layer.plot()._repr_svg_()
    with torch.no_grad():
        layer.a.copy_(torch.tensor([3.0, -0.25]))
        layer.b.fill_(4.0)
    assert "a_0 = 3, a_1 = -0.25, b = 4" in layer.plot()._repr_svg_()


def test_several_inputs_have_a_formula() -> None:
    layer: Any = dsl.compile("pair(x, y) = x * y")
    shown = html(layer)
    assert "pair(x, y) = x * y" in shown
    assert "data:image/svg+xml" in shown
    assert "along x, for some values of y" in layer.plot()._repr_svg_()
    with pytest.raises(ValueError, match="one input"):
        _ = layer.certificate


def test_parameters_of_these_names_win() -> None:
    layer: Any = dsl.compile("x * plot + source", plot=2.0, source=1.0)
    assert (layer.plot, layer.source) == (2.0, 1.0)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    layer: Any = dsl.compile("x + 1")

    def fails(*_: object, **__: object) -> CompletedProcess[str]:
        return CompletedProcess([], 2, "", "dslgen: no space left")

    monkeypatch.setattr("subprocess.run", fails)
    with pytest.raises(ToolsMissing, match="formula could not be certified: dslgen: no space left"):
        _ = layer.certificate
    monkeypatch.setattr(notebook, "find_spec", lambda _: None)
    assert "pip install &#x27;dslgen[plot]&#x27;" in html(layer)
    with pytest.raises(ToolsMissing, match=r"dslgen\[plot\]"):
        layer.plot()
    with pytest.raises(ToolsMissing, match=r"dslgen\[certify\]"):
        _ = layer.certificate
