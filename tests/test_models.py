"""Models: against the same layers and activations of PyTorch's, by torch and by the kernels.

The interpreter is chosen when Triton decorates a function, so the tests run a second time in a process of its
own, which the first test starts.
"""

from __future__ import annotations

import copy
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import models
from dsl.bench import clock
from dsl.build import build
from dsl.model import LAYERS
from dsl.project import check_text

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="runs in the process that the first test starts")
compiled = pytest.mark.skipif(INTERPRETED, reason="has no kernels to run")

SPEC = """
relu(x) = max(x, 0)
silu(x) = x * sigmoid(x)
mish(x) = x * tanh(softplus(x))
softsign(x) = x / (1 + abs(x))
elu(x; alpha = 1.0) = where(x > 0, x, alpha * (exp(x) - 1))
  require alpha > 0

model conv_mish_bn(in_channels, out_channels, kernel_size, eps = 1e-5, momentum = 0.1) =
    conv2d(in_channels, out_channels, kernel_size) -> mish -> batchnorm2d(out_channels, eps, momentum)

model convolutional(n, alpha = 0.5) = conv2d(3, n, 3, padding = 1, bias = False) -> batchnorm2d(n) -> relu
  -> conv2d(n, n, (3, 2), stride = 2) -> silu -> elu(alpha) -> groupnorm(2, n) -> silu
  -> conv2d(n, n, 1) -> elu(alpha) -> batchnorm2d(n, momentum = None, affine = False) -> relu

model sequences(n) = conv1d(n, n, 3) -> mish -> batchnorm1d(n, track_running_stats = False)

model mlp(n, alpha = 0.5) = linear(n, 2 * n) -> silu -> elu(alpha) -> linear(2 * n, n) -> mish -> layernorm(n)
  -> linear(n, n) -> elu(alpha) -> rmsnorm(n, eps = 1e-6) -> silu -> batchnorm1d(n)

model basic(n) = conv2d(n, n, 3, padding = 1, bias = False) -> batchnorm2d(n) -> relu
  -> conv2d(n, n, 3, padding = 1) -> batchnorm2d(n) -> residual -> relu

model residuals(n, alpha = 0.5) = conv2d(n, n, 3, padding = 1) -> mish -> groupnorm(2, n) -> elu(alpha)
  -> residual -> silu -> elu(2 * alpha) -> conv2d(n, n, 1) -> batchnorm2d(n) -> residual -> residual

model encoder(n, alpha = 0.5) = linear(n, n) -> residual -> silu -> layernorm(n) -> silu -> residual
  -> elu(alpha) -> linear(n, n) -> elu(alpha) -> rmsnorm(n) -> mish -> residual -> linear(n, n) -> silu
  -> residual -> relu -> batchnorm1d(n) -> residual -> mish
"""


def convolutional(m: Any, x: Tensor) -> Tensor:
    x = functional.relu(m.bn1(m.conv1(x)))
    x = functional.silu(m.gn(functional.elu(functional.silu(m.conv2(x)), 0.5)))
    return functional.relu(m.bn2(functional.elu(m.conv3(x), 0.5)))


def mlp(m: Any, x: Tensor) -> Tensor:
    x = functional.elu(functional.silu(m.linear1(x)), 0.5)
    x = m.ln(functional.mish(m.linear2(x)))
    return m.bn(functional.silu(m.rms(functional.elu(m.linear3(x), 0.5))))  # type: ignore[no-any-return]


def basic(m: Any, x: Tensor) -> Tensor:
    """The block that ResNet-18 is made of."""
    y = functional.relu(m.bn1(m.conv1(x)))
    return functional.relu(m.bn2(m.conv2(y)) + x)


def residuals(m: Any, x: Tensor) -> Tensor:
    y = functional.elu(m.gn(functional.mish(m.conv1(x))), 0.5) + x
    return m.bn(m.conv2(functional.elu(functional.silu(y)))) + x + x  # type: ignore[no-any-return]


def encoder(m: Any, x: Tensor) -> Tensor:
    y = functional.elu(functional.silu(m.ln(functional.silu(m.linear1(x) + x))) + x, 0.5)
    y = functional.mish(m.rms(functional.elu(m.linear2(y), 0.5))) + x
    y = functional.silu(m.linear3(y)) + x
    return functional.mish(m.bn(functional.relu(y)) + x)


