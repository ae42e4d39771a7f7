"""Tensors that hold several: packed inputs, several outputs, and both, against the same in plain torch.

The kernels run in Triton's interpreter, in a process of its own that one of the tests starts.
"""

from __future__ import annotations

import copy
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, hessian, jvp, vmap
from torch.nn import functional

import dsl
from dsl.build import build

ROOT = Path(__file__).resolve().parents[1]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
compiled = pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")

SPECS = """
glu(x, gate) = x * sigmoid(gate)
  packed halves
  module GLU
turns(gate, up; limit = 2.7) = min(gate, limit) * sigmoid(gate) * up
  packed interleaved
  require limit > 0
thirds(a, b, c) = a * sigmoid(b) + c
  packed halves
triples(a, b, c) = a * sigmoid(b) + c
  packed interleaved
pair(x) = (relu(x), x * sigmoid(x))
crelu(x) = (relu(x), relu(-x))
  concat halves
oplu(a, b) = (max(a, b), a * min(a, b))
  packed interleaved
  concat interleaved
both(a, b) = (a * sigmoid(b), a + b, b * b)
  packed interleaved
  concat halves
beside(a, b) = (a * sigmoid(b), a * b)
  packed interleaved
joined(a, b) = (a * b, a - b)
  concat interleaved
"""


@dataclass(frozen=True)
class Plain:
    """An activation in plain torch: how many inputs, its outputs, how tensors hold them."""

    inputs: int
    outputs: Callable[..., tuple[Tensor, ...]]
    packed: str = ""
    concat: str = ""

    def __call__(self, *tensors: Tensor, dim: int = -1) -> tuple[Tensor, ...]:
        inputs = tensors if len(tensors) == self.inputs else apart(tensors[0], self.packed, self.inputs, dim)
        outputs = self.outputs(*inputs)
        return (together(outputs, self.concat, dim),) if self.concat else outputs


