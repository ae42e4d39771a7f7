"""Activations with learnable parameters: every one of a package by every check, derivatives by parameters
included.

    python -m tests.conformance.learned --package generated --device cpu

In: a generated package and a device. Out: the table, as `python -m tests.conformance` prints it for the
others.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import inspect
import io
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jacfwd, jvp, vmap
from torch.testing import assert_close

from tests.conformance.subject import PLACES, REQUIRED, caught
from tests.conformance.table import each, together

CHANNELS = 3


@dataclass(frozen=True)
class Learner:
    """An activation with learnable parameters, on a device: `learner(*inputs, *parameters)` evaluates it."""

    name: str
    module: ModuleType
    function: Callable[..., Tensor]
    layer: type[nn.Module]
    numbers: dict[str, float]
    device: str

    def __call__(self, *tensors: Tensor) -> Tensor:
        return self.function(*tensors, **self.numbers)

    @property
    def operator(self) -> Any:
        """The operator behind the function."""
        return self.module._operator

    @property
    def inputs(self) -> int:
        """How many inputs it has."""
        return int(self.operator.inputs)

    @property
    def channelled(self) -> bool:
        """Whether a parameter has a value for each channel."""
        return "channel" in self.operator.learned.values()

    def new_layer(self, channels: int = CHANNELS, **options: Any) -> nn.Module:
        """A module of the activation."""
        if self.channelled:
            options["num_parameters"] = channels
        return self.layer(**self.numbers, **{"device": self.device, **options})

    def points(self, dtype: torch.dtype = torch.float64) -> list[Tensor]:
        """Inputs: two rows of three channels, away from kinks."""
        first = torch.tensor(PLACES, dtype=torch.float64, device=self.device)
        rows = (first.roll(i) * (1 - 0.17 * i) for i in range(self.inputs))
        return [row.to(dtype).view(2, CHANNELS) for row in rows]

    def given(self, dtype: torch.dtype = torch.float64) -> list[Tensor]:
        """Inputs and parameters."""
        return [*self.points(dtype), *self.parameters(dtype)]

    def random(self, *shape: int) -> list[Tensor]:
        """Normal inputs of a shape."""
        return [torch.randn(*shape, device=self.device) for _ in range(self.inputs)]

    def parameters(self, dtype: torch.dtype = torch.float64, channels: int = CHANNELS) -> list[Tensor]:
        """The initial values, each a little off, so that none is like another."""
        layer = self.new_layer(channels, dtype=torch.float64)
        return [
            (p.detach() * (1 + 0.1 * torch.arange(p.numel(), device=p.device)) + 0.013 * i).to(dtype)
            for i, p in enumerate(layer.parameters(), 1)
        ]

    def plain(self, *tensors: Tensor) -> Tensor:
        """The formula, differentiated by autograd: what derivatives are compared with, away from kinks."""
        inputs, learned = tensors[: self.inputs], tensors[self.inputs :]
        x, entries = inputs[0], list[Tensor]()
        for extent, p in zip(self.operator.learned.values(), learned, strict=True):
            if extent == "channel":
                entries.append(p.view(-1, *[1] * (x.dim() - 2)) if x.dim() > 1 else p.view(()))
            else:
                entries += p.unbind()
        entries = [entry.expand(x.shape) for entry in entries]
        result: Tensor = self.operator._formula(*inputs, *entries, *self.numbers.values())
        return result


def load_learners(package: str | ModuleType, device: str, only: Iterable[str] = ()) -> list[Learner]:
    """The activations of a package with learnable parameters; those that `only` names, if any."""
    package = importlib.import_module(package) if isinstance(package, str) else package
    found = []
    for name in sorted(set(package._MODULES.values())):
        module = importlib.import_module(f"{package.__name__}.{name}")
        operator: Any = getattr(module, "_operator", None)
        if hasattr(operator, "learned") and (not only or name in only):
            signature = inspect.signature(getattr(module, name)).parameters
            numbers = {
                p.name: REQUIRED if p.default is p.empty else p.default
                for p in list(signature.values())[operator.inputs + len(operator.learned) :]
                if p.kind is not p.KEYWORD_ONLY
            }
            (layer,) = {v for n in module.__all__ if isinstance(v := getattr(module, n), type)}
            found.append(Learner(name, module, getattr(module, name), layer, numbers, device))
    return found


def gradcheck(s: Learner) -> None:
    """In reverse and forward mode, batched too, by the input and every parameter."""
    given = [t.requires_grad_() for t in s.given()]
    torch.autograd.gradcheck(
        s, given, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )


def gradgradcheck(s: Learner) -> None:
    given = [t.requires_grad_() for t in s.given()]
    torch.autograd.gradgradcheck(s, given, check_fwd_over_rev=True, check_rev_over_rev=True)


def third(s: Learner) -> None:
    """A third derivative is refused, by name."""
    given = [t.requires_grad_() for t in s.given()]
    first = torch.autograd.grad(s(*given).sum(), given, create_graph=True)
    total = sum((t.square().sum() for t in first), torch.zeros((), device=s.device))
    second = torch.autograd.grad(total, given, create_graph=True)
    error = caught(lambda: torch.autograd.grad(sum(t.sum() for t in second), given))  # type: ignore[arg-type]
    assert type(error) is NotImplementedError, error
    assert str(error) == f"{s.name}: derivatives beyond the second are not implemented", error


def _squared(f: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *given: f(*given).square().sum()


def func(s: Learner) -> None:
    """torch.func's transforms, by everything at once."""
    given = tuple(s.given())
    places = tuple(range(len(given)))
    tangents = tuple(torch.ones_like(t) for t in given)
    assert_close(grad(_squared(s), places)(*given), grad(_squared(s.plain), places)(*given))
    assert_close(jacfwd(s, places)(*given), jacfwd(s.plain, places)(*given))
    assert_close(jvp(s, given, tangents)[1], jvp(s.plain, given, tangents)[1])
    assert_close(hessian(_squared(s), places)(*given), hessian(_squared(s.plain), places)(*given))


