"""The module of an activation that draws numbers in training, part by part.

In: an activation, its program and a digest. Out: Python source, not yet formatted and without its two lines
of provenance. In evaluation it is a module like any other, whose parts are in `layout`.
"""

from __future__ import annotations

from collections.abc import Iterator

from dsl import report
from dsl.activation import Activation
from dsl.program import Program, Training
from dsl.targets import eager, layout, triton

_IMPORTS = """\
import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary

from . import {modules}
"""


def module(activation: Activation, program: Program, training: Training, digest: str, accuracy: str) -> str:
    """The source of one activation's module."""
    parts = [
        layout.computations(activation, program),
        *_computations(activation, training),
        *_interface(activation, training, digest),
    ]
    body = "\n\n".join(parts)
    modules = "_chance, _launch, _math, _runtime" if "_math." in body else "_chance, _launch, _runtime"
    header = report.header(activation, program, accuracy)
    return layout.assemble(activation, header, _IMPORTS.format(modules=modules), body)


def _interface(activation: Activation, training: Training, digest: str) -> Iterator[str]:
    passed = layout.passed_on(activation)
    extra = layout.Extra(
        declared=", training: bool = False, generator: torch.Generator | None = None",
        passed=", training, generator",
        own=", self.training",
        about="With `training` numbers are drawn anew at every call, by PyTorch's generator or by "
        "`generator`, and the backward pass makes the same ones again. ",
        module_about="Numbers are drawn in training, that is, until `eval()` is called. ",
        first=(
            "    if training:",
            f"        return _training_operator({activation.input}{passed}, generator=generator)",
        ),
    )
    if activation.requires:
        yield layout.checks(activation)
    yield layout.registration(activation, digest)
    yield _registration(activation, training, digest)
    yield layout.function_text(activation, extra)
    yield layout.class_text(activation, extra)
    if activation.aliases:
        yield layout.aliases(activation)


def _computations(activation: Activation, training: Training) -> Iterator[str]:
    name = activation.name
    private = f"{layout.inner_name(name)}_training"
    what = (f"{name}(x)", f"The derivative of {name} at x", f"The second derivative of {name} at x")
    labels = [f"{each} in training" for each in what]
    functions = [layout.trim(each) for each in (training.forward, training.gradient, training.curvature)]

    precision = "as precise as x; `fast` allows 16 bits"
    for function, label, suffix in zip(functions[:2], labels, ("", "_grad"), strict=False):
        rename = layout.renamed(function)
        yield triton.jit_function(function, private + suffix, f"{label}, {precision}.", rename)
    names = layout.parameter_names(activation)
    draws = training.draws
    summary = "out = f(x), for elements `start` to `n`."
    yield triton.kernel(f"{private}_kernel", private, summary, names, False, draws)
    summary = "out = grad * f'(x), for elements `start` to `n`."
    yield triton.kernel(f"{private}_grad_kernel", f"{private}_grad", summary, names, True, draws)
    for function, label, suffix in zip(functions, labels, _SUFFIXES, strict=True):
        summary = f"{label} in torch operations."
        yield eager.formula(function, private + suffix, summary, layout.renamed(function))


_SUFFIXES = ("_formula", "_grad_formula", "_curvature_formula")


def _registration(activation: Activation, training: Training, digest: str) -> str:
    private = f"{layout.inner_name(activation.name)}_training"
    distributions = "".join(f'"{draw.distribution}", ' for draw in training.draws)
    names = "".join(f'"{name}", ' for name in layout.parameter_names(activation))
    lines = [
        "_training_operator = _chance.ChanceOperator(",
        f'    "{activation.name}",',
        f"    kernels=({private}_kernel, {private}_grad_kernel),",
        f"    formulas=({', '.join(private + suffix for suffix in _SUFFIXES)}),",
        f"    draws=({distributions}),",
        *([f"    parameters=({names}),"] if names else []),
        *(["    own_derivative=True,"] if activation.own_derivative else []),
        f'    version="{digest[:8]}",',
        ")",
    ]
    return "\n".join(lines) + "\n"
