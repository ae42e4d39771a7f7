"""A generated module's text, part by part in the order in which a reader wants them.

In: an activation, its program and a digest. Out: Python source, not yet formatted and without its two lines
of provenance. Names that a spec may use and generated code needs for itself get an underscore.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from dsl import report
from dsl.activation import Activation
from dsl.expr import Expr, symbols
from dsl.program import Function, Program
from dsl.show import show_expr
from dsl.targets import eager, package, plain, triton
from dsl.targets.spelling import number

_IMPORTS = """\
{torch}import triton
import triton.language as tl
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary

from . import {modules}
"""


@dataclass(frozen=True)
class Extra:
    """What a function takes and does besides: texts for its signature, its docstring and its body.

    `passed` passes its arguments on in the function, `own` in the module.
    """

    declared: str = ""
    passed: str = ""
    own: str = ""
    about: str = ""
    module_about: str = ""
    first: tuple[str, ...] = ()


_NOTHING = Extra()


def module(activation: Activation, program: Program, digest: str, accuracy: str = "") -> str:
    """The source of one activation's module."""
    body = "\n\n".join([*_computations(activation, program), *_interface(activation, digest)])
    modules = "_launch, _math, _runtime" if "_math." in body else "_launch, _runtime"
    imports = _IMPORTS.format(modules=modules, torch="import torch\n" if _calls_torch(body) else "")
    return assemble(activation, report.header(activation, program, accuracy), imports, body)


def _calls_torch(body: str) -> bool:
    """Whether the code, and not only an example in its docstrings, says torch: that of x**3 does not."""
    return "torch." in re.sub(r'"""[\s\S]*?"""', "", body)


def assemble(activation: Activation, header: str, imports: str, body: str) -> str:
    """A module's text of its parts."""
    standard = "import math\n\n" if "math." in _constraints_in_python(activation) else ""
    parts = [
        docstring(header),
        standard + imports,
        f"__all__ = {list(package.public_names(activation))!r}\n",
        body,
    ]
    return "\n".join(parts)


def computations(activation: Activation, program: Program) -> str:
    """The part of a module that computes: its kernels and its formulas."""
    return "\n\n".join(_computations(activation, program))


def docstring(text: str, indent: str = "") -> str:
    r"""A text as a docstring that denotes it, whatever quotes and backslashes it holds.

    >>> import ast
    >>> ast.literal_eval(docstring('C:\\new "file"'))
    'C:\\new "file"'
    """
    escaped = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    escaped = "".join(
        c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in escaped
    )
    if escaped.endswith('"'):
        escaped = escaped[:-1] + '\\"'
    lines = escaped.split("\n")
    tail = f"\n{indent}" if len(lines) > 1 else ""
    body = "\n".join([lines[0], *(indent + line if line.strip() else "" for line in lines[1:])])
    return f'"""{body}{tail}"""'


def _computations(activation: Activation, program: Program) -> Iterator[str]:
    name = activation.name
    private = inner_name(name)
    functions = [trim(function) for function in (program.forward, program.gradient, program.curvature)]
    renames = [renamed(function) for function in functions]
    labels = (f"{name}(x)", f"The derivative of {name} at x", f"The second derivative of {name} at x")

    precision, casts = "in the precision of x; `fast` allows one good for 16 bits", activation.casts
    yield triton.jit_function(functions[0], private, f"{labels[0]}, {precision}.", renames[0], casts)
    yield triton.jit_function(
        functions[1], f"{private}_grad", f"{labels[1]}, {precision}.", renames[1], casts
    )
    parameters = parameter_names(activation)
    yield triton.kernel(
        f"{private}_kernel",
        private,
        "out = f(x), for elements `start` to `n`.",
        parameters,
        gradient=False,
        casts=casts,
    )
    yield triton.kernel(
        f"{private}_grad_kernel",
        f"{private}_grad",
        "out = grad * f'(x), for elements `start` to `n`.",
        parameters,
        gradient=True,
        casts=casts,
    )
    formulas = _formula_names(private)
    for function, formula, label, rename in zip(functions, formulas, labels, renames, strict=True):
        yield eager.formula(function, formula, f"{label} in torch operations.", rename, casts=casts)


