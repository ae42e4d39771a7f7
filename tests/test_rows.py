"""Activations with reductions over rows, from spec to gradient, against plain torch in float64.

The kernels run in Triton's interpreter, in a process of its own that one of the tests starts: there the same
tests compare the kernels, for rows on chip and, with a chip that holds hardly anything, in passes.
"""

from __future__ import annotations

import copy
import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.nn import functional

import dsl
from dsl.build import build
from dsl.errors import SpecErrors
from dsl.pipeline import row_program
from dsl.program import RowProgram
from dsl.project import read_project
from dsl.resolve import activations
from dsl.show import show_expr, show_function
from dsl.targets.rows import formulas as formulas_of

ROOT = Path(__file__).resolve().parents[1]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
compiled = pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")

BUILT = "DSLGEN_TEST_ROWS"
"""Where the package is, for the process that a test starts."""

ODD = """
total(x) = rowsum(x)
normed(x) = (x - rowmin(x)) / (rowmax(x) - rowmin(x))
hyperbolic(x) = cosh(x) / rowsum(cosh(x))
gated(x) = x * sigmoid(x - rowmean(x))
mixed(row, n; count = 2) = row * exp(count * n) / rowsum(exp(count * n))
within(x) = x / rowsum(x)
  domain rowmin(x) > 0
"""
"""What the shipped specs do not try: a number of the row as result, minima, names that kernels have."""


def _mean(x: Tensor, dim: int) -> Tensor:
    return x.mean(dim, keepdim=True)


def _centred(x: Tensor, dim: int) -> Tensor:
    return x - _mean(x, dim)


def _variance(x: Tensor, dim: int) -> Tensor:
    return _mean(_centred(x, dim) ** 2, dim)


def _rms(x: Tensor, dim: int) -> Tensor:
    return x * torch.rsqrt(_mean(x * x, dim) + 1e-6)


def _normed(x: Tensor, dim: int) -> Tensor:
    low, high = x.amin(dim, keepdim=True), x.amax(dim, keepdim=True)
    return (x - low) / (high - low)


def _topk(gate: Tensor, up: Tensor, dim: int) -> Tensor:
    threshold = _mean(gate, dim) + 1.6448536269514722 * torch.sqrt(_variance(gate, dim))
    return functional.gelu(functional.relu(gate - threshold), approximate="tanh") * up


def _within(x: Tensor, dim: int) -> Tensor:
    inside = x.amin(dim, keepdim=True) > 0
    return torch.where(inside, x / x.sum(dim, keepdim=True), float("nan"))


PLAIN: dict[str, Callable[..., Tensor]] = {
    "softmax": functional.softmax,
    "log_softmax": functional.log_softmax,
    "softmin": functional.softmin,
    "softmax2d": functional.softmax,
    "tempered_softmax": functional.softmax,
    "softmax_one": lambda x, dim: torch.exp(x) / (1 + torch.exp(x).sum(dim, keepdim=True)),
    "solu": lambda x, dim: x * functional.softmax(x, dim),
    "squaremax": lambda x, dim: x**2 / (x**2).sum(dim, keepdim=True),
    "rms_gate": _rms,
    "standardize": lambda x, dim: _centred(x, dim) * torch.rsqrt(_variance(x, dim) + 1e-5),
    "polynorm": lambda x, dim: (_rms(x, dim) + _rms(x**2, dim) + _rms(x**3, dim)) / 3,
    "gelu_topk": _topk,
    "total": lambda x, dim: x.sum(dim, keepdim=True).expand_as(x),
    "normed": _normed,
    "hyperbolic": lambda x, dim: torch.cosh(x) / torch.cosh(x).sum(dim, keepdim=True),
    "gated": lambda x, dim: x * torch.sigmoid(_centred(x, dim)),
    "mixed": lambda row, n, dim: row * functional.softmax(2 * n, dim),
    "within": _within,
}
OF_TWO = ("gelu_topk", "mixed")
TOLERANCE = {torch.float16: 8e-3, torch.bfloat16: 6e-2, torch.float32: 1e-5, torch.float64: 1e-11}
DTYPES = tuple(TOLERANCE)


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = Path(os.environ.get(BUILT) or tmp_path_factory.mktemp("rows"))
    if BUILT not in os.environ:
        (folder / "odd.act").write_text(ODD)
        build([ROOT / "specs" / "rows.act"], folder / "reduced", [ROOT / "specs"])
        build([folder / "odd.act"], folder / "reduced")
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("reduced")
    finally:
        sys.path.remove(str(folder))


