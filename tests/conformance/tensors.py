"""Which tensors an activation takes and gives: types, layouts, subclasses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from tests.conformance.subject import Subject, caught

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

REFUSED = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.complex64,
    torch.complex128,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
]

LAYOUTS: dict[str, Callable[[Subject], Tensor]] = {
    "contiguous": lambda s: s.random(3, 5),
    "empty": lambda s: s.random(0, 3),
    "scalar": lambda s: s.random(),
    "one": lambda s: s.random(1),
    "odd": lambda s: s.random(4099),
    "sliced": lambda s: s.random(6, 8)[::2, 1::3],
    "transposed": lambda s: s.random(4, 5).t(),
    "permuted": lambda s: s.random(2, 3, 4).permute(2, 0, 1),
    "channels_last": lambda s: s.random(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "channels_last_3d": lambda s: s.random(2, 3, 4, 5, 2).to(memory_format=torch.channels_last_3d),
    "channels_last, one channel": lambda s: s.random(2, 1, 4, 5).to(memory_format=torch.channels_last),
    "sliced channels_last": lambda s: s.random(2, 6, 4, 5).to(memory_format=torch.channels_last)[:, ::2],
    "expanded": lambda s: s.random(3, 1).expand(3, 4),
    "expanded twice": lambda s: s.random(3, 1, 1).expand(3, 4, 2),
    "stride 0": lambda s: s.random(1).expand(5),
    "offset": lambda s: s.random(40)[3:],
    "overlapping": lambda s: s.random(10).as_strided((4, 3), (1, 2)),
}


def _ramp(y: Tensor, count: int) -> Tensor:
    return torch.linspace(-1, 1, count, dtype=y.dtype, device=y.device)


GRADIENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "stride 0": lambda y: torch.ones((), dtype=y.dtype, device=y.device).expand(y.shape),
    "transposed": lambda y: _ramp(y, y.numel()).view(y.shape[::-1]).permute(tuple(range(y.dim())[::-1])),
    "sliced": lambda y: _ramp(y, 2 * y.numel())[::2].view(y.shape),
}


def _strides(x: Tensor) -> list[int]:
    """The strides that say where elements are: not of dimensions with one element, nor of empty tensors."""
    return [stride for stride, size in zip(x.stride(), x.shape, strict=True) if size > 1] * bool(x.numel())


def layouts(s: Subject) -> None:
    """Values as for a contiguous tensor, strides as PyTorch gives them."""
    for label, make in LAYOUTS.items():
        x = make(s)
        y = s(x)
        assert _strides(y) == _strides(functional.mish(x)), (label, x.stride(), y.stride())
        assert_close(y, s(x.clone(memory_format=torch.contiguous_format)), msg=label)
        assert not y.numel() or y.data_ptr() != x.data_ptr(), label


def gradient_layouts(s: Subject) -> None:
    """Gradients of any layout, for inputs of any layout; the result is laid out as the value is."""
    for label, make in LAYOUTS.items():
        for upstream, make_gradient in GRADIENTS.items():
            x = make(s).detach().requires_grad_()
            gradient = make_gradient(x)
            (dx,) = torch.autograd.grad(s(x), x, gradient)
            place = f"{label} input, {upstream} gradient"
            assert _strides(dx) == _strides(torch.empty_like(x)), (place, dx.stride(), x.stride())
            assert_close(dx, gradient * s.derivative(x), msg=place)


def dtypes(s: Subject) -> None:
    """16-bit results are those of float32, rounded once."""
    for dtype in DTYPES:
        x = s.points(dtype).requires_grad_()
        y = s(x)
        (dx,) = torch.autograd.grad(y.sum(), x)
        assert y.dtype == dx.dtype == dtype
        wide = x.detach().to(torch.float64 if dtype == torch.float64 else torch.float32)
        assert_close(y.detach(), s(wide).to(dtype))
        assert_close(dx, s.derivative(wide).to(dtype))


def refusals(s: Subject) -> None:
    """Refused as F.mish refuses: NotImplementedError that names the function and the type."""
    for dtype in REFUSED:
        x = torch.zeros(3, device=s.device).to(dtype)
        theirs = caught(functional.mish, x)
        ours = caught(s, x)
        assert type(ours) is NotImplementedError, (dtype, ours)
        assert type(theirs) is NotImplementedError or dtype.itemsize == 1, (dtype, theirs)
        assert f'"{s.name}" not implemented for' in str(ours), ours
    for value in (1.0, None, [1.0]):
        assert type(caught(s, value)) is TypeError, value
    assert type(caught(s, torch.eye(3, device=s.device).to_sparse())) is NotImplementedError


def meta(s: Subject) -> None:
    for label, make in LAYOUTS.items():
        x = make(s)
        y = s(torch.empty_strided(x.shape, x.stride(), device="meta", requires_grad=True))
        assert (y.shape, _strides(y), y.device.type) == (x.shape, _strides(s(x)), "meta"), label
        y.sum().backward()


def fake(s: Subject) -> None:
    from torch._subclasses import FakeTensorMode

    for label, make in LAYOUTS.items():
        x = make(s)
        with FakeTensorMode() as mode:
            y = s(mode.from_tensor(x).requires_grad_())
            y.sum().backward()
        assert (y.shape, _strides(y), y.device.type) == (x.shape, _strides(s(x)), x.device.type), label


def opcheck(s: Subject) -> None:
    """PyTorch's own checks of a registered operator, forward and backward."""
    operator, parameters = s.operator, tuple(s.parameters.values())
    x = s.random(4, 6)[:, ::2].requires_grad_()
    torch.library.opcheck(operator.value, (x, *parameters))
    torch.library.opcheck(operator.slope, (s.random(4, 3), x, *parameters))


