"""Learnable parameters in PyTorch: the shipped activations that have some, against the same in plain torch.

The kernels run in Triton's interpreter, in a process of its own that one of the tests starts: there the tests
of values, gradients and layouts compare the kernels.
"""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.testing._internal.common_methods_invocations import op_db

import dsl
from dsl.build import build
from dsl.names import MODULE_ATTRIBUTES
from dsl.resolve import activations
from dsl.show import show_activation
from tests.conformance.__main__ import shown
from tests.conformance.learned import CHECKS, TOGETHER, load_learners, run

ROOT = Path(__file__).resolve().parents[1]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

compiled = pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")

Plain = Callable[..., Tensor]


def _srelu(x: Tensor, t_r: Tensor, a_r: Tensor, t_l: Tensor, a_l: Tensor) -> Tensor:
    inner = torch.where(x > t_l, x, t_l + a_l * (x - t_l))
    return torch.where(x >= t_r, t_r + a_r * (x - t_r), inner)


def _xielu(x: Tensor, alpha_p: Tensor, alpha_n: Tensor) -> Tensor:
    p, n = functional.softplus(alpha_p), 0.5 + functional.softplus(alpha_n)
    return torch.where(x > 0, p * x * x + 0.5 * x, (torch.expm1(x.clamp(max=0)) - x) * n + 0.5 * x)


def _pau(x: Tensor, *entries: Tensor) -> Tensor:
    top = sum(c * x**k for k, c in enumerate(entries[:6]))
    below = sum(c * x**k for k, c in enumerate(entries[6:], 1))
    return top / (1 + below.abs())  # type: ignore[union-attr]


PLAIN: dict[str, Plain] = {
    "prelu": lambda x, w: torch.where(x > 0, x, w * x),
    "swish_beta": lambda x, b: x * torch.sigmoid(b * x),
    "acon_c": lambda x, p, q, b: (p - q) * x * torch.sigmoid(b * (p - q) * x) + q * x,
    "aptx": lambda x, a, b, c: (a + torch.tanh(b * x)) * c * x,
    "pelu": lambda x, a, b: torch.where(x >= 0, a / b * x, a * torch.expm1(x.clamp(max=0) / b)),
    "mpelu": lambda x, a, b: torch.where(x > 0, x, a * torch.expm1(b * x.clamp(max=0))),
    "srelu": _srelu,
    "xielu": _xielu,
    "snake_channel": lambda x, a: x + torch.sin(a * x) ** 2 / a,
    "snake_beta": lambda x, a, b: x + torch.sin(x * torch.exp(a)) ** 2 / (torch.exp(b) + 1e-9),
    "dyt": lambda x, a, w, b: w * torch.tanh(a * x) + b,
    "starrelu": lambda x, s, b: s * functional.relu(x) ** 2 + b,
    "tent": lambda x, d: functional.relu(d - x.abs()),
    "pau": _pau,
}
"""Each activation of the input and the entries of its parameters, which broadcast."""

TOLERANCE = {torch.float16: 4e-3, torch.bfloat16: 3e-2, torch.float32: 2e-5, torch.float64: 1e-11}


BUILT = "DSLGEN_TEST_LEARNED"
"""Names the folder where the package is built already, for the process that runs the kernels."""


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = Path(os.environ.get(BUILT) or tmp_path_factory.mktemp("learned"))
    build([ROOT / "specs" / "learnable.act"], folder / "learning")
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("learning")
    finally:
        sys.path.remove(str(folder))


def operator(acts: ModuleType, name: str) -> Any:
    return importlib.import_module(f"{acts.__name__}.{name}")._operator


def layer(acts: ModuleType, name: str) -> type[torch.nn.Module]:
    module = importlib.import_module(f"{acts.__name__}.{name}")
    (found,) = (v for n in module.__all__ if isinstance(v := getattr(module, n), type))
    return found


