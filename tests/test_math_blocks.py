"""The building blocks of generated kernels against the exact reference: every bound that they claim.

The blocks run in Triton's interpreter, in a process of their own, as in `test_runtime_kernels`; what they
cost when compiled is read from machine code for GPUs that are not here. The scan of all 2^32 float32 inputs
is `benchmarks/blocks/scan_blocks.py`.
"""

# A kernel has no annotations.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from flint import arb, ctx

from dsl.certify import certify
from dsl.expr import Expr, Symbol, call
from dsl.ulp import FORMATS, Array

ROOT = Path(__file__).resolve().parents[1]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="runs in the process that the first test starts")
compiled = pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")


def load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


blocks = load(ROOT / "dsl" / "support" / "_math.py", "building_blocks")


@triton.jit
def unary(X, OUT, COUNT, function: tl.constexpr, fast: tl.constexpr, SIZE: tl.constexpr):
    i = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    tl.store(OUT + i, function(tl.load(X + i, mask=i < COUNT), fast), mask=i < COUNT)


@triton.jit
def binary(X, Y, OUT, COUNT, function: tl.constexpr, fast: tl.constexpr, SIZE: tl.constexpr):
    i = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    x = tl.load(X + i, mask=i < COUNT)
    y = tl.load(Y + i, mask=i < COUNT)
    tl.store(OUT + i, function(x, y, fast), mask=i < COUNT)


@triton.jit
def untiered(X, OUT, COUNT, function: tl.constexpr, SIZE: tl.constexpr):
    i = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    tl.store(OUT + i, function(tl.load(X + i, mask=i < COUNT)), mask=i < COUNT)


@triton.jit
def untiered_binary(X, Y, OUT, COUNT, function: tl.constexpr, SIZE: tl.constexpr):
    i = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    x = tl.load(X + i, mask=i < COUNT)
    y = tl.load(Y + i, mask=i < COUNT)
    tl.store(OUT + i, function(x, y), mask=i < COUNT)


def run(kernel: Any, inputs: list[torch.Tensor], name: str, *tier: bool) -> torch.Tensor:
    """A block's values, elementwise."""
    out = torch.empty_like(inputs[0])
    size = 1 << 15
    with np.errstate(all="ignore"):
        kernel[(triton.cdiv(out.numel(), size),)](
            *inputs, out, out.numel(), getattr(blocks, name), *tier, size
        )
    return out


X = Symbol("x")
NOT_NEGATIVE = call("abs", X)
UNIT = call("min", NOT_NEGATIVE, 1)


def erfcx(x: Expr) -> Expr:
    return call("exp", x**2) * call("erfc", x)


# The exact expression, what is done to the points first, and the bounds in ulps: float32 and float64.
UNARY: dict[str, tuple[Expr, Callable[[Any], Any], float, float]] = {
    "exp": (call("exp", X), np.asarray, 0.9, 1.0),
    "expm1": (call("expm1", X), np.asarray, 1.45, 1.6),
    "log": (call("log", X), np.asarray, 0.97, 0.6),
    "log1p": (call("log1p", X), np.asarray, 0.97, 1.5),
    "log1p_unit": (call("log1p", UNIT), lambda x: np.minimum(np.abs(x), 1), 1.15, 1.5),
    "erf": (call("erf", X), np.asarray, 1.3, 1.3),
    "erfcx": (erfcx(NOT_NEGATIVE), np.abs, 2.5, 3.6),
    "mills": (erfcx(NOT_NEGATIVE / call("sqrt", 2)), np.abs, 2.75, 4.6),
    "sin": (call("sin", X), np.asarray, 2.3, 0.6),
    "cos": (call("cos", X), np.asarray, 2.3, 0.6),
    "asin": (call("asin", X), np.asarray, 1.95, 2.1),
    "acos": (call("acos", X), np.asarray, 1.3, 1.3),
    "atan": (call("atan", X), np.asarray, 1.4, 1.7),
    "cbrt": (call("cbrt", X), np.asarray, 0.75, 0.75),
    "sqrt": (call("sqrt", X), np.asarray, 0.5, 0.5),
}
UNTIERED = ("sign", "floor", "ceil", "round")
TORCH: dict[str, tuple[float, float]] = {"erfcx": (3.1, 3.6), "mills": (3.2, 4.6), "cbrt": (0.8, 0.8)}
COUNT = {"float32": 200_000, "float64": 20_000}


