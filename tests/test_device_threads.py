"""Batches of gradients where a GPU's backward pass meets them: in another thread, with kernels to run.

There the batch is told by the tensor alone; whatever surrounds the call is not seen. The kernels run in
Triton's interpreter, in a process that the first test starts.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch._vmap_internals import _vmap
from torch.testing import assert_close

from dsl.build import build

ROOT = Path(__file__).resolve().parents[1]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="runs in the process that the first test starts")

SPECS = """
plain(x) = x * sigmoid(x)
gated(a, b) = a * sigmoid(b)
halves(a, b) = a * sigmoid(b)
  packed halves
turns(a, b) = a * sigmoid(b)
  packed interleaved
leaky(x; learn slope[channel] = 0.25) = where(x > 0, x, slope * x)
hot(x; learn beta = 1.5) = x * sigmoid(beta * x)
weighed(a, b; learn slope[channel] = 0.25) = a * sigmoid(slope * b)
held(a, b; learn beta = 1.5) = a * sigmoid(beta * b)
  packed halves
rows(x) = exp(x - rowmax(x)) / rowsum(exp(x - rowmax(x)))
chance(x) = x * k
  with k = uniform(0.5, 1.5) in training, 1 in eval
model by_rows(size) = plain -> layernorm(size) -> plain
model by_channels(channels) = plain -> batchnorm1d(channels) -> plain
"""


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    folder = tmp_path_factory.mktemp("threads")
    (folder / "all.act").write_text(SPECS, encoding="utf-8")
    build([folder / "all.act"], folder / "threaded")
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("threaded")
    finally:
        sys.path.remove(str(folder))


def test_in_the_interpreter() -> None:
    if INTERPRETED:
        pytest.skip("this is the process that it starts")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-k", "batches"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [*command, __file__], capture_output=True, text=True, env=environment, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def elsewhere(call: Callable[[], Any]) -> Any:
    """What a call gives in a thread of its own, as a device's is."""
    found: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            found.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return found[0]


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


CALLS: dict[str, tuple[Callable[..., Tensor], Sequence[tuple[int, ...]]]] = {
    "plain": (lambda acts, x: acts.plain(x), [(2, 4)]),
    "gated": (lambda acts, a, b: acts.gated(a, b), [(2, 4), (4,)]),
    "halves": (lambda acts, x: acts.halves(x), [(2, 8)]),
    "turns": (lambda acts, x: acts.turns(x), [(2, 8)]),
    "leaky": (lambda acts, x, p: acts.leaky(x, p), [(2, 4), (4,)]),
    "hot": (lambda acts, x, p: acts.hot(x, p), [(2, 4), (1,)]),
    "weighed": (lambda acts, a, b, p: acts.weighed(a, b, p), [(2, 4), (4,), (4,)]),
    "held": (lambda acts, x, p: acts.held(x, None, p), [(2, 8), (1,)]),
    "rows": (lambda acts, x: acts.rows(x), [(2, 4)]),
    "chance": (
        lambda acts, x: acts.chance(x, training=True, generator=torch.Generator().manual_seed(5)),
        [(2, 4)],
    ),
    "by_rows": (lambda acts, x: acts.ByRows(4).double()(x), [(2, 4)]),
    "by_channels": (lambda acts, x: acts.ByChannels(4).double()(x), [(3, 4)]),
}


@pytest.mark.parametrize("name", CALLS)
def test_batches_of_gradients(name: str, acts: ModuleType) -> None:
    """First and second derivatives by a batch are those one by one."""
    call, shapes = CALLS[name]
    given = [normal(*shape).requires_grad_() for shape in shapes]
    y = call(acts, *given)
    batch = torch.stack([normal(*y.shape), normal(*y.shape).flip(0), torch.zeros_like(y)]).detach()

    def first(gradient: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(y, given, gradient, retain_graph=True)

    one_by_one = [first(gradient) for gradient in batch]
    found = _vmap(lambda gradient: elsewhere(lambda: first(gradient)))(batch)
    assert_close(found, tuple(map(torch.stack, zip(*one_by_one, strict=True))))

    outer = batch[0].clone().requires_grad_()
    slopes = torch.autograd.grad(y, given, outer, create_graph=True)

    def second(gradient: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(slopes[0], [*given, outer], gradient, retain_graph=True)

    batch = torch.stack([normal(*given[0].shape), 2 * normal(*given[0].shape)])
    one_by_one = [second(gradient) for gradient in batch]
    found = _vmap(lambda gradient: elsewhere(lambda: second(gradient)))(batch)
    assert_close(found, tuple(map(torch.stack, zip(*one_by_one, strict=True))))


@pytest.mark.parametrize("name", CALLS)
def test_batches_of_inputs(name: str, acts: ModuleType) -> None:
    call, shapes = CALLS[name]
    given = [torch.stack([normal(*shape), 2 * normal(*shape)]) for shape in shapes]
    found = _vmap(lambda *inputs: elsewhere(lambda: call(acts, *inputs)))(*given)
    assert_close(found, torch.stack([call(acts, *inputs) for inputs in zip(*given, strict=True)]))


def test_what_is_memory(acts: ModuleType) -> None:
    """What kernels and formulas may be run on at once, without PyTorch's dispatcher."""
    is_plain = importlib.import_module(f"{acts.__name__}._runtime")._is_plain
    x = torch.randn(2, 3)

    class Mine(Tensor):
        pass

    for plain in (x, x[:, ::2], x[:1].expand(4, 3), x[:0], nn.Parameter(x), x.requires_grad_(), x.sum()):
        assert is_plain(plain)
    with torch.inference_mode():
        assert is_plain(torch.ones(3))
    others = {
        "meta": torch.empty(3, device="meta"),
        "zeros that are not stored": torch._efficientzerotensor(3),
        "negative bit": torch.complex(x, x).detach().conj().imag,
        "subclass": x.detach().as_subclass(Mine),
        "fake": FakeTensorMode().from_tensor(torch.ones(3)),
    }
    assert not [what for what, tensor in others.items() if is_plain(tensor)]
    inside: list[bool] = []

    def look(tensor: Tensor) -> Tensor:
        inside.extend((is_plain(tensor), elsewhere(lambda: is_plain(tensor))))
        return tensor.sum()

    _vmap(look)(x)
    torch.vmap(look)(x)
    torch.func.grad(look)(x)
    torch.func.functionalize(look)(x)
    assert inside == [False] * 8
    assert_close(acts.plain(others["zeros that are not stored"]), torch.zeros(3))
    assert_close(acts.plain(others["negative bit"]), acts.plain(-x.detach()))


@pytest.mark.parametrize("name", ["plain", "gated", "hot"])
def test_gradients_that_are_not_stored(name: str, acts: ModuleType) -> None:
    call, shapes = CALLS[name]
    given = [normal(*shape).requires_grad_() for shape in shapes]
    y = call(acts, *given)
    for gradient in (torch._efficientzerotensor(y.shape, dtype=y.dtype), y.new_zeros(()).expand(y.shape)):
        for found in torch.autograd.grad(y, given, gradient, retain_graph=True):
            assert_close(found, torch.zeros_like(found))
