"""Which tensors an activation takes and gives: types, layouts, devices, modes; and what it refuses."""

from __future__ import annotations

import copy
import threading
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from tests import handmade

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return handmade.import_package(tmp_path_factory.mktemp("tensors"))


LAYOUTS = {
    "empty": lambda: torch.empty(0, 3),
    "scalar": lambda: torch.tensor(0.3),
    "one": lambda: torch.randn(1),
    "sliced": lambda: torch.randn(6, 8)[::2, 1::3],
    "transposed": lambda: torch.randn(4, 5).t(),
    "permuted": lambda: torch.randn(2, 3, 4).permute(2, 0, 1),
    "channels_last": lambda: torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "channels_last_3d": lambda: torch.randn(2, 3, 4, 5, 2).to(memory_format=torch.channels_last_3d),
    "expanded": lambda: torch.randn(3, 1).expand(3, 4),
    "offset": lambda: torch.randn(40)[3:],
    "zero_stride": lambda: torch.randn(1).expand(5),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, acts: ModuleType) -> None:
    base = LAYOUTS[layout]()
    x = base.detach().requires_grad_()
    ours, theirs = acts.silu(x), functional.silu(x)
    torch.testing.assert_close(ours, theirs)
    assert ours.stride() == theirs.stride()
    (a,) = torch.autograd.grad(ours.sum(), x)  # a gradient of stride 0
    (b,) = torch.autograd.grad(theirs.sum(), x)
    torch.testing.assert_close(a, b)
    assert a.stride() == b.stride()


@pytest.mark.parametrize("dtype", DTYPES)
def test_types(dtype: torch.dtype, acts: ModuleType) -> None:
    x = torch.linspace(-8, 8, 101, dtype=dtype, requires_grad=True)
    for name in ("silu", "elu", "relu", "identity", "constant", "fraction"):
        y = getattr(acts, name)(x)
        assert y.dtype == dtype
        assert y.shape == x.shape
        assert y.data_ptr() != x.data_ptr()
        (dx,) = torch.autograd.grad(y.sum(), x)
        assert dx.dtype == dtype
    wide = x.detach().double()
    rate = torch.where(wide > 0, torch.tensor(0.1, dtype=torch.float64), 0.7)
    exact = (rate * torch.clamp(wide, min=0.3) / 3).to(dtype)
    torch.testing.assert_close(acts.fraction(x).detach(), exact, rtol=2 * torch.finfo(dtype).eps, atol=0)


REFUSED = {
    torch.int32: "'Int'",
    torch.int64: "'Long'",
    torch.bool: "'Bool'",
    torch.complex64: "'ComplexFloat'",
    torch.float8_e4m3fn: "'float8_e4m3fn'",
}


@pytest.mark.parametrize("dtype", REFUSED)
def test_other_types_are_refused(dtype: torch.dtype, acts: ModuleType) -> None:
    message = f'"silu" not implemented for {REFUSED[dtype]}'
    for device in ("cpu", "meta"):
        with pytest.raises(NotImplementedError, match=message):
            acts.silu(torch.zeros(3, dtype=dtype, device=device))
    compiled = torch.compile(acts.silu, backend="eager")
    with pytest.raises(NotImplementedError, match=message):
        compiled(torch.zeros(3, dtype=dtype))


def test_what_is_no_tensor_is_refused(acts: ModuleType) -> None:
    for value in (1.0, None, [1.0]):
        with pytest.raises(TypeError, match=r"silu\(\): argument must be Tensor"):
            acts.silu(value)
    with pytest.raises(NotImplementedError, match="sparse_coo"):
        acts.silu(torch.eye(3).to_sparse())


def test_constraints_are_checked(acts: ModuleType) -> None:
    for call in (lambda: acts.elu(torch.zeros(1), 0), lambda: acts.ELU(alpha=0.0)):
        with pytest.raises(ValueError, match=r"elu: alpha must satisfy alpha != 0, got 0"):
            call()


def test_inplace(acts: ModuleType) -> None:
    module = acts.ELU(0.5, inplace=True)
    x = torch.randn(5)
    expected = functional.elu(x, 0.5)
    assert module(x) is x
    torch.testing.assert_close(x, expected)

    leaf = torch.randn(5, requires_grad=True)
    hidden = leaf * 1.5
    y = module(hidden)
    assert y.data_ptr() == hidden.data_ptr()
    (ours,) = torch.autograd.grad(y.sum(), leaf)
    (theirs,) = torch.autograd.grad(functional.elu(leaf * 1.5, 0.5).sum(), leaf)
    torch.testing.assert_close(ours, theirs)
    with pytest.raises(RuntimeError, match="leaf Variable"):
        module(leaf)