def operator(acts: ModuleType, name: str) -> Any:
    return importlib.import_module(f"{acts.__name__}.{name}")._operator


def normal(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


def inputs_of(name: str, shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> list[Tensor]:
    found = [normal(shape, dtype, seed + place) for place in range(1 + (name in OF_TWO))]
    return [x.abs() + 0.1 for x in found] if name == "within" else found


def close(got: Tensor, expected: Tensor, tolerance: float) -> None:
    size = expected.abs().nan_to_num().max().item() if expected.numel() else 1.0
    torch.testing.assert_close(
        got.double(), expected.double(), rtol=tolerance, atol=tolerance * max(size, 1e-3), equal_nan=True
    )


def check(acts: ModuleType, name: str, inputs: list[Tensor], dim: int) -> None:
    """Value and gradients, their types, shapes and strides, against plain torch in float64."""
    ours = [x.detach().requires_grad_() for x in inputs]
    theirs = [x.detach().double().requires_grad_() for x in inputs]
    y, expected = getattr(acts, name)(*ours, dim=dim), PLAIN[name](*theirs, dim=dim)
    tolerance = TOLERANCE[inputs[0].dtype]
    assert (y.shape, y.dtype) == (expected.shape, inputs[0].dtype)
    close(y, expected, tolerance)
    outer = normal(tuple(y.shape), y.dtype, 7)
    found = torch.autograd.grad(y, ours, outer)
    exact = torch.autograd.grad(expected, theirs, outer.double())
    for x, dx, exact_dx in zip(ours, found, exact, strict=True):
        assert (dx.shape, dx.dtype) == (x.shape, x.dtype)
        close(dx, exact_dx, 4 * tolerance)


# -- the compiler ------------------------------------------------------------------------------------------


def program(text: str) -> RowProgram:
    return row_program(activations(text)[-1])


@pytest.mark.parametrize(
    "text",
    [
        "f(x) = exp(x - rowmax(x)) / rowsum(exp(x - rowmax(x)))",
        "f(x) = exp(x - log(rowsum(exp(x))))",
        "f(x) = exp(x + 3) / (exp(3) * rowsum(exp(x)))",
        "f(x) = 1 / (rowsum(exp(x)) / exp(x))",
        "f(x) = exp(log(exp(x) / rowsum(exp(x))))",
    ],
)
def test_spellings_of_softmax_are_one(text: str) -> None:
    softmax = program("f(x) = exp(x) / rowsum(exp(x))")
    assert show_function(program(text).forward.whole) == show_function(softmax.forward.whole)


def test_log_softmax_subtracts_the_greatest_first() -> None:
    for text in ("f(x) = x - log(rowsum(exp(x)))", "f(x) = log(exp(x) / rowsum(exp(x)))"):
        whole = program(text).forward.whole
        assert show_expr(whole.result) == "d - log(total)"
        assert "d = x - peak" in show_function(whole)


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("f(x) = exp(x) / rowsum(exp(x))", (1, 1)),
        ("f(x) = x - log(rowsum(exp(x)))", (1, 1)),
        ("f(x) = x * rsqrt(rowmean(x * x) + 1)", (1, 1)),
        ("f(x) = rowvar(x) * x", (2, 2)),
        ("f(x) = x / rowmax(abs(x))", (1, 2)),
        ("f(x, t) = x * exp(t) / rowsum(exp(t))", (1, 1, 1)),
    ],
)
def test_passes(text: str, levels: tuple[int, ...]) -> None:
    found = program(text)
    assert tuple(each.levels for each in (found.forward, *found.gradients)) == levels


