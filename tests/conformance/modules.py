"""Modules, modes and threads: what a training script does around an activation."""

from __future__ import annotations

import copy
import pickle
import threading

import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from tests.conformance.subject import Subject, caught


def copies(s: Subject) -> None:
    """pickle, deepcopy, state_dict and repr; pickle of the function too."""
    layer = s.new_layer()
    x = s.random(5)
    for other in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert type(other) is type(layer)
        assert_close(other(x), s(x), rtol=0, atol=0)
        assert repr(other) == repr(layer)
    assert pickle.loads(pickle.dumps(s.function)) is s.function
    assert layer.state_dict() == {}
    nn.Sequential(layer).load_state_dict(nn.Sequential(s.new_layer()).state_dict())
    shown = layer.extra_repr()
    assert all(f"{name}={value}" in shown for name, value in s.parameters.items()), shown
    assert "inplace=True" in s.new_layer(inplace=True).extra_repr()


def inplace(s: Subject) -> None:
    layer = s.new_layer(inplace=True)
    x = s.random(5)
    expected = s(x)
    assert layer(x) is x
    assert_close(x, expected)
    leaf = s.random(5).requires_grad_()
    hidden = leaf * 1.5
    y = layer(hidden)
    assert y.data_ptr() == hidden.data_ptr()
    (dx,) = torch.autograd.grad(y.sum(), leaf)
    assert_close(dx, 1.5 * s.derivative(leaf * 1.5))
    error = caught(layer, leaf)
    assert type(error) is RuntimeError, error
    assert "leaf Variable" in str(error)


def modes(s: Subject) -> None:
    """autocast, inference mode, no_grad, default dtypes and devices."""
    x = s.random(5)
    expected = s(x)
    device = torch.device(s.device).type
    with torch.autocast(device, dtype=torch.bfloat16):
        assert s(x).dtype == torch.float32
        tracked = x.bfloat16().requires_grad_()
        assert torch.autograd.grad(s(tracked).sum(), tracked)[0].dtype == torch.bfloat16
    with torch.inference_mode():
        y = s(x)
        assert y.is_inference()
        assert_close(y, expected)
    with torch.no_grad():
        assert not s(x.clone().requires_grad_()).requires_grad
    with torch.device("meta"):
        assert_close(s(x), expected)
    torch.set_default_dtype(torch.float64)
    try:
        assert s(x).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def checkpointing(s: Subject) -> None:
    for reentrant in (False, True):
        x = s.points().requires_grad_()
        y = checkpoint(lambda x: s(s(x)), x, use_reentrant=reentrant)
        (dx,) = torch.autograd.grad(y.sum(), x) if not reentrant else _backward(y, x)
        assert_close(dx, s.derivative(x) * s.derivative(s(x.detach())))


def _backward(y: Tensor, x: Tensor) -> tuple[Tensor]:
    y.sum().backward()
    assert x.grad is not None
    return (x.grad,)


def threads(s: Subject) -> None:
    x = s.random(100).requires_grad_()
    expected = s.derivative(x)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                assert_close(torch.autograd.grad(s(x).sum(), x)[0], expected)
        except BaseException as error:  # carried to the main thread, which raises it
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]


def hooks(s: Subject) -> None:
    """Module hooks, forward and backward, and hooks on the tensors."""
    layer = s.new_layer()
    seen: list[str] = []
    layer.register_forward_hook(lambda *_: seen.append("forward"))
    layer.register_full_backward_hook(lambda *_: seen.append("backward"))
    x = s.points().requires_grad_()
    y = layer(x)
    y.register_hook(lambda gradient: 2 * gradient)
    y.sum().backward()
    assert seen == ["forward", "backward"]
    assert_close(x.grad, 2 * s.derivative(x))


def traced(s: Subject) -> None:
    """torch.fx's and TorchScript's tracers."""
    x = s.random(5)
    assert_close(torch.fx.symbolic_trace(s.new_layer())(x), s(x))
    assert_close(torch.jit.trace(s.new_layer(), x, check_trace=False)(x + 1), s(x + 1))


CHECKS = {
    "modules: copies, repr": copies,
    "modules: inplace": inplace,
    "modules: hooks": hooks,
    "modes, autocast": modes,
    "checkpointing": checkpointing,
    "threads": threads,
    "fx and jit traces": traced,
}