def test_a_parameter_may_have_the_function_s_name(acts: ModuleType) -> None:
    x = torch.tensor([-1.0, 1.0])
    assert acts.threshold(x, 0.5, 20.0).tolist() == [20.0, 1.0]
    traced = torch.fx.symbolic_trace(acts.Threshold(0.5, 20.0))
    assert traced(x).tolist() == [20.0, 1.0]


def test_special_tensors(acts: ModuleType) -> None:
    conjugate = torch.randn(4, dtype=torch.complex64).conj().imag  # a view with the negative bit set
    assert conjugate.is_neg()
    torch.testing.assert_close(acts.silu(conjugate), functional.silu(conjugate))
    parameter = torch.nn.Parameter(torch.randn(3))
    torch.testing.assert_close(acts.silu(parameter), functional.silu(parameter))
    assert acts.silu(torch.zeros(2, 3, device="meta")).shape == (2, 3)

    class Mine(Tensor):
        pass

    assert type(acts.silu(torch.randn(3).as_subclass(Mine))) is Mine


def test_nested_tensors(acts: ModuleType) -> None:
    rows = [torch.randn(2, 3), torch.randn(4, 3)]
    nested = torch.nested.nested_tensor(rows, layout=torch.jagged, requires_grad=True)
    y = acts.silu(nested)
    torch.testing.assert_close(y.values(), functional.silu(torch.cat(rows)))
    y.values().sum().backward()
    assert nested.grad is not None


def test_distributed_tensors(acts: ModuleType) -> None:
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        mesh = init_device_mesh("cpu", (2,))
        local = torch.randn(4, 6)
        for placement in (Shard(0), Shard(1), Replicate(), Partial()):
            x = DTensor.from_local(local, mesh, [placement]).requires_grad_()
            expected = Replicate() if placement == Partial() else placement
            for function in (acts.silu, lambda x: acts.elu(x, 0.3)):
                y = function(x)
                assert y.placements == (expected,)
                y.sum().backward()
                assert x.grad is not None
        shard = DTensor.from_local(local, mesh, [Shard(0)])
        torch.testing.assert_close(acts.silu(shard).to_local(), functional.silu(local))
    finally:
        dist.destroy_process_group()


def test_fake_tensors(acts: ModuleType) -> None:
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        assert acts.silu(torch.empty(2, 3)).shape == (2, 3)


def test_modes(acts: ModuleType) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert acts.silu(torch.zeros(2)).dtype == torch.float32
    with torch.inference_mode():
        torch.testing.assert_close(acts.silu(torch.ones(2)), functional.silu(torch.ones(2)))
    with torch.device("meta"):
        assert acts.silu(torch.zeros(2)).device.type == "meta"
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        assert acts.elu(torch.zeros(2, dtype=torch.float32)).dtype == torch.float32
    finally:
        torch.set_default_dtype(default)


def test_jit_trace(acts: ModuleType) -> None:
    traced = torch.jit.trace(acts.silu, torch.randn(3), check_trace=False)
    x = torch.randn(3)
    torch.testing.assert_close(traced(x), functional.silu(x))


def test_copies(acts: ModuleType) -> None:
    module = copy.deepcopy(torch.nn.Sequential(acts.SiLU(), acts.ELU(0.2)))
    x = torch.randn(3)
    torch.testing.assert_close(module(x), functional.elu(functional.silu(x), 0.2))


def test_threads(acts: ModuleType) -> None:
    x = torch.randn(100, requires_grad=True)
    (expected,) = torch.autograd.grad(functional.silu(x).sum(), x)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                (got,) = torch.autograd.grad(acts.silu(x).sum(), x)
                torch.testing.assert_close(got, expected)
        except BaseException as error:  # carried to the main thread, where it fails the test
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_strides(data: st.DataObject, acts: ModuleType) -> None:
    rank = data.draw(st.integers(0, 4))
    shape = data.draw(st.lists(st.integers(0, 5), min_size=rank, max_size=rank))
    steps = data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    order = data.draw(st.permutations(range(rank)))
    base = torch.randn([size * step for size, step in zip(shape, steps, strict=True)])
    view = base[tuple(slice(None, None, step) for step in steps)].permute(order)
    x = view.detach().requires_grad_()
    y = acts.silu(x)
    torch.testing.assert_close(y, functional.silu(x))
    grad = torch.randn(x.shape)
    (ours,) = torch.autograd.grad(y, x, grad)
    (theirs,) = torch.autograd.grad(functional.silu(x), x, grad)
    torch.testing.assert_close(ours, theirs)
