"""The module of an activation with learnable parameters, part by part.

In: an activation, its program and a digest. Out: Python source, not yet formatted and without its two lines
of provenance. Its function takes the inputs, the learnable parameters as tensors, and the other parameters;
its class holds `nn.Parameter`s of their names. What it shares with other modules is in `layout`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from dsl import report
from dsl.activation import Activation, Learned
from dsl.expr import symbols
from dsl.program import Function, JointProgram
from dsl.targets import eager, layout, triton
from dsl.targets.spelling import number

_IMPORTS = """\
{sequence}import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function

from . import {modules}
"""

_KERNEL_NAMES = triton.RESERVED | {
    *(
        "_joint",
        "_launch",
        "_learned",
        "across",
        "channel",
        "columns",
        "grad",
        "grad_ptr",
        "height",
        "i",
        "inner",
        "inside",
        "out_ptr",
    ),
    *("channels", "place", "rows", "step", "steps", "wide", "width", "by_row", "range", "zero"),
    *("strided", "scattered"),
}
"""What kernels have for themselves."""

_SIZES = "rows, columns, steps, inner, channels"
_CHOICES = ("by_row", "height", "width", "wide", "fast")
_PLACE = "rows, columns, steps, by_row, height, width, wide"


def module(activation: Activation, program: JointProgram, digest: str, accuracy: str = "") -> str:
    """The source of one activation's module."""
    body = "\n\n".join([*_computations(activation, program), *_interface(activation, program, digest)])
    modules = ", ".join(
        name for name in ("_joint", "_launch", "_learned", "_math", "_packed") if f"{name}." in body
    )
    sequence = "from collections.abc import Sequence\n\n" if "Sequence[" in body else ""
    header = report.joint_header(activation, program, accuracy)
    return layout.assemble(activation, header, _IMPORTS.format(modules=modules, sequence=sequence), body)


# -- what computes -----------------------------------------------------------------------------------------


def computations(activation: Activation, program: JointProgram) -> str:
    """The part of a module that computes: its kernels and its formulas."""
    return "\n\n".join(_computations(activation, program))


def _computations(activation: Activation, program: JointProgram) -> Iterator[str]:
    private = layout.inner_name(activation.name)
    parts = _parts(activation)
    call = f"{activation.name}({', '.join(_tensors(activation))})"
    what = "inputs" if activation.joint else "input"
    precision = f"in the precision of the {what}; `fast` allows one good for 16 bits"
    (output,) = program.outputs
    yield _jit(output.forward, private, f"{call}, {precision}.")
    for function, part, name in zip(output.gradients, parts, activation.variables, strict=True):
        yield _jit(function, f"{private}_by_{part}", f"The derivative by {name}, {precision}.")
    yield _value_kernel(activation, private)
    yield _slopes_kernel(activation, private, parts)
    yield _formula(output.forward, f"{private}_formula", f"{call} in torch operations.")
    for function, part, name in zip(output.gradients, parts, activation.variables, strict=True):
        summary = f"The derivative of {activation.name} by {name} in torch operations."
        yield _formula(function, f"{private}_formula_by_{part}", summary)
    for (a, b), function in output.curvatures.items():
        by = " and ".join((activation.variables[a], activation.variables[b]))
        summary = f"The second derivative of {activation.name} by {by} in torch operations."
        yield _formula(function, f"{private}_curvature_{parts[a]}_{parts[b]}", summary)


def _tensors(activation: Activation) -> list[str]:
    """The tensors that a call takes: the inputs and the learnable parameters."""
    return [*activation.inputs, *(each.name for each in activation.learned)]


def _parts(activation: Activation) -> list[str]:
    """What each variable is called in the names of functions, which have to differ."""
    names = [re.sub(r"\W+", "_", name).strip("_") for name in activation.variables]
    pairs = {f"{names[a]}_{names[b]}" for a, b in activation.pairs}
    distinct = len(pairs) == len(activation.pairs)
    return names if distinct else [f"v{i}" for i, _ in enumerate(names)]


def _jit(function: Function, name: str, summary: str) -> str:
    function = layout.trim(function)
    return triton.jit_function(function, name, summary, layout.renamed(function))


def _formula(function: Function, name: str, summary: str) -> str:
    function = layout.trim(function)
    return eager.formula(function, name, summary, layout.renamed(function))


