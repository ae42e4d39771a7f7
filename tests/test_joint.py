"""Activations of several inputs in PyTorch: the shipped gates against the same in plain torch.

The kernels run in Triton's interpreter, in a process of its own that one of the tests starts: there the same
tests compare the kernels.
"""

from __future__ import annotations

import importlib
import os
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
from torch.func import functional_call, grad, hessian, jacfwd, jvp, vmap
from torch.nn import functional

import dsl
from dsl.build import build

ROOT = Path(__file__).resolve().parents[1]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
compiled = pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")

ODD = """
affine(x, b; s = 2.0) = softplus(s * (x + b)) * x
residual(x, y, z) = relu(x) + y * z
choice(x, y) = where(x > y, x, y * sigmoid(x))
ignored(x, y) = 2 * x
names(grad, n) = grad * n
scaled(x; a = 2, b = 3) = a * x + b
"""
"""What gates do not try: a sum of inputs, three inputs, choices, names that kernels have for themselves."""


def _oai(gate: Tensor, up: Tensor) -> Tensor:
    gate, up = gate.clamp(max=7.0), up.clamp(-7.0, 7.0)
    return gate * torch.sigmoid(1.702 * gate) * (up + 1)


GATES: dict[str, Callable[..., Tensor]] = {
    "glu": lambda x, gate: x * torch.sigmoid(gate),
    "bilinear": lambda x, gate: x * gate,
    "reglu": lambda x, gate: x * functional.relu(gate),
    "geglu": lambda x, gate: x * functional.gelu(gate),
    "geglu_tanh": lambda x, gate: x * functional.gelu(gate, approximate="tanh"),
    "swiglu": lambda gate, up: functional.silu(gate) * up,
    "swiglu_rounded": lambda gate, up: functional.silu(gate) * up,
    "swiglu_oai": _oai,
    "swiglu_step": lambda gate, up: functional.silu(gate).clamp(max=7.0) * up.clamp(-7.0, 7.0),
    "fatrelu_and_mul": lambda gate, up: functional.threshold(gate, 0.01, 0.0) * up,
    "gtu": lambda x, gate: torch.tanh(x) * torch.sigmoid(gate),
    "mish_glu": lambda gate, up: functional.mish(gate) * up,
    "dual_relu": lambda a, b: functional.relu(a) - functional.relu(b),
}
PLAIN: dict[str, Callable[..., Tensor]] = {
    **GATES,
    "affine": lambda x, b: functional.softplus(2.0 * (x + b)) * x,
    "residual": lambda x, y, z: functional.relu(x) + y * z,
    "choice": lambda x, y: torch.where(x > y, x, y * torch.sigmoid(x)),
    "ignored": lambda x, y: 2 * x + 0 * y,
    "names": lambda x, y: x * y,
}
TOLERANCE = {torch.float16: 4e-3, torch.bfloat16: 3e-2, torch.float32: 2e-5, torch.float64: 1e-11}
DTYPES = tuple(TOLERANCE)
SHAPES = (
    ((4, 5), (4, 5)),
    ((3, 4, 5), (5,)),
    ((3, 1, 5), (4, 1)),
    ((), (3,)),
    ((6,), ()),
    ((2, 3, 4, 5), (3, 1, 1)),
    ((0, 3), (3,)),
    ((), ()),
    ((1, 1), (1,)),
)


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("joint")
    (folder / "odd.act").write_text(ODD)
    shipped = [ROOT / "specs" / name for name in ("gates.act", "gated_linear.act", "exponential_units.act")]
    build([*shipped, folder / "odd.act"], folder / "joined")
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("joined")
    finally:
        sys.path.remove(str(folder))


def operator(acts: ModuleType, name: str) -> Any:
    return importlib.import_module(f"{acts.__name__}.{name}")._operator


@compiled
def test_what_needs_no_gradient_compiles_whatever_it_takes(acts: ModuleType) -> None:
    """Two inputs, and an input and two parameters: Dynamo counts to tell whether there is a context."""
    torch._dynamo.reset()
    run = torch.compile(lambda x, y: acts.swiglu(acts.scaled(x), y), fullgraph=True, backend="eager")
    x, y = torch.randn(2, 5)
    close(run(x, y), acts.swiglu(2 * x + 3, y), 1e-6)


PARAMETERS = {"swiglu_oai": (1.702, 7.0)}


