"""The module of an activation of several inputs, part by part.

In: an activation, its program and a digest. Out: Python source, not yet formatted and without its two lines
of provenance. What it shares with the modules of one input is in `layout`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dsl import report
from dsl.activation import Activation
from dsl.forms import is_symmetric
from dsl.program import Function, JointProgram
from dsl.targets import eager, layout, triton

_IMPORTS = """\
import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function

from . import {modules}
"""


def module(activation: Activation, program: JointProgram, digest: str) -> str:
    """The source of one activation's module."""
    body = "\n\n".join([*_computations(activation, program), *_interface(activation, program, digest)])
    modules = "_joint, _launch, _math" if "_math." in body else "_joint, _launch"
    header = report.joint_header(activation, program)
    return layout.assemble(activation, header, _IMPORTS.format(modules=modules), body)


def _computations(activation: Activation, program: JointProgram) -> Iterator[str]:
    private = layout.inner_name(activation.name)
    parts = _parts(activation)
    call = f"{activation.name}({', '.join(activation.inputs)})"
    slopes = [f"{private}_by_{part}" for part in parts]

    precision = "in the precision of the inputs; `fast` allows one good for 16 bits"
    yield _jit(program.forward, private, f"{call}, {precision}.")
    for function, slope, name in zip(program.gradients, slopes, activation.inputs, strict=True):
        yield _jit(function, slope, f"The derivative by {name}, {precision}.")
    names = activation.inputs, layout.parameter_names(activation)
    summary = "out = f(inputs), for elements `start` to `n`."
    yield triton.joint_kernel(f"{private}_kernel", summary, *names, [private], gradient=False)
    summary = "The wanted products of grad and a derivative, for elements `start` to `n`."
    yield triton.joint_kernel(f"{private}_grad_kernel", summary, *names, slopes, gradient=True)

    yield _formula(program.forward, f"{private}_formula", f"{call} in torch operations.")
    for function, part, name in zip(program.gradients, parts, activation.inputs, strict=True):
        summary = f"The derivative of {call} by {name} in torch operations."
        yield _formula(function, f"{private}_formula_by_{part}", summary)
    for (a, b), function in program.curvatures.items():
        by = " and ".join((activation.inputs[a], activation.inputs[b]))
        summary = f"The second derivative of {call} by {by} in torch operations."
        yield _formula(function, f"{private}_curvature_{parts[a]}_{parts[b]}", summary)


def _parts(activation: Activation) -> list[str]:
    """What each input is called in the names of functions, which have to differ."""
    inputs = list(activation.inputs)
    pairs = [f"{inputs[a]}_{inputs[b]}" for a, b in activation.pairs]
    return inputs if len(set(pairs)) == len(pairs) else [f"x{i}" for i, _ in enumerate(inputs)]


def _jit(function: Function, name: str, summary: str) -> str:
    function, rename = _ready(function)
    return triton.jit_function(function, name, summary, rename)


def _formula(function: Function, name: str, summary: str) -> str:
    function, rename = _ready(function)
    return eager.formula(function, name, summary, rename)


def _ready(function: Function) -> tuple[Function, Mapping[str, str]]:
    function = layout.trim(function)
    return function, layout.renamed(function)


def _interface(activation: Activation, program: JointProgram, digest: str) -> Iterator[str]:
    if activation.requires:
        yield layout.checks(activation)
    yield _registration(activation, program, digest)
    yield _function(activation)
    yield _class(activation)
    if activation.aliases:
        yield layout.aliases(activation)


def _registration(activation: Activation, program: JointProgram, digest: str) -> str:
    private = layout.inner_name(activation.name)
    parts = _parts(activation)
    slopes = "".join(f"{private}_formula_by_{part}, " for part in parts)
    curvatures = "".join(
        f"({a}, {b}): {private}_curvature_{parts[a]}_{parts[b]}, " for a, b in program.curvatures
    )
    lines = [
        "_operator = _joint.JointOperator(",
        f'    "{activation.name}",',
        f"    kernels=({private}_kernel, {private}_grad_kernel),",
        f"    formula={private}_formula,",
        f"    slopes=({slopes}),",
        f"    curvatures={{{curvatures}}},",
        *([] if is_symmetric(activation.whole) else ["    symmetric=False,"]),
        *(["    own_derivative=True,"] if activation.own_derivative else []),
        f"    parameters={len(activation.parameters)},",
        f'    version="{digest[:8]}",',
        ")",
    ]
    return "\n".join(lines) + "\n"


def _function(activation: Activation) -> str:
    name = activation.name
    inputs = ", ".join(activation.inputs)
    itself = layout.own_name(activation, *activation.inputs, *layout.parameter_names(activation))
    about = report.wrap(
        "Elementwise, for tensors of float16, bfloat16, float32 or float64, of any strides and of shapes "
        "that broadcast; types are promoted as PyTorch's operators promote them. Twice differentiable, in "
        f"reverse and forward mode; gradients have their input's shape. {layout.raises(activation)}"
    )
    given = ", ".join(["torch.zeros(2, 3)", *("torch.zeros(3)" for _ in activation.inputs[1:])])
    doc = layout.docstring(
        f"""{report.summary(activation)}

{about}

>>> {name}({given}{layout.required(activation)}).shape
torch.Size([2, 3])""",
        "    ",
    )
    passed = layout.passed_on(activation)
    lines = [
        f"def {name}({_declared(activation)}{layout.signature(activation)}) -> Tensor:",
        f"    {doc}",
        f"    if has_torch_function(({inputs})):",
        f"        return handle_torch_function({itself}, ({inputs}), {inputs}{passed})",
    ]
    if activation.requires:
        lines.append(f"    _check({passed.removeprefix(', ')})")
    lines.append(f"    return _operator({inputs}{passed})")
    if itself != name:
        lines += ["", "", f"{itself} = {name}  # an argument hides the name inside"]
    return "\n".join(lines) + "\n"


def _declared(activation: Activation) -> str:
    return ", ".join(f"{name}: Tensor" for name in activation.inputs)


def _class(activation: Activation) -> str:
    itself = layout.own_name(activation, *activation.inputs)
    parameters = layout.parameter_names(activation)
    required = layout.required(activation).removeprefix(", ")
    given = ", ".join("torch.zeros(2, 3)" for _ in activation.inputs)
    doc = layout.docstring(
        f"""{report.summary(activation)}

The module of `{activation.name}`, called with {len(activation.inputs)} tensors.

>>> {activation.class_name}({required})({given}).shape
torch.Size([2, 3])""",
        "    ",
    )
    lines = [f"class {activation.class_name}(nn.Module):", f"    {doc}", ""]
    if parameters:
        lines += [
            f"    def __init__(self{layout.signature(activation)}) -> None:",
            "        super().__init__()",
        ]
        if activation.requires:
            lines.append(f"        _check({layout.passed_on(activation).removeprefix(', ')})")
        lines += [f"        self.{name} = {name}" for name in parameters]
        lines.append("")
    lines += [
        f"    def forward(self, {_declared(activation)}) -> Tensor:",
        '        """The activation of every element."""',
        f"        return {itself}({', '.join(activation.inputs)}{layout.passed_on(activation, 'self.')})",
    ]
    if parameters:
        fields = ", ".join(f"{name}={{self.{name}}}" for name in parameters)
        lines += [
            "",
            "    def extra_repr(self) -> str:",
            '        """The parameters as `print` shows them."""',
            f'        return f"{fields}"',
        ]
    return "\n".join(lines) + "\n"