def _called(activation: Activation) -> Mapping[str, str]:
    """What variables and parameters are called in kernels: as in the spec, unless that is taken there."""
    own = [*activation.variables, *layout.parameter_names(activation), *(p.name for p in activation.learned)]
    names = {name: re.sub(r"\W+", "_", name).strip("_") for name in own}
    derived = [f"{before}{name}{after}" for name in names.values() for before, after in _AFFIXES]
    if len(set(derived)) == len(derived) and not _KERNEL_NAMES & set(derived):
        return names
    return {name: f"v{i}" for i, name in enumerate(own)}


_AFFIXES = (
    *((before, after) for before in ("", "d_") for after in ("", "_ptr", "_row", "_column")),
    ("by_", ""),
)


def _value_kernel(activation: Activation, private: str) -> str:
    names = _called(activation)
    inputs = [names[each] for each in activation.inputs]
    pointers = [f"{names[each]}_ptr" for each in _tensors(activation)]
    what = ", ".join(inputs)
    lines = _head(
        activation,
        names,
        f"{private}_kernel",
        [*pointers, "out_ptr"],
        [*inputs, "out"],
        f"out = f({what}), tile by tile.",
    )
    lines += _loop(activation, inputs)
    place = _place(activation, "out", "scattered")
    lines.append(f"        tl.store({place}, {private}({_given(activation, names)}fast), mask=inside)")
    return "\n".join(lines) + "\n"


def _loop(activation: Activation, read: Sequence[str]) -> Iterator[str]:
    """A program's tiles, one after the other, and what is read of each."""
    yield "    for step in range(steps):"
    yield f"        i, inside = _learned.tile(step, {_PLACE})"
    for each in read:
        place = _place(activation, each, "strided")
        yield f"        {each} = _launch.widen(tl.load({place}, mask=inside, other=0.0))"


def _place(activation: Activation, name: str, choice: str) -> str:
    """Where element `i` of a tensor lies: of several inputs each may lie in its own way."""
    if not activation.joint:
        return f"{name}_ptr + i"
    return f"{name}_ptr + _joint.offsets(i, across, {name}_row, {name}_column, {choice})"


def _slopes_kernel(activation: Activation, private: str, parts: Sequence[str]) -> str:
    names = _called(activation)
    inputs = [names[each] for each in activation.inputs]
    learned = [names[each.name] for each in activation.learned]
    pointers = [*(f"{each}_ptr" for each in inputs), "grad_ptr", *(f"{each}_ptr" for each in learned)]
    pointers += [f"d_{each}_ptr" for each in (*inputs, *learned)]
    what = "the inputs themselves" if activation.joint else f"{inputs[0]} itself"
    summary = f"The wanted gradients: of {what}, of parameters as sums over what this program does."
    lines = _head(
        activation,
        names,
        f"{private}_grad_kernel",
        pointers,
        [*inputs, "grad", *(f"d_{each}" for each in inputs)],
        summary,
        [f"by_{each}" for each in (*inputs, *learned)],
    )
    entries = [names[entry] for each in activation.learned for entry in each.entries]
    zero = f"tl.zeros((height, width), {entries[0]}.dtype)"
    lines += [f"    d_{entry} = {zero}" for entry in entries]
    given = _given(activation, names)
    lines += _loop(activation, [*inputs, "grad"])
    for name, part in zip(inputs, parts, strict=False):
        place = _place(activation, f"d_{name}", "scattered")
        value = f"grad * {private}_by_{part}({given}fast)"
        lines += [f"        if by_{name}:", f"            tl.store({place}, {value}, mask=inside)"]
    of_entry = dict(zip(activation.variables, parts, strict=True))
    for each in activation.learned:
        lines.append(f"        if by_{names[each.name]}:")
        for entry in each.entries:
            value = f"grad * {private}_by_{of_entry[entry]}({given}fast)"
            lines.append(f"            d_{names[entry]} += tl.where(inside, {value}, 0.0)")
    for each in activation.learned:
        lines.append(f"    if by_{names[each.name]}:")
        lines += [f"        {line}" for line in _stores(each, names)]
    return "\n".join(lines) + "\n"


def _stores(learned: Learned, names: Mapping[str, str]) -> Iterator[str]:
    """What writes a program's sums."""
    pointer = f"d_{names[learned.name]}_ptr"
    if learned.kind == "channel":
        yield f"_learned.store_channels({pointer}, d_{names[learned.name]}, {_PLACE})"
        return
    count = len(learned.entries)
    for place, entry in enumerate(learned.entries):
        yield f"_learned.store_sum({pointer}, {place}, {count}, d_{names[entry]})"


