"""Learnable parameters of several inputs in PyTorch: the shipped ones, and odd ones, against plain torch.

The kernels run in Triton's interpreter, in a process of its own that one of the tests starts: there the tests
of values, gradients, layouts and packed tensors compare the kernels.
"""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn import functional
from torch.testing import assert_close

import dsl
from dsl.build import build
from tests.conformance.__main__ import shown
from tests.conformance.learned import CHECKS, TOGETHER, load_learners, run

ROOT = Path(__file__).resolve().parents[1]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
compiled = pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")

ODD = """
gate_mix(a, b; learn w[2] = (0.5, 0.25)) = w[0] * a * tanh(b) + w[1] * b
mixture(a, b; learn w[2] = (0.5, -1), s = 2) = s * b * sigmoid(w[0] * a + w[1] * b)
three(x, y, z; learn scale[channel] = 0.5, learn shift = 0.25) = scale * x * y + softplus(shift) * z
names(grad, across; learn rows = 2, learn out[channel] = 3) = rows * grad * across + out
unused(x, y; learn c = 2) = c * x
open_gate(gate, up; learn beta = 1.0) = sigmoid(beta * gate) * up
  gradient gate = up * beta
turns(a, b, c; learn k = 0.5) = k * a * sigmoid(b) + c
  packed interleaved
"""
"""What the shipped ones do not try: vectors, inputs mixed, three inputs, names that kernels have for
themselves, an input that is not used, a derivative of one's own, numbers beside.
"""

Plain = Callable[..., Tensor]
PLAIN: dict[str, Plain] = {
    "swiglu_beta": lambda gate, up, b: gate * torch.sigmoid(b * gate) * up,
    "layer_scale": lambda x, residual, g: residual + g * x,
    "tanh_gate": lambda x, residual, a: residual + torch.tanh(a) * x,
    "gate_mix": lambda a, b, v, w: v * a * torch.tanh(b) + w * b,
    "mixture": lambda a, b, v, w: 2 * b * torch.sigmoid(v * a + w * b),
    "three": lambda x, y, z, scale, shift: scale * x * y + functional.softplus(shift) * z,
    "names": lambda x, y, r, out: r * x * y + out,
    "unused": lambda x, y, c: c * x + 0 * y,
    "turns": lambda a, b, c, k: k * a * torch.sigmoid(b) + c,
}
"""Each activation of the inputs and the entries of its parameters, which broadcast."""

TOLERANCE = {torch.float16: 4e-3, torch.bfloat16: 3e-2, torch.float32: 2e-5, torch.float64: 1e-11}
DTYPES = tuple(TOLERANCE)

BUILT = "DSLGEN_TEST_LEARNED_GATES"
"""Names the folder where the package is built already, for the process that runs the kernels."""


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = Path(os.environ.get(BUILT) or tmp_path_factory.mktemp("learned_gates"))
    (folder / "odd.act").write_text(ODD, encoding="utf-8")
    build([ROOT / "specs" / "learned_gates.act", folder / "odd.act"], folder / "gating")
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("gating")
    finally:
        sys.path.remove(str(folder))


def operator(acts: ModuleType, name: str) -> Any:
    return importlib.import_module(f"{acts.__name__}.{name}")._operator


