"""The kernels themselves: in Triton's interpreter, and as compiled for GPUs that are not here.

The interpreter is chosen when Triton decorates a function, so the tests that need it run in a process of its
own, which the first test starts.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import handmade

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="runs in the process that the first test starts")
compiled = pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")

PARAMETERS = {"threshold": (0.25, -3.3), "elu": (1.7,), "leaky": (0.1,), "snake": (0.7,)}
TOLERANCE = {torch.float16: 1e-3, torch.bfloat16: 8e-3, torch.float32: 1e-6, torch.float64: 4e-15}


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return handmade.import_package(tmp_path_factory.mktemp("kernels"))


@compiled
def test_in_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def formulas(acts: ModuleType, name: str) -> tuple[Any, Any]:
    module = importlib.import_module(f"{acts.__name__}.{name}")
    return getattr(module, f"_{name}_formula"), getattr(module, f"_{name}_grad_formula")


def check(acts: ModuleType, name: str, x: Tensor, grad: Tensor | None = None) -> None:
    """The kernels' value and gradient against the formulas'."""
    x = x.detach().requires_grad_()
    grad = torch.ones_like(x) if grad is None else grad
    parameters = PARAMETERS.get(name, ())
    value, slope = formulas(acts, name)
    compute = torch.float64 if x.dtype == torch.float64 else torch.float32
    y = getattr(acts, name)(x, *parameters)
    (dx,) = torch.autograd.grad(y, x, grad)
    wide = x.detach().to(compute)
    tolerance = TOLERANCE[x.dtype]
    torch.testing.assert_close(
        y.detach(), value(wide, *parameters).to(x.dtype), rtol=tolerance, atol=tolerance
    )
    expected = (grad.to(compute) * slope(wide, *parameters)).to(x.dtype)
    torch.testing.assert_close(dx, expected, rtol=tolerance, atol=tolerance)
    assert y.dtype == dx.dtype == x.dtype


@interpreted
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", handmade.ALL)
def test_kernels_agree_with_formulas(name: str, dtype: torch.dtype, acts: ModuleType) -> None:
    for count in (0, 1, 5, 16, 1024, 3001):
        check(acts, name, torch.linspace(-6, 6, count, dtype=dtype))


@interpreted
@pytest.mark.parametrize("name", ["silu", "elu"])
def test_kernels_keep_layouts(name: str, acts: ModuleType) -> None:
    images = torch.randn(2, 3, 4, 5)
    check(acts, name, images.to(memory_format=torch.channels_last))
    check(acts, name, images.permute(2, 0, 3, 1))
    check(acts, name, images[:, 1:, ::2], torch.randn(()).expand(2, 2, 2, 5))
    check(acts, name, images[0, 0, 0].expand(7, 5), torch.randn(5, 7).t())
    check(acts, name, torch.randn(50)[3:], torch.randn(94)[::2])


@interpreted
def test_nothing_is_written_past_the_end(acts: ModuleType) -> None:
    room = torch.full((4000,), 7.0)
    module = importlib.import_module(f"{acts.__name__}.silu")
    module._operator._launch((torch.randn(3001), room[16 : 16 + 3001]), ())
    assert room[:16].eq(7).all()
    assert room[16 + 3001 :].eq(7).all()
    assert not room[16 : 16 + 3001].eq(7).any()


@interpreted
def test_offsets_in_64_bits(acts: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = importlib.import_module(f"{acts.__name__}._launch")
    monkeypatch.setattr(launch, "_LAST_NARROW", 10)
    check(acts, "silu", torch.linspace(-6, 6, 3001))


SIGNATURES = {"fp32": 4, "bf16": 2, "fp16": 2, "fp64": 8}


@compiled
@pytest.mark.parametrize("target", [("cuda", 80), ("cuda", 89), ("cuda", 90), ("cuda", 100)])
@pytest.mark.parametrize("element", SIGNATURES)
def test_loads_are_128_bits_wide(element: str, target: tuple[str, int], acts: ModuleType) -> None:
    for name, pointers in (
        ("_elu_kernel", ["x_ptr", "out_ptr"]),
        ("_elu_grad_kernel", ["grad_ptr", "x_ptr", "out_ptr"]),
    ):
        module = importlib.import_module(f"{acts.__name__}.elu")
        ptx = compile_kernel(getattr(module, name), pointers, element, target, parameters=["alpha"])
        accesses = [line for line in ptx.splitlines() if "ld.global" in line or "st.global" in line]
        assert accesses
        assert all(".v4.b32" in line or ".v2.b64" in line for line in accesses), accesses
        assert ".local" not in ptx


def compile_kernel(
    kernel: Any, pointers: list[str], element: str, target: tuple[str, int], parameters: list[str]
) -> str:
    """A kernel's PTX for a GPU, as the runtime would launch it on aligned tensors of many elements."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    size = SIGNATURES[element]
    constants = {"tile": 2048 if size == 2 else 1024, "wide": False, "fast": size == 2}
    signature = dict.fromkeys(pointers, f"*{element}") | dict.fromkeys(parameters, "fp64")
    signature |= {"start": "i32", "n": "i32"} | dict.fromkeys(constants, "constexpr")
    names = list(kernel.arg_names)
    aligned = [*pointers, "start", "n"]
    attributes = {(names.index(name),): [["tt.divisibility", 16]] for name in aligned}
    source = ASTSource(kernel, signature, constants, attributes)
    result = triton.compile(source, target=GPUTarget(*target, 32), options={"num_warps": 4})
    ptx: str = result.asm["ptx"]
    return ptx