def float32_or_64(dtype: str) -> type[np.floating[Any]]:
    return np.float64 if dtype == "float64" else np.float32


def block(kernel: Any, name: str, dtype: str, prepare: Callable[[Any], Any], *tier: bool) -> Any:
    """A block as a function of numpy arrays of a dtype, whose rounding of the result it includes."""

    def function(points: Array) -> Array:
        x = torch.from_numpy(prepare(points).astype(float32_or_64(dtype)))
        y = run(kernel, [x], name, *tier).numpy().astype(np.float64)
        return FORMATS[dtype].round(y) if FORMATS[dtype].bits == 16 else y

    return function


@compiled
def test_in_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@interpreted
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", UNARY)
def test_accuracy(name: str, dtype: str) -> None:
    expression, prepare, single, double = UNARY[name]
    found = certify(block(unary, name, dtype, prepare, False), expression, "x", dtype, count=COUNT[dtype])
    assert found.failed == 0, found
    assert found.flushed == 0, found
    assert found.worst_ulp <= (double if dtype == "float64" else single), found


@interpreted
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", UNARY)
def test_accuracy_of_the_fast_tier(name: str, dtype: str) -> None:
    """On every 16-bit input: 2^-17 adds 2^-6 ulp of float16 to the half that rounding leaves."""
    expression, prepare, _, _ = UNARY[name]
    found = certify(block(unary, name, dtype, prepare, True), expression, "x", dtype)
    assert found.failed == 0, found
    assert found.worst_ulp <= 0.52, found


@interpreted
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", UNTIERED)
def test_steps_are_exact(name: str, dtype: str) -> None:
    found = certify(block(untiered, name, dtype, np.asarray), call(name, X), "x", dtype, count=COUNT[dtype])
    assert found.failed == 0, found
    assert found.worst_ulp == 0, found


