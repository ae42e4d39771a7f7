"""What only a GPU has: graphs, streams, several devices, and the launch that goes around Triton's own."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from tests.conformance.subject import Subject


def direct_launch(s: Subject) -> None:
    """A kernel launched as it was compiled gives what Triton's own way gives."""
    operator = s.operator
    for count in (1, 17, 4096, 4099):
        x = s.random(count)
        s(x)
        direct = s(x)
        launcher = operator._launch
        kept = dict(launcher._compiled)
        assert all(kept.values()), "this Triton has no direct launch"
        launcher._compiled.clear()
        public = s(x)
        launcher._compiled.update(kept)
        assert torch.equal(direct, public)


def graphs(s: Subject) -> None:
    """Captured after `warmup`, forward and backward, and replayed with other values."""
    s.runtime.warmup(s.function, device=s.device)
    x = s.random(4096).requires_grad_()
    upstream = torch.ones_like(x)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        torch.autograd.grad(s(x), x, upstream)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = s(x)
        (dx,) = torch.autograd.grad(y, x, upstream)
    with torch.no_grad():
        x.mul_(-0.7)
    graph.replay()
    torch.cuda.synchronize()
    assert_close(y.detach(), s(x.detach()))
    assert_close(dx, s.derivative(x))


def streams(s: Subject) -> None:
    source = s.random(1 << 22)
    expected = s(source)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        x = torch.zeros_like(source)
        torch.cuda._sleep(10_000_000)
        x.copy_(source)
        y = s(x)
    side.synchronize()
    assert torch.equal(y, expected)


def several_devices(s: Subject) -> None:
    """A tensor on the last device while the first is current; with one device it is that one."""
    last = f"cuda:{torch.cuda.device_count() - 1}"
    with torch.cuda.device(0):
        x = s.random(100).to(last).requires_grad_()
        y = s(x)
        (dx,) = torch.autograd.grad(y.sum(), x)
    assert y.device == dx.device == torch.device(last)
    assert_close(y.detach().to(s.device), s(x.detach().to(s.device)))


CHECKS = {
    "direct launch": direct_launch,
    "CUDA graphs": graphs,
    "streams": streams,
    "several devices": several_devices,
}
