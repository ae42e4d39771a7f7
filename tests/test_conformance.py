"""The shipped activations in PyTorch: the conformance table, and the functions that their specs name."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from dsl.build import build
from dsl.certify import kinks
from dsl.pipeline import derive
from dsl.project import read_project
from tests.conformance.__main__ import main, shown
from tests.conformance.subject import load
from tests.conformance.table import checks, run, together

ROOT = Path(__file__).resolve().parents[1]
SPECS = ROOT / "specs"
ACTIVATIONS = {a.name: a for a in read_project([SPECS]).checked().activations if a.references and a.unary}
SCALES = (1.0, 0.75, 1.5)
"""Each parameter's default times these."""

TOLERANCE = {"hardsigmoid": 1e-7}  # PyTorch has 1/6 in float32 there
"""Relative tolerances; 1e-11 for the others."""


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("conformance")
    build([SPECS], folder / "conforming")
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("conforming")
    finally:
        sys.path.remove(str(folder))


def reference(name: str) -> Any:
    """The function that the spec names, with the arguments that it fixes."""
    (named,) = ACTIVATIONS[name].references
    module, _, attribute = named.target.rpartition(".")
    fixed = {key: float(v) if isinstance(v, Fraction) else v for key, v in named.arguments}
    return partial(getattr(importlib.import_module(module), attribute), **fixed)


def points(name: str, parameters: dict[str, float]) -> torch.Tensor:
    """A grid in float64, and every kink exactly."""
    activation = ACTIVATIONS[name]
    exact = {key: Fraction(value) for key, value in parameters.items()}
    roots = (activation.body, derive(activation)[1])
    places = {place for root in roots for place in kinks(root, activation.input, exact)}
    grid = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    return torch.cat([grid, torch.tensor(sorted(places), dtype=torch.float64)])


@pytest.mark.parametrize(
    ("name", "scale"),
    [(name, scale) for name, a in ACTIVATIONS.items() for scale in (SCALES if a.parameters else (1.0,))],
)
def test_like_the_reference(name: str, scale: float, acts: ModuleType) -> None:
    """Value and gradient, at kinks too, in float64, where PyTorch's own errors are small between -8 and 8."""
    parameters = {p.name: float(p.default or 0) * scale for p in ACTIVATIONS[name].parameters}
    x = points(name, parameters).requires_grad_()
    ours, theirs = getattr(acts, name)(x, **parameters), reference(name)(x, **parameters)
    rtol = TOLERANCE.get(name, 1e-11)
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=1e-13)
    (our_slope,) = torch.autograd.grad(ours.sum(), x)
    (their_slope,) = torch.autograd.grad(theirs.sum(), x)
    torch.testing.assert_close(our_slope, their_slope, rtol=rtol, atol=1e-13)


TURNS = {"compile: torch.func": 3}
"""Of a check that takes minutes, one activation in so many; the whole is `exhaustive`, and the command's."""


def _with_turns() -> Iterator[Any]:
    """Every check, and how many activations it passes over."""
    for check in checks("cpu"):
        turns = TURNS.get(check, 1)
        yield pytest.param(check, turns, id=check)
        if turns > 1:
            yield pytest.param(check, 1, id=f"{check}, all", marks=pytest.mark.exhaustive)


@pytest.mark.parametrize(("check", "turns"), list(_with_turns()))
def test_table(check: str, turns: int, acts: ModuleType) -> None:
    """A row of the table that `python -m tests.conformance` prints."""
    subjects = load(acts, "cpu")
    assert len(subjects) == sum(a.unary for a in read_project([SPECS]).checked().activations)
    found = run(checks("cpu")[check], subjects[::turns])
    assert not any(found.values()), shown([s.name for s in subjects], {check: found})


WRONG: dict[str, Any] = {
    "gradient": lambda f, x: 2 * f(x),
    "func.jvp": lambda f, x: f(x.detach()) + 0 * x,
    "dtypes": lambda f, x: f(x).float(),
    "dtypes refused": lambda f, x: f(x.float()),
    "layouts": lambda f, x: f(x).contiguous(),
    "input saved once": lambda f, x: f(x.clone()),
    "compile: fuse": lambda f, x: f(torch.ones_like(x)) if torch.compiler.is_compiling() else f(x),
}
"""A mistake for some of the checks, which they have to find."""


@pytest.mark.parametrize("check", WRONG)
def test_the_table_finds_mistakes(check: str, acts: ModuleType) -> None:
    (silu,) = load(acts, "cpu", ["silu"])
    mistaken = partial(WRONG[check], silu.function)

    class Layer(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = mistaken(x)
            return result

    found = run(checks("cpu")[check], [replace(silu, function=mistaken, layer=Layer)])
    assert found["silu"]
    assert "1 wrong" in shown(["silu"], {check: found})


def test_the_table_s_command(acts: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--package", acts.__name__, "--only", "mish,relu", "--checks", "func.grad,layouts"]) == 0
    assert "2 activations by 3 checks, 0 wrong" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["--package", acts.__name__, "--only", "nothing"])


def test_two_processes(acts: ModuleType) -> None:
    """DTensor, DDP, FSDP2 and tensor parallelism over gloo."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "tests.conformance.distributed", "--package", acts.__name__]
    folder = str(Path(str(acts.__file__)).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), folder]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.count(f"{len(load(acts, 'cpu'))} activations, 0 wrong") == 10, done.stdout


def test_the_table_s_command_in_several_processes(
    acts: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(Path(str(acts.__file__)).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), folder]))
    monkeypatch.chdir(ROOT)
    command = ["--package", acts.__name__, "--only", "mish,relu,silu", "--checks", "func.grad,jvp"]
    assert main([*command, "--jobs", "2"]) == 0
    assert "3 activations by 2 checks, 0 wrong" in capsys.readouterr().out


def test_what_fails_together_is_told_alone(acts: ModuleType) -> None:
    """Of a whole that fails, halves are tried until one activation fails alone."""
    subjects = load(acts, "cpu")[:8]
    tried: list[int] = []

    def check(some: Any) -> dict[str, str | None]:
        tried.append(len(some))
        if any(s is subjects[5] for s in some):
            raise ValueError("no")
        return dict.fromkeys(s.name for s in some)

    found = together(check)(subjects)
    assert tried == [8, 4, 4, 2, 2, 1, 1]
    assert [name for name, text in found.items() if text] == [subjects[5].name]
    assert str(found[subjects[5].name]).startswith("ValueError: no (")

    def crowded(some: Any) -> dict[str, str | None]:
        if len(some) > 4:
            raise ValueError("many")
        return dict.fromkeys(s.name for s in some)

    assert all("with 7 others" in str(text) for text in together(crowded)(subjects).values())


TWICE = (
    "elu",
    "gelu",
    "laplace",
    "loglog",
    "normal_cdf",
    "ricker",
    "serf",
    "snake",
    "softplus",
    "standardize",
)


@pytest.mark.parametrize("name", TWICE)
def test_twice_in_one_graph_of_any_size(name: str, acts: ModuleType) -> None:
    """Dynamo makes variables of numbers that it finds in a module, and loses them in the second Function."""
    torch._dynamo.reset()
    function = getattr(acts, name)
    run = torch.compile(lambda x: function(function(x)), fullgraph=True, dynamic=True, backend="aot_eager")
    for size in (24, 17):
        x = torch.randn(size, requires_grad=True)
        expected = function(function(x))
        assert torch.allclose(run(x), expected)
        (found,) = torch.autograd.grad(run(x).sum(), x)
        assert torch.allclose(found, torch.autograd.grad(expected.sum(), x)[0])