def normal(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


def parameters(acts: ModuleType, name: str, channels: int, dtype: torch.dtype) -> list[Tensor]:
    """Values of either sign, no two alike."""
    counts = [channels if e == "channel" else e for e in operator(acts, name).learned.values()]
    return [(0.7 - 0.45 * torch.arange(n) + 0.1 * i).to(dtype) for i, n in enumerate(counts)]


def whole_shape(inputs: list[Tensor]) -> torch.Size:
    """What tensors broadcast to."""
    return torch.broadcast_tensors(*inputs)[0].shape  # type: ignore[no-untyped-call, no-any-return]


def plain(acts: ModuleType, name: str, tensors: list[Tensor], dim: int = 1) -> Tensor:
    """The formula in plain torch, its parameters broadcast as they are meant to be."""
    ours = operator(acts, name)
    inputs, learned = tensors[: ours.inputs], tensors[ours.inputs :]
    count = len(whole_shape(inputs))
    entries: list[Tensor] = []
    for extent, p in zip(ours.learned.values(), learned, strict=True):
        if extent == "channel" and p.numel() != 1:
            entries.append(p.view([p.numel() if d == dim % count else 1 for d in range(count)]))
        else:
            entries += [p.reshape(())] if p.numel() == 1 else p.unbind()
    return PLAIN[name](*inputs, *entries)


def check(
    acts: ModuleType,
    name: str,
    inputs: list[Tensor],
    learned: list[Tensor],
    wanted: list[bool] | None = None,
    dim: int = 1,
    outer: Tensor | None = None,
) -> None:
    """Value and gradients, types and shapes, against plain torch in float64."""
    wanted = wanted or [True] * (len(inputs) + len(learned))
    extra = {"dim": dim} if "channel" in operator(acts, name).learned.values() else {}
    pairs = list(zip((*inputs, *learned), wanted, strict=True))
    ours = [t.detach().requires_grad_(want) for t, want in pairs]
    theirs = [t.detach().double().clone().requires_grad_(want) for t, want in pairs]
    y = getattr(acts, name)(*ours, **extra)
    expected = plain(acts, name, theirs, dim)
    dtype = sum(inputs[1:], inputs[0]).dtype
    assert (y.shape, y.dtype) == (expected.shape, dtype)
    assert y.requires_grad == any(wanted)
    close(y, expected, TOLERANCE[dtype])
    if not any(wanted):
        return
    outer = normal(tuple(y.shape), dtype, 3) if outer is None else outer.expand(y.shape)
    leaves, others = ([t for t in tensors if t.requires_grad] for tensors in (ours, theirs))
    found = torch.autograd.grad(y, leaves, outer)
    exact = torch.autograd.grad(expected, others, outer.double(), materialize_grads=True)
    for t, dt, right in zip(leaves, found, exact, strict=True):
        assert (dt.shape, dt.dtype) == (t.shape, t.dtype)
        scale = max(1.0, float(right.abs().max())) if right.numel() else 1.0
        summed = max(1.0, (y.numel() / max(1, t.numel())) ** 0.5)
        close(dt / scale, right / scale, 4 * summed * max(TOLERANCE[dtype], TOLERANCE[t.dtype]))


def close(got: Tensor, expected: Tensor, tolerance: float) -> None:
    assert_close(got.double(), expected.double(), rtol=tolerance, atol=tolerance)


@st.composite
def arrangements(draw: st.DrawFn, count: int) -> list[tuple[tuple[int, ...], str]]:
    """Shapes that broadcast, and how each lies in memory."""
    whole = draw(st.lists(st.integers(0, 4), max_size=4))
    found = []
    for _ in range(count):
        kept = whole[draw(st.integers(0, len(whole))) :]
        shape = tuple(1 if draw(st.booleans()) else size for size in kept)
        found.append((shape, draw(st.sampled_from(("dense", "turned", "strided", "expanded")))))
    return found


def laid_out(shape: tuple[int, ...], way: str, dtype: torch.dtype, seed: int) -> Tensor:
    """Normal values of a shape that lie in memory in a way."""
    if way == "turned":
        return normal(shape[::-1], dtype, seed).permute(tuple(range(len(shape)))[::-1])
    if way == "strided":
        return normal((*shape, 2), dtype, seed)[..., 0]
    if way == "expanded" and shape:
        return normal((1, *shape[1:]), dtype, seed).expand(shape)
    return normal(shape, dtype, seed)


@pytest.mark.parametrize("name", PLAIN)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_values_and_gradients_are_those_of_plain_torch(
    name: str, acts: ModuleType, data: st.DataObject
) -> None:
    ours = operator(acts, name)
    first = data.draw(st.integers(0, 99))
    inputs = [
        laid_out(shape, way, data.draw(st.sampled_from(DTYPES)), seed)
        for seed, (shape, way) in enumerate(data.draw(arrangements(ours.inputs)), first)
    ]
    whole = whole_shape(inputs)
    dim = data.draw(st.integers(-len(whole), len(whole) - 1)) if whole else 1
    channels = whole[dim] if whole and data.draw(st.booleans()) else 1
    wide = sum(inputs[1:], inputs[0]).dtype
    kept = wide if wide.itemsize > 2 else data.draw(st.sampled_from((wide, torch.float32)))
    learned = parameters(acts, name, channels, kept)
    count = len(inputs) + len(learned)
    check(
        acts, name, inputs, learned, data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), dim
    )