def test_a_variance_is_taken_about_the_mean() -> None:
    shown = show_function(program("f(x) = rowvar(x)").forward.whole)
    assert "d = x - total / _length" in shown
    assert "rowsum(d * d)" in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("f(x; dim = 1) = dim * rowsum(x)", "E0107 'dim' is the dimension"),
        ("f(dim) = rowsum(dim)", "E0107 'dim' is the dimension"),
        ("f(x; dim = 1/2) = rowsum(x)", "E0117 the default of 'dim'"),
        ("f(x; a = 1) = a * rowsum(x) require rowmax(a) > 0", "E0118 'require' constrains parameters"),
        ("f(x) = rowsum(x, 1)", "E0102 'rowsum' takes 1 argument, got 2"),
        ("f(x) = rowsum(x, dim = 1)", "E0119 'rowsum' takes no keyword arguments"),
        ("f(x) = rowsun(x)", "did you mean 'rowsum'?"),
        ("f(x; a = rowsum(2)) = a * x", "E0117 not a constant"),
    ],
)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(SpecErrors) as found:
        activations(text)
    assert message in str(found.value)


# -- values and gradients ----------------------------------------------------------------------------------


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.transpose(0, -1).contiguous().transpose(0, -1),
    "every other": lambda x: torch.stack([x, x], -1)[..., 0],
    "expanded": lambda x: x[:1].expand(x.shape),
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_gradients(name: str, dtype: torch.dtype, acts: ModuleType) -> None:
    if INTERPRETED and dtype is not (torch.bfloat16 if name == "softmax" else torch.float32):
        pytest.skip("slow in the interpreter")
    for shape, dim in (((4, 37), -1), ((3, 5, 7), 1), ((33, 2, 2), 0))[: 2 if INTERPRETED else 3]:
        check(acts, name, inputs_of(name, shape, dtype), dim)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, acts: ModuleType) -> None:
    if INTERPRETED and layout in ("contiguous", "expanded"):
        pytest.skip("slow in the interpreter")
    for name in ("mixed",) if INTERPRETED else ("softmax", "standardize", "mixed"):
        for shape, dim in (((4, 6, 5), -1), ((4, 6, 5), 1), ((4, 6, 5), 0)):
            inputs = inputs_of(name, shape, torch.float32)
            check(acts, name, [LAYOUTS[layout](x) for x in inputs], dim)
            if len(inputs) > 1:
                check(acts, name, [LAYOUTS[layout](inputs[0]), *inputs[1:]], dim)
    image = normal((2, 5, 3, 4), torch.float32, 3).to(memory_format=torch.channels_last)
    for dim in (1, 2) if layout == "transposed" else ():
        check(acts, "softmax", [image], dim)
    assert acts.softmax(image, dim=1).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(not INTERPRETED, reason="runs in the process that another test starts")