def batched(s: Learner) -> None:
    """vmap over the inputs, over parameters (an ensemble), and over gradients (one for each sample)."""
    inputs, learned = s.points(), s.parameters()
    rows, whole = (0,) * len(inputs), (None,) * len(inputs)
    shared = [
        p[:1] if extent == "channel" else p
        for extent, p in zip(s.operator.learned.values(), learned, strict=True)
    ]
    nothing = (None,) * len(learned)
    assert_close(vmap(s, (*rows, *nothing))(*inputs, *shared), s.plain(*inputs, *shared))
    both = [torch.stack([p, 1.1 * p]) for p in learned]
    expected = torch.stack([s.plain(*inputs, *learned), s.plain(*inputs, *(1.1 * p for p in learned))])
    assert_close(vmap(s, (*whole, *(0 for _ in learned)))(*inputs, *both), expected)

    def loss(f: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, ...]]:
        return grad(lambda p, *row: f(*(each[None] for each in row), *p).square().sum())

    ours, right = (vmap(loss(f), (None, *rows))(tuple(learned), *inputs) for f in (s, s.plain))
    assert_close(ours, right)


def opcheck(s: Learner) -> None:
    """PyTorch's own checks of a registered operator, with tensors that require a gradient or not."""
    numbers = tuple(s.numbers.values())
    for requires_grad in (False, True):
        inputs = [x[:, ::2].requires_grad_(requires_grad) for x in s.random(4, 6, CHANNELS)]
        learned = [p.requires_grad_(requires_grad) for p in s.parameters(torch.float32)]
        torch.library.opcheck(s.operator.value, (*inputs, *learned, *numbers, -1))
        wanted = [bool(place % 2) for place in range(len(inputs) + len(learned))]
        for flags in (wanted, [True] * len(wanted)):
            outer = torch.randn(4, 3, CHANNELS, device=s.device)
            arguments = (outer, *inputs, *learned, *numbers, -1, flags)
            torch.library.opcheck(s.operator.slopes, arguments)


def fake(s: Learner) -> None:
    """Fake and meta tensors, and a module that is made on meta, moved and then given its initial values."""
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        layer = s.new_layer()
        layer(*s.points(torch.float32)).sum().backward()
        assert all(p.grad is not None and p.grad.shape == p.shape for p in layer.parameters())
    layer = s.new_layer(device="meta")
    empty = [torch.empty(2, CHANNELS, device="meta", requires_grad=True) for _ in range(s.inputs)]
    layer(*empty).sum().backward()
    layer.to_empty(device=s.device)
    layer.reset_parameters()  # type: ignore[operator]
    assert_close(layer.state_dict(), s.new_layer().state_dict())


def dtypes(s: Learner) -> None:
    """Results in the input's type, gradients in each tensor's own; 16 bits are computed in float32."""
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        for kept in {dtype, torch.float32}:
            given = [*s.points(dtype), *s.parameters(kept)]
            y = s(*(t.requires_grad_() for t in given))
            found = torch.autograd.grad(y.sum(), given)
            inputs = [dtype] * s.inputs
            assert [t.dtype for t in (y, *found)] == [dtype, *inputs, *(kept for _ in found[s.inputs :])]
            compute = torch.float64 if dtype is torch.float64 else torch.float32
            wide = [t.detach().to(compute).requires_grad_() for t in given]
            exact = s(*wide)
            assert_close(y.detach(), exact.detach().to(dtype))
            for ours, right, like in zip(found, torch.autograd.grad(exact.sum(), wide), given, strict=True):
                assert_close(ours, right.to(like.dtype))


