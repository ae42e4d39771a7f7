"""`dslgen plot`: the errors that are drawn are the errors there are, and the picture is a picture."""

import importlib.util
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dsl.cli import run as _run
from dsl.cli.draw import PICTURES
from dsl.curves import (
    FLOOR,
    OURS,
    STRETCHES,
    TORCH,
    TYPED,
    CurveError,
    Panel,
    has_pole,
    orders,
    panels,
    summary,
)
from dsl.evaluate import Reference
from dsl.expr import Number, Symbol
from dsl.families import BESIDE, family, on_row
from dsl.plot import KINDS, STYLES, describe, draw, pictures
from dsl.resolve import activations

Capture = pytest.CaptureFixture[str]
SILU = "silu(x) = x / (1 + exp(-x))\n  reference torch.nn.functional.silu\n"


def test_errors_are_those_of_the_three_ways() -> None:
    (silu,) = activations(SILU)
    for panel in panels(silu, -120, 10, "float32"):
        assert set(panel.errors) == {OURS, TORCH, TYPED} == set(STYLES)
        assert np.isfinite(panel.errors[OURS]).all()
        assert panel.errors[OURS].max() < 20
        assert len(panel.x) == len(panel.exact) == len(panel.errors[TYPED])
    gradient = panels(silu, -120, 10, "float32")[1]
    assert np.isnan(gradient.errors[TYPED][gradient.x < -90]).all()  # inf / inf, by autograd
    assert np.isfinite(gradient.errors[TYPED][gradient.x > -40]).all()


def test_nothing_is_said_outside_the_domain() -> None:
    (root,) = activations("root(x) = sqrt(x)\n  domain x >= 1")
    for panel in panels(root, -2, 2, "bfloat16"):
        outside = panel.x < 1
        assert set(panel.errors) == {OURS, TYPED}
        for errors in panel.errors.values():
            assert (errors[outside] == -1).all()
            assert (errors[~outside] >= 0).all()
        assert np.isnan(panel.exact[outside]).all()


def test_a_parameter_without_a_default() -> None:
    (scaled,) = activations("scaled(x; a) = a * x")
    with pytest.raises(CurveError, match="without a default"):
        panels(scaled, -1, 1, "float32")