@pytest.mark.parametrize("name", ["softmax", "standardize", "normed", "mixed"])
def test_kernels_in_passes(name: str, acts: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = importlib.import_module(f"{acts.__name__}._rows")
    monkeypatch.setattr(rows, "LARGEST", 8)
    monkeypatch.setattr(rows, "_TILE", 16)
    monkeypatch.setattr(rows, "_LANES", 4)
    for shape, dim in (((1, 53), -1), ((1, 11, 3), 1)):
        check(acts, name, inputs_of(name, shape, torch.float32), dim)


def test_in_the_interpreter(acts: ModuleType) -> None:
    if INTERPRETED:
        pytest.skip("this is the process that it starts")
    chosen = "values or layouts or kernels or infinit or digits or long"
    command = [sys.executable, "-W", "ignore", "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    assert acts.__file__ is not None
    built = str(Path(acts.__file__).parents[1])
    environment = {**os.environ, "TRITON_INTERPRET": "1", BUILT: built}
    done = subprocess.run(
        [*command, "-k", chosen, __file__],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


_ATOMS = ("x", "-x", "x / 2", "3 * x", "x * x", "tanh(x)", "x * sigmoid(x)", "abs(x)", "(x - x + 1)")


@st.composite
def formulas(draw: st.DrawFn) -> str:
    """Functions of rows that are smooth and finite for numbers of moderate size."""

    def element(depth: int) -> str:
        atom = draw(st.sampled_from(_ATOMS))
        if depth == 0:
            return atom
        inner = element(depth - 1)
        shapes = (
            "{atom} + {inner}",
            "({atom}) * ({inner})",
            "exp(({inner}) / 4)",
            "{atom} - rowmean({inner})",
            "exp({atom}) / rowsum(exp({atom})) * ({inner})",
            "({inner}) / sqrt(1 + rowvar({atom}))",
            "({inner}) / (1 + rowmax(abs({atom})))",
            "({atom}) + log(rowsum(exp({inner})))",
            "exp({atom}) / (exp({inner}) + rowsum(exp({atom})))",
            "({inner}) * tanh(rowmean({atom}))",
        )
        return draw(st.sampled_from(shapes)).format(atom=atom, inner=inner)

    return f"({element(2)}) * exp({element(0)} / 8) / rowsum(exp({element(0)} / 8)) + {element(1)}"


_MEANINGS: dict[str, Any] = {
    "rowsum": lambda x: x.sum(-1, keepdim=True),
    "rowmean": lambda x: x.mean(-1, keepdim=True),
    "rowmax": lambda x: x.amax(-1, keepdim=True),
    "rowvar": lambda x: x.var(-1, keepdim=True, unbiased=False),
    **{name: getattr(torch, name) for name in ("exp", "log", "sqrt", "tanh", "sigmoid", "abs")},
}


@compiled
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(formula=formulas(), seed=st.integers(0, 99))
def test_any_function_of_rows_is_that_of_plain_torch(formula: str, seed: int, acts: ModuleType) -> None:
    (activation,) = activations(f"f(x) = {formula}")
    names: dict[str, Any] = {"torch": torch, "Tensor": Tensor}
    names |= {each: importlib.import_module(f"{acts.__name__}.{each}") for each in ("_math", "_rows")}
    for source in formulas_of(activation, row_program(activation)).values():
        exec(source, names)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 2e-4)):
        x, outer = normal((3, 11), dtype, seed), normal((3, 11), dtype, seed + 1)
        wide = x.double().requires_grad_()
        expected = eval(formula, {**_MEANINGS, "x": wide})
        assume(expected.abs().max() < 1e6)  # else float32 may overflow on the way
        close(names["_f_formula"](x, 11, -1).expand(3, 11), expected.detach(), tolerance)
        (exact,) = torch.autograd.grad(expected, wide, outer.double())
        close(names["_f_formula_by_x"](x, outer, 11, -1).expand(3, 11), exact, tolerance)


# -- digits and ends ---------------------------------------------------------------------------------------


def ulps(got: Tensor, exact: Tensor) -> float:
    """The worst error in units of the last place of float32, where the result is normal."""
    exponent = torch.floor(torch.log2(exact.abs()))
    unit = torch.exp2(exponent - 23)
    normal_ = exact.abs() > 2.0**-125
    return float(((got.double() - exact).abs() / unit)[normal_].max())


def test_softmax_keeps_its_digits_far_below_the_greatest(acts: ModuleType) -> None:
    greatest = torch.tensor([[80.0], [40.0], [5.0], [1.0]])
    x = torch.cat([normal((4, 511), torch.float32, 3), greatest], -1)
    exact = functional.softmax(x.double(), -1)
    assert ulps(acts.softmax(x), exact) < 4
    assert ulps(functional.softmax(x, -1), exact) > 16  # what exp of a rounded difference costs
    halved = acts.tempered_softmax(3 * x, temperature=3.0)
    assert ulps(halved, functional.softmax((3 * x).double() / 3, -1)) < 4


def test_gradients_keep_their_digits(acts: ModuleType) -> None:
    x = normal((8, 300), torch.float32, 1).requires_grad_()
    wide = x.detach().double().requires_grad_()
    outer = torch.zeros(8, 300)
    outer[:, 5] = 1
    (dx,) = torch.autograd.grad(acts.softmax(x), x, outer)
    (exact,) = torch.autograd.grad(functional.softmax(wide, -1), wide, outer.double())
    assert ulps(dx, exact) < 8
    large = (1e17 * normal((2, 9), torch.float32, 1)).requires_grad_()  # whose sum of squares has no square
    wide = large.detach().double().requires_grad_()
    outer = normal((2, 9), torch.float32, 2)
    (dx,) = torch.autograd.grad(acts.squaremax(large), large, outer)
    (exact,) = torch.autograd.grad(PLAIN["squaremax"](wide, dim=-1), wide, outer.double())
    close(1e17 * dx, 1e17 * exact, 1e-5)


def test_a_variance_of_large_numbers_keeps_its_digits(acts: ModuleType) -> None:
    x = 1e8 + 8 * torch.arange(1000.0).reshape(1, -1)
    exact = PLAIN["standardize"](x.double(), dim=-1)
    torch.testing.assert_close(acts.standardize(x).double(), exact, rtol=1e-5, atol=1e-6)
    same = torch.full((2, 7), 0.1)
    assert acts.standardize(same).abs().max() < 1e-5


def test_long_rows_are_summed_without_drift(acts: ModuleType) -> None:
    x = normal((1, 40_000), torch.float32, 5)
    assert ulps(acts.softmax(x), functional.softmax(x.double(), -1)) < 4


def test_infinities_and_nan_in_rows(acts: ModuleType) -> None:
    inf, nan = float("inf"), float("nan")
    rows = [[-inf, 0.0, 0.0], [-inf, -inf, -inf], [1.0, inf, 0.0], [nan, 0.0, 1.0], [1e38, -1e38, 1e38]]
    x = torch.tensor(rows, requires_grad=True)
    for name in ("softmax", "log_softmax"):
        y, expected = getattr(acts, name)(x), PLAIN[name](x, dim=-1)
        torch.testing.assert_close(y, expected, equal_nan=True)
    (dx,) = torch.autograd.grad(acts.softmax(x)[0, 1], x)
    torch.testing.assert_close(dx[0], torch.tensor([0.0, 0.25, -0.25]))
    assert acts.softmax_one(torch.tensor([[-inf, -1000.0], [1000.0, 999.0]])).sum(-1).tolist() == [0.0, 1.0]
    assert acts.total(torch.tensor([[1.0, inf]]))[0, 0] == inf
    assert acts.normed(torch.tensor([[1.0, nan, 2.0]])).isnan().all()


def test_equal_greatest_share_the_gradient(acts: ModuleType) -> None:
    x = torch.tensor([[1.0, 3.0, 3.0, 0.0]], requires_grad=True)
    for ours, theirs in ((acts.normed(x), _normed(x, -1)),):
        outer = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
        found, exact = (torch.autograd.grad(each, x, outer)[0] for each in (ours, theirs))
        torch.testing.assert_close(found, exact)


def test_references(acts: ModuleType) -> None:
    for activation in read_project([ROOT / "specs"]).checked().activations:
        if activation.dim is None:
            continue
        for reference in activation.references:
            theirs = getattr(functional, reference.target.rpartition(".")[2])
            x = normal((3, 4, 5), torch.float32, 2)
            arguments = {name: int(value) for name, value in reference.arguments}
            close(getattr(acts, activation.name)(x), theirs(x, **arguments), 1e-6)


# -- in PyTorch --------------------------------------------------------------------------------------------


def test_odd_sizes_and_arguments(acts: ModuleType) -> None:
    for shape in ((0, 3), (3, 0), (0,), (), (1, 1)):
        x = torch.zeros(shape, requires_grad=True)
        y = acts.softmax(x)
        assert (y.shape, y.tolist()) == (x.shape, functional.softmax(x, -1).tolist())
        assert torch.autograd.grad(y.sum(), x)[0].shape == x.shape
    with pytest.raises(IndexError, match=r"softmax\(\): Dimension out of range .* \[-2, 1\], but got 2"):
        acts.softmax(torch.zeros(2, 3), dim=2)
    with pytest.raises(TypeError, match="dim must be int, not float"):
        acts.softmax(torch.zeros(2, 3), dim=1.0)
    with pytest.raises(NotImplementedError, match="\"softmax\" not implemented for 'Long'"):
        acts.softmax(torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="temperature must satisfy temperature > 0"):
        acts.tempered_softmax(torch.zeros(2), temperature=0.0)
    with pytest.raises(NotImplementedError, match="depend on the length of the row"):
        acts.warmup(acts.softmax, device="cpu")


def test_modules(acts: ModuleType) -> None:
    x = normal((2, 3, 4, 5), torch.float32, 1)
    for ours, theirs in (
        (acts.Softmax(), nn.Softmax(-1)),
        (acts.Softmax(dim=1), nn.Softmax(1)),
        (acts.LogSoftmax(0), nn.LogSoftmax(0)),
        (acts.Softmin(2), nn.Softmin(2)),
        (acts.Softmax2d(), nn.Softmax2d()),
    ):
        for each in (ours, copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
            close(each(x), theirs(x), 1e-6)
    assert repr(acts.TemperedSoftmax(2.0, dim=1)) == "TemperedSoftmax(temperature=2.0, dim=1)"
    assert repr(dsl.compile("exp(x) / rowsum(exp(x))", dim=1)) == "Formula(dim=1)"


def test_inputs_broadcast_and_are_promoted(acts: ModuleType) -> None:
    gate = normal((4, 6), torch.float32, 1).requires_grad_()
    up = normal((6,), torch.bfloat16, 2).requires_grad_()
    y = acts.gelu_topk(gate, up)
    expected = _topk(gate, up, -1)
    assert y.dtype is torch.float32
    close(y, expected, 1e-5)
    for found, exact in zip(
        torch.autograd.grad(y.sum(), (gate, up)), torch.autograd.grad(expected.sum(), (gate, up)), strict=True
    ):
        assert found.dtype is exact.dtype
        close(found, exact, 1e-2)


def test_autocast_is_that_of_softmax(acts: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = importlib.import_module(f"{acts.__name__}._rows")
    x = normal((4, 8), torch.bfloat16, 1)
    with torch.autocast("cpu", torch.bfloat16):
        assert acts.softmax(x).dtype is functional.softmax(x, -1).dtype
        monkeypatch.setattr(rows, "_AUTOCAST", ("cpu",))
        assert acts.softmax(x).dtype is torch.float32


@compiled
@pytest.mark.parametrize("name", PLAIN)
def test_gradients_of_both_orders_and_modes(name: str, acts: ModuleType) -> None:
    function = partial(getattr(acts, name), dim=-1)
    inputs = [x.requires_grad_() for x in inputs_of(name, (2, 5), torch.float64, 4)]
    assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(function, inputs)


@compiled
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "standardize", "mixed"])
def test_func(name: str, acts: ModuleType) -> None:
    function, plain = getattr(acts, name), PLAIN[name]
    inputs = inputs_of(name, (3, 4), torch.float64)
    rows = (0,) * len(inputs)
    close(vmap(function, rows)(*inputs), plain(*inputs, dim=-1), 1e-12)
    close(vmap(function, (1,) * len(inputs))(*inputs), plain(*(x.t() for x in inputs), dim=-1), 1e-12)
    cubed = (lambda *x: function(*x).pow(3).sum(), lambda *x: plain(*x, dim=-1).pow(3).sum())
    for transform in (grad, hessian):
        ours, theirs = (transform(each)(*inputs) for each in cubed)
        close(ours, theirs, 1e-9)
    for transform in (jacfwd, jacrev):
        ours, theirs = (transform(f)(*inputs) for f in (function, lambda *x: plain(*x, dim=-1)))
        close(ours, theirs, 1e-10)
    tangents = tuple(torch.ones_like(x) for x in inputs)
    close(
        jvp(function, tuple(inputs), tangents)[1],
        jvp(lambda *x: plain(*x, dim=-1), tuple(inputs), tangents)[1],
        1e-10,
    )


@compiled
def test_opcheck(acts: ModuleType) -> None:
    for name, rest in (("softmax", (1,)), ("mixed", (2.0, 0))):
        own = operator(acts, name)
        inputs = [x.requires_grad_() for x in inputs_of(name, (3, 4), torch.float32)]
        turned = [x.detach().t().contiguous().t().bfloat16() for x in inputs]
        for each in (inputs, turned):
            torch.library.opcheck(own.value, (*each, *rest))
            torch.library.opcheck(own.slopes, (torch.ones_like(each[0]), *each, *rest, [True] * len(each)))


@compiled
@pytest.mark.parametrize("mode", ["fuse", "kernel"])
def test_compiled_values_and_gradients(mode: str, acts: ModuleType) -> None:
    acts.set_compile_mode(mode)
    try:
        torch._dynamo.reset()
        made = torch.compile(lambda x, dim: 2 * acts.softmax(x, dim=dim), fullgraph=True)
        for shape, dim in (((3, 4), -1), ((5, 6), -1)):
            x = normal(shape, torch.float32, 1).requires_grad_()
            y, expected = made(x, dim), 2 * functional.softmax(x, dim)
            close(y, expected, 1e-6)
            outer = normal(shape, torch.float32, 2)
            found, exact = (torch.autograd.grad(each, x, outer)[0] for each in (y, expected))
            close(found, exact, 1e-5)
    finally:
        acts.set_compile_mode("fuse")


@compiled
def test_compiled_gradients_are_the_stable_ones(acts: ModuleType) -> None:
    x = torch.tensor([[-float("inf"), 1000.0, 999.0]], requires_grad=True)
    made = torch.compile(acts.softmax, fullgraph=True)
    outer = torch.tensor([[0.0, 1.0, 0.0]])
    ours, theirs = (
        torch.autograd.grad(f(x), x, outer)[0] for f in (made, lambda x: functional.softmax(x, -1))
    )
    torch.testing.assert_close(ours, theirs)


@compiled
def test_exported_programs_need_nothing_of_the_package(acts: ModuleType) -> None:
    size = torch.export.Dim("size", min=2, max=100)
    program_ = torch.export.export(
        acts.TemperedSoftmax(2.0), (torch.randn(3, 8),), dynamic_shapes=({0: size},)
    )
    targets = {str(node.target) for node in program_.graph.nodes if node.op == "call_function"}
    assert all(target.startswith("aten.") for target in targets), targets
    x = torch.randn(7, 8)
    close(program_.module()(x), functional.softmax(x / 2, -1), 1e-6)


@compiled
def test_meta_and_functional_call(acts: ModuleType) -> None:
    x = torch.empty(3, 4, 5, device="meta", requires_grad=True)
    y = acts.softmax(x, dim=1)
    assert (y.shape, y.device.type) == (x.shape, "meta")
    assert torch.autograd.grad(y.sum(), x)[0].shape == x.shape
    close(functional_call(acts.Softmax(), {}, (torch.zeros(2, 4),)), torch.full((2, 4), 0.25), 1e-7)


def test_nothing_but_the_input_is_kept(acts: ModuleType) -> None:
    x = torch.randn(4, 8, requires_grad=True)
    y = acts.softmax(x)
    assert [saved.data_ptr() for saved in y.grad_fn.saved_tensors] == [x.data_ptr()]


# -- machine code ------------------------------------------------------------------------------------------


def test_tiles(acts: ModuleType) -> None:
    rows = importlib.import_module(f"{acts.__name__}._rows")

    def shape(size: tuple[int, ...], dim: int) -> Any:
        walk = rows._walk((torch.empty(size, device="meta"),) * 2, dim)
        return walk, rows.shape_of(walk, rows.LARGEST)

    walk, tile = shape((64, 1000), -1)
    assert (walk.rows, walk.length, walk.inner) == (64, 1000, 1)
    assert (tile.rows, tile.block, tile.split) == (4, 1024, False)
    assert shape((2, 10_000_000), -1)[1] == (1, 2048, 4, True)
    walk, tile = shape((8, 19, 128, 128), 1)
    assert (walk.rows, walk.inner, walk.strides[0]) == (
        8 * 128 * 128,
        128 * 128,
        (19 * 128 * 128, 128 * 128, 1),
    )
    assert (tile.rows, tile.block, tile.split) == (128, 32, False)
    assert shape((8, 5000, 64), 1)[1][:2] == (32, 64)


COMPILE = """
import importlib, sys
import triton
from triton.compiler import ASTSource
from dsl import inspect

sys.path.insert(0, sys.argv[1])
package = importlib.import_module(sys.argv[2])
for kind in inspect.KINDS:
    inspect.compile_kernel(package, "normed", kind, "float64", "sm_90")
found = inspect.count(package, "softmax", "gradient", "bfloat16", "sm_90")
print(found.spills, {*found.loads, *found.stores}, len(found.loads) * 8 == found.elements * 2)

for name, levels in (("softmax", (0, 1)), ("normed", (1,))):
    kernel = importlib.import_module(f"{sys.argv[2]}.{name}")._operator._kernels[1].one_pass
    for level in levels:
        fixed = {"rows": 1, "block": 4096, "wide": False, "fast": False, "level": level, "width": 64}
        fixed |= {each: 1 for each in kernel.arg_names if each.endswith("_step") or each == "inner"}
        kinds = {each: "*fp32" if each.endswith("_ptr") else "i32" for each in kernel.arg_names}
        kinds |= dict.fromkeys(fixed, "constexpr")
        triton.compile(ASTSource(kernel, kinds, fixed), target=inspect.parse_target("sm_90"))
print("compiled")
"""


@compiled
def test_kernels_compile_for_a_gpu_and_read_a_row_once(acts: ModuleType) -> None:
    assert acts.__file__ is not None
    place = Path(acts.__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, place.parent, place.name],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.stdout.splitlines() == ["0 {128} True", "compiled"], done.stderr[-2000:]
