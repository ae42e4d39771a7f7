"""The module of an activation of several inputs, part by part.

In: an activation, its program and a digest. Out: Python source, not yet formatted and without its two lines
of provenance. What it shares with the modules of one input is in `layout`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dsl import report
from dsl.activation import Activation
from dsl.program import Function, JointProgram
from dsl.targets import eager, layout, triton

_IMPORTS = """\
import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from torch.overrides import handle_torch_function, {function}

from . import {modules}
"""


def module(activation: Activation, program: JointProgram, digest: str, accuracy: str = "") -> str:
    """The source of one activation's module."""
    body = "\n\n".join([*_computations(activation, program), *_interface(activation, program, digest)])
    modules = [name for name in ("_joint", "_launch", "_math", "_packed") if f"{name}." in body]
    header = report.joint_header(activation, program, accuracy)
    function = "has_torch_function" if len(activation.inputs) > 1 else "has_torch_function_unary"
    imports = _IMPORTS.format(modules=", ".join(modules), function=function)
    return layout.assemble(activation, header, imports, body)


def computations(activation: Activation, program: JointProgram) -> str:
    """The part of a module that computes: its kernels and its formulas."""
    return "\n\n".join(_computations(activation, program))


def _computations(activation: Activation, program: JointProgram) -> Iterator[str]:
    private = layout.inner_name(activation.name)
    parts, prefixes = _parts(activation), _prefixes(activation)
    calls = _calls(activation)
    slopes = [[f"{prefix}_by_{part}" for part in parts] for prefix in prefixes]
    several, casts = bool(activation.others), activation.casts

    precision = "in the precision of the inputs; `fast` allows one good for 16 bits"
    for output, prefix, call, row in zip(program.outputs, prefixes, calls, slopes, strict=True):
        yield _jit(output.forward, prefix, f"{call}, {precision}.", casts)
        of = f" of {call}" if several else ""
        for function, slope, name in zip(output.gradients, row, activation.inputs, strict=True):
            yield _jit(function, slope, f"The derivative{of} by {name}, {precision}.", casts)
    names = activation.inputs, layout.parameter_names(activation)
    summary = f"{'Each output' if several else 'out'} = f(inputs), for elements `start` to `n`."
    values = [[prefix] for prefix in prefixes]
    yield triton.joint_kernel(f"{private}_kernel", summary, *names, values, gradient=False, casts=casts)
    what = "sums of products of a gradient" if several else "products of grad"
    summary = f"The wanted {what} and a derivative, for elements `start` to `n`."
    yield triton.joint_kernel(f"{private}_grad_kernel", summary, *names, slopes, gradient=True, casts=casts)

    if _alternates(activation):
        joined = bool(activation.concat)
        summary = "The outputs for inputs that alternate, for pairs `start` to `n`."
        yield triton.pairs_kernel(f"{private}_pairs_kernel", summary, *names, values, False, joined, casts)
        summary = "The gradients by inputs that alternate, for pairs `start` to `n`."
        yield triton.pairs_kernel(
            f"{private}_pairs_grad_kernel", summary, *names, slopes, True, joined, casts
        )

    for output, prefix, call in zip(program.outputs, prefixes, calls, strict=True):
        yield _formula(output.forward, f"{prefix}_formula", f"{call} in torch operations.", casts)
        for function, part, name in zip(output.gradients, parts, activation.inputs, strict=True):
            summary = f"The derivative of {call} by {name} in torch operations."
            yield _formula(function, f"{prefix}_formula_by_{part}", summary, casts)
        for (a, b), function in output.curvatures.items():
            by = " and ".join((activation.inputs[a], activation.inputs[b]))
            summary = f"The second derivative of {call} by {by} in torch operations."
            yield _formula(function, f"{prefix}_curvature_{parts[a]}_{parts[b]}", summary, casts)


def _alternates(activation: Activation) -> bool:
    """Whether there are kernels for inputs that alternate: two, and two outputs where they do so too."""
    alone = not activation.concat
    together = activation.concat == "interleaved" and len(activation.outputs) == 2
    return activation.packed == "interleaved" and len(activation.inputs) == 2 and (alone or together)


def _calls(activation: Activation) -> list[str]:
    """What each output is called in a docstring."""
    call = f"{activation.name}({', '.join(activation.inputs)})"
    return [f"{call}[{i}]" for i, _ in enumerate(activation.outputs)] if activation.others else [call]


def _prefixes(activation: Activation) -> list[str]:
    """What the names of each output's functions begin with."""
    private = layout.inner_name(activation.name)
    if not activation.others:
        return [private]
    return [f"{private}_{number}" for number, _ in enumerate(activation.outputs, 1)]


