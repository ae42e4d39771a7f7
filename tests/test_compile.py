"""`dsl.compile`: a module at run time, with everything that a generated package gives."""

import copy
import inspect
import io
import math
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import dsl
from dsl import runtime
from dsl.errors import SpecErrors
from dsl.inspect import compile_kernel
from tests.pages import run, sections

ROOT = Path(__file__).parent.parent
MISH = "x * tanh(softplus(x))"


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of this module's own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DSLGEN_CACHE", str(folder))
        yield folder


def python(code: str, folder: Path, **environment: str) -> str:
    """What another process prints, whose cache is a folder."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "DSLGEN_CACHE": str(folder), **environment}
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_values_and_gradients_hold_where_the_formula_does_not() -> None:
    x = torch.tensor([-1000.0, 0.5, 1000.0, math.inf], requires_grad=True)
    y = dsl.compile(MISH)(x)
    assert y.tolist()[2:] == [1000.0, math.inf]
    y[:3].sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad[:3], torch.tensor([0.0, 0.8864, 1.0]), rtol=1e-4, atol=0)


def test_one_text_is_one_class() -> None:
    layers = [dsl.compile("x * sigmoid(beta * x)", beta=beta) for beta in (1.0, 2.0)]
    assert type(layers[0]) is type(layers[1])
    assert repr(layers[1]) == "Formula(beta=2.0)"
    assert type(dsl.compile("\n  x * sigmoid(beta * x)\n", beta=3.0)) is type(layers[0])
    assert type(dsl.compile("x * sigmoid(beta * x)", beta=1.0, name="other")) is not type(layers[0])


def test_definitions() -> None:
    text = """
        # g(x) = comment
        inner(x; slope = 0.1) = where(x > 0, x, slope * x)
          require slope > 0
          alias leaky

        outer(x) = inner(x) + 1
    """
    assert repr(dsl.compile(text, name="leaky", slope=0.2, inplace=True)) == "Inner(slope=0.2, inplace=True)"
    assert dsl.compile(text, name="outer")(torch.tensor(-1.0)).item() == pytest.approx(0.9)
    with pytest.raises(ValueError, match="the text defines inner, outer: say which with name="):
        dsl.compile(text)
    with pytest.raises(ValueError, match="no definition 'outr': did you mean 'outer'"):
        dsl.compile(text, name="outr")
    with pytest.raises(ValueError, match="slope must satisfy slope > 0, got -1"):
        dsl.compile(text, name="inner", slope=-1)
    with pytest.raises(TypeError, match="slop"):
        dsl.compile(text, name="inner", slop=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "x * softplu(x)",
            "<formula>:1:5: E0101 unknown function 'softplu'\n  x * softplu(x)\n      ^^^^^^^\n"
            "  help: did you mean 'softplus'?",
        ),
        (
            "x\n  * beta",
            "<formula>:2:5: E0106 undefined name 'beta'\n    * beta\n      ^^^^\n"
            "  help: the input is 'x', and a parameter is given as a keyword argument",
        ),
        ("f(x) = (x", "<formula>:1:8: E0104 '(' is never closed\n  f(x) = (x\n         ^"),
    ],
)
def test_messages_show_the_text_as_it_was_given(text: str, message: str) -> None:
    with pytest.raises(SpecErrors) as found:
        dsl.compile(text)
    assert str(found.value) == message


def test_names() -> None:
    with pytest.raises(SpecErrors, match="'lambda' is a Python keyword"):
        dsl.compile("x", name="lambda")
    with pytest.raises(SpecErrors, match="'pi' is a constant"):
        dsl.compile("x", pi=3.0)
    for arguments in ({"name": "f(x) = 1 g"}, {"a; b": 1.0}, {"name": 3.0}):
        with pytest.raises(ValueError, match="is not a name"):
            dsl.compile("x", **arguments)


EQUIVALENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh(x)": torch.tanh,
    "sigmoid(x)": torch.sigmoid,
    "exp(-x**2)": lambda x: torch.exp(-x * x),
    "abs(x)": torch.abs,
    "atan(x)": torch.atan,
    "1 / (1 + x**2)": lambda x: 1 / (1 + x * x),
    "where(x > 1, x, 0.5)": lambda x: torch.where(x > 1, x, 0.5),
}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=st.sampled_from(list(EQUIVALENTS)),
    second=st.sampled_from(list(EQUIVALENTS)),
    op=st.sampled_from("+*"),
)
def test_formulas(first: str, second: str, op: str) -> None:
    """Sums and products of known functions: value and gradient are those of torch's operations."""
    layer = dsl.compile(f"({first}) {op} a * ({second})", a=0.75)
    left, right = EQUIVALENTS[first], EQUIVALENTS[second]
    x = torch.linspace(-3, 3, 41, dtype=torch.float64).add(0.01).requires_grad_()
    expected = left(x) + 0.75 * right(x) if op == "+" else left(x) * (0.75 * right(x))
    result = layer(x)
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-14)
    slopes = [torch.autograd.grad(each.sum(), x)[0] for each in (result, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-11, atol=1e-13)


def test_torch_compile() -> None:
    layer = dsl.compile(MISH)
    x = torch.randn(64)
    torch.testing.assert_close(torch.compile(layer, fullgraph=True)(x), layer(x))


def test_copies_and_pickles() -> None:
    layer: Any = dsl.compile("x * sigmoid(beta * x)", beta=1.5).eval()
    layer.register_buffer("note", torch.ones(2))
    file = io.BytesIO()
    torch.save(torch.nn.Sequential(layer), file)
    file.seek(0)
    others: list[Any] = [
        copy.deepcopy(layer),
        copy.copy(layer),
        pickle.loads(pickle.dumps(layer)),
        torch.load(file, weights_only=False)[0],
    ]
    for other in others:
        assert type(other) is type(layer)
        assert other is not layer
        assert (repr(other), other.training, other.note.tolist()) == ("Formula(beta=1.5)", False, [1, 1])
        other.beta = 7.0
    assert layer.beta == 1.5


def test_pickles_in_other_processes(cache: Path, tmp_path: Path) -> None:
    layer = dsl.compile("x * sigmoid(beta * x)", beta=1.5)
    (tmp_path / "layer.pkl").write_bytes(pickle.dumps(layer))
    (tmp_path / "class.pkl").write_bytes(pickle.dumps(type(layer)))
    show = (
        f"import pickle, pathlib; print(pickle.loads(pathlib.Path({str(tmp_path)!r}, '{{}}').read_bytes()))"
    )
    assert python(show.format("layer.pkl"), cache) == "Formula(beta=1.5)\n"
    assert python(show.format("layer.pkl"), tmp_path / "another") == "Formula(beta=1.5)\n"
    assert (
        python(show.format("class.pkl"), cache) == f"{type(layer)}\n"
    )  # by name, where the cache is the same


def test_the_source_can_be_read(cache: Path) -> None:
    layer = dsl.compile("x * tanh(x)", name="tanned")
    source = inspect.getsource(type(layer))
    assert source.startswith("class Tanned(nn.Module):")
    path = Path(inspect.getfile(type(layer)))
    assert path.is_relative_to(cache)
    try:
        layer(torch.ones(2, dtype=torch.int64))
    except NotImplementedError:
        said = traceback.format_exc()
    assert f'File "{path}"' in said
    assert "return tanned(x)" in said
    assert "\"tanned\" not implemented for 'Long'" in said


def test_the_kernel_runs_in_tritons_interpreter(cache: Path) -> None:
    code = f"import dsl, torch; print(dsl.compile({MISH!r})(torch.tensor([1000.0])).item())"
    assert python(code, cache, TRITON_INTERPRET="1") == "1000.0\n"


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter compiles nothing")
def test_the_kernel_compiles_for_a_gpu() -> None:
    stem = type(dsl.compile(MISH)).__module__.rpartition(".")[2]
    compiled, _ = compile_kernel(dsl.compiled, stem, "gradient", "bfloat16", "sm_90")
    assert compiled.asm["cubin"]


def test_a_file_is_used_again_and_an_edited_one_is_not(cache: Path) -> None:
    square = "dsl.compile('x * x')(torch.tensor(3.0)).item()"
    code = f"import dsl, sys, torch; print({square}, 'black' in sys.modules)"
    assert python(code, cache) == "9.0 True\n"
    assert python(code, cache) == "9.0 False\n"
    (path,) = (file for file in cache.rglob("formula_*.py") if "formula(x) = x * x\n" in file.read_text())
    path.write_text(path.read_text().replace("return x * x", "return x + x"))
    assert python(code, cache) == "9.0 True\n"


def test_threads_at_once() -> None:
    with ThreadPoolExecutor(4) as pool:
        layers = list(pool.map(dsl.compile, ["x * x * tanh(x)"] * 4))
    assert len({type(layer) for layer in layers}) == 1


def test_processes_at_once(tmp_path: Path) -> None:
    code = f"import dsl, torch; print(dsl.compile({MISH!r})(torch.tensor(1000.0)).item())"
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "DSLGEN_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", code]
    running = [subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=120)[0] for process in running] == ["1000.0\n"] * 3
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = f"""
import dsl, inspect, torch
layer = dsl.compile({MISH!r})
print(layer(torch.tensor(1000.0)).item(), inspect.getfile(type(layer)))
"""
    said = python(code, tmp_path / "file")
    path = Path(said.split()[1])
    assert said.startswith("1000.0 ")
    assert "name a directory with DSLGEN_CACHE" in said
    assert "<string>:3: RuntimeWarning" in said  # at the call
    assert not path.exists()  # it went with its process


@pytest.mark.parametrize("title", ["A formula at run time", "In a model that exists"])
def test_the_page_on_plugins(title: str) -> None:
    """The sections that need no other library; `make plugins` runs them all."""
    run(sections("docs/plugins.md")[title])


def test_importing_dsl_is_light() -> None:
    code = "import sys, dsl; dir(dsl); print(sorted(name for name in sys.modules if name.startswith('dsl')))"
    assert python(code + "; assert not {'torch', 'lark'} & set(sys.modules)", Path("unused")) == "['dsl']\n"
    assert {"compile", "replace"} <= set(dir(dsl))
    assert dsl.compile is runtime.compile
    with pytest.raises(AttributeError, match="module 'dsl' has no attribute 'compil'"):
        _ = dsl.compil
