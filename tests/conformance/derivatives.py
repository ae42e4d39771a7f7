"""Derivatives: reverse, forward, twice, batched, and under torch.func, against their formulas."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.testing import assert_close

from tests.conformance.subject import Subject, caught


def reverse(s: Subject) -> None:
    x = s.points().requires_grad_()
    (dx,) = torch.autograd.grad(s(x).sum(), x)
    assert_close(dx, s.derivative(x))


def gradcheck(s: Subject) -> None:
    """Against differences; where the derivative is the spec's own, the second one, for the first differs."""
    if s.operator.own_derivative:

        def slope(x: Tensor) -> Tensor:
            return torch.autograd.grad(s(x).sum(), x, create_graph=True)[0]

        torch.autograd.gradcheck(slope, s.points().requires_grad_())
        return
    torch.autograd.gradcheck(
        s,
        s.points().requires_grad_(),
        check_forward_ad=True,
        check_backward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )


def gradgradcheck(s: Subject) -> None:
    x = s.points().requires_grad_()
    torch.autograd.gradgradcheck(
        s, x, check_fwd_over_rev=True, check_rev_over_rev=True, check_batched_grad=True
    )


def third(s: Subject) -> None:
    """A third derivative is refused, by name, and never wrong."""
    x = s.points().requires_grad_()
    (first,) = torch.autograd.grad(s(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
    _is_refused(s, lambda: torch.autograd.grad(second.sum(), x))
    scalar = s.points()[0]
    _is_refused(s, lambda: torch.func.grad(torch.func.grad(torch.func.grad(s)))(scalar))
    _is_refused(s, lambda: torch.func.jacfwd(torch.func.hessian(s))(scalar))


def _is_refused(s: Subject, call: Callable[[], object]) -> None:
    error = caught(call)
    assert type(error) is NotImplementedError, error
    assert str(error) == f"{s.name}: derivatives beyond the second are not implemented", error


def _summed(s: Subject) -> Callable[[Tensor], Tensor]:
    return lambda x: s(x).sum()


def func_grad(s: Subject) -> None:
    assert_close(torch.func.grad(_summed(s))(s.points()), s.derivative(s.points()))


def func_jacrev(s: Subject) -> None:
    assert_close(torch.func.jacrev(s)(s.points()), s.derivative(s.points()).diag())


def func_jacfwd(s: Subject) -> None:
    assert_close(torch.func.jacfwd(s)(s.points()), s.derivative(s.points()).diag())


def func_hessian(s: Subject) -> None:
    """In every order of the two modes."""
    second = s.derivative(s.points(), 2).diag()
    rev, fwd = torch.func.jacrev, torch.func.jacfwd
    for outer, inner in ((fwd, rev), (rev, rev), (fwd, fwd), (rev, fwd)):
        assert_close(outer(inner(_summed(s)))(s.points()), second)


def func_vmap(s: Subject) -> None:
    x = s.points().view(2, 3)
    assert_close(torch.vmap(s)(x), s(x))
    assert_close(torch.vmap(s, in_dims=1, out_dims=1)(x), s(x))
    assert_close(torch.vmap(torch.vmap(s))(x), s(x))


def func_vmap_grad(s: Subject) -> None:
    x = s.points()
    assert_close(torch.vmap(torch.func.grad(s))(x), s.derivative(x))
    assert_close(torch.vmap(torch.func.grad(torch.func.grad(s)))(x), s.derivative(x, 2))


def func_vjp(s: Subject) -> None:
    x = s.points()
    y, pull = torch.func.vjp(s, x)  # type: ignore[misc]
    assert_close(y, s(x))
    assert_close(pull(x)[0], x * s.derivative(x))


def func_jvp(s: Subject) -> None:
    x = s.points()
    y, tangent = torch.func.jvp(s, (x,), (2 * x,))  # type: ignore[misc]
    assert_close(y, s(x))
    assert_close(tangent, 2 * x * s.derivative(x))


def dual_numbers(s: Subject) -> None:
    x = s.points()
    with forward_ad.dual_level():
        y = forward_ad.unpack_dual(s(forward_ad.make_dual(x, 3 * x)))
    assert y.tangent is not None, "no tangent"
    assert_close(y.primal, s(x))
    assert_close(y.tangent, 3 * x * s.derivative(x))


def retained(s: Subject) -> None:
    """A graph may be walked twice, and one tensor is saved for it: the input, not a copy."""
    saved: list[Tensor] = []
    x = s.points().requires_grad_()

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = s(x).sum()
    assert [tensor.data_ptr() for tensor in saved] == [x.data_ptr()]
    y = s(x).sum()
    first = torch.autograd.grad(y, x, retain_graph=True)
    assert_close(first, torch.autograd.grad(y, x), rtol=0, atol=0)


def saved_input_changed(s: Subject) -> None:
    """A backward pass after the saved input was overwritten is refused, as PyTorch refuses it."""
    leaf = s.points().requires_grad_()
    x = leaf * 1
    y = s(x).sum()
    x.add_(1)
    error = caught(y.backward)
    assert type(error) is RuntimeError, error
    assert "modified by an inplace operation" in str(error)


def batched_gradients(s: Subject) -> None:
    x = s.points().requires_grad_()
    upstream = torch.eye(x.numel(), dtype=x.dtype, device=x.device)
    (rows,) = torch.autograd.grad(s(x), x, upstream, is_grads_batched=True)
    assert_close(rows, s.derivative(x).diag())


CHECKS = {
    "gradient": reverse,
    "gradcheck": gradcheck,
    "gradgradcheck": gradgradcheck,
    "third derivative refused": third,
    "func.grad": func_grad,
    "func.jacrev": func_jacrev,
    "func.jacfwd": func_jacfwd,
    "func.hessian": func_hessian,
    "func.vmap": func_vmap,
    "func.vmap of grad": func_vmap_grad,
    "func.vjp": func_vjp,
    "func.jvp": func_jvp,
    "dual numbers": dual_numbers,
    "batched gradients": batched_gradients,
    "input saved once": retained,
    "changed input noticed": saved_input_changed,
}