PLAIN: dict[str, tuple[tuple[Any, ...], tuple[int, ...], Callable[[Any, Tensor], Tensor]]] = {
    "ConvMishBn": ((3, 8, 3), (2, 3, 7, 10), lambda m, x: m.bn(functional.mish(m.conv(x)))),
    "Convolutional": ((4,), (2, 3, 6, 5), convolutional),
    "Sequences": ((5,), (2, 5, 11), lambda m, x: m.bn(functional.mish(m.conv(x)))),
    "Mlp": ((10,), (7, 10), mlp),
    "Basic": ((4,), (2, 4, 6, 5), basic),
    "Residuals": ((4,), (2, 4, 6, 5), residuals),
    "Encoder": ((10,), (7, 10), encoder),
}
"""Every model: its arguments, its input's shape, and what it does as one types it."""

NAMES = pytest.mark.parametrize("name", PLAIN)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("models")
    (folder / "models.act").write_text(SPEC)
    build([folder / "models.act"], folder / "pipelines")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield importlib.import_module("pipelines")


def both(package: Any, name: str, **options: Any) -> tuple[Any, Any, Callable[[Any, Tensor], Tensor]]:
    """A model, a copy of it whose layers are called one by one, and how."""
    arguments, _, plain = PLAIN[name]
    torch.manual_seed(1)
    model = getattr(package, name)(*arguments).to(**options)
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.5, 0.5)
    return model, copy.deepcopy(model), plain