@interpreted
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", TORCH)
def test_accuracy_in_torch(name: str, dtype: str) -> None:
    expression, prepare, _, _ = UNARY[name]
    twin = getattr(blocks, f"{name}_torch")

    def function(points: Array) -> Array:
        return np.asarray(twin(torch.from_numpy(prepare(points))).numpy())

    found = certify(function, expression, "x", dtype, count=COUNT[dtype] // 4)
    assert found.failed == 0, found
    assert found.worst_ulp <= TORCH[name][dtype == "float64"], found


def pairs(dtype: torch.dtype, count: int = 20_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers of every size up to 2^60, and their products normal."""
    generator = torch.Generator().manual_seed(7)
    shape = (2, count)
    size = torch.exp2(torch.rand(shape, generator=generator, dtype=torch.float64) * 80 - 20)
    sign = torch.where(torch.rand(shape, generator=generator) < 0.5, -1.0, 1.0)
    a, b = (size * sign).to(dtype)
    return a, b


@interpreted
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_product_error_is_exact(dtype: torch.dtype) -> None:
    a, b = pairs(dtype)
    exact = [
        Fraction(x) * Fraction(y) - Fraction(p)
        for x, y, p in zip(a.tolist(), b.tolist(), (a * b).tolist(), strict=True)
    ]
    expected = torch.tensor([float(e) for e in exact], dtype=dtype)
    kernel = run(untiered_binary, [a, b], "product_error")
    torch.testing.assert_close(kernel, expected, rtol=0, atol=0)
    torch.testing.assert_close(blocks.product_error_torch(a, b), expected, rtol=0, atol=0)


@interpreted
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sum_error_is_exact(dtype: torch.dtype) -> None:
    a, b = pairs(dtype)
    exact = [
        Fraction(x) + Fraction(y) - Fraction(s)
        for x, y, s in zip(a.tolist(), b.tolist(), (a + b).tolist(), strict=True)
    ]
    expected = torch.tensor([float(e) for e in exact], dtype=dtype)
    torch.testing.assert_close(run(untiered_binary, [a, b], "sum_error"), expected, rtol=0, atol=0)
    torch.testing.assert_close(blocks.sum_error_torch(a, b), expected, rtol=0, atol=0)


@interpreted
def test_copysign() -> None:
    grid = torch.tensor(EDGES)
    a, b = (t.reshape(-1).contiguous() for t in torch.meshgrid(grid.abs(), grid, indexing="ij"))
    found = run(untiered_binary, [a, b], "copysign")
    torch.testing.assert_close(found, torch.copysign(a, b), rtol=0, atol=0, equal_nan=True)


@compiled
def test_coefficients_are_the_fitted_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """`_math.py` holds what `fit.py` prints, and every polynomial in it is there."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "blocks"))
    fitting = load(ROOT / "benchmarks" / "blocks" / "fit.py", "fit_blocks")
    for name, (problem, rounding) in fitting.PROBLEMS.items():
        assert fitting.fit(problem, rounding, grid=600).coefficients == getattr(blocks, name).value


def test_product_error_of_any_layout() -> None:
    a, b = (t[:10_000].reshape(100, 100) for t in pairs(torch.float32))
    expected = blocks.product_error_torch(a, b)
    strided = blocks.product_error_torch(a.t().contiguous().t()[:, ::2], b[:, ::2])
    torch.testing.assert_close(strided, expected[:, ::2], rtol=0, atol=0)
    assert blocks.product_error_torch(a[0, 0], b[0, 0]) == expected[0, 0]
    assert blocks.product_error_torch(a[0, 0].expand(3), b[0, 0].expand(3)).shape == (3,)


@interpreted
def test_ratio() -> None:
    a, b = pairs(torch.float32)
    exact = a.double() / b.abs().double()
    for fast, bound in ((False, 2.0**-23 * 0.51), (True, 2.0**-17)):
        found = run(binary, [a, b.abs()], "ratio", fast)
        assert ((found - exact).abs() / exact.abs()).max() <= bound
    edges = torch.tensor([float("inf"), -float("inf"), float("nan"), 0.0, -0.0, 3e38])
    divisors = torch.tensor([2.0, 2.0, 2.0, 2.0, 2.0, 1e-20])
    found = run(binary, [edges, divisors], "ratio", False)
    torch.testing.assert_close(found, edges / divisors, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(torch.signbit(found), torch.signbit(edges))


@interpreted
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exp_sum(dtype: torch.dtype) -> None:
    """e^(hi + lo) for the two parts of a number that the dtype cannot hold; whatever lo is at infinity."""
    generator = torch.Generator().manual_seed(3)
    wide = torch.rand(20_000, generator=generator, dtype=torch.float64) * 170 - 85
    hi = wide.to(dtype)
    lo = (wide - hi.double()).to(dtype) if dtype == torch.float32 else hi * 2.0**-54
    exact = torch.exp(hi.double())
    exact += exact * lo.double()
    bound = {torch.float32: 2.0**-23 * 0.9, torch.float64: 2.0**-51}[dtype]
    found = run(binary, [hi, lo], "exp_sum", False)
    assert ((found.double() - exact) / exact).abs().max() <= bound
    torch.testing.assert_close(blocks.exp_sum_torch(hi, lo).double(), exact, rtol=4 * bound, atol=0)
    infinite = torch.tensor([float("inf"), -float("inf")] * 2, dtype=dtype)
    corrections = torch.tensor([float("nan"), float("nan"), -float("inf"), float("inf")], dtype=dtype)
    expected = torch.tensor([float("inf"), 0.0] * 2, dtype=dtype)
    for fast in (False, True):
        assert torch.equal(run(binary, [infinite, corrections], "exp_sum", fast), expected)
    assert torch.equal(blocks.exp_sum_torch(infinite, corrections), expected)


@triton.jit
def ternary(X, Y, Z, OUT, COUNT, function: tl.constexpr, fast: tl.constexpr, SIZE: tl.constexpr):
    i = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    x = tl.load(X + i, mask=i < COUNT)
    y = tl.load(Y + i, mask=i < COUNT)
    z = tl.load(Z + i, mask=i < COUNT)
    tl.store(OUT + i, function(x, y, z, fast), mask=i < COUNT)


@interpreted
@pytest.mark.parametrize(("dtype", "bits"), [(torch.float32, 29), (torch.float64, 58)])
def test_exp_error(dtype: torch.dtype, bits: int) -> None:
    """With what it lacks, a computed exponential has more bits than its type; the exact one is Arb's."""
    generator = torch.Generator().manual_seed(5)
    hi = (torch.rand(2_000, generator=generator, dtype=torch.float64) * 120 - 60).to(dtype)
    lo = hi * torch.finfo(dtype).eps / 4
    t = torch.exp(hi)
    for error in (run(ternary, [t, hi, lo], "exp_error", False), blocks.exp_error_torch(t, hi, lo)):
        for e, u, v, s in zip(error.tolist(), hi.tolist(), lo.tolist(), t.tolist(), strict=True):
            with ctx.workprec(200):
                exact = (arb(u) + arb(v)).exp()
                assert abs(arb(s) + arb(e) - exact) <= exact * 2.0**-bits
    assert not run(ternary, [t, hi, lo], "exp_error", True).any()


@interpreted
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 3.0), (torch.float64, 3.0)])
def test_turned_is_relatively_accurate_at_its_roots(dtype: torch.dtype, bound: float) -> None:
    roots = (torch.arange(-300, 300, dtype=torch.float64) - 0.25) * math.pi
    near = roots.repeat(40) * (
        1 + torch.linspace(-1, 1, 40, dtype=torch.float64).repeat_interleave(600) / 256
    )
    u = torch.cat([roots, near]).to(dtype)
    lo = u * torch.finfo(dtype).eps / 4
    for found in (run(binary, [u, lo], "turned", False), blocks.turned_torch(u, lo)):
        for y, a, b in zip(found.tolist(), u.tolist(), lo.tolist(), strict=True):
            with ctx.workprec(200):
                exact = (arb(a) + arb(b) + arb.pi() / 4).sin()
                allowed = (
                    abs(exact) * bound * torch.finfo(dtype).eps + abs(arb(a)) * torch.finfo(dtype).eps ** 2
                )
                assert abs(arb(y) - exact) <= allowed
    ends = torch.tensor([float("inf"), float("nan")], dtype=dtype)
    for fast in (False, True):
        assert run(binary, [ends, ends * 0], "turned", fast).isnan().all()
    assert blocks.turned_torch(ends, ends * 0).isnan().all()


