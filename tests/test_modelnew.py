"""Files of one class: in their strict order, and run as a benchmark's harness runs them.

They run a second time in a process of its own, which the first test starts, with their kernels interpreted.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dsl.cli import run as _run

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
ROOT = Path(__file__).parent.parent
SPEC = """
mish(x) = x * tanh(softplus(x))
softsign(x) = x / (1 + abs(x))
elu(x; alpha) = where(x > 0, x, alpha * (exp(x) - 1))
  require alpha > 0
limit(x; limit) = min(x, limit)
gate(a, b) = a * softsign(b)

model conv_mish_bn(in_channels, out_channels, kernel_size, eps = 1e-5, momentum = 0.1) =
    conv2d(in_channels, out_channels, kernel_size) -> mish -> batchnorm2d(out_channels, eps, momentum)

model rows(n) = linear(n, n) -> elu(2) -> layernorm(n) -> softsign -> linear(n, n) -> mish -> elu(0.5)

model block(n) = conv2d(n, n, 3, padding = 1) -> softsign -> batchnorm2d(n) -> mish -> residual -> elu(2)
  -> linear(8, 8) -> layernorm(8) -> residual
"""


def rows(m: Any, x: Tensor) -> Tensor:
    x = functional.softsign(m.ln(functional.elu(m.linear1(x), 2)))
    return functional.elu(functional.mish(m.linear2(x)), 0.5)


def block(m: Any, x: Tensor) -> Tensor:
    y = functional.elu(functional.mish(m.bn(functional.softsign(m.conv(x)))) + x, 2)
    return m.ln(m.linear(y)) + x  # type: ignore[no-any-return]


CASES: dict[str, tuple[tuple[Any, ...], tuple[int, ...], Callable[[Any, Tensor], Tensor]]] = {
    "conv_mish_bn": ((3, 8, 3), (2, 3, 7, 10), lambda m, x: m.bn(functional.mish(m.conv(x)))),
    "softsign": ((), (4, 37), lambda _, x: functional.softsign(x)),
    "elu": ((0.5,), (4, 37), lambda _, x: functional.elu(x, 0.5)),
    "limit": ((0.5,), (4, 37), lambda _, x: x.clamp(max=0.5)),
    "rows": ((12,), (5, 12), rows),
    "block": ((4,), (2, 4, 5, 8), block),
}
"""What is emitted: init inputs, the input's shape, and what the module does as one types it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("emit")
    (made / "a.act").write_text(SPEC)
    assert _run(["emit", "--style", "modelnew", str(made / "a.act"), "-o", str(made / "out")]) == 0
    return made / "out"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"modelnew_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(INTERPRETED, reason="starts the interpreter")
def test_in_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "harness", __file__]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.mark.parametrize("name", CASES)
def test_as_the_harness_runs_it(name: str, folder: Path) -> None:
    arguments, shape, plain = CASES[name]
    torch.manual_seed(1)
    model = load(folder / f"{name}.py").ModelNew(*arguments)
    x = torch.randn(shape, requires_grad=True)
    y, expected = model(x), plain(model, x)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
    grad = torch.randn_like(expected)
    inputs = [x, *model.parameters()]
    ours, theirs = (torch.autograd.grad(each, inputs, grad, retain_graph=True) for each in (y, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), plain(model, x), rtol=1e-4, atol=1e-4)


def kind(statement: ast.stmt) -> str:
    """What a statement of a file of one class is, for the order that these files keep."""
    match statement:
        case ast.Import() | ast.ImportFrom():
            return "import"
        case ast.FunctionDef(decorator_list=[decorator]) if ast.unparse(decorator) == "triton.jit":
            return "kernel"
        case ast.ClassDef(name="ModelNew"):
            return "model"
        case ast.FunctionDef() | ast.ClassDef() | ast.Assign() | ast.AnnAssign():
            return "wrapper"
        case _:
            return "other"


@pytest.mark.parametrize("name", CASES)
def test_the_order(name: str, folder: Path) -> None:
    text = (folder / f"{name}.py").read_text()
    body = [each for each in ast.parse(text).body if not isinstance(each, ast.Expr)]
    kinds = [kind(each) for each in body]
    first = kinds.index("wrapper", len(kinds) - 1 - kinds[::-1].index("kernel"))
    assert [ast.unparse(each) for each in body[:4]] == [
        *("import torch", "import torch.nn as nn", "import triton", "import triton.language as tl")
    ]
    begin = kinds.index("kernel")
    constants = {"kernel", "wrapper"}  # a constant that a kernel reads stands with the kernels
    assert set(kinds[:begin]) <= {"import", "wrapper"}
    assert set(kinds[begin:first]) <= constants
    assert all(isinstance(each, ast.Assign) for each in body[:first] if kind(each) == "wrapper")
    assert set(kinds[first:-1]) == {"wrapper"}
    assert kinds[-1] == "model"
    assert ">>>" not in text
    assert "__main__" not in text
    assert "from ." not in text


@pytest.mark.parametrize("name", ["conv_mish_bn", "elu", "rows", "block"])
def test_second_derivatives(name: str, folder: Path) -> None:
    arguments, shape, plain = CASES[name]
    model = load(folder / f"{name}.py").ModelNew(*arguments).double()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    found = []
    for y in (model(x), plain(model, x)):
        torch.manual_seed(1)
        (dx,) = torch.autograd.grad(y, x, torch.randn_like(y), create_graph=True)
        found.append(torch.autograd.grad((dx * torch.randn_like(dx)).sum(), x)[0])
    torch.testing.assert_close(*found)


def test_several_inputs(folder: Path) -> None:
    a, b = torch.randn(2, 4, 37)
    torch.testing.assert_close(load(folder / "gate.py").ModelNew()(a, b), a * functional.softsign(b))


@pytest.mark.skipif(INTERPRETED, reason="compiles")
def test_under_the_compiler(folder: Path) -> None:
    model = load(folder / "conv_mish_bn.py").ModelNew(3, 8, 3)
    x = torch.randn(2, 3, 7, 10)
    compiled: Any = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), model.bn(functional.mish(model.conv(x))))
    assert isinstance(model.bn, nn.BatchNorm2d)


def test_check_says_what_is_out_of_date(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["emit", "--style", "modelnew", str(folder.parent / "a.act"), "-o", str(folder), "--check"]
    assert _run(command) == 0
    path = folder / "softsign.py"
    before = path.read_text()
    path.write_text(before + "# edited\n")
    assert _run(command) == 1
    said = capsys.readouterr()
    assert said.out == f"would change {path}\n"
    assert "1 file out of date; run: dslgen emit " in said.err
    assert _run([*command[:-1], "--diff"]) == 1
    assert "-# edited" in capsys.readouterr().out
    path.write_text(before)


def test_what_is_committed_runs() -> None:
    """The user's two cases as they lie in the repository; `make test` holds them to their specs."""
    conv = load(ROOT / "generated/modelnew/conv_mish_bn.py").ModelNew(3, 8, 3)
    x = torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(conv(x), conv.bn(functional.mish(conv.conv(x))), rtol=1e-4, atol=1e-4)
    ours = load(ROOT / "generated/modelnew/softsign.py").ModelNew()
    torch.testing.assert_close(ours(x), functional.softsign(x))
