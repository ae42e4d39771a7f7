"""The module of an activation with reductions over rows, part by part.

In: an activation, its program and a digest. Out: Python source, not yet formatted and without its two lines
of provenance. What it shares with the modules of one input is in `layout`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dsl import report
from dsl.activation import Activation
from dsl.expr import Symbol
from dsl.program import GRAD, LENGTH, Function, Reduction, RowFunction, RowProgram
from dsl.targets import eager, layout, triton
from dsl.targets.spelling import number

_IMPORTS = """\
import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function

from . import {modules}
"""

_TORCH = {
    "rowsum": "torch.sum({0}, dim, keepdim=True)",
    "rowmax": "_rows.greatest_torch({0}, dim)",
    "rowpeak": "_rows.peak_torch({0}, dim)",
}

_TRITON = {
    "rowsum": "_rows.total({0}, held)",
    "rowmax": "_rows.greatest({0}, held)",
    "rowpeak": "_rows.peak({0}, held)",
}
"""How a tile's rows are reduced."""

_OWN = (
    triton.RESERVED
    | eager.RESERVED
    | frozenset(
        "_launch _rows block column count dim dtype first grad held inner last length level n one out_ptr "
        "parts rows row span start stats_ptr wide width".split()
    )
)
"""What kernels and formulas have for themselves."""


def module(activation: Activation, program: RowProgram, digest: str, accuracy: str = "") -> str:
    """The source of one activation's module."""
    body = "\n\n".join([*_computations(activation, program), *_interface(activation, program, digest)])
    modules = "_launch, _math, _rows" if "_math." in body else "_launch, _rows"
    header = report.row_header(activation, program, accuracy)
    return layout.assemble(activation, header, _IMPORTS.format(modules=modules), body)


def computations(activation: Activation, program: RowProgram) -> str:
    """The part of a module that computes: its kernels and its formulas."""
    return "\n\n".join(_computations(activation, program))


@dataclass(frozen=True)
class _Names:
    """What the tensors, the parameters and the numbers of a row are called in a module's functions.

    `elements` and `parameters` are the names in programs, in the order of arguments; `label` gives those in
    the text.
    """

    elements: tuple[str, ...]
    parameters: tuple[str, ...]
    label: Mapping[str, str]

    @classmethod
    def of(cls, activation: Activation, function: RowFunction, gradient: bool) -> _Names:
        elements = (*activation.inputs, *([GRAD] if gradient else []))
        parameters = tuple(parameter.name for parameter in activation.parameters)
        found = {GRAD: "grad", LENGTH: "length"}
        of_row = [each.name for each in function.reductions]
        own = {
            *_OWN,
            *of_row,
            *(f"{name}_{part}" for name in of_row for part in ("now", "lost", "grown", "parts")),
        }
        own |= {f"{name}_shrink" for name in of_row}
        given = (*activation.inputs, *parameters)
        derived = {f"{name}_{part}" for name in elements for part in ("ptr", "group", "step", "row")}
        if own & {*given, *derived} or derived & set(given):
            found |= {name: f"x{place}" for place, name in enumerate(activation.inputs)}
            found |= {name: f"p{place}" for place, name in enumerate(parameters)}
        else:
            found |= {name: name for name in given}
        return cls(elements, parameters, {**found, **{name: name for name in of_row}})

    def arguments(self, *more: str) -> str:
        """The tensors and the parameters as they are passed on, then what else there is."""
        return ", ".join([*(self.label[name] for name in (*self.elements, *self.parameters)), *more])


def _computations(activation: Activation, program: RowProgram) -> Iterator[str]:
    for name, function, gradient, what in _functions(activation, program):
        names = _Names.of(activation, function, gradient)
        yield from _parts(name, function)
        yield _whole(name, function, names, f"{what}, over rows of tiles; `held` says what is in them.")
        yield _kernel(name, names, "Rows that fit on chip, some of them to a program.")
        yield _pass_kernel(name, function, names)
    yield from formulas(activation, program).values()