@interpreted
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exponentials_in_two_factors(dtype: torch.dtype) -> None:
    """The product of the factors, scaled so that it is a normal number, down to where all is lost."""
    generator = torch.Generator().manual_seed(4)
    depth, scale = (150.0, 2.0**100) if dtype == torch.float32 else (1300.0, 2.0**1000)
    u = -(torch.rand(20_000, generator=generator, dtype=torch.float64) * depth).to(dtype)
    lo = u * torch.finfo(dtype).eps / 4
    low = run(unary, [u], "exp_low", False), blocks.exp_low_torch(u)
    for name, kernel, exponents in (("exp_high", unary, [u]), ("exp_sum_high", binary, [u, lo])):
        exact = np.exp(sum(e.numpy().astype(np.longdouble) for e in exponents)) * scale
        highs = run(kernel, exponents, name, False), getattr(blocks, f"{name}_torch")(*exponents)
        for high, rest in zip(highs, low, strict=True):
            assert high.abs().min() > torch.finfo(dtype).tiny
            found = (high * scale * rest).numpy()
            normal = found > torch.finfo(dtype).tiny
            assert normal.mean() > 0.9
            assert np.abs(found[normal] / exact[normal] - 1).max() <= 2 * torch.finfo(dtype).eps


@interpreted
def test_the_factors_at_the_ends() -> None:
    u = torch.tensor([0.0, -0.0, -float("inf"), float("nan"), -1e30])
    for fast in (False, True):
        product = run(unary, [u], "exp_high", fast) * run(unary, [u], "exp_low", fast)
        torch.testing.assert_close(product, torch.exp(u), rtol=0, atol=1e-60, equal_nan=True)
        lost = torch.tensor([0.0, 0.0, float("nan"), 0.0, float("nan")])
        product = run(binary, [u, lost], "exp_sum_high", fast) * run(unary, [u], "exp_low", fast)
        torch.testing.assert_close(product, torch.exp(u), rtol=0, atol=1e-60, equal_nan=True)


EDGES = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 0.5, -0.5, 2.5, -2.5, 1e30, -1e30, 1e-45]
EDGES += [float("inf"), -float("inf"), float("nan")]