def close(got: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(got.double(), expected.double(), rtol=tolerance, atol=tolerance)


def check(acts: ModuleType, name: str, inputs: list[Tensor], wanted: list[bool], seed: int = 0) -> None:
    """Value and gradients, types and shapes, against plain torch in float64."""
    function, plain = getattr(acts, name), PLAIN[name]
    ours = [x.detach().requires_grad_(want) for x, want in zip(inputs, wanted, strict=True)]
    theirs = [
        x.detach().double().clone().requires_grad_(want) for x, want in zip(inputs, wanted, strict=True)
    ]
    y, expected = function(*ours), plain(*theirs)
    dtype = plain(*inputs).dtype
    assert (y.shape, y.dtype) == (expected.shape, dtype)
    assert y.requires_grad == any(wanted)
    close(y, expected, TOLERANCE[dtype])
    if not any(wanted):
        return
    outer = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    leaves = [x for x in ours if x.requires_grad]
    others = [x for x in theirs if x.requires_grad]
    found = torch.autograd.grad(y, leaves, outer)
    for x, dx, exact in zip(
        leaves, found, torch.autograd.grad(expected, others, outer.double()), strict=True
    ):
        assert (dx.shape, dx.dtype) == (x.shape, x.dtype)
        summed = max(1.0, (y.numel() / max(1, x.numel())) ** 0.5)
        close(dx, exact, 2 * summed * max(TOLERANCE[dtype], TOLERANCE[x.dtype]))


def normal(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


@st.composite
def broadcast_shapes(draw: st.DrawFn) -> list[tuple[int, ...]]:
    """Two shapes that broadcast."""
    whole = draw(st.lists(st.integers(0, 4), max_size=4))
    shapes = []
    for _ in range(2):
        kept = whole[draw(st.integers(0, len(whole))) :]
        shapes.append(tuple(1 if draw(st.booleans()) else size for size in kept))
    return shapes


@pytest.mark.parametrize("name", GATES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_gates_are_those_of_plain_torch(name: str, acts: ModuleType, data: st.DataObject) -> None:
    shapes = data.draw(broadcast_shapes())
    inputs = [
        normal(shape, data.draw(st.sampled_from(DTYPES)), seed)
        for seed, shape in enumerate(shapes, data.draw(st.integers(0, 99)))
    ]
    check(acts, name, inputs, data.draw(st.lists(st.booleans(), min_size=2, max_size=2)))


def layouts(dtype: torch.dtype) -> Iterator[tuple[str, Tensor, Tensor]]:
    def x(*shape: int) -> Tensor:
        return normal(shape, dtype, sum(shape))

    a, b = x(8, 64).chunk(2, -1)
    yield "halves of one", a, b
    packed = x(8, 64)
    yield "interleaved", packed[..., ::2], packed[..., 1::2]
    yield "one transposed", x(6, 5).t(), x(5, 6)
    yield "both transposed", x(6, 5).t(), x(6, 5).t()
    yield "over rows", x(4, 3, 32), x(32)
    yield "over columns", x(4, 32), x(4, 1)
    yield "outer", x(4, 1), x(32)
    yield "a number", x(33), x()
    yield "over channels", x(2, 3, 4, 5), x(3, 1, 1)
    last = x(2, 3, 4, 5).to(memory_format=torch.channels_last)
    yield "channels_last beside others", last, x(2, 3, 4, 5)
    yield "channels_last", last, last.clone()
    yield "strided in three", x(4, 6, 10)[:, :3, :5], x(4, 3, 5)
    yield "expanded both", x(4, 1).expand(4, 6), x(1, 6).expand(4, 6)
    yield "more than a tile", x(3000), x(3000)
    a, b = x(40, 200).chunk(2, -1)
    yield "halves, more than a tile", a, b
    yield "nothing", x(0, 3), x(3)


@pytest.mark.parametrize("name", ["swiglu", "swiglu_oai", "choice", "names"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts(name: str, dtype: torch.dtype, acts: ModuleType) -> None:
    for _, a, b in layouts(dtype):
        for wanted in ([True, True], [True, False], [False, True], [False, False]):
            check(acts, name, [a, b], wanted)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("shapes", SHAPES)
def test_shapes(name: str, shapes: tuple[tuple[int, ...], ...], acts: ModuleType) -> None:
    inputs = [normal(shape, torch.float32, seed) for seed, shape in enumerate(shapes)]
    inputs += [normal((), torch.float32, 9)] * (operator(acts, name).inputs - 2)
    check(acts, name, inputs, [True] * len(inputs))


def test_in_the_interpreter() -> None:
    if INTERPRETED:
        pytest.skip("this is the process that it starts")
    chosen = "layouts or shapes or kernels"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "-k",
        chosen,
        __file__,
    ]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.mark.skipif(not INTERPRETED, reason="runs in the process that another test starts")
def test_kernels_read_strided_inputs_in_place(acts: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[Tensor] = []
    joint = importlib.import_module(f"{acts.__name__}._joint")
    copy = joint._in_order_of

    def watched(like: Tensor, x: Tensor, scattered: bool) -> Tensor:
        copied.append(x)
        return copy(like, x, scattered)  # type: ignore[no-any-return]

    monkeypatch.setattr(joint, "_in_order_of", watched)
    for what, a, b in layouts(torch.float32):
        copied.clear()
        acts.swiglu(a, b)
        awkward = what in ("over channels", "strided in three", "channels_last beside others")
        assert bool(copied) == awkward, what


# -- derivatives -------------------------------------------------------------------------------------------


def doubles(count: int, requires_grad: bool = True) -> list[Tensor]:
    shapes = [(3, 4), (4,), (3, 1)][:count]
    return [normal(s, torch.float64, 7 + i).requires_grad_(requires_grad) for i, s in enumerate(shapes)]


@compiled
@pytest.mark.parametrize("name", PLAIN)
def test_gradients_of_both_orders_and_modes(name: str, acts: ModuleType) -> None:
    function, inputs = getattr(acts, name), doubles(operator(acts, name).inputs)
    assert torch.autograd.gradcheck(
        function, inputs, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )
    assert torch.autograd.gradgradcheck(function, inputs, check_fwd_over_rev=True, check_rev_over_rev=True)


@compiled
@pytest.mark.parametrize("name", ["swiglu", "swiglu_oai", "dual_relu", *sorted(PLAIN.keys() - GATES.keys())])
def test_func(name: str, acts: ModuleType) -> None:
    function, plain = getattr(acts, name), PLAIN[name]
    inputs = doubles(operator(acts, name).inputs, requires_grad=False)
    places = tuple(range(len(inputs)))
    rows = [*inputs[:2], *(x[0] for x in inputs[2:])]
    close(vmap(function, (0, *(None for _ in places[1:])))(*rows), plain(*rows), 1e-12)
    columns = (1, 0, *(None for _ in places[2:]))
    given = [*inputs[:2], *(x[:, 0] for x in inputs[2:])]
    turned = [inputs[0].t(), inputs[1][:, None], *(x[:, 0] for x in inputs[2:])]
    close(vmap(function, columns)(*given), plain(*turned), 1e-12)
    for place in places:
        ours = grad(lambda *x: function(*x).square().sum(), place)(*inputs)
        close(ours, grad(lambda *x: plain(*x).square().sum(), place)(*inputs), 1e-10)
        close(
            hessian(lambda *x: function(*x).square().sum(), place)(*inputs),
            hessian(lambda *x: plain(*x).square().sum(), place)(*inputs),
            1e-9,
        )
        close(jacfwd(function, place)(*inputs), jacfwd(plain, place)(*inputs), 1e-10)
    tangents = tuple(torch.ones_like(x) for x in inputs)
    close(jvp(function, tuple(inputs), tangents)[1], jvp(plain, tuple(inputs), tangents)[1], 1e-10)


def test_glu_is_pytorch_s_of_two_halves(acts: ModuleType) -> None:
    packed = normal((3, 8), torch.float32, 1).requires_grad_()
    y, expected = acts.glu(*packed.chunk(2, -1)), functional.glu(packed)
    close(y, expected, 1e-6)
    ours, theirs = (torch.autograd.grad(each.sum(), packed)[0] for each in (y, expected))
    close(ours, theirs, 1e-6)


@compiled
def test_a_third_derivative_is_refused(acts: ModuleType) -> None:
    x, y = doubles(2)
    (dx,) = torch.autograd.grad(acts.swiglu(x, y).sum(), x, create_graph=True)
    (ddx,) = torch.autograd.grad(dx.sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="swiglu: derivatives beyond the second"):
        torch.autograd.grad(ddx.sum(), x)


def test_a_broadcast_gradient_is_summed_in_float32(acts: ModuleType) -> None:
    x = torch.full((4096, 2), 1.0, dtype=torch.bfloat16)
    gate = torch.tensor([1.0, 2.0], dtype=torch.bfloat16, requires_grad=True)
    y = acts.bilinear(x * 1.0078125, gate)
    assert y.dtype is torch.bfloat16
    (found,) = torch.autograd.grad(y, gate, torch.full_like(y, 1.0078125))
    exact = torch.tensor(4096 * 1.0078125**2).bfloat16()
    assert found.tolist() == [exact.item()] * 2


def test_far_out_values_and_gradients_are_right(acts: ModuleType) -> None:
    infinite = float("inf")
    gate = torch.tensor([-200.0, -infinite, 1000.0, infinite, float("nan")], requires_grad=True)
    up = torch.full_like(gate, 2.0, requires_grad=True)
    y = acts.swiglu(gate, up)
    torch.testing.assert_close(
        y, torch.tensor([0.0, 0.0, 2000.0, infinite, float("nan")]), equal_nan=True, rtol=0, atol=0
    )
    found = torch.autograd.grad(y.sum(), (gate, up))
    expected = torch.tensor([[0.0, 0.0, 2.0, 2.0, float("nan")], [0.0, 0.0, 1000.0, infinite, float("nan")]])
    torch.testing.assert_close(torch.stack(found), expected, equal_nan=True, rtol=1e-6, atol=0)


# -- compilers and the registry ----------------------------------------------------------------------------


@compiled
@pytest.mark.parametrize("name", ["swiglu", "swiglu_oai", "residual"])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_opcheck(name: str, requires_grad: bool, acts: ModuleType) -> None:
    own, rest = operator(acts, name), PARAMETERS.get(name, ())
    inputs = [
        normal((3, 4), torch.float32, i).requires_grad_(requires_grad and not i) for i in range(own.inputs)
    ]
    turned = [x.detach().t().contiguous().t().bfloat16() for x in inputs]
    for given_ in (inputs, turned):
        torch.library.opcheck(own.value, (*given_, *rest))
        wanted = [place != 1 for place in range(own.inputs)]
        torch.library.opcheck(own.slopes, (torch.ones_like(given_[0]), *given_, *rest, wanted))


@compiled
@pytest.mark.parametrize("mode", ["fuse", "kernel"])
def test_compiled_values_and_gradients(mode: str, acts: ModuleType) -> None:
    acts.set_compile_mode(mode)
    try:
        torch._dynamo.reset()
        made = torch.compile(lambda gate, up: 2 * acts.swiglu(gate, up), fullgraph=True)
        for shapes in SHAPES[:3]:
            inputs = [normal(s, torch.float32, i).requires_grad_() for i, s in enumerate(shapes)]
            expected = 2 * GATES["swiglu"](*inputs)
            found = made(*inputs)
            close(found, expected, 1e-5)
            outer = torch.ones_like(expected)
            for dx, exact in zip(
                torch.autograd.grad(found, inputs, outer),
                torch.autograd.grad(expected, inputs, outer),
                strict=True,
            ):
                assert dx.shape == exact.shape
                close(dx, exact, 1e-5)
    finally:
        acts.set_compile_mode("fuse")


@compiled
def test_a_compiled_gradient_is_the_stable_one(acts: ModuleType) -> None:
    gate = torch.tensor([-200.0, 200.0, -float("inf")], requires_grad=True)
    made = torch.compile(lambda gate: acts.swiglu(gate, torch.ones(3)), fullgraph=True)
    (found,) = torch.autograd.grad(made(gate).sum(), gate)
    assert found.tolist() == [0.0, 1.0, 0.0]


@compiled
def test_transforms_inside_a_compiled_function(acts: ModuleType) -> None:
    x, y = (t.float() for t in doubles(2, requires_grad=False))
    made = torch.compile(grad(lambda x, y: acts.swiglu(x, y).sum(), (0, 1)), fullgraph=True)
    for found, exact in zip(
        made(x, y), grad(lambda x, y: GATES["swiglu"](x, y).sum(), (0, 1))(x, y), strict=True
    ):
        close(found, exact, 1e-5)


@compiled
def test_exported_programs_need_nothing_of_the_package(acts: ModuleType) -> None:
    inputs = (normal((2, 3), torch.float32, 0), normal((3,), torch.float32, 1))
    program = torch.export.export(acts.SwiGLUOAI(), inputs)
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert all(target.startswith("aten.") for target in targets)
    close(program.module()(*inputs), GATES["swiglu_oai"](*inputs), 1e-5)


# -- modules, and what is refused --------------------------------------------------------------------------


def test_modules(acts: ModuleType) -> None:
    layer = acts.SwiGLUOAI(limit=3.0)
    assert repr(layer) == "SwiGLUOAI(alpha=1.702, limit=3.0, dim=-1)"
    assert repr(acts.SwiGLU()) == "SwiGLU(dim=-1)"
    gate, up = normal((2, 3), torch.float32, 0), normal((3,), torch.float32, 1)
    close(layer(gate, up), acts.swiglu_oai(gate, up, limit=3.0), 0)
    close(functional_call(acts.SwiGLU(), {}, (gate, up)), GATES["swiglu"](gate, up), 1e-6)
    with pytest.raises(ValueError, match="limit must satisfy limit > 0, got -1"):
        acts.SwiGLUOAI(limit=-1)


def test_a_module_at_run_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSLGEN_CACHE", str(tmp_path))
    layer = dsl.compile("mixed(x, y; beta = 1) = softplus(beta * x) * y", beta=2.0)
    x, y = normal((2, 3), torch.float32, 0), normal((3,), torch.float32, 1)
    close(layer(x, y), functional.softplus(2 * x) * y, 1e-6)
    with pytest.raises(TypeError, match="inplace"):
        dsl.compile("mixed(x, y) = x * y", inplace=True)


def test_what_is_refused(acts: ModuleType) -> None:
    x = torch.ones(2, 3)
    with pytest.raises(TypeError, match=r"swiglu\(\): arguments must be Tensors, not float"):
        acts.swiglu(x, 2.0)
    with pytest.raises(NotImplementedError, match="\"swiglu\" not implemented for 'Long'"):
        acts.swiglu(x, torch.ones(3, dtype=torch.int64))
    with pytest.raises(NotImplementedError, match=r"in layout torch\.sparse_coo"):
        acts.swiglu(x, x.to_sparse())
    with pytest.raises(RuntimeError, match=r"[Ss]hape|size"):
        acts.swiglu(x, torch.ones(2))
    with pytest.raises(RuntimeError, match="swiglu: expected all tensors on one device, found cpu and meta"):
        acts.swiglu(x, x.to("meta"))
    with pytest.raises(RuntimeError, match="differ in shape or type"):
        operator(acts, "swiglu").value(x, torch.ones(3))
    with pytest.raises(RuntimeError, match="differ in shape or type"):
        operator(acts, "swiglu").slopes(torch.ones(3), x, x, [True, True])


@compiled
def test_distributed_tensors(acts: ModuleType) -> None:
    """Shards stay shards; the gradient of what is on every device and was broadcast is a partial sum."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    try:
        mesh = init_device_mesh("cpu", (2,))
        gate, up, bias = (normal(shape, torch.float32, i) for i, shape in enumerate([(4, 6), (4, 6), (6,)]))
        for placement in (Shard(0), Replicate()):
            x = DTensor.from_local(gate, mesh, [placement]).requires_grad_()
            for other, like, partial in ((up, placement, placement), (bias, Replicate(), Partial())):
                y = DTensor.from_local(other, mesh, [like]).requires_grad_()
                z: Any = acts.swiglu(x, y)
                assert z.placements == (placement,)
                close(z.to_local(), GATES["swiglu"](gate, other), 1e-6)
                found: Any = torch.autograd.grad(z.sum(), (x, y))
                dx, dy = found
                assert dx.placements == (placement,)
                assert dy.placements == (like if placement == Replicate() else partial,)
                local = other.clone().requires_grad_()
                (exact,) = torch.autograd.grad(GATES["swiglu"](gate, local).sum(), local)
                close(dy.to_local(), exact, 1e-5)
            packed = acts.swiglu(x, dim=1)
            assert packed.placements == (placement,)
            close(packed.to_local(), GATES["swiglu"](*gate.chunk(2, 1)), 1e-6)
        halves = (DTensor.from_local(each, mesh, [Partial()]) for each in (gate, up))
        assert acts.swiglu(*halves).placements == (Replicate(),)
    finally:
        dist.destroy_process_group()


def test_warm_up_and_meta(acts: ModuleType) -> None:
    acts.warmup(acts.swiglu, device="cpu")
    acts.warmup(acts.SwiGLUOAI(), device="cpu", dtype=torch.bfloat16)
    shape = acts.swiglu(torch.ones(2, 1, device="meta"), torch.ones(3, device="meta")).shape
    assert shape == (2, 3)


def test_function_modes_see_the_call(acts: ModuleType) -> None:
    seen = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(function)
            return function(*args, **(kwargs or {}))

    with Watch():
        acts.swiglu(torch.ones(2), torch.ones(2))
    assert acts.swiglu in seen