def formulas(activation: Activation, program: RowProgram) -> dict[str, str]:
    """The value and the gradients in torch operations: the source of each by its name."""
    found = {}
    for name, function, gradient, what in _functions(activation, program):
        summary = f"{what} in torch operations, over rows of so many elements along `dim`."
        label = _formula_name(activation, name)
        found[label] = _formula(activation, label, function, gradient, summary)
    return found


def _formula_name(activation: Activation, name: str) -> str:
    private = layout.inner_name(activation.name)
    return f"{private}_formula{name.removeprefix(private)}"


def _functions(activation: Activation, program: RowProgram) -> list[tuple[str, RowFunction, bool, str]]:
    """The functions of a module: their names, whether they take a gradient, and what they are."""
    private = layout.inner_name(activation.name)
    call = f"{activation.name}({', '.join(activation.inputs)})"
    found = [(private, program.forward, False, call)]
    for place, (name, function) in enumerate(zip(activation.inputs, program.gradients, strict=True)):
        part = f"x{place}" if f"{private}_by_{name}" in activation.inputs else name
        found.append((f"{private}_by_{part}", function, True, f"The gradient of {call} by {name}"))
    return found


# -- jit functions -----------------------------------------------------------------------------------------


def _ready(function: Function) -> tuple[Function, Mapping[str, str]]:
    """A function without what it does not use, and the names in its text."""
    function = layout.trim(function)
    rename = dict(layout.renamed(function))
    taken = {*rename.values(), *(constant.name for constant in function.constants)}
    for name, wish in ((GRAD, "grad"), (LENGTH, "length")):
        if name in rename:
            while wish in taken:
                wish += "_"
            rename[name] = wish
    return function, rename


def _parts(name: str, function: RowFunction) -> Iterator[str]:
    """What is reduced, as functions of elements, and the map from the rows' numbers to the result."""
    for each in function.reductions:
        if not isinstance(each.term.result, Symbol):
            summary = f"What `{each.name}` is the {_SPOKEN[each.kind]} of."
            yield triton.jit_function(
                _ready(each.term)[0], f"{name}_{each.name}", summary, _ready(each.term)[1]
            )
    yield triton.jit_function(
        _ready(function.map)[0],
        f"{name}_map",
        "The result, from the numbers of the row.",
        _ready(function.map)[1],
    )


_SPOKEN = {"rowsum": "sum over the row", "rowmax": "greatest of the row", "rowpeak": "greatest of the row"}


def _called(name: str, function: Function, label: Mapping[str, str]) -> str:
    """A call of a part, whose names are those of `label`."""
    arguments = ", ".join(label[each] for each in (*function.inputs, *function.parameters))
    return f"{name}({arguments}, fast)"


def _term(name: str, each: Reduction, label: Mapping[str, str]) -> str:
    if isinstance(each.term.result, Symbol):
        return label[each.term.result.name]
    return _called(f"{name}_{each.name}", each.term, label)


def _length(names: _Names) -> list[str]:
    return [names.label[LENGTH]]


def _whole(name: str, function: RowFunction, names: _Names, summary: str) -> str:
    lines = [
        f"{each.name} = {_TRITON[each.kind].format(_term(name, each, names.label))}"
        for each in function.reductions
    ]
    lines.append(f"return {_called(f'{name}_map', function.map, names.label)}")
    head = f"@triton.jit\ndef {name}({names.arguments(*_length(names), 'held')}, fast: tl.constexpr):\n"
    return head + f'    """{summary}"""\n' + "".join(f"    {line}\n" for line in lines)


# -- kernels -----------------------------------------------------------------------------------------------