def refusals(s: Learner) -> None:
    """What is no tensor, of another type, of another shape or on another device."""
    inputs, learned = s.points(), s.parameters()
    x, *others = inputs
    assert type(caught(s, 1.0, *others, *learned)) is TypeError
    assert type(caught(s, *inputs, *(0.5 for _ in learned))) is TypeError
    for given in (
        (x.long(), *others, *learned),
        (*inputs, *(p.long() for p in learned)),
        (x.to_sparse(), *others, *learned),
    ):
        error = caught(s, *given)
        assert type(error) is NotImplementedError, error
        assert f'"{s.name}" not implemented for' in str(error)
    error = caught(s, *inputs, *(torch.cat([p, p]) for p in learned))
    assert type(error) is RuntimeError, error
    assert f"{s.name}: '" in str(error)
    assert type(caught(s, *inputs, *(p.to("meta") for p in learned))) is RuntimeError
    if others:
        *rest, last = inputs
        assert type(caught(s, *rest, last[:, :2], *learned)) is RuntimeError
        assert type(caught(s, *rest, last.to("meta"), *learned)) is RuntimeError


def deterministic(s: Learner) -> None:
    """The same bits at every run, whatever is asked for beside."""
    given = [t.requires_grad_() for t in (*s.random(64, CHANNELS, 50), *s.parameters(torch.float32))]
    first = torch.autograd.grad(s(*given).square().sum(), given)
    again = torch.autograd.grad(s(*given).square().sum(), given)
    alone = torch.autograd.grad(s(*given).square().sum(), given[s.inputs :])
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first[s.inputs :], alone, strict=True))


def saved(s: Learner) -> None:
    """The inputs and the parameters are saved as they are, and nothing else."""
    kept: list[Tensor] = []
    given = [t.requires_grad_() for t in s.given()]
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):  # type: ignore[func-returns-value]
        s(*given).sum()
    assert [t.data_ptr() for t in kept] == [t.data_ptr() for t in given]


def subclasses(s: Learner) -> None:
    class Mine(Tensor):
        pass

    (*others, x), learned = s.points(), s.parameters()
    assert type(s(*others, x.as_subclass(Mine), *learned)) is Mine
    assert type(s(*others, x, *map(nn.Parameter, learned))) is Tensor
    negative = torch.complex(x, x).conj().imag  # a view with the negative bit set
    assert_close(s(*others, negative, *learned), s(*others, -x, *learned))
    with torch.autocast(s.device, torch.bfloat16):
        assert s(*s.points(torch.bfloat16), *learned).dtype is torch.bfloat16


def modules(s: Learner) -> None:
    """State, copies, pickles, types, and a functional call with another state."""
    layer, inputs = s.new_layer(), s.points(torch.float32)
    assert list(layer.state_dict()) == list(s.operator.learned)
    assert all(isinstance(p, nn.Parameter) and p.dim() == 1 and p.requires_grad for p in layer.parameters())
    other = s.new_layer()
    for p in other.parameters():
        nn.init.constant_(p, 0.75)
    other.load_state_dict(layer.state_dict())
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    for copied in (other, copy.deepcopy(layer), torch.load(buffer, weights_only=False)):
        assert_close(copied(*inputs), layer(*inputs), rtol=0, atol=0)
        assert repr(copied) == repr(layer)
    assert layer.double()(*s.points()).dtype is torch.float64
    doubled = {name: 2 * p for name, p in other.state_dict().items()}
    assert_close(functional_call(other, doubled, tuple(inputs)), s(*inputs, *doubled.values()))