def _head(
    activation: Activation,
    names: Mapping[str, str],
    name: str,
    pointers: Sequence[str],
    walked: Sequence[str],
    summary: str,
    wanted: Sequence[str] = (),
) -> list[str]:
    """The kernel's first lines: its signature, and its parameters as it computes with them."""
    signature = [*pointers, *(f"{names[p]}: tl.float64" for p in layout.parameter_names(activation)), _SIZES]
    choices = [*_CHOICES]
    if activation.joint:  # each tensor of elements may lie in its own way
        signature += ["across", *(f"{each}_{way}" for each in walked for way in ("row", "column"))]
        choices += ["strided", "scattered"]
    signature += [f"{each}: tl.constexpr" for each in (*choices, *wanted)]
    x = names[activation.inputs[0]]
    lines = ["@triton.jit", f"def {name}({', '.join(signature)}):", f'    """{summary}"""']
    if activation.channelled:
        place = "rows, columns, steps, inner, channels, by_row, height, width, wide"
        lines.append(f"    channel = _learned.channels_of({place})")
    for each in activation.learned:
        for place_, entry in enumerate(each.entries):
            offset = " + channel" if each.kind == "channel" else f" + {place_}" if place_ else ""
            lines.append(f"    {names[entry]} = _learned.load({names[each.name]}_ptr{offset}, {x}_ptr)")
    first = names[activation.learned[0].entries[0]]
    lines += [
        f"    {names[p]} = _launch.as_parameter({names[p]}, {first})"
        for p in layout.parameter_names(activation)
    ]
    return lines


def _given(activation: Activation, names: Mapping[str, str]) -> str:
    own = (*activation.variables, *layout.parameter_names(activation))
    return "".join(f"{names[name]}, " for name in own)


# -- what PyTorch sees -------------------------------------------------------------------------------------


def _interface(activation: Activation, program: JointProgram, digest: str) -> Iterator[str]:
    plain = _at_calls(activation)
    if plain.requires:
        yield layout.checks(plain)
    if activation.requires:
        yield _initial_checks(activation)
    registration = _registration(activation, program, digest)
    packing = f'_packing = _packed.LearnedPacking(_operator, packed="{activation.packed}")\n'
    yield registration + packing if activation.packed else registration
    yield _function(activation, plain)
    yield _class(activation)
    if activation.aliases:
        yield layout.aliases(activation)


def _at_calls(activation: Activation) -> Activation:
    """The activation with the constraints alone that a call can check: those on numbers."""
    numbers = set(layout.parameter_names(activation))
    kept = tuple(each for each in activation.requires if set(symbols(each)) <= numbers)
    return replace(activation, requires=kept)


def _initial_checks(activation: Activation) -> str:
    """The function that checks the constraints on initial values."""
    declared = [f"{each.name}: {_annotation(each)}" for each in activation.learned]
    declared += [f"{each.name}: float" for each in activation.parameters]
    lines = [
        f"def _check_initial({', '.join(declared)}) -> None:",
        '    """Raise ValueError for initial values and parameters that break a constraint."""',
        *layout.constraints(activation),
    ]
    return "\n".join(lines) + "\n"


def _annotation(learned: Learned) -> str:
    return "Sequence[float]" if learned.kind == "vector" else "float"


def _registration(activation: Activation, program: JointProgram, digest: str) -> str:
    private = layout.inner_name(activation.name)
    parts = _parts(activation)
    (output,) = program.outputs
    slopes = "".join(f"{private}_formula_by_{part}, " for part in parts)
    curvatures = "".join(
        f"({a}, {b}): {private}_curvature_{parts[a]}_{parts[b]}, " for a, b in output.curvatures
    )
    extents = {
        each.name: "channel" if each.kind == "channel" else len(each.entries) for each in activation.learned
    }
    lines = [
        "_operator = _learned.LearnedOperator(",
        f'    "{activation.name}",',
        f"    kernels=({private}_kernel, {private}_grad_kernel),",
        f"    formula={private}_formula,",
        f"    slopes=({slopes}),",
        f"    curvatures={{{curvatures}}},",
        f"    learned={extents!r},",
        *([] if activation.symmetric else ["    symmetric=False,"]),
        *(["    own_derivative=True,"] if activation.own_derivative else []),
        f"    parameters={len(activation.parameters)},",
        f'    version="{digest[:8]}",',
        ")",
    ]
    return "\n".join(lines) + "\n"