def _declared(names: _Names, *more: str) -> str:
    labels = [names.label[each] for each in names.elements]
    found = [f"{each}_ptr" for each in (*labels, "out")]
    found += [each for each in more if each.endswith("_ptr")]
    found += [f"{names.label[each]}: tl.float64" for each in names.parameters]
    found += ["count", "n", "inner"]
    found += [f"{each}_{part}" for each in (*labels, "out") for part in ("group", "step", "row")]
    found += [each for each in more if not each.endswith("_ptr")]
    found += [f"{each}: tl.constexpr" for each in ("rows", "block", "wide", "fast")]
    return ", ".join(found)


def _place(label: str) -> str:
    return f"{label}_ptr + _rows.place(row, column, inner, {label}_group, {label}_step, {label}_row)"


def _loaded(names: _Names) -> list[str]:
    return [
        f"{label} = _launch.widen(tl.load({_place(label)}, mask=held, other=0.0))"
        for label in (names.label[each] for each in names.elements)
    ]


def _kernel(name: str, names: _Names, summary: str) -> str:
    first = names.label[names.elements[0]]
    lines = [
        "row = _rows.rows_of(rows, wide)",
        "column = tl.arange(0, block)[None, :]",
        "held = (row < count) & (column < n)",
        *_loaded(names),
        *(f"{names.label[p]} = _launch.as_parameter({names.label[p]}, {first})" for p in names.parameters),
        f"length = _launch.as_parameter(n, {first})",
        f"result = {name}({names.arguments('length', 'held', 'fast')})",
        f"tl.store({_place('out')}, result, mask=held)",
    ]
    head = f'@triton.jit\ndef {name}_kernel({_declared(names)}):\n    """{summary}"""\n'
    return head + "".join(f"    {line}\n" for line in lines)


def _pass_kernel(name: str, function: RowFunction, names: _Names) -> str:
    """The kernel of a pass over rows that do not fit on chip; `level` says which."""
    declared = _declared(names, "stats_ptr", "span", "parts")
    declared += ", level: tl.constexpr, width: tl.constexpr"
    lines = [
        "row = _rows.rows_of(rows, wide)",
        "first = tl.program_id(1) * span",
        "last = tl.minimum(first + span, n)",
        "dtype = stats_ptr.dtype.element_ty",
        "one = tl.full((), 1.0, dtype)",
        *(f"{names.label[p]} = _launch.as_parameter({names.label[p]}, one)" for p in names.parameters),
        "length = _launch.as_parameter(n, one)",
    ]
    slots = {each.name: slot for slot, each in enumerate(function.reductions)}
    for level in range(function.levels):
        own = [each for each in function.reductions if each.level == level]
        lines += [f"if level == {level}:", *(f"    {line}" for line in _found(name, own, names, slots))]
        lines += [f"if level > {level}:", *(f"    {line}" for each in own for line in _recalled(each, slots))]
    result = _called(f"{name}_map", function.map, names.label)
    lines += [
        f"if level == {function.levels}:",
        *(f"    {line}" for line in _along(names, [f"tl.store({_place('out')}, {result}, mask=held)"])),
    ]
    head = f"@triton.jit\ndef {name}_pass_kernel({declared}):\n"
    head += (
        '    """A pass over rows that do not fit on chip: numbers of a part of each, or at last the map."""\n'
    )
    return head + "".join(f"    {line}\n" for line in lines)


def _along(names: _Names, work: Sequence[str]) -> list[str]:
    """A loop over this program's part of its rows."""
    return [
        "for start in tl.range(first, last, block, num_stages=3):",
        "    column = start + tl.arange(0, block)[None, :]",
        "    held = (row < count) & (column < last)",
        *(f"    {line}" for line in (*_loaded(names), *work)),
    ]