def _interface(activation: Activation, digest: str) -> Iterator[str]:
    if activation.requires:
        yield checks(activation)
    yield registration(activation, digest)
    yield function_text(activation)
    yield class_text(activation)
    if activation.aliases:
        yield aliases(activation)


def aliases(activation: Activation) -> str:
    """The function under its other names."""
    return "".join(f"{alias} = {activation.name}\n" for alias in activation.aliases)


def _formula_names(private: str) -> list[str]:
    return [f"{private}_formula", f"{private}_grad_formula", f"{private}_curvature_formula"]


def trim(function: Function) -> Function:
    """The function without the constants that it does not use."""
    used = set(symbols(*(step.value for step in function.steps), function.result))
    return replace(function, constants=tuple(c for c in function.constants if c.name in used))


TOGETHER = {"halves": "one after the other", "interleaved": "in turns"}
"""How a tensor holds several."""


def inner_name(name: str) -> str:
    """The name of an activation's inner function, apart from those of the modules that it imports."""
    own = ("chance", "joint", "launch", "learned", "math", "packed", "rows", "runtime")
    return f"_{name}" if name not in own else f"_{name}_"


def renamed(function: Function) -> Mapping[str, str]:
    """What each name of a program is called in the generated text."""
    own = (*function.inputs, *function.parameters, *(step.name for step in function.steps))
    taken = {*own, *(constant.name for constant in function.constants)}
    labels = {}
    for name in own:
        label = re.sub(r"\W+", "_", name).strip("_")  # the entry a[0] of a vector is called a_0
        while label in triton.RESERVED | eager.RESERVED or (label != name and label in taken):
            label += "_"
        taken.add(label)
        labels[name] = label
    return labels


def checks(activation: Activation) -> str:
    """The function that checks the constraints on parameters."""
    parameters = ", ".join(f"{parameter.name}: float" for parameter in activation.parameters)
    lines = [
        f"def _check({parameters}) -> None:",
        '    """Raise ValueError for parameters that break a constraint."""',
        *constraints(activation),
    ]
    return "\n".join(lines) + "\n"


def constraints(activation: Activation) -> Iterator[str]:
    """The lines that check the constraints on parameters."""
    for condition in activation.requires:
        yield f"    if not ({plain.condition(condition)}):"
        yield f"        raise ValueError({_complaint(activation.name, condition)})"


def _constraints_in_python(activation: Activation) -> str:
    return " ".join(plain.condition(condition) for condition in activation.requires)


def _complaint(name: str, condition: Expr) -> str:
    """The message of a broken constraint, as a literal or two."""
    involved = symbols(condition)
    demand = f"{name}: {', '.join(involved)} must satisfy {show_expr(condition)}, "
    got = "{" + involved[0] + ":g}" if len(involved) == 1 else ", ".join(f"{p} = {{{p}:g}}" for p in involved)
    return f'f"{demand}got {got}"' if len(demand + got) < 70 else f'"{demand}" f"got {got}"'


def registration(activation: Activation, digest: str) -> str:
    """The statement that makes the operator."""
    private = inner_name(activation.name)
    formulas = _formula_names(private)
    lines = [
        "_operator = _runtime.Operator(",
        f'    "{activation.name}",',
        f"    kernels=({private}_kernel, {private}_grad_kernel),",
        f"    formulas=({', '.join(formulas)}),",
    ]
    if activation.parameters:
        names = "".join(f'"{parameter.name}", ' for parameter in activation.parameters)
        lines.append(f"    parameters=({names}),")
    if activation.own_derivative:
        lines.append("    own_derivative=True,")
    if activation.casts:
        lines.append("    casts=True,")
    lines += [f'    version="{digest[:8]}",', ")"]
    return "\n".join(lines) + "\n"


def signature(activation: Activation) -> str:
    """The parameters as they stand in a signature, each with a comma before it."""
    declared = []
    for parameter in activation.parameters:
        default = "" if parameter.default is None else f" = {number(Fraction(parameter.default))}"
        declared.append(f", {parameter.name}: float{default}")
    return "".join(declared)


def parameter_names(activation: Activation) -> list[str]:
    """The parameters' names."""
    return [parameter.name for parameter in activation.parameters]


