"""Derivatives of generated activations: reverse, forward, twice, batched, under transforms and compilers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from functorch.compile import make_boxed_func
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch.nn import functional

from tests import handmade

Function = Callable[[Tensor], Tensor]
EXTREMES = [-1e4, -300.0, -95.0, -0.5, 0.0, 1e-30, 0.5, 95.0, 1e4, float("inf"), -float("inf")]


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return handmade.import_package(tmp_path_factory.mktemp("autograd"))


@pytest.fixture(scope="module", params=["silu", "snake", "elu"])
def pair(request: pytest.FixtureRequest, acts: ModuleType) -> tuple[Function, Function]:
    """A generated activation, and the same function in operations that PyTorch differentiates."""
    pairs: dict[str, tuple[Function, Function]] = {
        "silu": (acts.silu, functional.silu),
        "snake": (lambda x: acts.snake(x, 0.7), lambda x: x + torch.sin(0.7 * x) ** 2 / 0.7),
        "elu": (lambda x: acts.elu(x, 0.6), lambda x: functional.elu(x, 0.6)),
    }
    chosen: tuple[Function, Function] = pairs[request.param]
    return chosen


@pytest.fixture
def x() -> Tensor:
    return torch.tensor([-2.1, -0.7, -0.1, 0.3, 1.1, 2.6], dtype=torch.float64, requires_grad=True)


def summed(f: Function) -> Function:
    return lambda x: f(x).sum()


def test_gradcheck(pair: tuple[Function, Function], x: Tensor) -> None:
    assert torch.autograd.gradcheck(
        pair[0],
        x,
        check_forward_ad=True,
        check_backward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )


def test_gradgradcheck(pair: tuple[Function, Function], x: Tensor) -> None:
    assert torch.autograd.gradgradcheck(
        pair[0], x, check_fwd_over_rev=True, check_rev_over_rev=True, check_batched_grad=True
    )


TRANSFORMS: dict[str, Callable[[Function], Callable[[Tensor], Any]]] = {
    "grad": lambda f: torch.func.grad(summed(f)),
    "vmap": lambda f: torch.vmap(f),
    "vmap_dim": lambda f: lambda x: torch.vmap(f, in_dims=1, out_dims=1)(x.view(2, 3)),
    "jacrev": lambda f: torch.func.jacrev(f),
    "jacfwd": lambda f: torch.func.jacfwd(f),
    "jvp": lambda f: lambda x: torch.func.jvp(f, (x,), (torch.ones_like(x),)),
    "vmap_grad": lambda f: torch.vmap(torch.func.grad(summed(f))),
    "hessian": lambda f: torch.func.hessian(summed(f)),
    "jacrev_jacrev": lambda f: torch.func.jacrev(torch.func.jacrev(summed(f))),
    "jacfwd_jacfwd": lambda f: torch.func.jacfwd(torch.func.jacfwd(summed(f))),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms(transform: str, pair: tuple[Function, Function], x: Tensor) -> None:
    ours, theirs = (TRANSFORMS[transform](f)(x.detach()) for f in pair)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("transform", ["grad", "vmap", "jacrev", "jvp", "hessian"])
def test_transforms_under_compile(transform: str, acts: ModuleType, x: Tensor) -> None:
    torch._dynamo.reset()
    function = TRANSFORMS[transform](acts.silu)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x.detach()), function(x.detach()))


def test_compiled_gradient_is_the_stable_one(acts: ModuleType) -> None:
    torch._dynamo.reset()
    points = torch.tensor(EXTREMES)
    gradient = torch.func.grad(lambda x: acts.elu(x).sum())
    expected = torch.where(points > 0, 1.0, points.exp())
    torch.testing.assert_close(torch.compile(gradient, fullgraph=True, backend="aot_eager")(points), expected)
    leaf = points.clone().requires_grad_()
    torch.compile(acts.elu, fullgraph=True, backend="aot_eager")(leaf).sum().backward()
    torch.testing.assert_close(leaf.grad, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_compile(dtype: torch.dtype, acts: ModuleType) -> None:
    torch._dynamo.reset()
    model = torch.nn.Sequential(acts.ELU(0.3), acts.SiLU(), acts.Snake(0.7))
    compiled = torch.compile(model, fullgraph=True)
    a = torch.linspace(-5, 5, 64, dtype=dtype, requires_grad=True)
    b = a.detach().clone().requires_grad_()
    ours, theirs = compiled(a), model(b)
    assert ours.dtype == dtype
    tolerance = {torch.bfloat16: 2e-2}.get(dtype)
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    ours.sum().backward()
    theirs.sum().backward()
    torch.testing.assert_close(a.grad, b.grad, rtol=tolerance, atol=tolerance)


def test_a_changing_parameter_does_not_compile_for_ever(acts: ModuleType) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = torch.compile(acts.snake, fullgraph=True, backend="eager")
    x = torch.ones(3)
    for alpha in (0.1, 0.2, 0.3, 0.4, 0.5):
        torch.testing.assert_close(compiled(x, alpha), acts.snake(x, alpha))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2


@pytest.mark.parametrize("strict", [False, True])
def test_export_holds_standard_operators_alone(strict: bool, acts: ModuleType) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), acts.ELU(0.3), acts.SiLU())
    program = torch.export.export(model, (torch.randn(2, 3),), strict=strict)
    x = torch.randn(2, 3)
    torch.testing.assert_close(program.module()(x), model(x))
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert all(target.startswith("aten.") for target in targets), targets


def test_third_derivatives_are_refused(acts: ModuleType) -> None:
    x = torch.tensor(0.5, requires_grad=True)
    (first,) = torch.autograd.grad(acts.silu(x), x, create_graph=True)
    (second,) = torch.autograd.grad(first, x, create_graph=True)
    with pytest.raises(NotImplementedError, match="silu: derivatives beyond the second"):
        torch.autograd.grad(second, x)
    with pytest.raises(NotImplementedError, match="silu: derivatives beyond the second"):
        torch.func.grad(torch.func.grad(torch.func.grad(acts.silu)))(torch.tensor(0.5))


def test_one_tensor_is_saved(acts: ModuleType, x: Tensor) -> None:
    saved: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        acts.elu(x)
    assert len(saved) == 1
    assert saved[0] is x or saved[0].data_ptr() == x.data_ptr()


def test_checkpointing(acts: ModuleType, x: Tensor) -> None:
    from torch.utils.checkpoint import checkpoint

    checkpoint(summed(acts.silu), x, use_reentrant=False).backward()
    (expected,) = torch.autograd.grad(functional.silu(x).sum(), x)
    torch.testing.assert_close(x.grad, expected)


@pytest.mark.parametrize("name", ["silu", "elu"])
def test_opcheck(name: str, acts: ModuleType) -> None:
    import importlib

    operator = importlib.import_module(f"{acts.__name__}.{name}")._operator
    parameters = (0.7,) if name == "elu" else ()
    for x in (torch.randn(3, 4, requires_grad=True), torch.randn(4, 6)[:, ::2], torch.randn(0, 3)):
        torch.library.opcheck(operator.value, (x, *parameters))
        torch.library.opcheck(operator.slope, (torch.randn(x.shape), x, *parameters))


@pytest.fixture
def kernel_mode(acts: ModuleType) -> Iterator[None]:
    acts.set_compile_mode("kernel")
    yield
    acts.set_compile_mode("fuse")


def graph_of(function: Function, x: Tensor) -> set[str]:
    """What the forward graph of a compiled function calls."""
    targets: set[str] = set()

    def keep(graph: torch.fx.GraphModule, _: Any) -> Any:
        targets.update(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return make_boxed_func(graph.forward)

    torch.compile(function, fullgraph=True, backend=aot_autograd(fw_compiler=keep))(x)
    return targets


def test_the_compile_mode_is_chosen_and_left(acts: ModuleType, kernel_mode: None) -> None:
    """A change takes effect on what was compiled before."""
    torch._dynamo.reset()
    x = torch.randn(7)
    silu = f"{acts.__name__}_01234567.silu.default"
    assert acts.get_compile_mode() == "kernel"
    assert graph_of(acts.silu, x) == {silu}
    acts.set_compile_mode("fuse")
    assert silu not in graph_of(acts.silu, x)
    with pytest.raises(ValueError, match="must be 'fuse' or 'kernel', got 'fast'"):
        acts.set_compile_mode("fast")


def test_kernel_mode_gives_the_stable_gradient(acts: ModuleType, kernel_mode: None) -> None:
    torch._dynamo.reset()
    leaf = torch.tensor(EXTREMES, requires_grad=True)
    y = torch.compile(acts.elu, fullgraph=True)(leaf, 1.0)
    torch.testing.assert_close(y, acts.elu(leaf))
    y.sum().backward()
    torch.testing.assert_close(leaf.grad, torch.where(leaf > 0, 1.0, leaf.detach().exp()))


def test_export_in_kernel_mode_holds_no_operator_of_ours(acts: ModuleType, kernel_mode: None) -> None:
    program = torch.export.export(acts.SiLU(), (torch.randn(2, 3),))
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert all(target.startswith("aten.") for target in targets), targets


def test_a_tensor_that_outlived_its_transform(acts: ModuleType) -> None:
    """The short way into autograd does not unwrap such a tensor, as PyTorch's own would."""
    leaked: list[Tensor] = []

    def leak(x: Tensor) -> Tensor:
        leaked.append(x)
        return x.sum()

    x = torch.randn(3)
    torch.func.grad(leak)(x)
    torch.testing.assert_close(acts.silu(leaked[0]), functional.silu(x))


def test_without_the_short_way_into_autograd(acts: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    runtime = importlib.import_module(f"{acts.__name__}._runtime")
    x = torch.randn(5, requires_grad=True)
    short = acts.silu(x)
    monkeypatch.setattr(runtime, "_apply_value", runtime._Value.apply)
    public = acts.silu(x)
    assert torch.equal(short, public)
    assert type(short.grad_fn) is type(public.grad_fn)
    assert torch.equal(torch.autograd.grad(short.sum(), x)[0], torch.autograd.grad(public.sum(), x)[0])


def test_warmup(acts: ModuleType) -> None:
    for activation in (acts.silu, acts.ELU, acts.ELU(0.5)):
        acts.warmup(activation, device="cpu")
    for stranger in (functional.silu, torch.nn.SiLU(), "silu", None):
        with pytest.raises(TypeError, match="no activation of this package"):
            acts.warmup(stranger, device="cpu")