def _found(name: str, own: Sequence[Reduction], names: _Names, slots: Mapping[str, int]) -> list[str]:
    """One level: the running numbers, the loop that moves them, and where they are kept."""
    before, within, after = [], [], []
    for each in own:
        x = each.name
        term = _term(name, each, {**names.label, each.peak: f"{each.peak}_now"})
        if each.kind == "rowsum":
            before += [f"{x} = tl.zeros((rows, block), dtype)", f"{x}_lost = tl.zeros((rows, block), dtype)"]
            if each.peak:
                shrink = f"{x}_shrink"
                within.append(f"{shrink} = {_shrink(each, f'{each.peak} - {each.peak}_now')}")
                within += [f"{x} *= {shrink}", f"{x}_lost *= {shrink}"]
            within.append(f"{x}, {x}_lost = _rows.added({x}, {x}_lost, {term}, held)")
            after.append(
                f"_rows.keep(stats_ptr, {slots[x]}, row, count, parts, _rows.settled({x}, {x}_lost))"
            )
            continue
        before.append(f'{x} = tl.full((rows, 1), -float("inf"), dtype)')
        if each.kind == "rowpeak":
            within.append(f"{x}_grown = tl.maximum({x}, _rows.peak({term}, held))")
            within.append(f"{x}_now = _rows.finite({x}_grown)")
        else:
            within.append(f"{x} = _math.maximum({x}, _rows.greatest({term}, held))")
        after.append(f"_rows.keep(stats_ptr, {slots[x]}, row, count, parts, {x})")
    within += [f"{each.name} = {each.name}_grown" for each in own if each.kind == "rowpeak"]
    return [*before, *_along(names, within), *after]


def _shrink(each: Reduction, distance: str) -> str:
    """By how much a sum shrinks where its peak has grown."""
    distance = distance if each.rate == 1 else f"{number(each.rate)} * ({distance})"
    return f"_math.exp({distance}, fast)"


def _recalled(each: Reduction, slots: Mapping[str, int]) -> list[str]:
    """A number of the row, from what was found in its parts."""
    x = each.name
    otherwise = "0.0" if each.kind == "rowsum" else '-float("inf")'
    kept = f"_rows.kept(stats_ptr, {slots[x]}, row, count, parts, width, {otherwise})"
    if each.kind == "rowsum":
        factor = f" * {_shrink(each, f'{each.peak}_parts - {each.peak}')}" if each.peak else ""
        return [f"{x} = tl.sum({kept}{factor}, 1, keep_dims=True)"]
    found = f"_rows.{'greatest' if each.kind == 'rowmax' else 'peak'}({x}_parts, True)"
    return [f"{x}_parts = {kept}", f"{x} = {found}"]


# -- formulas and the interface ----------------------------------------------------------------------------


def _formula(activation: Activation, name: str, function: RowFunction, gradient: bool, summary: str) -> str:
    """The whole as torch operations; every formula of a module takes the same arguments."""
    parameters = (*layout.parameter_names(activation), LENGTH)
    first, *others = (*activation.inputs, *([GRAD] if gradient else []))
    whole = replace(function.whole, input=first, others=tuple(others), parameters=parameters)
    whole, rename = _ready(whole)
    rename = {each: f"{label}_" if label == "dim" else label for each, label in rename.items()}
    return eager.formula(whole, name, summary, rename, _TORCH, ", dim: int")


def _interface(activation: Activation, program: RowProgram, digest: str) -> Iterator[str]:
    if activation.requires:
        yield layout.checks(activation)
    yield _registration(activation, program, digest)
    yield _function(activation)
    yield _class(activation)
    if activation.aliases:
        yield layout.aliases(activation)


def _registration(activation: Activation, program: RowProgram, digest: str) -> str:
    functions = _functions(activation, program)
    lines = ["_operator = _rows.RowOperator(", f'    "{activation.name}",', "    kernels=("]
    for name, function, _, _ in functions:
        shape = f"{function.levels}, {len(function.reductions)}"
        lines.append(f"        _rows.RowKernels({name}_kernel, {name}_pass_kernel, {shape}),")
    names = "".join(f"{_formula_name(activation, name)}, " for name, _, _, _ in functions)
    lines += [
        "    ),",
        f"    formulas=({names}),",
        f"    parameters={len(activation.parameters)},",
        f'    version="{digest[:8]}",',
        ")",
    ]
    return "\n".join(lines) + "\n"