def normal(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


def parameters(acts: ModuleType, name: str, channels: int, dtype: torch.dtype) -> list[Tensor]:
    """The initial values, each a little off."""
    made = layer(acts, name)
    count = {"num_parameters": channels} if "channel" in operator(acts, name).learned.values() else {}
    return [
        (p.detach().double() * (1 + 0.1 * torch.arange(p.numel())) + 0.01 * i).to(dtype)
        for i, p in enumerate(made(**count).parameters(), 1)
    ]


def plain(acts: ModuleType, name: str, x: Tensor, learned: list[Tensor], dim: int = 1) -> Tensor:
    entries: list[Tensor] = []
    for extent, p in zip(operator(acts, name).learned.values(), learned, strict=True):
        if extent == "channel" and p.numel() > 1:
            shape = [1] * x.dim()
            shape[dim] = -1
            entries.append(p.view(shape))
        elif extent == "channel":
            entries.append(p.reshape(()))
        else:
            entries += p.unbind()
    return PLAIN[name](x, *entries)


def check(
    acts: ModuleType,
    name: str,
    x: Tensor,
    learned: list[Tensor],
    dim: int = 1,
    wanted: list[bool] | None = None,
    outer: Tensor | None = None,
) -> None:
    """Value and gradients, types and shapes, against plain torch in float64."""
    wanted = wanted or [True] * (1 + len(learned))
    extra = {"dim": dim} if "channel" in operator(acts, name).learned.values() else {}
    ours = [t.detach().requires_grad_(w) for t, w in zip((x, *learned), wanted, strict=True)]
    theirs = [
        t.detach().double().clone().requires_grad_(w) for t, w in zip((x, *learned), wanted, strict=True)
    ]
    y = getattr(acts, name)(*ours, **extra)
    expected = plain(acts, name, theirs[0], theirs[1:], dim)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert y.requires_grad == any(wanted)
    tolerance = TOLERANCE[x.dtype]
    close(y, expected, tolerance)
    if not any(wanted):
        return
    outer = normal(tuple(y.shape), y.dtype, 3) if outer is None else outer
    found = torch.autograd.grad(y, [t for t in ours if t.requires_grad], outer)
    exact = torch.autograd.grad(expected, [t for t in theirs if t.requires_grad], outer.double())
    for t, dt, right in zip((t for t in ours if t.requires_grad), found, exact, strict=True):
        assert (dt.shape, dt.dtype) == (t.shape, t.dtype)
        scale = max(1.0, float(right.abs().max())) if right.numel() else 1.0
        close(dt / scale, right / scale, 4 * max(tolerance, TOLERANCE[t.dtype]))


def close(got: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(got.double(), expected.double(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", PLAIN)
def test_values_and_gradients(name: str, acts: ModuleType) -> None:
    for dtype in TOLERANCE:
        x = normal((4, 3, 5), dtype, 1)
        check(acts, name, x, parameters(acts, name, 3, torch.float32 if dtype.itemsize == 2 else dtype))


def layouts() -> Iterator[tuple[Tensor, int]]:
    yield normal((2, 5, 6, 7), torch.float32, 1), 5
    yield normal((2, 5, 6, 7), torch.float32, 1).to(memory_format=torch.channels_last), 5
    yield normal((2, 3, 20, 20), torch.float32, 2), 3
    yield normal((3, 2, 1500), torch.float32, 2), 2
    yield normal((700, 5), torch.float32, 3), 5
    yield normal((5, 700), torch.float32, 3).t(), 5
    yield normal((8, 10), torch.float32, 4)[::2, 1::2], 5
    yield normal((4, 1), torch.float32, 4).expand(4, 5), 5
    yield normal((4, 5), torch.float32, 4), 1
    yield normal((3000,), torch.float32, 5), 1
    yield normal((), torch.float32, 5), 1
    yield normal((0, 5), torch.float32, 5), 5
    yield normal((2, 5, 0), torch.float32, 5), 5
    yield normal((2, 3, 5), torch.float32, 6).permute(0, 2, 1), 5
    yield normal((5, 1, 9), torch.float32, 6), 1


@pytest.mark.parametrize("name", ["prelu", "dyt"])
def test_layouts(name: str, acts: ModuleType) -> None:
    for x, channels in layouts():
        learned = parameters(acts, name, channels, torch.float32)
        check(acts, name, x, learned)
        check(acts, name, x, learned, outer=torch.ones(()).expand(x.shape))


@pytest.mark.parametrize("wanted", [(False, True, False), (True, False, False), (False, False, False)])
def test_only_what_is_wanted(wanted: tuple[bool, ...], acts: ModuleType) -> None:
    check(
        acts,
        "xielu",
        normal((7, 3), torch.float32, 1),
        parameters(acts, "xielu", 1, torch.float32),
        1,
        [*wanted],
    )


def test_channels_along_another_dimension(acts: ModuleType) -> None:
    x = normal((3, 4, 5), torch.float32, 1)
    for dim, channels in ((-1, 5), (0, 3), (2, 5)):
        check(acts, "dyt", x, parameters(acts, "dyt", channels, torch.float32), dim)
    mixed = [torch.ones(1), torch.full((1,), 2.0), torch.linspace(-1, 1, 4)]
    check(acts, "dyt", x, mixed)


def test_more_tiles_than_programs(acts: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that does several tiles, down and along rows, gives the same sums."""
    own = importlib.import_module(f"{acts.__name__}._learned")
    monkeypatch.setattr(own, "_PROGRAMS", 2)
    own._plan.cache_clear()
    for shape in ((900, 6), (2, 2, 60, 60), (9000,)):
        channels = shape[1] if len(shape) > 1 else 1
        check(
            acts, "prelu", normal(shape, torch.float32, 2), parameters(acts, "prelu", channels, torch.float32)
        )
    own._plan.cache_clear()


def test_in_the_interpreter(acts: ModuleType) -> None:
    if INTERPRETED:
        pytest.skip("this is the process that it starts")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    command += ["-k", "values or (layouts and prelu) or wanted or tiles or dimension", __file__]
    folder = Path(str(acts.__file__)).parents[1]
    environment = {**os.environ, "TRITON_INTERPRET": "1", BUILT: str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


# -- PyTorch -----------------------------------------------------------------------------------------------

FEW = {"opcheck": ["dyt"], "compile": ["dyt"], "compile: torch.func": ["xielu"]}
"""What takes long is done for one here, and for all by `python -m tests.conformance.learned`."""


@compiled
@pytest.mark.parametrize("check", [*CHECKS, *TOGETHER])
def test_table(check: str, acts: ModuleType) -> None:
    """A row of the table that `python -m tests.conformance.learned` prints."""
    subjects = load_learners(acts, "cpu", FEW.get(check, ()))
    assert [s.name for s in subjects] == (FEW.get(check) or sorted(PLAIN))
    found = run(check, subjects)
    assert not any(found.values()), shown([s.name for s in subjects], {check: found})


@compiled
def test_the_table_finds_mistakes(acts: ModuleType) -> None:
    (aptx,) = load_learners(acts, "cpu", ["aptx"])

    def mistaken(x: Tensor, alpha: Tensor, *rest: Tensor) -> Tensor:
        y: Tensor = aptx.function(x, alpha.detach(), *rest)
        return y

    wrong = replace(aptx, function=mistaken)
    assert all(run(check, [wrong])["aptx"] for check in ("gradcheck", "torch.func"))


@compiled
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_prelu_is_pytorch_s(dtype: torch.dtype, acts: ModuleType) -> None:
    """PyTorch's own samples: value, both gradients, and the module."""
    (info,) = (op for op in op_db if op.name == "nn.functional.prelu")
    tried = 0
    samples: Any = info
    for sample in [*samples.sample_inputs("cpu", dtype), *samples.reference_inputs("cpu", dtype)]:
        if sample.input.numel() > 10_000:
            continue
        tried += 1
        tensors = (sample.input, *sample.args, *sample.kwargs.values())
        given, theirs = ([t.detach().clone().requires_grad_() for t in tensors] for _ in "ab")
        y, expected = acts.prelu(*given), functional.prelu(*theirs)
        torch.testing.assert_close(y, expected, equal_nan=True)
        outer = torch.linspace(-1, 1, y.numel()).to(dtype).view(y.shape)
        for ours, right in zip(
            torch.autograd.grad(y, given, outer), torch.autograd.grad(expected, theirs, outer), strict=True
        ):
            known = ~ours.isnan()  # at NaN, PyTorch's gradient by the input is a number
            torch.testing.assert_close(ours[known], right[known], **(LOOSE if dtype.itemsize == 2 else {}))
    assert tried > 20
    state = torch.nn.PReLU(3).state_dict()
    layer = acts.PReLU(3)
    assert {k: v.tolist() for k, v in layer.state_dict().items()} == {k: v.tolist() for k, v in state.items()}


LOOSE: dict[str, Any] = {"rtol": 0.02, "atol": 0.05}
"""PyTorch sums what it has rounded to 16 bits."""


def test_initial_values(acts: ModuleType) -> None:
    layer = acts.PELU(a=2.0, b=0.5, dtype=torch.float64)
    assert [(name, p.tolist(), p.dtype) for name, p in layer.named_parameters()] == [
        ("a", [2.0], torch.float64),
        ("b", [0.5], torch.float64),
    ]
    assert acts.PAU(b=(1, 2, 3, 4)).b.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert acts.DyT(4, 0.25, dim=-1).state_dict()["alpha"].tolist() == [0.25]
    with pytest.raises(ValueError, match="pelu: b must satisfy b > 0, got -1"):
        acts.PELU(b=-1.0)
    with pytest.raises(ValueError, match="4 initial values are needed, or one for all, got 2"):
        acts.PAU(b=(1, 2))
    layer = acts.PReLU(2, 0.5)
    torch.nn.init.zeros_(layer.weight)
    layer.reset_parameters()
    assert layer.weight.tolist() == [0.5, 0.5]
    assert repr(layer) == "PReLU(num_parameters=2, dim=1)"


def test_it_learns(acts: ModuleType) -> None:
    """A slope that was hidden in data is found by gradient descent."""
    x = normal((512,), torch.float32, 4)
    target = functional.silu(2.5 * x) / 2.5
    layer = acts.SwishBeta()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        torch.autograd.backward(functional.mse_loss(layer(x), target))
        optimizer.step()
    assert abs(layer.beta.item() - 2.5) < 0.01


def test_ends_are_right_for_parameters_of_any_sign(acts: ModuleType) -> None:
    ends = torch.tensor([-torch.inf, -5000.0, -0.0, 5000.0, torch.inf, torch.nan])
    inf, nan = torch.inf, torch.nan
    for beta, expected in (
        (2.0, [0.0, 0.0, 0.0, 5000.0, inf, nan]),
        (-2.0, [-inf, -5000.0, 0.0, 0.0, 0.0, nan]),
        (1e-3, [0.0, -5000 * 0.0066928509, 0.0, 5000 * 0.99330715, inf, nan]),
    ):
        got = acts.swish_beta(ends, torch.tensor([beta]))
        torch.testing.assert_close(got, torch.tensor(expected), equal_nan=True, rtol=1e-5, atol=0)
    learned = [torch.tensor([v], requires_grad=True) for v in (1.0, 1.0, 0.5)]
    got = acts.aptx(ends[:5], *learned)
    torch.testing.assert_close(got.detach(), torch.tensor([0.0, 0.0, 0.0, 5000.0, inf]), rtol=0, atol=0)
    by_alpha, by_beta, by_gamma = torch.autograd.grad(acts.aptx(ends[:4], *learned).sum(), learned)
    assert (by_alpha.item(), by_beta.item(), by_gamma.item()) == (-inf, 0.0, 10000.0)


def test_calls_of_activations_with_learnable_parameters() -> None:
    """A parameter that a call does not give is fixed at its initial value; vectors always are."""
    text = """
    swish(x; learn beta = 2.0) = x * sigmoid(beta * x)
    poly(x; learn a[3] = (1, 2, 3)) = sum(k in 0..2: a[k] * x**k) + prod(k in 1..2: x + k)
    both(x; learn b = 1.0) = swish(x) + swish(x, 3) + swish(x, beta = b) + poly(x)
    """
    layer = dsl.compile(text, name="both", b=0.5)
    x = normal((20,), torch.float64, 1)

    def swish(beta: float) -> Tensor:
        return x * torch.sigmoid(beta * x)

    poly = 1 + 2 * x + 3 * x**2 + (x + 1) * (x + 2)
    close(layer(x), swish(2) + swish(3) + swish(0.5) + poly, 1e-12)
    assert [name for name, _ in layer.named_parameters()] == ["b"]
    assert pickle.loads(pickle.dumps(layer)).b.item() == 0.5


def test_the_language_prints_what_it_reads() -> None:
    (found,) = activations(
        "f(x; c, learn a[2] = (1, 1/3), learn w[channel], d = 2) = (a[0] + w) * x + a[1] * c * d"
    )
    text = show_activation(found)
    assert text.startswith("f(x; learn a[2] = (1, 1/3), learn w[channel], c, d = 2) = ")
    (again,) = activations(text)
    assert (again.body, again.learned, again.parameters) == (found.body, found.learned, found.parameters)


def test_module_attributes_are_those_of_pytorch_s() -> None:
    own = {name for name in dir(torch.nn.Module()) if not name.startswith("_")}
    assert own <= MODULE_ATTRIBUTES