def apart(x: Tensor, layout: str, count: int, dim: int) -> list[Tensor]:
    if layout == "halves":
        return [x.narrow(dim, k * (x.size(dim) // count), x.size(dim) // count) for k in range(count)]
    return [x.movedim(dim, -1)[..., k::count].movedim(-1, dim) for k in range(count)]


def together(outputs: tuple[Tensor, ...], layout: str, dim: int) -> Tensor:
    if layout == "halves":
        return torch.cat(outputs, dim)
    return torch.stack([y.movedim(dim, -1) for y in outputs], -1).flatten(-2).movedim(-1, dim)


def greater(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(a > b, a, b)  # at a tie the derivative goes to b, as the language has it


PLAIN = {
    "glu": Plain(2, lambda x, gate: (x * gate.sigmoid(),), "halves"),
    "turns": Plain(2, lambda g, u: (g.clamp(max=2.7) * g.sigmoid() * u,), "interleaved"),
    "thirds": Plain(3, lambda a, b, c: (a * b.sigmoid() + c,), "halves"),
    "triples": Plain(3, lambda a, b, c: (a * b.sigmoid() + c,), "interleaved"),
    "pair": Plain(1, lambda x: (x.relu(), functional.silu(x))),
    "crelu": Plain(1, lambda x: (x.relu(), (-x).relu()), "", "halves"),
    "oplu": Plain(2, lambda a, b: (greater(a, b), a * -greater(-a, -b)), "interleaved", "interleaved"),
    "both": Plain(2, lambda a, b: (a * b.sigmoid(), a + b, b * b), "interleaved", "halves"),
    "beside": Plain(2, lambda a, b: (a * b.sigmoid(), a * b), "interleaved"),
    "joined": Plain(2, lambda a, b: (a * b, a - b), "", "interleaved"),
}
TOLERANCE = {torch.bfloat16: 2e-2, torch.float32: 1e-5, torch.float64: 1e-11}


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("packed")
    (folder / "packed.act").write_text(SPECS)
    build([folder / "packed.act"], folder / "holding")
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("holding")
    finally:
        sys.path.remove(str(folder))


def normal(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


def given(name: str, *shape: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """The tensors of a call: a packed one where the activation takes it, else all inputs."""
    plain = PLAIN[name]
    count = 1 if plain.packed else plain.inputs
    sizes = (*shape[:-1], shape[-1] * plain.inputs) if plain.packed else shape
    return [normal(sizes, dtype, seed) for seed in range(count)]


def several(found: Any) -> tuple[Tensor, ...]:
    return found if isinstance(found, tuple) else (found,)


def options(name: str, dim: int) -> dict[str, int]:
    return {"dim": dim} if PLAIN[name].packed or PLAIN[name].concat else {}


def close(got: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(got.double(), expected.double(), rtol=tolerance, atol=tolerance)


def check(acts: ModuleType, name: str, tensors: list[Tensor], dim: int, outer: str) -> None:
    """Values and gradients, types and shapes, against plain torch in float64."""
    dtype = tensors[0].dtype
    ours = [x.detach().requires_grad_() for x in tensors]
    theirs = [x.detach().double().requires_grad_() for x in tensors]
    found = several(getattr(acts, name)(*ours, **options(name, dim)))
    expected = PLAIN[name](*theirs, dim=dim)
    assert len(found) == len(expected)
    for y, exact in zip(found, expected, strict=True):
        assert (y.shape, y.dtype) == (exact.shape, dtype)
        close(y, exact, TOLERANCE[dtype])
    grads = [normal(tuple(y.shape), dtype, 5 + seed) for seed, y in enumerate(expected)]
    if outer == "expanded":
        grads = [torch.ones((), dtype=dtype).expand(y.shape) for y in expected]
    elif outer == "turned":
        grads = [g.mT.contiguous().mT if g.dim() > 1 else g for g in grads]
    got = torch.autograd.grad(found, ours, grads)
    exact_grads = torch.autograd.grad(expected, theirs, [g.double() for g in grads])
    for x, dx, exact in zip(ours, got, exact_grads, strict=True):
        assert (dx.shape, dx.dtype) == (x.shape, dtype)
        close(dx, exact, 3 * TOLERANCE[dtype])


def layouts(count: int) -> Iterator[tuple[str, Tensor, int]]:
    """A tensor that holds so many along a dimension, in all kinds of memory."""
    yield "a row", normal((6 * count,)), 0
    yield "rows", normal((5, 16 * count)), -1
    yield "odd rows", normal((40, 33 * count)), 1
    yield "planes", normal((2, 4 * count, 3, 3)), 1
    yield "channels_last", normal((2, 4 * count, 3, 3)).to(memory_format=torch.channels_last), 1
    yield "transposed", normal((6 * count, 8 * count)).t(), 0
    yield "first", normal((4 * count, 6)), 0
    yield "cut", normal((2, 5, 3, 8 * count))[:, :4, :2], 3
    yield "expanded", normal((1, 8 * count)).expand(3, 8 * count), 1
    yield "no rows", normal((0, 2 * count)), 1
    yield "no columns", normal((3, 0)), 1
    yield "long", normal((1, 2000 * count)), 1


@pytest.mark.parametrize("name", PLAIN)
def test_layouts(name: str, acts: ModuleType) -> None:
    plain = PLAIN[name]
    for _, base, dim in layouts(plain.inputs if plain.packed else 1):
        tensors = [base] if plain.packed else [base.roll(k, -1) for k in range(plain.inputs)]
        for outer in ("expanded", "turned"):
            check(acts, name, tensors, dim, outer)
        check(acts, name, [x.bfloat16() for x in tensors], dim, "dense")


def test_in_the_interpreter() -> None:
    if INTERPRETED:
        pytest.skip("this is the process that it starts")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-k"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [*command, "layouts or in_place", __file__],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.mark.skipif(not INTERPRETED, reason="runs in the process that another test starts")
def test_packed_tensors_are_read_and_written_in_place(acts: ModuleType, monkeypatch: Any) -> None:
    """Nothing is copied, and a whole row that alternates goes through the kernels for pairs."""
    joint = importlib.import_module(f"{acts.__name__}._joint")
    copied: list[Tensor] = []
    into_order = joint._in_order_of

    def watched(like: Tensor, x: Tensor, scattered: bool) -> Tensor:
        copied.append(x)
        return into_order(like, x, scattered)  # type: ignore[no-any-return]

    monkeypatch.setattr(joint, "_in_order_of", watched)
    monkeypatch.setattr(torch, "cat", copied.append)
    monkeypatch.setattr(torch, "stack", copied.append)
    for name in ("glu", "turns", "thirds", "triples", "oplu", "crelu", "joined"):
        plain = PLAIN[name]
        for what, base, dim in layouts(plain.inputs if plain.packed else 1):
            copied.clear()
            tensors = [base.detach().requires_grad_() for _ in range(1 if plain.packed else plain.inputs)]
            found = several(getattr(acts, name)(*tensors, **options(name, dim)))
            torch.autograd.grad(found, tensors, [torch.ones_like(y) for y in found])
            assert bool(copied) == (what == "cut"), (name, what)
    turns = importlib.import_module(f"{acts.__name__}.turns")
    ran: list[int] = []
    pairs = turns._packing._pairs

    def counted(which: int) -> Callable[..., None]:
        def launch(*arguments: Any) -> None:
            ran.append(which)
            pairs[which](*arguments)

        return launch

    monkeypatch.setattr(turns._packing, "_pairs", [counted(0), counted(1)])
    x = normal((4, 32)).requires_grad_()
    acts.turns(x).sum().backward()
    assert ran == [0, 1]


@compiled
@pytest.mark.parametrize("name", PLAIN)
def test_derivatives_of_both_orders_and_modes(name: str, acts: ModuleType) -> None:
    function = getattr(acts, name)
    inputs = [x.requires_grad_() for x in given(name, 2, 3, dtype=torch.float64)]
    assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(function, inputs, check_fwd_over_rev=True, check_rev_over_rev=True)


@compiled
@pytest.mark.parametrize("name", ["glu", "turns", "pair", "oplu", "joined"])
def test_func(name: str, acts: ModuleType) -> None:
    function, plain = getattr(acts, name), PLAIN[name]
    inputs = given(name, 2, 3, dtype=torch.float64)

    def total(function: Callable[..., Any]) -> Callable[..., Tensor]:
        return lambda *x: sum(y.square().sum() for y in several(function(*x)))  # type: ignore[return-value]

    for found, exact in zip(several(vmap(function)(*inputs)), several(vmap(plain)(*inputs)), strict=True):
        close(found, exact, 1e-12)
    close(grad(total(function))(*inputs), grad(total(plain))(*inputs), 1e-10)
    close(hessian(total(function))(*inputs), hessian(total(plain))(*inputs), 1e-9)
    ones = tuple(torch.ones_like(x) for x in inputs)
    ours, theirs = (jvp(each, tuple(inputs), ones)[1] for each in (function, plain))
    for found, exact in zip(several(ours), several(theirs), strict=True):
        close(found, exact, 1e-10)


@compiled
def test_operators_of_several_outputs(acts: ModuleType) -> None:
    for name in ("pair", "beside"):
        own = importlib.import_module(f"{acts.__name__}.{name}")._operator
        for requires_grad in (False, True):
            inputs = [normal((3, 4), seed=i).requires_grad_(requires_grad) for i in range(own.inputs)]
            torch.library.opcheck(own.value, tuple(inputs))
            grads = [torch.ones(3, 4), torch.ones(3, 4)]
            torch.library.opcheck(own.slopes, (*grads, *inputs, [True] * own.inputs))


@compiled
@pytest.mark.parametrize("mode", ["fuse", "kernel"])
def test_compiled(mode: str, acts: ModuleType) -> None:
    acts.set_compile_mode(mode)
    torch._dynamo.reset()
    try:
        for name in ("turns", "crelu"):
            tensors = [x.requires_grad_() for x in given(name, 4, 6)]
            function = getattr(acts, name)

            def run(*tensors: Tensor, function: Callable[..., Any] = function) -> tuple[Tensor, ...]:
                return tuple(2 * y for y in several(function(*tensors)))

            found, expected = torch.compile(run, fullgraph=True)(*tensors), PLAIN[name](*tensors)
            for y, exact in zip(found, expected, strict=True):
                close(y, 2 * exact, 1e-5)
            ours = torch.autograd.grad(found, tensors, [torch.ones_like(y) for y in found])
            theirs = torch.autograd.grad(expected, tensors, [2 * torch.ones_like(y) for y in expected])
            for dx, exact in zip(ours, theirs, strict=True):
                close(dx, exact, 1e-5)
    finally:
        acts.set_compile_mode("fuse")


@compiled
def test_exported(acts: ModuleType) -> None:
    x = normal((2, 6))
    program = torch.export.export(acts.GLU(dim=1), (x,))
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert all(target.startswith(("aten.", "<built-in function getitem>")) for target in targets)
    close(program.module()(x), functional.glu(x), 1e-6)


def test_it_takes_the_place_of_torch_s(acts: ModuleType) -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.GLU(), nn.Unflatten(1, (2, 2)), nn.GLU(dim=1))
    x = normal((5, 3))
    expected = model(x)
    swapped = dsl.replace(copy.deepcopy(model), {nn.GLU: acts.GLU})
    assert swapped.counts == {nn.GLU: 2}
    layers = [layer for layer in swapped.model.modules() if type(layer) is acts.GLU]
    assert list(map(str, layers)) == ["GLU(dim=-1)", "GLU(dim=1)"]
    close(swapped.model(x), expected, 1e-6)
    packed = normal((4, 6))
    close(acts.glu(packed, 0), functional.glu(packed, 0), 1e-6)


def test_what_is_refused(acts: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="Halving dimension must be even, but dimension 1 is size 3"):
        acts.glu(torch.ones(2, 3))
    with pytest.raises(RuntimeError, match="thirds: Size must be a multiple of 3, but dimension 0 is size 2"):
        acts.thirds(torch.ones(2, 3), dim=0)
    with pytest.raises(IndexError, match=r"Dimension out of range \(expected .* \[-2, 1\], but got 2\)"):
        acts.glu(torch.ones(2, 2), dim=2)
    with pytest.raises(RuntimeError, match="glu does not support 0-dimensional tensors"):
        acts.glu(torch.ones(()))
    with pytest.raises(TypeError, match=r"thirds\(\): expected 3 tensors or one that holds them"):
        acts.thirds(torch.ones(2), torch.ones(2))
    with pytest.raises(TypeError, match=r"joined\(\): expected 2 tensors"):
        acts.joined(torch.ones(2), None)
    with pytest.raises(NotImplementedError, match="\"glu\" not implemented for 'Long'"):
        acts.glu(torch.ones(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="limit must satisfy limit > 0"):
        acts.turns(torch.ones(2), limit=-1.0)


def test_warm_up_meta_and_broadcasting(acts: ModuleType) -> None:
    for name in ("glu", "turns", "crelu", "pair"):
        acts.warmup(getattr(acts, name), device="cpu", dtype=torch.bfloat16)
    assert acts.glu(torch.ones(2, 6, device="meta")).shape == (2, 3)
    assert acts.crelu(torch.ones(2, 6, device="meta"), dim=0).shape == (4, 6)
    assert acts.joined(torch.ones(2, 1), torch.ones(3).bfloat16()).shape == (2, 6)
    assert acts.joined(torch.ones(2, 1), torch.ones(3)).dtype is torch.float32