def _function(activation: Activation, plain: Activation) -> str:
    name = activation.name
    named = _tensors(activation)
    tensors = ", ".join(named)
    itself = layout.own_name(activation, *named, *layout.parameter_names(activation))
    dim = f", *, dim: int = {_dim(activation)}" if _dim(activation) else ""
    dim_passed = ", dim=dim" if dim else ""
    inputs = ["torch.zeros(2, 3)", *("torch.zeros(3)" for _ in activation.inputs[1:])]
    example = ", ".join([*inputs, *map(_example, activation.learned)])
    doc = layout.docstring(
        f"""{report.summary(activation)}

{report.wrap(_about(activation, plain))}

>>> {name}({example}{layout.required(activation)}).shape
torch.Size([2, 3])""",
        "    ",
    )
    declared = ", ".join([_declared(activation), *(f"{each.name}: Tensor" for each in activation.learned)])
    passed = layout.passed_on(activation)
    lines = [
        f"def {name}({declared}{layout.signature(activation)}{dim}) -> Tensor:",
        f"    {doc}",
        f"    if has_torch_function(({tensors})):",
        f"        return handle_torch_function({itself}, ({tensors}), {tensors}{passed}{dim_passed})",
    ]
    if plain.requires:
        lines.append(f"    _check({passed.removeprefix(', ')})")
    lines.append(f"    return {_call(activation)}")
    if itself != name:
        lines += ["", "", f"{itself} = {name}  # an argument hides the name inside"]
    return "\n".join(lines) + "\n"


def _dim(activation: Activation) -> str:
    """The default of the argument `dim`, if there is one: that of channels, or of inputs in one tensor."""
    return "1" if activation.channelled else "-1" if activation.packed else ""


def _declared(activation: Activation, default: str = "") -> str:
    """The inputs as arguments; but for the first, packed ones may be None."""
    first, *others = activation.inputs
    kind = f"Tensor | None{default}" if activation.packed else "Tensor"
    return ", ".join([f"{first}: Tensor", *(f"{each}: {kind}" for each in others)])


def _call(activation: Activation) -> str:
    """The operator called, by its function."""
    numbers = layout.parameter_names(activation)
    if activation.packed:
        groups = activation.inputs, [each.name for each in activation.learned], numbers
        given = ", ".join(f"({', '.join(group)}{',' * (len(group) == 1)})" for group in groups)
        return f"_packing({given}, dim)"
    dim = ["dim=dim"] if activation.channelled else []
    return f"_operator({', '.join([*_tensors(activation), *numbers, *dim])})"


def _about(activation: Activation, plain: Activation) -> str:
    """What a function takes, gives and raises, for its docstring."""
    several = len(activation.inputs) > 1
    said = ["Elementwise, for tensors of float16, bfloat16, float32 or float64,"]
    if several:
        said.append("of any strides and of shapes that broadcast; types are promoted as PyTorch's operators")
        said.append("promote them.")
    else:
        said.append("of any shape and strides; the result is like the input.")
    said += map(_shape, activation.learned)
    if activation.channelled and several:
        said.append("The channels lie along `dim` of the result; one that has no such dimension has one.")
    elif activation.channelled:
        said.append("The channels lie along `dim`; an input that has no such dimension has one.")
    if activation.packed:
        way = layout.TOGETHER[activation.packed]
        only, *others = (f"`{each}`" for each in activation.inputs)
        said.append(
            f"{only} alone may hold all inputs along `dim`, {way}; {' and '.join(others)} is None then."
        )
    said.append("Twice differentiable by all of them, in reverse and forward mode.")
    said.append(layout.raises(plain))
    return " ".join(said)


def _shape(learned: Learned) -> str:
    if learned.kind == "channel":
        return f"`{learned.name}` has a value for each channel, or one for all."
    return f"`{learned.name}` has shape ({len(learned.entries)},)."


def _example(learned: Learned) -> str:
    return f"torch.ones({3 if learned.kind == 'channel' else len(learned.entries)})"