def _parts(activation: Activation) -> list[str]:
    """What each input is called in the names of functions, which have to differ."""
    inputs = list(activation.inputs)
    pairs = [f"{inputs[a]}_{inputs[b]}" for a, b in activation.pairs]
    return inputs if len(set(pairs)) == len(pairs) else [f"x{i}" for i, _ in enumerate(inputs)]


def _jit(function: Function, name: str, summary: str, casts: bool) -> str:
    function, rename = _ready(function)
    return triton.jit_function(function, name, summary, rename, casts)


def _formula(function: Function, name: str, summary: str, casts: bool) -> str:
    function, rename = _ready(function)
    return eager.formula(function, name, summary, rename, casts=casts)


def _ready(function: Function) -> tuple[Function, Mapping[str, str]]:
    function = layout.trim(function)
    return function, layout.renamed(function)


def _interface(activation: Activation, program: JointProgram, digest: str) -> Iterator[str]:
    if activation.requires:
        yield layout.checks(activation)
    registration = _registration(activation, program, digest)
    yield registration + _packing(activation) if _in_one(activation) else registration
    yield _function(activation)
    yield _class(activation)
    if activation.aliases:
        yield layout.aliases(activation)


def _in_one(activation: Activation) -> bool:
    """Whether one tensor may hold several."""
    return bool(activation.packed or activation.concat)


def _packing(activation: Activation) -> str:
    private = layout.inner_name(activation.name)
    lines = ["_packing = _packed.Packing(", "    _operator,"]
    if activation.packed:
        lines.append(f'    packed="{activation.packed}",')
    if activation.concat:
        lines.append(f'    concat="{activation.concat}",')
    if _alternates(activation):
        lines.append(f"    pairs=({private}_pairs_kernel, {private}_pairs_grad_kernel),")
    return "\n".join([*lines, ")"]) + "\n"


def _registration(activation: Activation, program: JointProgram, digest: str) -> str:
    private = layout.inner_name(activation.name)
    parts = _parts(activation)
    lines = [
        "_operator = _joint.JointOperator(",
        f'    "{activation.name}",',
        f"    kernels=({private}_kernel, {private}_grad_kernel),",
        "    outputs=(",
    ]
    for output, prefix in zip(program.outputs, _prefixes(activation), strict=True):
        slopes = "".join(f"{prefix}_formula_by_{part}, " for part in parts)
        curvatures = "".join(
            f"({a}, {b}): {prefix}_curvature_{parts[a]}_{parts[b]}, " for a, b in output.curvatures
        )
        lines.append(f"        _joint.Output({prefix}_formula, ({slopes}), {{{curvatures}}}),")
    lines += [
        "    ),",
        *([] if activation.symmetric else ["    symmetric=False,"]),
        *(["    own_derivative=True,"] if activation.own_derivative else []),
        *(["    casts=True,"] if activation.casts else []),
        f"    parameters={len(activation.parameters)},",
        f'    version="{digest[:8]}",',
        ")",
    ]
    return "\n".join(lines) + "\n"


def _function(activation: Activation) -> str:
    name = activation.name
    inputs = ", ".join(activation.inputs)
    relevant = f"{inputs}," if len(activation.inputs) == 1 else inputs
    itself = layout.own_name(activation, *activation.inputs, *layout.parameter_names(activation))
    example, result = _example(activation)
    doc = layout.docstring(
        f"""{report.summary(activation)}

{report.wrap(_about(activation))}

>>> {name}({example}{layout.required(activation)}){result}""",
        "    ",
    )
    passed = layout.passed_on(activation)
    whole = f"{passed}, dim=dim" if _in_one(activation) else passed
    watched = f"({inputs})" if len(activation.inputs) > 1 else inputs
    overrides = "has_torch_function" if len(activation.inputs) > 1 else "has_torch_function_unary"
    lines = [
        f"def {name}({_signature(activation)}) -> {returned(activation)}:",
        f"    {doc}",
        f"    if {overrides}({watched}):",
        f"        return handle_torch_function({itself}, ({relevant}), {inputs}{whole})",
    ]
    if activation.requires:
        lines.append(f"    _check({passed.removeprefix(', ')})")
    if _in_one(activation):
        parameters = "".join(f"{each}, " for each in layout.parameter_names(activation))
        lines.append(f"    return _packing(({relevant}), ({parameters}), dim)")
    else:
        lines.append(f"    return _operator({inputs}{passed})")
    if itself != name:
        lines += ["", "", f"{itself} = {name}  # an argument hides the name inside"]
    return "\n".join(lines) + "\n"