def _function(activation: Activation) -> str:
    name = activation.name
    inputs = ", ".join(activation.inputs)
    itself = layout.own_name(activation, *activation.inputs, *layout.parameter_names(activation))
    several = " that broadcast" if activation.joint else ""
    about = report.wrap(
        "Over rows, which lie along `dim`, of tensors of float16, bfloat16, float32 or float64, of any "
        f"strides and shapes{several}; the result has their shape. Differentiable again and again, in "
        "reverse and forward mode. Raises IndexError for a dimension that is not there. "
        f"{layout.raises(activation)}"
    )
    given = ", ".join(_zeros(activation))
    doc = layout.docstring(
        f"""{report.summary(activation)}

{about}

>>> {name}({given}{layout.required(activation)}).shape
{_size(activation)}""",
        "    ",
    )
    passed = f"{layout.passed_on(activation)}, dim"
    lines = [
        f"def {name}({_tensors(activation)}{layout.signature(activation)}{_dim(activation)}) -> Tensor:",
        f"    {doc}",
        f"    if has_torch_function(({inputs},)):",
        f"        return handle_torch_function({itself}, ({inputs},), {inputs}{passed})",
    ]
    if activation.requires:
        lines.append(f"    _check({layout.passed_on(activation).removeprefix(', ')})")
    lines.append(f"    return _operator({inputs}{passed})")
    if itself != name:
        lines += ["", "", f"{itself} = {name}  # an argument hides the name inside"]
    return "\n".join(lines) + "\n"


def _dim(activation: Activation) -> str:
    return f", dim: int = {activation.dim}"


def _zeros(activation: Activation) -> list[str]:
    """Tensors for an example: with as many dimensions as the default wants."""
    assert activation.dim is not None
    sizes = ", ".join(map(str, _sizes(activation)))
    return [f"torch.zeros({sizes})" for _ in activation.inputs]


def _sizes(activation: Activation) -> range:
    assert activation.dim is not None
    dims = max(2, activation.dim + 1 if activation.dim >= 0 else -activation.dim)
    return range(2, 2 + dims)


def _size(activation: Activation) -> str:
    return f"torch.Size([{', '.join(map(str, _sizes(activation)))}])"


def _tensors(activation: Activation) -> str:
    return ", ".join(f"{name}: Tensor" for name in activation.inputs)


def _class(activation: Activation) -> str:
    itself = layout.own_name(activation, *activation.inputs)
    names = [*layout.parameter_names(activation), "dim"]
    required = layout.required(activation).removeprefix(", ")
    doc = layout.docstring(
        f"""{report.summary(activation)}

The module of `{activation.name}`.

>>> {activation.class_name}({required})({', '.join(_zeros(activation))}).shape
{_size(activation)}""",
        "    ",
    )
    lines = [
        f"class {activation.class_name}(nn.Module):",
        f"    {doc}",
        "",
        f"    def __init__(self{layout.signature(activation)}{_dim(activation)}) -> None:",
        "        super().__init__()",
    ]
    if activation.requires:
        lines.append(f"        _check({layout.passed_on(activation).removeprefix(', ')})")
    fields = ", ".join(f"{name}={{self.{name}}}" for name in names)
    lines += [
        *(f"        self.{name} = {name}" for name in names),
        "",
        f"    def forward(self, {_tensors(activation)}) -> Tensor:",
        '        """The activation over the rows."""',
        f"        return {itself}({', '.join([*activation.inputs, *(f'self.{name}' for name in names)])})",
        "",
        "    def extra_repr(self) -> str:",
        '        """The parameters as `print` shows them."""',
        f'        return f"{fields}"',
    ]
    return "\n".join(lines) + "\n"