def test_orders() -> None:
    points = np.array([1.0, 2.0])
    assert [each.tolist() for each in orders(lambda x: x**3, points, "float64")] == [[1, 8], [3, 12], [6, 12]]
    assert [each.tolist() for each in orders(torch.ones_like, points, "float32")] == [[1, 1], [0, 0], [0, 0]]

    class Flat(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            raise NotImplementedError

    assert [each.tolist() for each in orders(Flat.apply, points, "float32")] == [[1, 2]]


def test_the_worst_of_a_stretch_is_drawn() -> None:
    x = np.arange(4.0 * STRETCHES)
    errors = np.zeros_like(x)
    errors[5], errors[8], errors[12:16], errors[16:20] = 7, np.inf, np.nan, -1
    middle, worst, wrong = summary(x, errors)
    assert middle[:2].tolist() == [1.5, 5.5]
    assert worst[:3].tolist() == [0, 7, 0]
    assert np.isnan(worst[3:5]).all()
    assert np.flatnonzero(wrong).tolist() == [2, 3]


def test_poles_are_told_from_peaks() -> None:
    x = np.linspace(-10, 10, 8000)
    assert has_pole(1 / x)
    assert has_pole(1 / (x - 3) ** 2)
    assert not has_pole(np.exp(-100 * x**2))
    assert not has_pole(np.exp(x))
    assert not has_pole(np.full(8, np.nan))


def _panels(wrong: float) -> list[Panel]:
    x = np.linspace(-1, 1, 1000)
    errors = {OURS: np.full(1000, 0.5), TYPED: np.where(x > 0, wrong, 1e5)}
    return [Panel(order, x, x, errors) for order in (0, 1, 2)]


def test_the_bytes_are_a_picture_and_the_same_each_time() -> None:
    assert tuple(f".{kind}" for kind in KINDS) == PICTURES
    first = {kind: draw("f(x) = x_1$ & <", "here", _panels(np.nan), kind) for kind in KINDS}
    assert first == {kind: draw("f(x) = x_1$ & <", "here", _panels(np.nan), kind) for kind in KINDS}
    assert first["png"].startswith(b"\x89PNG\r\n")
    texts = [each.text for each in ET.fromstring(first["svg"]).iter("{http://www.w3.org/2000/svg}text")]
    assert {"f(x) = x_1$ & <", "here", "value", "second derivative", OURS, TYPED, "NaN, inf"} <= set(texts)
    assert TORCH not in texts
    assert draw("f", "here", _panels(FLOOR), "svg") != first["svg"]


def test_title() -> None:
    (f,) = activations("f(x; k = 2) = k * x")
    title, subtitle = describe(f, "float16")
    assert title == "f(x) = k * x"
    assert subtitle.startswith("k = 2; float16 on ")
    (long,) = activations(f"f(x) = {' + '.join(['x'] * 60)}")
    assert len(describe(long, "float16")[0]) == 90


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.act").write_text(SILU + "twice(x; a) = a * x\n  require a > 0\n")
    assert _run(["plot", "a.act:twice", "-o", "twice.svg", "--set", "a=2.5"]) == 0
    assert "a = 2.5; float32 on" in Path("twice.svg").read_text(encoding="utf-8")
    capsys.readouterr()
    assert _run(["plot", "a.act:silu", "-o", "out/silu.svg", "--range", "-4", "4"]) == 0
    assert capsys.readouterr().out == "wrote out/silu.svg\n"
    assert Path("out/silu.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert [path.name for path in Path("out").iterdir()] == ["silu.svg"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.act", "-o", "a.png"], "a.act defines silu, twice: name one, as in a.act:silu"),
        (["a.act:silu", "-o", "a.gif"], "ends in .png or .svg"),
        (["a.act:silu", "-o", "a.png", "--range", "1", "1"], "the smaller first"),
        (["a.act:silu", "-o", "a.png", "--range", "nan", "1"], "the smaller first"),
        (["a.act:twice", "-o", "a.png"], "without a default, at which to draw it: a"),
        (["a.act:twice", "-o", "a.png", "--set", "b=1"], "--set: no 'b': a"),
        (["a.act:twice", "-o", "a.png", "--set", "a=x"], "a=VALUE takes a number"),
        (["a.act:twice", "-o", "a.png", "--set", "a=-1"], "requires otherwise"),
    ],
)
def test_wrong_usage(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.act").write_text(SILU + "twice(x; a) = a * x\n  require a > 0\n")
    assert _run(["plot", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not Path("a.png").exists()


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    found = importlib.util.find_spec
    absent = lambda name: None if name == "matplotlib" else found(name)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", absent)
    monkeypatch.chdir(tmp_path)
    Path("a.act").write_text(SILU)
    assert _run(["plot", "a.act", "-o", "a.png"]) == 2
    said = capsys.readouterr().err
    assert said == "Error: this needs matplotlib, not installed: pip install 'dslgen[plot]'\n"


def test_what_is_learned_is_a_number_and_what_draws_is_in_evaluation() -> None:
    made = activations(
        "leaky(x; learn weight[channel] = 0.25) = where(x > 0, x, weight * x)\n"
        "  reference torch.nn.functional.prelu\n"
        "noisy(x) = x + z\n  with z = normal(0, 1) in training, 0 in eval\n"
    )
    for each in made:
        for panel in panels(each, -2, 2, "float32", points=50):
            assert panel.errors[OURS].max() == 0, each.name


def test_a_constant_has_a_picture() -> None:
    """Whoever types 3 * x into the playground types 3 first."""
    (three,) = activations("three(x) = 3")
    for panel in panels(three, -1, 1, "float32", points=10):
        assert {name: error.max() for name, error in panel.errors.items()} == {OURS: 0, TYPED: 0}


def test_errors_of_a_derivative_that_the_formula_does_not_have_are_ours_alone() -> None:
    (step,) = activations("step(x) = where(x >= 0, 1, 0)\n  gradient = where(abs(x) <= 1, 1, 0)")
    value, first, second = panels(step, -2, 2, "float32", points=50)
    assert set(value.errors) == {OURS, TYPED}
    assert set(first.errors) == set(second.errors) == {OURS}
    assert first.errors[OURS].max() == 0


@pytest.mark.parametrize(
    ("spec", "note", "labels"),
    [
        ("f(gate, up) = gate * up", "along gate, for some values of up", ["up = -2", "up = -1"]),
        ("f(x, y, z) = (x * y, z)", "along x, for some values of y, z at 1; the first output", ["y = -2"]),
        ("f(x) = (x, -x)", "along x, of all outputs", ["output 1", "output 2"]),
        (
            "f(x, y) = x * y - rowmax(x)",
            "along one element x of the row (x, -1, 0, 1, 2), y at 1",
            ["x", "-1"],
        ),
    ],
)
def test_several_curves(spec: str, note: str, labels: list[str]) -> None:
    (activation,) = activations(spec)
    found = family(activation, -4, 4, 5)
    assert found.note == note
    assert [curve.label for curve in found.curves][: len(labels)] == labels
    with pytest.raises(CurveError, match="no curve of its own"):
        panels(activation, -4, 4, "float32")
    (drawn,) = pictures(activation, -4, 4, "float32", ["svg"])
    texts = [each.text for each in ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert {f"exact values {note}", *labels} <= set(texts)


def test_a_row_is_reduced_as_torch_reduces_it() -> None:
    """Each reduction, at the elements of the row that is drawn."""
    rows = torch.tensor([[x, *BESIDE] for x in (-3.0, 0.5, 4.0)], dtype=torch.float64)
    for name, reduced in {
        "rowsum": rows.sum(1),
        "rowmean": rows.mean(1),
        "rowmax": rows.amax(1),
        "rowmin": rows.amin(1),
        "rowvar": rows.var(1, correction=0),
    }.items():
        (activation,) = activations(f"f(x) = x + {name}(x)")
        root, *_ = on_row(activation.body, "x", [Symbol("x"), *map(Number, BESIDE)])
        found = Reference(root, "x", {})(rows[:, 0].numpy()).rounded
        np.testing.assert_allclose(found, (rows[:, 0] + reduced).numpy(), rtol=1e-12)