def sample(name: str, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(PLAIN[name][1], dtype=dtype, requires_grad=True)


def compare(model: Any, copied: Any, plain: Callable[[Any, Tensor], Tensor], x: Tensor, **close: Any) -> None:
    """Results, gradients by input and parameters, and running statistics."""
    y, expected = model(x), plain(copied, x)
    torch.testing.assert_close(y, expected, **close)
    assert y.stride() == expected.stride()
    grad = torch.randn_like(expected)
    ours = torch.autograd.grad(y, [x, *model.parameters()], grad)
    theirs = torch.autograd.grad(expected, [x, *copied.parameters()], grad)
    torch.testing.assert_close(ours, theirs, **close)
    states = [list(each.state_dict().values()) for each in (model, copied)]
    torch.testing.assert_close(*states, **close)


@compiled
def test_in_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@NAMES
def test_like_layers_one_by_one(name: str, package: Any) -> None:
    model, copied, plain = both(package, name, dtype=torch.float64)
    compare(model, copied, plain, sample(name))
    plain(copied, x := sample(name))
    model(x)
    compare(model.eval(), copied.eval(), plain, sample(name))


@interpreted
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["ConvMishBn", "Basic"])
def test_convolutions_that_are_faster_channels_last(
    name: str, dtype: torch.dtype, package: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they give is read as it lies, and the result is laid out as PyTorch lays it out."""
    epilogue = importlib.import_module(f"{package.__name__}._epilogue")
    seen = []

    def chosen(x: Tensor, conv: Any) -> bool:
        seen.append(x)
        return True

    monkeypatch.setattr(epilogue, "_is_faster_channels_last", chosen)
    for training in (True, False):
        model, copied, plain = both(package, name, dtype=dtype)
        x = torch.randn(2, PLAIN[name][1][1], 9, 20, dtype=dtype, requires_grad=True)
        close = {"rtol": 1e-4, "atol": 1e-5} if dtype is torch.float32 else {}
        compare(model.train(training), copied.train(training), plain, x, **close)
    assert seen


def test_statistics_where_the_first_tile_is_like_no_other(package: Any) -> None:
    norm = package.ConvMishBn(3, 8, 3).bn
    module = importlib.import_module(f"{package.__name__}.conv_mish_bn")
    values = torch.randn(6, 8, 9, 9)
    values[0] += 2000
    for x in (values, values.to(memory_format=torch.channels_last)):
        exact = functional.batch_norm(functional.mish(values.double()), None, None, training=True)
        torch.testing.assert_close(module._normalised(x, norm).double(), exact, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["ConvMishBn", "Convolutional", "Basic", "Residuals"])
def test_channels_last(name: str, package: Any) -> None:
    model, copied, plain = both(package, name, dtype=torch.float64, memory_format=torch.channels_last)
    x = sample(name).detach().to(memory_format=torch.channels_last).requires_grad_()
    if name in ("Convolutional", "Residuals"):  # where PyTorch's group normalisation decides the strides
        torch.testing.assert_close(model(x), plain(copied, x))
    else:
        compare(model, copied, plain, x)


@pytest.mark.parametrize("name", ["ConvMishBn", "Mlp", "Basic"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_smaller_types(name: str, dtype: torch.dtype, package: Any) -> None:
    model, copied, plain = both(package, name, dtype=dtype)
    tolerance = 2e-4 if dtype is torch.float32 else 0.1
    x = sample(name, dtype)
    y, expected = model(x), plain(copied, x)
    assert y.dtype is expected.dtype
    torch.testing.assert_close(y, expected, rtol=tolerance, atol=tolerance)
    weights = torch.linspace(-1, 2, y.numel(), dtype=torch.float64).view_as(y)
    (y * weights).sum().backward()
    exact = copied.double()
    (plain(exact, x.double()) * weights).sum().backward()
    for ours, theirs in zip(model.parameters(), exact.parameters(), strict=True):
        distance = (ours.grad - theirs.grad).norm() / (theirs.grad.norm() + 1)
        assert distance < 4 * tolerance


@compiled
@NAMES
def test_state_dicts_are_those_of_the_layers(name: str, package: Any) -> None:
    _, copied, plain = both(package, name, dtype=torch.float64)
    fresh = getattr(package, name)(*PLAIN[name][0]).double()
    fresh.load_state_dict(copied.state_dict())
    x = sample(name)
    torch.testing.assert_close(fresh(x), plain(copied, x))


def test_names(package: Any) -> None:
    assert list(package.ConvMishBn(3, 8, 3).state_dict()) == [
        *("conv.weight", "conv.bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"),
        "bn.num_batches_tracked",
    ]
    layers = dict(package.Convolutional(6).named_children())
    assert list(layers) == ["conv1", "bn1", "conv2", "gn", "conv3", "bn2"]
    assert layers["conv2"].kernel_size == (3, 2)


def test_statistics_do_not_cancel(package: Any) -> None:
    norm = package.ConvMishBn(3, 8, 3).bn
    module = importlib.import_module(f"{package.__name__}.conv_mish_bn")
    values = 3000 + 0.01 * torch.randn(4, 8, 9, 9)
    exact = functional.batch_norm(functional.mish(values.double()), None, None, training=True)
    # Beside this mean a step of float32 is 0.024 deviations; E[x^2] - E[x]^2 would be off by hundreds.
    torch.testing.assert_close(module._normalised(values, norm).double(), exact, rtol=0, atol=0.06)


@pytest.mark.parametrize("name", ["ConvMishBn", "Mlp", "Basic", "Residuals", "Encoder"])
def test_second_derivatives(name: str, package: Any) -> None:
    model, copied, plain = both(package, name, dtype=torch.float64)
    x = sample(name)
    found = []
    for call in (model, lambda x: plain(copied, x)):
        torch.manual_seed(2)
        y = call(x)
        (dx,) = torch.autograd.grad(y, x, torch.randn_like(y), create_graph=True)
        found.append(torch.autograd.grad((dx * torch.randn_like(dx)).sum(), x)[0])
    torch.testing.assert_close(*found)


def test_views_and_few_elements(package: Any) -> None:
    model, copied, _ = both(package, "ConvMishBn", dtype=torch.float64)
    norm, other = model.bn, copied.bn
    values = torch.randn(4, 8, 6, 5, dtype=torch.float64, requires_grad=True)
    module = importlib.import_module(f"{package.__name__}.conv_mish_bn")
    for view in (
        values[:, :, ::2],
        values.transpose(2, 3),
        values[:1],
        values[..., :1, :1],
        values.expand(4, 8, 6, 5),
    ):
        torch.testing.assert_close(module._normalised(view, norm), other(functional.mish(view)))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        module._normalised(values[:1, :, :1, :1], norm)
    with pytest.raises(ValueError, match="4D"):
        module._normalised(values[0], norm)
    assert module._normalised(values[:0], norm.eval()).shape == (0, 8, 6, 5)


def test_what_else_sees_the_layers(package: Any) -> None:
    model, copied, plain = both(package, "ConvMishBn", dtype=torch.float64)
    x = sample("ConvMishBn")
    seen: list[Tensor] = []
    handle = model.bn.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    torch.testing.assert_close(model(x), plain(copied, x))
    handle.remove()
    torch.testing.assert_close(seen[0], functional.mish(model.conv(x)))
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert type(converted.bn) is nn.SyncBatchNorm
    torch.testing.assert_close(converted.eval()(x), plain(copied.eval(), x))


def test_autocast(package: Any) -> None:
    for name in ["Basic"] if INTERPRETED else PLAIN:
        model, copied, plain = both(package, name)
        x = sample(name, torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            y, expected = model(x), plain(copied, x)
        assert y.dtype is expected.dtype
        torch.testing.assert_close(y, expected, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("name", ["Mlp", "Encoder"])
def test_transforms(name: str, package: Any) -> None:
    model, copied, plain = both(package, name, dtype=torch.float64)
    model.eval()
    copied.eval()
    x = sample(name).detach()
    jacobian = torch.func.jacrev(lambda x: model(x).sum(0))(x)
    torch.testing.assert_close(jacobian, torch.func.jacrev(lambda x: plain(copied, x).sum(0))(x))


KINDS = {
    "Basic": ("_normalised2", "bn2"),
    "Residuals": ("_normalised1", "gn"),
    "Encoder": ("_normalised1", "ln"),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "types", ["float32 bfloat16", "bfloat16 float32", "float16 bfloat16", "float32 float64"]
)
def test_residuals_of_another_type(name: str, types: str, package: Any) -> None:
    """The result has the type that PyTorch promotes to, each gradient that of its tensor."""
    ours, theirs = (getattr(torch, each) for each in types.split())
    model, _, _ = both(package, name)
    place, attribute = KINDS[name]
    module = importlib.import_module(f"{package.__name__}.{name.lower()}")
    call, norm = getattr(module, place), getattr(model, attribute)
    x = sample(name, ours)
    residual = torch.randn_like(x, dtype=theirs, requires_grad=True)
    settings = next(iter(value for key, value in vars(model).items() if key.startswith("_settings")), ())
    given = {"Basic": {}, "Residuals": {"after": settings[:1], "later": settings[1:]}}
    options = given.get(name, {"later": settings[:1]})
    norm.to(ours if name == "Encoder" else torch.float32)
    y = call(x, norm, residual=residual, **options)
    assert y.dtype is torch.promote_types(ours, theirs)
    found = torch.autograd.grad(y.sum(), [x, residual])
    assert [each.dtype for each in found] == [ours, theirs]
    x, residual = (each.detach().double().requires_grad_() for each in (x, residual))
    exact = call._plain(
        x, norm.double(), tuple(options.get(key, ()) for key in ("before", "after", "later")), residual
    )
    torch.testing.assert_close(y.double(), exact, rtol=0.02, atol=0.02)
    expected = torch.autograd.grad(exact.sum(), [x, residual])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=0.05, atol=0.05)


@interpreted
@pytest.mark.parametrize("name", KINDS)
def test_residuals_of_another_layout(name: str, package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, copied, plain = both(package, name, dtype=torch.float64)
    calls = [
        each
        for each in vars(sys.modules[f"{package.__name__}.{name.lower()}"]).values()
        if hasattr(each, "_plain")
    ]
    for x in (
        sample(name).detach().transpose(-1, -2).contiguous().transpose(-1, -2).requires_grad_(),
        sample(name)[::1].expand(2, *PLAIN[name][1])[0],
    ):
        expected = plain(copied, x)
        with monkeypatch.context() as patch:
            for each in calls:
                patch.setattr(each, "_plain", None)
            y = model(x)
            torch.testing.assert_close(y, expected)
            grad = torch.randn_like(y)
            ours = torch.autograd.grad(y, [x, *model.parameters()], grad)
        theirs = torch.autograd.grad(expected, [x, *copied.parameters()], grad)
        torch.testing.assert_close(ours, theirs)


def test_residuals_of_another_shape(package: Any) -> None:
    """What PyTorch broadcasts is broadcast, what it refuses refused."""
    model, copied, _ = both(package, "Basic", dtype=torch.float64)
    module = importlib.import_module(f"{package.__name__}.basic")
    x = sample("Basic")
    y = module._normalised2(x, model.bn2, residual=x[:1, :1])
    torch.testing.assert_close(y, functional.relu(copied.bn2(x) + x[:1, :1]))
    with pytest.raises(RuntimeError, match="must match the size"):
        module._normalised2(x, model.bn2, residual=x[..., 1:])


TILES: dict[str, dict[str, Any]] = {
    "planes": {"R": 1, "K": 1, "T": 1024, "UNIT": 4, "per": 1, "x_last": False, "y_last": False},
    "channels_last": {"R": 1, "K": 128, "T": 8, "UNIT": 1, "per": 1, "x_last": True, "y_last": True},
    "across": {"R": 1, "K": 32, "T": 32, "UNIT": 4, "per": 1, "x_last": True, "y_last": False},
    "one plane": {"R": 1, "K": 1, "T": 1024, "UNIT": 16, "outer": 1, "x_last": False, "y_last": False},
    "rows": {"R": 2, "T": 1024},
}
TILES |= {f"{kind}, added to": TILES[kind] for kind in ("planes", "channels_last", "across", "rows")}
"""Tiles, and arguments of one, which Triton takes for constants. Planes of 126 x 126 divide by 4 alone."""

WIDTHS = dict.fromkeys(TILES, 128) | {"planes": 64, "planes, added to": 64}
"""Bits of the widest load of bfloat16 there should be."""

ACCUMULATORS = (
    *("count", "mean", "m2", "rstd", "by_bias", "by_weight", "by_shift", "shared", "turned"),
    *("weight", "bias", "shift"),
)


@compiled
@pytest.mark.parametrize("kind", TILES)
def test_kernels_compile_for_gpus(kind: str, package: Any) -> None:
    """With no spills, and loads at full width."""
    import triton
    from triton.compiler import ASTSource

    from dsl import inspect

    name, prefix = {
        "rows": ("mlp", "_normalised1"),
        "rows, added to": ("encoder", "_normalised1"),
    }.get(kind, ("basic", "_normalised2") if "added" in kind else ("conv_mish_bn", "_normalised"))
    module = importlib.import_module(f"{package.__name__}.{name}")
    flags = dict.fromkeys(("affine", "shifted", "carried", "centred", "fast"), True)
    flags |= {"wide": False, "frozen": False}
    options = {"num_warps": TILES[kind].get("num_warps", 4)}
    for kernel in [
        getattr(module, each) for each in vars(module) if re.fullmatch(f"{prefix}_.*kernel", each)
    ]:
        constants = {"STAGES": 3, **TILES[kind], **flags, "acc": triton.language.float32}
        constants = {key: value for key, value in constants.items() if key in kernel.arg_names}
        signature, attributes = {}, {}
        for place, argument in enumerate(kernel.arg_names):
            pointer = argument.removesuffix("_ptr")
            if argument in constants:
                signature[argument] = "constexpr"
                continue
            signature[argument] = "fp64" if argument in ("eps", "p0") else "i32"
            if pointer != argument:
                signature[argument] = "*fp32" if pointer in ACCUMULATORS else "*bf16"
            if pointer != argument or argument in ("length", "groups"):
                attributes[(place,)] = [["tt.divisibility", 16]]
        source = ASTSource(kernel, signature, constants, attributes)
        done = triton.compile(source, target=inspect.parse_target("sm_90"), options=options)
        counts = inspect._count_nvidia(done.asm, 16)
        assert counts.spills == 0, kernel.__name__
        assert max(counts.loads) >= WIDTHS[kind], kernel.__name__


@compiled
@pytest.mark.parametrize("name", ["ConvMishBn", "Mlp", "Basic", "Residuals"])
def test_under_the_compiler(name: str, package: Any) -> None:
    model, copied, plain = both(package, name, dtype=torch.float64)
    compare(torch.compile(model, fullgraph=True, backend="aot_eager"), copied, plain, sample(name))


def test_constraints_are_checked(package: Any) -> None:
    with pytest.raises(ValueError, match="alpha must satisfy alpha > 0"):
        package.Mlp(4, alpha=-1.0)


@compiled
def test_what_measures_them_runs(package: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "MEASURED_MS", 0)
    folder, found = Path(package.__file__).parent, tmp_path / "found.json"
    monkeypatch.setattr(sys, "argv", ["models", "--tiny", "--package", str(folder), "--json", str(found)])
    assert models.main() == 0
    rows = json.loads(found.read_text())["rows"]
    assert len(rows) == 2 * 2 * 2 * 3 + 1
    assert all(set(row["ms"]) >= {"eager", "dslgen"} for row in rows)


@compiled
def test_what_the_page_shows() -> None:
    text = (Path(__file__).parent.parent / "docs/models.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```act\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    assert not any(map(check_text, blocks))
    stages = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE))))
    assert stages == set(LAYERS)


@compiled
def test_a_model_takes_its_activations_along(tmp_path: Path) -> None:
    (tmp_path / "a.act").write_text("elu(x; alpha = 1) = where(x > 0, x, alpha * (exp(x) - 1))\n")
    (tmp_path / "b.act").write_text("model net(n) = linear(n, n) -> elu(2)\n")
    done = build([tmp_path / "b.act"], tmp_path / "out", [tmp_path])
    assert {"elu.py", "net.py"} <= {change.path.name for change in done.changes}
    again = build([tmp_path / "a.act"], tmp_path / "out", [tmp_path])
    assert not again.changes
    assert '"Net"' in (tmp_path / "out/__init__.py").read_text()