def layouts() -> Iterator[tuple[list[Tensor], int]]:
    def x(*shape: int, seed: int = 0) -> Tensor:
        return normal(shape, torch.float32, seed + sum(shape))

    yield [x(2, 3, 20, 20), x(2, 3, 20, 20, seed=1)], 3
    last = x(2, 5, 6, 7).to(memory_format=torch.channels_last)
    yield [last, x(2, 5, 6, 7)], 5
    yield [last, last.flip(0)], 5
    yield [x(3, 2, 1500), x(1500)], 2
    yield [x(700, 5), x(700, 1)], 5
    yield [x(5, 700).t(), x(5, 700).t()], 5
    yield [x(5, 700).t(), x(700, 5)], 5
    yield [*x(8, 600).chunk(2, -1)], 300
    yield [x(8, 12)[..., ::2], x(8, 12)[..., 1::2]], 6
    yield [x(4, 6, 10)[:, :3, :5], x(4, 3, 5)], 3
    yield [x(4, 1).expand(4, 6), x(6).expand(4, 6)], 6
    yield [x(), x(3000)], 1
    yield [x(), x()], 1
    yield [x(0, 5), x(5)], 5


@pytest.mark.parametrize("name", ["swiglu_beta", "layer_scale", "names"])
def test_layouts(name: str, acts: ModuleType) -> None:
    for inputs, channels in layouts():
        learned = parameters(acts, name, channels, torch.float32)
        check(acts, name, inputs, learned)
        check(acts, name, inputs, learned, outer=torch.ones(()))