def subclasses(s: Subject) -> None:
    class Mine(Tensor):
        pass

    x = s.random(3)
    assert type(s(x.as_subclass(Mine))) is Mine
    assert type(s(torch.nn.Parameter(x))) is Tensor
    buffer = torch.nn.Buffer(x)
    assert_close(s(buffer), s(x))
    negative = torch.complex(x, x).conj().imag  # a view with the negative bit set
    assert negative.is_neg()
    assert_close(s(negative), s(-x))


def nested(s: Subject) -> None:
    rows = [s.random(2, 3), s.random(4, 3)]
    x = torch.nested.nested_tensor(rows, layout=torch.jagged, requires_grad=True)
    y = s(x)
    assert_close(y.values(), s(torch.cat(rows)))
    y.values().sum().backward()
    assert x.grad is not None
    assert_close(x.grad.values(), s.derivative(torch.cat(rows)))


def dtensor(s: Subject) -> None:
    """Sharded and replicated; two processes are the distributed check's business."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        mesh = init_device_mesh(torch.device(s.device).type, (2,))
        local = s.random(4, 6)
        for placement in (Shard(0), Shard(1), Replicate(), Partial()):
            x = DTensor.from_local(local, mesh, [placement]).requires_grad_()
            y: Any = s(x)
            kept = Replicate() if placement == Partial() else placement
            assert y.placements == (kept,), (placement, y.placements)
            dx: Any = torch.autograd.grad(y.sum(), x)[0]
            if placement != Partial():
                assert_close(y.to_local(), s(local))
                assert_close(dx.to_local(), s.derivative(local))
    finally:
        dist.destroy_process_group()


CHECKS = {
    "opcheck": opcheck,
    "fake tensors": fake,
    "meta tensors": meta,
    "dtypes": dtypes,
    "dtypes refused": refusals,
    "layouts": layouts,
    "gradient layouts": gradient_layouts,
    "subclasses": subclasses,
    "jagged nested tensors": nested,
    "DTensor": dtensor,
}
