"""PyTorch's own test inputs, pointed at the shipped activations that PyTorch has.

`torch.testing._internal` describes every operator (OpInfo) and module (ModuleInfo) by sample inputs: strides
of all kinds, empty and 0-d tensors, extremal values, parameters. What comes out is compared with what
PyTorch's function gives in float64, but where that is NaN: several of PyTorch's functions are at infinities.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.common_modules import module_db

from dsl.activation import Activation
from dsl.build import build
from dsl.project import read_project

SPECS = Path(__file__).resolve().parents[1] / "specs"
ACTIVATIONS = {
    a.name: a
    for a in read_project([SPECS]).checked().activations
    if a.references and not a.learned and a.dim is None
}
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
OPERATORS = {(op.name, op.variant_test_name): op for op in op_db}
MODULES = {info.module_cls: info for info in module_db}
NO_MODULE_INFO = {"exponential", "hardsigmoid", "identity", "rrelu"}
"""What PyTorch has no ModuleInfo for."""
FUNCTIONS = {"absolute", "arcsinh", "arctan", "cosine", "normal_cdf", "square"}
"""What PyTorch has as functions alone."""

REFUSED = {"hardtanh": {"min_val": 0, "max_val": 0}}
"""Parameters among the samples that the spec's `require` refuses, as PyTorch's own module does."""

ELEMENTS = 10_000
"""Greater samples take a minute and show nothing more."""


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("samples")
    build([SPECS], folder / "sampled")
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("sampled")
    finally:
        sys.path.remove(str(folder))


def fixed(activation: Activation) -> dict[str, Any]:
    """The arguments of PyTorch's function that make it this activation."""
    (reference,) = activation.references
    return {key: float(v) if isinstance(v, Fraction) else v for key, v in reference.arguments}


def ours(activation: Activation, theirs: dict[str, Any]) -> dict[str, Any] | None:
    """PyTorch's keyword arguments as this activation takes them; None where they ask for another function."""
    known = {"approximate": "none", "training": False, **fixed(activation)}
    if any(known[key] != theirs[key] for key in known.keys() & theirs.keys()):
        return None
    return {key: value for key, value in theirs.items() if key not in known}


def check(got: Tensor, expected: Tensor, x: Tensor) -> None:
    """Equal within the type's usual tolerance where PyTorch has a number, and NaN wherever the input is.

    Some of PyTorch's gradients are numbers at NaN.
    """
    dtype = x.dtype
    assert got.dtype == dtype
    assert got.shape == expected.shape
    known = ~expected.isnan()
    if x.shape == got.shape:  # otherwise an output is of several elements, and PyTorch's glu has their NaN
        assert got[x.isnan()].isnan().all()
        known &= ~x.isnan()
    torch.testing.assert_close(got[known], expected[known].to(dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_operator_samples(name: str, dtype: torch.dtype, acts: ModuleType) -> None:
    activation = ACTIVATIONS[name]
    (reference,) = activation.references
    info: Any = OPERATORS[reference.target.removeprefix("torch."), ""]
    tried = 0
    for sample in [*info.sample_inputs("cpu", dtype), *info.reference_inputs("cpu", dtype)]:
        options = ours(activation, sample.kwargs)
        if options is None or options == REFUSED.get(name) or sample.input.numel() > ELEMENTS:
            continue
        tried += 1
        x = sample.input.detach().requires_grad_()
        wide = sample.input.detach().double().requires_grad_()
        y = getattr(acts, name)(x, *sample.args, **options)
        expected = info.op(wide, *sample.args, **{**sample.kwargs, **fixed(activation)})
        check(y.detach(), expected.detach(), x.detach())
        upstream = torch.linspace(-1, 1, y.numel(), dtype=dtype).view(y.shape)
        (dx,) = torch.autograd.grad(y, x, upstream)
        (expected_dx,) = torch.autograd.grad(expected, wide, upstream.double())
        check(dx, expected_dx, x.detach())
    assert tried >= 3


@pytest.mark.parametrize("name", sorted(ACTIVATIONS.keys() - NO_MODULE_INFO - FUNCTIONS))
def test_module_samples(name: str, acts: ModuleType) -> None:
    """Constructed as PyTorch's module is, ours gives what it gives, in training and not."""
    activation = ACTIVATIONS[name]
    layer = getattr(acts, activation.class_name)
    theirs = getattr(torch.nn, {"GELUTanh": "GELU"}.get(activation.class_name, activation.class_name))
    info = MODULES[theirs]
    tried = 0
    for training in (True, False):
        for sample in info.module_inputs_func(
            info, device="cpu", dtype=torch.float32, requires_grad=True, training=training
        ):
            made, given = sample.constructor_input, sample.forward_input
            arguments = dict(inspect.signature(theirs).bind(*made.args, **made.kwargs).arguments)
            options = ours(activation, arguments)
            if options is None:
                continue
            tried += 1
            module = layer(**options).train(training)
            original = theirs(**{**arguments, **fixed(activation)}).train(training)
            (x,) = given.args
            other = x.detach().clone().requires_grad_()
            y, expected = module(x), original(other)
            torch.testing.assert_close(y, expected)
            upstream = torch.randn_like(y)
            (dx,) = torch.autograd.grad(y, x, upstream)
            (expected_dx,) = torch.autograd.grad(expected, other, upstream)
            torch.testing.assert_close(dx, expected_dx)
    assert tried >= 2


def test_every_module_that_pytorch_describes_is_tried() -> None:
    names = {a.class_name for name, a in ACTIVATIONS.items() if name in NO_MODULE_INFO}
    assert not names & {module.__name__ for module in MODULES}