def dtensor(s: Learner) -> None:
    """Sharded and replicated inputs; gradients of whole parameters are partial sums."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        mesh = init_device_mesh(torch.device(s.device).type, (2,))
        local, learned = s.random(4, 6), s.parameters(torch.float32, 6)
        for placement in (Shard(0), Shard(1), Replicate(), Partial()):
            # Without a source nothing is sent: the fake process group before torch 2.13 delivers nothing.
            whole = [
                distribute_tensor(p, mesh, [Replicate()], src_data_rank=None).requires_grad_()
                for p in learned
            ]
            inputs: list[Any] = [
                (
                    DTensor.from_local(part, mesh, [placement])
                    if placement == Partial()
                    else distribute_tensor(part, mesh, [placement], src_data_rank=None)
                ).requires_grad_()
                for part in local
            ]
            y: Any = s(*inputs, *whole)
            kept = Replicate() if placement == Partial() else placement
            assert y.placements == (kept,)
            slopes = torch.autograd.grad(y.sum(), [*inputs, *whole])
            assert all(dx.shape == x.shape for dx, x in zip(slopes, inputs, strict=False))
            found: list[Any] = [*slopes[s.inputs :]]
            for p, extent in zip(found, s.operator.learned.values(), strict=True):
                by_channel = Shard(0) if extent == "channel" else Partial()
                wanted = (
                    {0: Partial(), 1: by_channel}[placement.dim]
                    if isinstance(placement, Shard)
                    else Replicate()
                )
                assert p.placements == (wanted,), (placement, p.placements)
            if placement == Shard(0):
                assert_close(y.to_local(), s(*(part[:2] for part in local), *learned))
        assert type(caught(s, *inputs, *learned)) is RuntimeError
    finally:
        dist.destroy_process_group()


class All(nn.Module):
    """Every activation, of the same tensor, several inputs of shifts of it."""

    def __init__(self, subjects: Sequence[Learner]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(s.new_layer() for s in subjects)
        self.counts = [s.inputs for s in subjects]

    def forward(self, x: Tensor) -> Tensor:
        """Their sum."""
        total = torch.zeros_like(x)
        for layer, count in zip(self.layers, self.counts, strict=True):
            total = total + layer(*(x + 0.25 * i for i in range(count)))
        return total


def _compiled(subjects: Sequence[Learner], backend: str) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model = All(subjects)
    run = torch.compile(model, fullgraph=True, dynamic=True, backend=backend)
    for rows in (24, 17, 40):
        x = torch.randn(rows, CHANNELS, device=subjects[0].device, requires_grad=True)
        given = [x, *model.parameters()]
        assert_close(run(x), model(x))
        ours = torch.autograd.grad(run(x).square().sum(), given)
        assert_close(ours, torch.autograd.grad(model(x).square().sum(), given), rtol=1e-4, atol=1e-4)
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert graphs == 1, f"{graphs} graphs"


def compiled(subjects: Sequence[Learner]) -> None:
    """One graph for all sizes; in the other mode, with our operators in it."""
    _compiled(subjects, "inductor")
    package = importlib.import_module(subjects[0].module.__name__.rpartition(".")[0])
    package.set_compile_mode("kernel")
    try:
        _compiled(subjects, "aot_eager")
    finally:
        package.set_compile_mode("fuse")


def compiled_transforms(subjects: Sequence[Learner]) -> None:
    """torch.func inside a compiled function."""
    for s in subjects:
        given = tuple(s.given())
        places = tuple(range(len(given)))
        torch._dynamo.reset()
        run = torch.compile(
            lambda *t, s=s, p=places: grad(_squared(s), p)(*t), fullgraph=True, backend="aot_eager"
        )
        assert_close(run(*given), grad(_squared(s.plain), places)(*given))


def exported(subjects: Sequence[Learner]) -> None:
    """A program with a dynamic dimension, of PyTorch's own operators alone."""
    model, x = All(subjects), torch.randn(8, CHANNELS, device=subjects[0].device)
    rows = torch.export.Dim("rows", min=2, max=4096)
    torch._dynamo.reset()
    with torch.no_grad():
        program = torch.export.export(model, (x,), dynamic_shapes=({0: rows},))
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    foreign = [t for t in targets if not t.startswith(("aten.", "_operator.", "<built-in function"))]
    assert not foreign, foreign
    other = torch.randn(17, CHANNELS, device=subjects[0].device)
    assert_close(program.module()(other), model(other))


CHECKS = {
    "gradcheck": gradcheck,
    "gradgradcheck": gradgradcheck,
    "third derivative refused": third,
    "torch.func": func,
    "vmap": batched,
    "opcheck": opcheck,
    "fake and meta tensors": fake,
    "dtypes": dtypes,
    "refusals": refusals,
    "same bits": deterministic,
    "saved tensors": saved,
    "subclasses": subclasses,
    "modules": modules,
    "DTensor": dtensor,
}

TOGETHER = {"compile": compiled, "compile: torch.func": compiled_transforms, "export": exported}
"""Checks of all at once."""


def run(check: str, subjects: Sequence[Learner]) -> dict[str, str | None]:
    """By name, what is wrong or None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if check in CHECKS:
            return each(CHECKS[check])(subjects)  # type: ignore[arg-type]

        def whole(some: Any) -> dict[str, str | None]:
            TOGETHER[check](some)
            return {s.name: None for s in some}

        return together(whole)(subjects)  # type: ignore[arg-type]


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for, and print the table."""
    from tests.conformance.__main__ import shown

    parser = argparse.ArgumentParser(prog="python -m tests.conformance.learned", description=__doc__)
    parser.add_argument("--package", default="generated")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="", metavar="NAME,...", help="these activations alone")
    chosen = parser.parse_args(arguments)
    subjects = load_learners(chosen.package, chosen.device, [n for n in chosen.only.split(",") if n])
    found = {check: run(check, subjects) for check in (*CHECKS, *TOGETHER)}
    print(shown([s.name for s in subjects], found))
    return any(text for row in found.values() for text in row.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