def test_more_tiles_than_programs(acts: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that does several tiles, down and along rows, gives the same sums."""
    own = importlib.import_module(f"{acts.__name__}._learned")
    monkeypatch.setattr(own, "_PROGRAMS", 2)
    own._plan.cache_clear()
    for shape, other in (((900, 6), (6,)), ((2, 2, 60, 60), (2, 1, 1)), ((9000,), (9000,))):
        channels = shape[1] if len(shape) > 1 else 1
        inputs = [normal(shape, torch.float32, 1), normal(other, torch.float32, 2)]
        check(acts, "names", inputs, parameters(acts, "names", channels, torch.float32))
    own._plan.cache_clear()


def split(h: Tensor, name: str, count: int, dim: int) -> tuple[Tensor, ...]:
    if name == "swiglu_beta":
        return h.chunk(count, dim)
    dim %= h.dim()
    apart = (*h.shape[:dim], h.shape[dim] // count, count, *h.shape[dim + 1 :])
    return tuple(h.reshape(apart).unbind(dim + 1))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("name", "count"), [("swiglu_beta", 2), ("turns", 3)])
def test_packed_tensors_are_read_where_they_lie(
    name: str, count: int, dtype: torch.dtype, acts: ModuleType
) -> None:
    for dim in (-1, 0, 1):
        for h in (normal((6, 12, 6), dtype, 1), normal((6, 12, 6), dtype, 1).permute(2, 1, 0)):
            given = [h.detach().requires_grad_(), torch.tensor([1.25], dtype=dtype, requires_grad=True)]
            theirs = [t.detach().double().requires_grad_() for t in given]
            y = getattr(acts, name)(given[0], *[None] * (count - 1), given[1], dim=dim)
            expected = PLAIN[name](*split(theirs[0], name, count, dim), theirs[1])
            close(y, expected, TOLERANCE[dtype])
            outer = normal(tuple(y.shape), dtype, 2)
            for wanted in (slice(0, 2), slice(0, 1), slice(1, 2)):
                found = torch.autograd.grad(y, given[wanted], outer, retain_graph=True)
                exact = torch.autograd.grad(expected, theirs[wanted], outer.double(), retain_graph=True)
                for ours, right in zip(found, exact, strict=True):
                    scale = max(1.0, float(right.abs().max()))
                    close(ours / scale, right / scale, 4 * TOLERANCE[dtype])


def test_in_the_interpreter(acts: ModuleType) -> None:
    if INTERPRETED:
        pytest.skip("this is the process that it starts")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    command += ["-k", "plain_torch or layouts or tiles or packed_tensors", __file__]
    folder = Path(str(acts.__file__)).parents[1]
    environment = {**os.environ, "TRITON_INTERPRET": "1", BUILT: str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.mark.skipif(not INTERPRETED, reason="runs in the process that another test starts")
def test_kernels_read_layouts_in_place(acts: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[Tensor] = []
    joint = importlib.import_module(f"{acts.__name__}._joint")
    copy = joint._in_order_of

    def watched(like: Tensor, x: Tensor, scattered: bool) -> Tensor:
        copied.append(x)
        return copy(like, x, scattered)  # type: ignore[no-any-return]

    monkeypatch.setattr(joint, "_in_order_of", watched)
    a, b = normal((8, 64), torch.float32, 1).chunk(2, -1)
    for x, y in ((a, b), (a, b[0]), (a, b[:, :1]), (b.t(), a.t()), (a, b.t().contiguous().t())):
        given = [x.detach().requires_grad_(), y.detach().requires_grad_(), torch.ones(1, requires_grad=True)]
        acts.swiglu_beta(*given).sum().backward()
    h = normal((8, 64), torch.float32, 1).requires_grad_()
    acts.swiglu_beta(h, None, torch.ones(1)).sum().backward()
    assert not copied


# -- PyTorch -----------------------------------------------------------------------------------------------

OWN = ("open_gate", "unused")
"""A derivative that is not the value's, and an input without any: PyTorch's checks mind."""
FEW = {
    "opcheck": ["three"],
    "compile": ["swiglu_beta", "three"],
    "compile: torch.func": ["gate_mix"],
}
"""What takes long is done for some here; `python -m tests.conformance.learned` does it for the shipped."""


@compiled
@pytest.mark.parametrize("check", [*CHECKS, *TOGETHER])
def test_table(check: str, acts: ModuleType) -> None:
    """A row of the table that `python -m tests.conformance.learned` prints."""
    subjects = [s for s in load_learners(acts, "cpu", FEW.get(check, ())) if s.name not in OWN]
    assert subjects
    found = run(check, subjects)
    assert not any(found.values()), shown([s.name for s in subjects], {check: found})


@compiled
@pytest.mark.parametrize("shapes", [((3, 4, 5), (5,)), ((), (3,)), ((4, 1), (5,))])
def test_transforms_and_compilers_broadcast(shapes: tuple[tuple[int, ...], ...], acts: ModuleType) -> None:
    x, y = (normal(shape, torch.float64, i) for i, shape in enumerate(shapes))
    beta = torch.tensor([1.25], dtype=torch.float64)

    def loss(f: Plain) -> Plain:
        return lambda *given: f(*given).square().sum()

    right = grad(loss(PLAIN["swiglu_beta"]), (0, 1, 2))(x, y, beta)
    assert_close(grad(loss(acts.swiglu_beta), (0, 1, 2))(x, y, beta), right)
    torch._dynamo.reset()
    given = [t.clone().requires_grad_() for t in (x, y, beta)]
    run = torch.compile(acts.swiglu_beta, fullgraph=True, backend="aot_eager")
    found = torch.autograd.grad(loss(run)(*given), given)
    assert_close(found, right)
    batched = vmap(acts.swiglu_beta, (None, None, 0))(x, y, torch.stack([beta, 2 * beta]))
    assert_close(batched[1], acts.swiglu_beta(x, y, 2 * beta))
    torch.autograd.gradcheck(acts.swiglu_beta, given, check_forward_ad=True)
    torch.autograd.gradgradcheck(acts.swiglu_beta, given)


@compiled
def test_packed_tensors_by_compilers_and_transforms(acts: ModuleType) -> None:
    layer = acts.SwiGLUBeta(1.5, dtype=torch.float64)
    h = normal((3, 8), torch.float64, 1).requires_grad_()
    given = [h, layer.beta]
    gate, up = h.chunk(2, -1)
    exact = torch.autograd.grad(layer(gate, up).square().sum(), given)
    assert_close(torch.autograd.grad(layer(h).square().sum(), given), exact)
    torch._dynamo.reset()
    run: Any = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert_close(torch.autograd.grad(run(h).square().sum(), given), exact)
    state = {"beta": layer.beta.detach()}
    found = grad(lambda h, p: functional_call(layer, p, (h,)).square().sum(), (0, 1))(h.detach(), state)
    assert_close((found[0], found[1]["beta"]), exact)

    def packed(h: Tensor, beta: Tensor) -> Tensor:
        result: Tensor = acts.swiglu_beta(h, None, beta)
        return result

    torch.autograd.gradcheck(packed, given, check_batched_grad=True, check_forward_ad=True)
    torch.autograd.gradgradcheck(packed, given)


@compiled
def test_packed_tensors_refused(acts: ModuleType) -> None:
    beta = torch.ones(1)
    with pytest.raises(RuntimeError, match="swiglu_beta: Halving dimension must be even, but dimension 1"):
        acts.swiglu_beta(torch.zeros(2, 3), None, beta)
    with pytest.raises(RuntimeError, match="turns: Size must be a multiple of 3"):
        acts.turns(torch.zeros(2, 4), None, None, beta)
    with pytest.raises(TypeError, match=r"turns\(\): expected 3 tensors or one that holds them"):
        acts.turns(torch.zeros(2, 4), torch.zeros(2, 4), None, beta)
    with pytest.raises(IndexError, match="Dimension out of range"):
        acts.swiglu_beta(torch.zeros(2, 4), None, beta, dim=2)
    with pytest.raises(TypeError, match="must be Tensors, not float"):
        acts.swiglu_beta(torch.zeros(2, 4), None, 1.0)
    with pytest.raises(RuntimeError, match=r"'beta' must have shape \(1,\), got \(2,\)"):
        acts.swiglu_beta(torch.zeros(2, 4), None, torch.ones(2))


@compiled
def test_a_derivative_of_one_s_own(acts: ModuleType) -> None:
    gate, up, beta = (normal((4,), torch.float64, i).requires_grad_() for i in range(3))
    y = acts.open_gate(gate, up, beta[:1])
    by_gate, by_up = torch.autograd.grad(y.sum(), [gate, up], create_graph=True)
    assert_close(by_gate, up * beta[0])
    assert_close(by_up, torch.sigmoid(beta[0] * gate))
    assert_close(torch.autograd.grad(by_gate.sum(), up)[0], beta[:1].expand(4))


@compiled
def test_modules(acts: ModuleType) -> None:
    layer = acts.LayerScale(5, dim=-1)
    assert repr(layer) == "LayerScale(num_parameters=5, dim=-1)"
    assert_close(layer.gamma, torch.full((5,), 1e-5))
    x, residual = normal((2, 3, 5), torch.float32, 1), normal((2, 1, 5), torch.float32, 2)
    assert_close(layer(x, residual), residual + 1e-5 * x)
    assert repr(acts.SwiGLUBeta()) == "SwiGLUBeta(dim=-1)"
    assert list(acts.SwiGLUBeta(0.5).state_dict()) == ["beta"]
    assert repr(acts.TanhGate()) == "TanhGate()"
    assert torch.equal(acts.TanhGate()(x, residual), residual.expand(2, 3, 5))


@compiled
def test_it_learns(acts: ModuleType) -> None:
    """A slope that was hidden in data is found by gradient descent."""
    gate, up = normal((512,), torch.float32, 4), normal((512,), torch.float32, 5)
    target = gate * torch.sigmoid(2.5 * gate) * up
    layer = acts.SwiGLUBeta()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        torch.autograd.backward(functional.mse_loss(layer(gate, up), target))
        optimizer.step()
    assert abs(layer.beta.item() - 2.5) < 0.01


@compiled
def test_ends_are_right_for_parameters_of_any_sign(acts: ModuleType) -> None:
    inf, nan = torch.inf, torch.nan
    ends = torch.tensor([-inf, -3e38, -5000.0, -0.0, 5000.0, 3e38, inf, nan])
    for beta, expected in (
        (2.0, [0.0, 0.0, 0.0, 0.0, 10000.0, inf, inf, nan]),
        (-3e38, [-inf, -inf, -10000.0, 0.0, 0.0, 0.0, 0.0, nan]),
        (1e-3, [0.0, 0.0, -10000 * 0.0066928509, 0.0, 10000 * 0.99330715, inf, inf, nan]),
    ):
        given = [ends.clone().requires_grad_(), torch.full((8,), 2.0).requires_grad_()]
        learned = torch.tensor([beta], requires_grad=True)
        y = acts.swiglu_beta(*given, learned)
        assert_close(y.detach(), torch.tensor(expected), equal_nan=True, rtol=1e-5, atol=0)
        by_gate, by_up = torch.autograd.grad(y[:-1].sum(), given)
        assert not by_gate[:-1].isnan().any()
        assert not by_up[:-1].isnan().any()
    given = [torch.tensor([x], requires_grad=True) for x in (400.0, -400.0, 3.0)]
    a, b = (given[0], given[2]), (given[1], given[2])
    for pair in (a, b):
        found = torch.autograd.grad(acts.mixture(*pair, torch.tensor([2.0, 1.0])), pair)
        assert all(t.isfinite().all() for t in found)
    huge = torch.autograd.grad(
        acts.three(*given, torch.ones(1), shift := torch.tensor([300.0], requires_grad=True)), shift
    )
    assert huge[0].item() == 3.0


@compiled
def test_distributed_inputs_of_several_placements(acts: ModuleType) -> None:
    """Inputs are laid out as the first that is split; gradients as the inputs they are of."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        mesh = init_device_mesh("cpu", (2,))

        def placed(x: Tensor, placement: Any) -> Any:
            return distribute_tensor(x, mesh, [placement], src_data_rank=None).requires_grad_()

        bias, x = normal((6,), torch.float32, 1), normal((4, 6), torch.float32, 2)
        given = [placed(bias, Replicate()), placed(x, Shard(0)), placed(torch.ones(1), Replicate())]
        y: Any = acts.swiglu_beta(*given)
        assert isinstance(y, DTensor)
        assert y.placements == (Shard(0),)
        assert_close(y.to_local(), acts.swiglu_beta(bias, x[:2], torch.ones(1)))
        found: Any = torch.autograd.grad(y.sum(), given)
        assert [t.shape for t in found] == [t.shape for t in given]
        assert found[1].placements == (Shard(0),)
        assert found[2].placements == (Partial(),)
        with pytest.raises(RuntimeError, match="not all inputs and parameters are such of its mesh"):
            acts.swiglu_beta(*given[:2], torch.ones(1))
    finally:
        dist.destroy_process_group()


@compiled
def test_from_a_formula() -> None:
    layer = dsl.compile("gate(x, y; learn beta = 1.0) = y * sigmoid(beta * x)", beta=0.5)
    x, y = normal((3, 4), torch.float64, 1), normal((4,), torch.float64, 2)
    close(layer(x, y), y * torch.sigmoid(0.5 * x), 1e-12)
    assert pickle.loads(pickle.dumps(layer)).beta.item() == 0.5


@compiled
def test_calls_fix_their_parameters() -> None:
    text = """
    gate(x, y; learn beta = 2.0) = y * sigmoid(beta * x)
    both(a, b; learn k = 1.0) = gate(a, b) + gate(a, b, 3) + gate(b, a, beta = k)
    """
    layer = dsl.compile(text, name="both", k=0.5)
    a, b = normal((20,), torch.float64, 1), normal((20,), torch.float64, 2)
    expected = b * torch.sigmoid(2 * a) + b * torch.sigmoid(3 * a) + a * torch.sigmoid(0.5 * b)
    close(layer(a, b), expected, 1e-12)
    assert [name for name, _ in layer.named_parameters()] == ["k"]