def _arguments(activation: Activation) -> str:
    """The constructor's arguments: what has no default first, then the number of channels."""
    first, later = [], []
    for each in activation.learned:
        values = ", ".join(number(value) for value in each.default or ())
        default = f" = ({values},)" if each.kind == "vector" else f" = {values}"
        if each.default is None:
            first.append(f"{each.name}: {_annotation(each)}")
        else:
            later.append(f"{each.name}: {_annotation(each)}{default}")
    for parameter in activation.parameters:
        if parameter.default is None:
            first.append(f"{parameter.name}: float")
        else:
            later.append(f"{parameter.name}: float = {number(parameter.default)}")
    channels = ["num_parameters: int = 1"] if activation.channelled else []
    named = [f"dim: int = {_dim(activation)}"] if _dim(activation) else []
    named += ["device: torch.device | str | None = None", "dtype: torch.dtype | None = None"]
    return ", ".join(["self", *first, *channels, *later, "*", *named])


def _class(activation: Activation) -> str:
    learned = [each.name for each in activation.learned]
    parameters = layout.parameter_names(activation)
    itself = layout.own_name(activation, *activation.inputs)
    about = (
        f"The module of `{activation.name}`: {', '.join(f'`{name}`' for name in learned)} "
        f"{'is a parameter' if len(learned) == 1 else 'are parameters'} of it, and the arguments of "
        f"{'that name' if len(learned) == 1 else 'those names'} are initial values."
    )
    if activation.channelled:
        about += " `num_parameters` is the number of channels, which lie along `dim`; 1 is one value for all."
    if activation.packed:
        about += (
            f" It is called with {len(activation.inputs)} tensors, or with one that holds them along `dim`."
        )
    if activation.requires:
        about += f" Raises ValueError unless initially {layout.constraints_shown(activation)}."
    given = ", ".join("torch.zeros(2, 3)" for _ in activation.inputs)
    doc = layout.docstring(
        f"""{report.summary(activation)}

{report.wrap(about)}

>>> {activation.class_name}({_initial_example(activation)})({given}).shape
torch.Size([2, 3])""",
        "    ",
    )
    initial = ", ".join(
        f'"{each.name}": {each.name if each.kind == "vector" else f"({each.name},)"}'
        for each in activation.learned
    )
    lines = [
        f"class {activation.class_name}(nn.Module):",
        f"    {doc}",
        "",
        f"    def __init__({_arguments(activation)}) -> None:",
        "        super().__init__()",
    ]
    if activation.requires:
        lines.append(f"        _check_initial({', '.join([*learned, *parameters])})")
    lines += [f"        self.{name} = {name}" for name in parameters]
    if activation.channelled:
        lines.append("        self.num_parameters = num_parameters")
    if _dim(activation):
        lines.append("        self.dim = dim")
    lines.append(f"        self._initial = {{{initial}}}")
    for each in activation.learned:
        count = "num_parameters" if each.kind == "channel" else str(len(each.entries))
        values = f'self._initial["{each.name}"]'
        lines.append(f"        self.{each.name} = _learned.new_parameter({values}, {count}, device, dtype)")
    lines += [
        "        self.reset_parameters()",
        "",
        "    def reset_parameters(self) -> None:",
        '        """Give the parameters their initial values again."""',
        "        for name, values in self._initial.items():",
        "            _learned.fill(self.get_parameter(name), values)",
        "",
        f"    def forward(self, {_declared(activation, ' = None')}) -> Tensor:",
        '        """The activation of every element."""',
        f"        return {itself}({', '.join([*activation.inputs, *(f'self.{name}' for name in learned)])}"
        f"{layout.passed_on(activation, 'self.')}{', dim=self.dim' if _dim(activation) else ''})",
    ]
    shown = [f"{name}={{self.{name}}}" for name in parameters]
    if activation.channelled:
        shown.insert(0, "num_parameters={self.num_parameters}")
    if _dim(activation):
        shown.append("dim={self.dim}")
    if shown:
        lines += [
            "",
            "    def extra_repr(self) -> str:",
            '        """What `print` shows."""',
            f'        return f"{", ".join(shown)}"',
        ]
    return "\n".join(lines) + "\n"


def _initial_example(activation: Activation) -> str:
    """Arguments for what has no default."""
    given = [
        f"(1.0,) * {len(each.entries)}" if each.kind == "vector" else "1.0"
        for each in activation.learned
        if each.default is None
    ]
    return ", ".join([*given, *("1.0" for each in activation.parameters if each.default is None)])