def passed_on(activation: Activation, prefix: str = "") -> str:
    """The parameters as they are passed on, each with a comma before it."""
    return "".join(f", {prefix}{parameter.name}" for parameter in activation.parameters)


def constraints_shown(activation: Activation) -> str:
    """The constraints on parameters as text."""
    return ", ".join(show_expr(condition) for condition in activation.requires)


def raises(activation: Activation) -> str:
    """What a function raises, for its docstring."""
    constraints = f" Raises ValueError unless {constraints_shown(activation)}." if activation.requires else ""
    return f"Raises NotImplementedError for other types.{constraints}"


def function_text(activation: Activation, extra: Extra = _NOTHING) -> str:
    """The function that users call."""
    name = activation.name
    x = activation.input
    itself = own_name(activation, x, *parameter_names(activation))
    about = report.wrap(
        "Elementwise, for tensors of float16, bfloat16, float32 or float64, of any shape and strides; the "
        f"result is like the input. Twice differentiable, in reverse and forward mode. {extra.about}"
        f"{raises(activation)}"
    )
    doc = docstring(
        f"""{report.summary(activation)}

{about}

>>> {name}(torch.zeros(2, 3){required(activation)}).shape
torch.Size([2, 3])""",
        "    ",
    )
    passed = passed_on(activation)
    lines = [
        f"def {name}({x}: Tensor{signature(activation)}{extra.declared}) -> Tensor:",
        f"    {doc}",
        f"    if has_torch_function_unary({x}):",
        f"        return handle_torch_function({itself}, ({x},), {x}{passed}{extra.passed})",
    ]
    if activation.requires:
        lines.append(f"    _check({passed.removeprefix(', ')})")
    lines += extra.first
    lines.append(f"    return _operator({x}{passed})")
    if itself != name:
        lines += ["", "", f"{itself} = {name}  # a parameter hides the name inside"]
    return "\n".join(lines) + "\n"


def own_name(activation: Activation, *visible: str) -> str:
    """What the function is called where other names are visible, one of which may hide its own."""
    return f"_{activation.name}_function" if activation.name in visible else activation.name


def required(activation: Activation) -> str:
    """Arguments for the parameters without a default, for an example."""
    return "".join(", 1.0" for parameter in activation.parameters if parameter.default is None)


def class_text(activation: Activation, extra: Extra = _NOTHING) -> str:
    """The module that users make."""
    name = activation.name
    x = activation.input
    itself = own_name(activation, x)
    passed = passed_on(activation, "self.") + extra.own
    about = report.wrap(
        f"The module of `{name}`. {extra.module_about}With `inplace` the result is written into the input; "
        "where a gradient is wanted, a copy of the input is kept for the backward pass, so that this saves "
        "no memory then."
    )
    doc = docstring(
        f"""{report.summary(activation)}

{about}

>>> {activation.class_name}({required(activation).removeprefix(', ')})(torch.zeros(2, 3)).shape
torch.Size([2, 3])""",
        "    ",
    )
    check = [f"        _check({passed_on(activation).removeprefix(', ')})"] if activation.requires else []
    stored = [f"        self.{parameter.name} = {parameter.name}" for parameter in activation.parameters]
    fields = ", ".join(f"{name}={{self.{name}}}" for name in parameter_names(activation))
    shown = f'f"{fields}" + ' if fields else ""
    inplace = f'"{", " if fields else ""}inplace=True" if self.inplace else ""'
    lines = [
        f"class {activation.class_name}(nn.Module):",
        f"    {doc}",
        "",
        f"    def __init__(self{signature(activation)}, inplace: bool = False) -> None:",
        "        super().__init__()",
        *check,
        *stored,
        "        self.inplace = inplace",
        "",
        f"    def forward(self, {x}: Tensor) -> Tensor:",
        '        """The activation of every element."""',
        "        if self.inplace:",
        f"            return _runtime.overwrite({itself}, {x}{passed})",
        f"        return {itself}({x}{passed})",
        "",
        "    def extra_repr(self) -> str:",
        '        """The parameters as `print` shows them."""',
        f"        return {shown}({inplace})" if shown else f"        return {inplace}",
    ]
    return "\n".join(lines) + "\n"