@interpreted
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pow(dtype: torch.dtype) -> None:
    grid = torch.tensor(EDGES, dtype=dtype)
    a, b = (t.reshape(-1).contiguous() for t in torch.meshgrid(grid, grid, indexing="ij"))
    expected = torch.pow(a.double(), b.double()).to(dtype)
    for fast in (False, True):
        found = run(binary, [a, b], "pow", fast)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-37, equal_nan=True)
        signs = torch.signbit(found) == torch.signbit(expected)
        assert (signs | expected.isnan()).all()
    a, b = (t.abs() for t in pairs(torch.float32))
    b = torch.where(b < 3, b, 1 / b)
    exact = torch.pow(a.double(), b.double())
    normal = (exact < 3e38) & (exact > 2e-38)
    found = run(binary, [a, b], "pow", False).double()
    assert ((found - exact) / exact)[normal].abs().max() <= 10 * 2.0**-24


@interpreted
@pytest.mark.parametrize("exponent", [0.7, -1.3, 0.1, 1.4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pow_sum(dtype: torch.dtype, exponent: float) -> None:
    """No ulp for what an exponent loses in float32: as far out as near 1."""
    high = torch.tensor(exponent, dtype=torch.float32).double()
    a = torch.cat([pairs(dtype)[0].abs(), torch.tensor(EDGES, dtype=dtype)])
    b, rest = (torch.full_like(a, float(part)) for part in (high, exponent - high))
    exact = torch.where(a >= 0, torch.pow(a.double(), exponent), torch.nan)
    tiny, bound = torch.finfo(dtype).tiny, 12 * torch.finfo(dtype).eps
    expected = exact.to(dtype)
    for found in (run(ternary, [a, b, rest], "pow_sum", False), blocks.pow_sum_torch(a, b, rest)):
        torch.testing.assert_close(found, expected, rtol=bound, atol=tiny, equal_nan=True)
    found = run(ternary, [a, b, rest], "pow_sum", True)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-37, equal_nan=True)


@interpreted
@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_extrema_propagate_nan(name: str) -> None:
    grid = torch.tensor(EDGES)
    a, b = (t.reshape(-1).contiguous() for t in torch.meshgrid(grid, grid, indexing="ij"))
    found = run(untiered_binary, [a, b], name)
    torch.testing.assert_close(found, getattr(torch, name)(a, b), rtol=0, atol=0, equal_nan=True)


# At most these instructions an element on sm_90: float32, and the fast tier.
COST = {
    "exp": (22, 2.5),
    "exp_sum": (23.5, 2.5),
    "exp_high": (19, 2.5),
    "expm1": (25, 8),
    "log1p_unit": (12, 8),
    "log1p": (35, 30),
    "erf": (21, 14),
    "erfcx": (24, 11),
    "mills": (24, 11),
    "ratio": (10, 4),
    "sin": (58, 46),
    "cbrt": (50, 42),
    "pow": (101, 56),
    "pow_sum": (74, 33),
}


@compiled
@pytest.mark.parametrize("name", COST)
def test_cost(name: str, tmp_path: Path) -> None:
    """Neither local memory nor more instructions than documented."""
    count = load(ROOT / "benchmarks" / "blocks" / "count.py", "count_blocks")
    target = count.parse_target("sm_90")
    for fast, most in zip((False, True), COST[name], strict=True):
        instructions, _, local = count.measure(name, "fp32", fast, target, tmp_path)
        assert not local
        assert instructions <= most


@compiled
def test_inductor_keeps_product_error() -> None:
    """Compiled for the CPU, the error terms survive whatever is contracted."""
    a, b = pairs(torch.float32, 1000)
    try:
        compile_: Any = torch.compile
        found = compile_(blocks.product_error_torch, fullgraph=True)(a, b)
    except torch._inductor.exc.InductorError as error:
        pytest.skip(f"no compiler for the CPU here: {error}")
    torch.testing.assert_close(found, blocks.product_error_torch(a, b), rtol=0, atol=0)


@compiled
def test_the_mark_for_dynamo_is_torchs_own() -> None:
    def ours() -> int:
        return 0

    def theirs() -> int:
        return 0

    torch.compiler.assume_constant_result(theirs)  # type: ignore[no-untyped-call]
    assert vars(blocks._constant(ours)) == vars(theirs) != {}


@compiled
def test_an_import_does_not_load_dynamo() -> None:
    """It takes a second, and only those who compile need it."""
    program = (
        "import sys, torch, triton; import generated; generated.mish; print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
