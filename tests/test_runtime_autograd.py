"""Derivatives of generated activations: reverse, forward, twice, batched, under transforms and compilers."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
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