def _about(activation: Activation) -> str:
    """What a function takes, gives and raises, for its docstring."""
    several = len(activation.inputs) > 1
    shapes = "any strides and of shapes that broadcast" if several else "any shape and strides"
    promoted = "; types are promoted as PyTorch's operators promote them" if several else ""
    said = [f"Elementwise, for tensors of float16, bfloat16, float32 or float64, of {shapes}{promoted}."]
    if activation.packed:
        way = layout.TOGETHER[activation.packed]
        only = activation.inputs[0]
        said.append(f"`{only}` alone may hold all inputs along `dim`, {way}; its gradient does so too.")
        said.append(f"`{activation.inputs[1]}` may be that dimension.")
    if activation.concat:
        way = layout.TOGETHER[activation.concat]
        said.append(f"The result holds the {len(activation.outputs)} outputs along `dim`, {way}.")
    elif activation.others:
        said.append(f"Returns a tuple of {len(activation.outputs)} tensors.")
    said.append("Twice differentiable, in reverse and forward mode; gradients have their input's shape.")
    said.append(layout.raises(activation))
    if activation.packed:
        count = len(activation.inputs)
        said.append(
            f"Raises RuntimeError for a packed tensor whose size along `dim` {count} does not divide."
        )
    return " ".join(said)


def _example(activation: Activation) -> tuple[str, str]:
    """Arguments for a docstring's example, and what follows the call up to the printed result."""
    count = len(activation.outputs)
    given = ", ".join(["torch.zeros(2, 3)", *("torch.zeros(3)" for _ in activation.inputs[1:])])
    if activation.concat:
        return given, f".shape\ntorch.Size([2, {3 * count}])"
    if activation.others:
        return given, f"[{count - 1}].shape\ntorch.Size([2, 3])"
    return given, ".shape\ntorch.Size([2, 3])"


def returned(activation: Activation) -> str:
    """The type of what a call returns."""
    if not activation.others or activation.concat:
        return "Tensor"
    return f"tuple[{', '.join('Tensor' for _ in activation.outputs)}]"


def _signature(activation: Activation) -> str:
    """The arguments of the function: inputs, parameters, and the dimension along which tensors lie in one."""
    dim = ", dim: int = -1" if _in_one(activation) else ""
    return f"{_declared(activation)}{layout.signature(activation)}{dim}"


def _declared(activation: Activation) -> str:
    optional = "Tensor | None = None" if activation.packed else "Tensor"
    second = "Tensor | int | None = None" if activation.packed else "Tensor"
    kinds = ("Tensor", second, *(optional for _ in activation.inputs[2:]))
    return ", ".join(f"{name}: {kind}" for name, kind in zip(activation.inputs, kinds, strict=False))


def _tensors(activation: Activation) -> str:
    """The inputs as a module's `forward` takes them."""
    return _declared(activation).replace(" | int", "")


def _class(activation: Activation) -> str:
    itself = layout.own_name(activation, *activation.inputs)
    parameters = layout.parameter_names(activation)
    required = layout.required(activation).removeprefix(", ")
    stored = [*parameters, "dim"] if _in_one(activation) else parameters
    _, result = _example(activation)
    given = ", ".join("torch.zeros(2, 3)" for _ in activation.inputs)
    count = len(activation.inputs)
    tensors = "a tensor" if count == 1 else f"{count} tensors"
    if activation.packed:
        tensors += " or with one that holds them along `dim`"
    doc = layout.docstring(
        f"""{report.summary(activation)}

{report.wrap(f"The module of `{activation.name}`, called with {tensors}.")}

>>> {activation.class_name}({required})({given}){result}""",
        "    ",
    )
    lines = [f"class {activation.class_name}(nn.Module):", f"    {doc}", ""]
    if stored:
        dim = ", dim: int = -1" if _in_one(activation) else ""
        lines += [
            f"    def __init__(self{layout.signature(activation)}{dim}) -> None:",
            "        super().__init__()",
        ]
        if activation.requires:
            lines.append(f"        _check({layout.passed_on(activation).removeprefix(', ')})")
        lines += [f"        self.{name} = {name}" for name in stored]
        lines.append("")
    passed = layout.passed_on(activation, "self.") + (", dim=self.dim" if _in_one(activation) else "")
    lines += [
        f"    def forward(self, {_tensors(activation)}) -> {returned(activation)}:",
        '        """The activation of every element."""',
        f"        return {itself}({', '.join(activation.inputs)}{passed})",
    ]
    if stored:
        fields = ", ".join(f"{name}={{self.{name}}}" for name in stored)
        lines += [
            "",
            "    def extra_repr(self) -> str:",
            '        """The parameters as `print` shows them."""',
            f'        return f"{fields}"',
        ]
    return "\n".join(lines) + "\n"
