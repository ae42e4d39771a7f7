"""Programs as Triton: the spelling of every operation, and the text of the `@triton.jit` functions.

In: a `Function`. Out: the source of a jit function of a value in float32 or float64, its parameters in the
same precision, and `fast`, a constexpr that allows results good for 16 bits; where something is rounded in
the middle, also `dtype`, the type to round to.

Triton gives a bare number float32's precision wherever no tensor stands beside it. So numbers that go where a
tensor is wanted are made `tl.full((), number, x.dtype)`, and named constants are constexpr.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence

from dsl.expr import Apply, Expr, Number, Symbol, is_op, postorder
from dsl.forms import Draw
from dsl.program import Function
from dsl.targets.spelling import (
    ARITHMETIC,
    ATOM,
    BIT_AND,
    ELEMENTWISE_LOGIC,
    SUM,
    Kind,
    Row,
    Text,
    Writer,
    literal,
    number,
    write,
)

RESERVED = frozenset({"fast", "dtype", "float", "tl", "triton", "_math"})
"""Names that a program's own may not hide inside a jit function."""

_FUNCTIONS = {
    "abs": "tl.abs({0})",
    "exp": "_math.exp({0}, fast)",
    "exp_sum": "_math.exp_sum({0}, {1}, fast)",
    "exp_high": "_math.exp_high({0}, fast)",
    "exp_low": "_math.exp_low({0}, fast)",
    "exp_sum_high": "_math.exp_sum_high({0}, {1}, fast)",
    "exp_error": "_math.exp_error({0}, {1}, {2}, fast)",
    "expm1": "_math.expm1({0}, fast)",
    "log": "_math.log({0}, fast)",
    "log1p": "_math.log1p({0}, fast)",
    "log1p_unit": "_math.log1p_unit({0}, fast)",
    "erf": "_math.erf({0}, fast)",
    "erfcx": "_math.erfcx({0}, fast)",
    "mills": "_math.mills({0}, fast)",
    "product": "_math.product({0}, {1})",
    "product_error": "_math.product_error({0}, {1})",
    "sum_error": "_math.sum_error({0}, {1})",
    "copysign": "_math.copysign({0}, {1})",
    "ratio": "_math.ratio({0}, {1}, fast)",
    "sign": "_math.sign({0})",
    "floor": "_math.floor({0})",
    "ceil": "_math.ceil({0})",
    "round": "_math.round({0})",
    "sqrt": "_math.sqrt({0}, fast)",
    "cbrt": "_math.cbrt({0}, fast)",
    "sin": "_math.sin({0}, fast)",
    "cos": "_math.cos({0}, fast)",
    "turned": "_math.turned({0}, {1}, fast)",
    "asin": "_math.asin({0}, fast)",
    "acos": "_math.acos({0}, fast)",
    "atan": "_math.atan({0}, fast)",
    "pow": "_math.pow({0}, {1}, fast)",
    "pow_sum": "_math.pow_sum({0}, {1}, {2}, fast)",
    "cast": "_math.cast({0}, dtype)",
}

_EXTREMA = {"max": "_math.maximum({0}, {1})", "min": "_math.minimum({0}, {1})"}


def _spellings(x: str) -> Mapping[str, Writer]:
    """How Triton writes each operation in a function whose input is called `x`."""
    where = Row("tl.where({0}, {1}, {2})")
    indicator = Row(f"{{0}}.to({x}.dtype)", operands=(ATOM,))

    def tensor(arg: Text) -> Text:
        if arg.kind is not Kind.STATIC:
            return arg
        return Text(f"tl.full((), {arg.source}, {x}.dtype)", ATOM, Kind.UNIFORM)

    def tensor_unless_exact(arg: Text) -> Text:
        return arg if arg.value is not None and _is_float32(number(arg.value)) else tensor(arg)

    def call(template: str, take: Callable[[Text], Text] = tensor) -> Writer:
        row = Row(template)
        return lambda args: row.write(tuple(take(arg) for arg in args))

    def choose(args: tuple[Text, ...]) -> Text:
        condition, then, otherwise = args
        if then.is_number(1) and otherwise.is_number(0):
            return indicator.write((condition,))
        if max(then.kind, otherwise.kind) is Kind.STATIC:
            then = tensor(then)
        return where.write((condition, then, otherwise))

    rows: dict[str, Writer] = {op: row.write for op, row in {**ARITHMETIC, **ELEMENTWISE_LOGIC}.items()}
    rows |= {op: call(template) for op, template in _FUNCTIONS.items()}
    rows |= {op: call(template, tensor_unless_exact) for op, template in _EXTREMA.items()}
    rows["precise"] = Row("{0} & (not fast)", BIT_AND, (BIT_AND,)).write
    rows["fit"] = call("_math.fit({0}, {1}, {2}, {3}, fast)", lambda arg: arg)
    return rows | {"where": choose}


def jit_function(
    function: Function, name: str, summary: str, rename: Mapping[str, str], casts: bool = False
) -> str:
    """The source of `function` as a jit function called `name`; `rename` gives names that may stand in it.

    With `casts` it is told the tensors' type.
    """
    x = rename[function.input]
    table = _spellings(x)
    names = {name: Text(rename[name], ATOM, Kind.VARYING) for name in function.inputs}
    names |= {p: Text(rename[p], ATOM, Kind.UNIFORM) for p in function.parameters}
    lines = []
    for constant in function.constants:
        names[constant.name] = Text(constant.name, ATOM, Kind.STATIC, constant.value)
        lines.append(f"{constant.name}: tl.constexpr = {literal(constant)}  # {constant.meaning}")
    steps, result = _signs_kept(function)
    for step, value in zip(function.steps, steps, strict=True):
        text = write(value, names, table)
        label = rename[step.name]
        names[step.name] = Text(label, ATOM, text.kind, text.value)
        lines.append(f"{label}{': tl.constexpr' if text.kind is Kind.STATIC else ''} = {text.source}")
    lines.append(f"return {_shaped(write(result, names, table), x)}")
    parameters = "".join(f", {rename[p]}" for p in function.parameters)
    inputs = ", ".join(rename[each] for each in function.inputs)
    choices = "fast: tl.constexpr, dtype: tl.constexpr" if casts else "fast: tl.constexpr"
    head = f'@triton.jit\ndef {name}({inputs}{parameters}, {choices}):\n    """{summary}"""\n'
    return head + "".join(f"    {line}\n" for line in lines)


def kernel(
    name: str,
    callee: str,
    summary: str,
    parameters: Sequence[str],
    gradient: bool,
    draws: Sequence[Draw] = (),
    casts: bool = False,
) -> str:
    """The source of the kernel that loads, calls `callee` and stores.

    With `gradient` it loads the incoming gradient too, and stores the product. Where there are `draws`, it
    makes them of the seed, and passes them on after the input.
    """
    drawn = [f"r{draw.stream}" if {draw.name, *parameters} & _KERNEL_NAMES else draw.name for draw in draws]
    parameters = [f"p{i}" if p in _KERNEL_NAMES else p for i, p in enumerate(parameters)]
    seed = "seed_ptr, " if draws else ""
    pointers = f"{'grad_ptr, ' if gradient else ''}x_ptr, {seed}out_ptr"
    declared = "".join(f"{p}: tl.float64, " for p in parameters)
    value = f"{callee}(x, {''.join(f'{p}, ' for p in (*drawn, *parameters))}{_told('x', casts)})"
    load = "_launch.widen(tl.load({} + i, mask=i < n))"
    lines = [
        "@triton.jit",
        f"def {name}({pointers}, {declared}start, n, {_CHOICES}):",
        f'    """{summary}"""',
        "    i = _launch.tile_offsets(start, tile, wide)",
        f"    x = {load.format('x_ptr')}",
    ]
    lines += [f"    {p} = _launch.as_parameter({p}, x)" for p in parameters]
    for draw, label in zip(draws, drawn, strict=True):
        made = f"_chance.{draw.distribution}(seed_ptr, {draw.stream}, start, x, tile, wide)"
        lines.append(f"    {label} = {made}")
    if gradient:
        lines.append(f"    grad = {load.format('grad_ptr')}")
        value = f"grad * {value}"
    lines.append(f"    tl.store(out_ptr + i, {value}, mask=i < n)")
    return "\n".join(lines) + "\n"


def joint_kernel(
    name: str,
    summary: str,
    inputs: Sequence[str],
    parameters: Sequence[str],
    callees: Sequence[Sequence[str]],
    gradient: bool,
    casts: bool = False,
) -> str:
    """The source of the kernel of several inputs or outputs: it loads, calls and stores, in one pass.

    Each of `callees` is an output's value. With `gradient` it is a row of derivatives by the inputs: the
    incoming gradients are loaded too, and a sum of products is stored for those inputs whose gradient is
    wanted.
    """
    names = [*inputs, *parameters]
    own = {*names, *(f"{each}{part}" for each in inputs for part in _PARTS)}
    own |= {f"by_{each}" for each in inputs} | {f"d_{each}{part}" for each in inputs for part in _PARTS}
    grads, outs = _numbered("grad", len(callees)), _numbered("out", len(callees))
    taken = RESERVED | _SHARED_NAMES | _JOINT_NAMES
    taken |= {f"{each}{part}" for each in (*grads, *outs) for part in ("", *_PARTS)}
    if len(own) < 8 * len(inputs) + len(parameters) or own & taken:
        inputs = [f"x{i}" for i, _ in enumerate(inputs)]
        parameters = [f"p{i}" for i, _ in enumerate(parameters)]
    loaded = [*(grads if gradient else []), *inputs]
    stored = [f"d_{each}" for each in inputs] if gradient else outs
    wanted = [f"by_{each}" for each in inputs] if gradient else []
    signature = [f"{each}_ptr" for each in (*loaded, *stored)]
    signature += [f"{p}: tl.float64" for p in parameters]
    signature += ["columns", *(f"{each}_{part}" for each in (*loaded, *stored) for part in ("row", "column"))]
    signature += [f"{each}: tl.constexpr" for each in ("strided", "scattered", *wanted)]
    lines = [
        "@triton.jit",
        f"def {name}({', '.join(signature)}, start, n, {_CHOICES}):",
        f'    """{summary}"""',
        "    i = _launch.tile_offsets(start, tile, wide)",
    ]
    for each in loaded:
        place = f"_joint.offsets(i, columns, {each}_row, {each}_column, strided)"
        lines.append(f"    {each} = _launch.widen(tl.load({each}_ptr + {place}, mask=i < n))")
    lines += [f"    {p} = _launch.as_parameter({p}, {inputs[0]})" for p in parameters]
    given = "".join(f"{each}, " for each in (*inputs, *parameters)) + _told(
        grads[0] if gradient else outs[0], casts
    )
    values = _gradients(callees, grads, given) if gradient else [f"{row[0]}({given})" for row in callees]
    for position, (each, value) in enumerate(zip(stored, values, strict=True)):
        place = f"_joint.offsets(i, columns, {each}_row, {each}_column, scattered)"
        store = f"tl.store({each}_ptr + {place}, {value}, mask=i < n)"
        lines += [f"    if {wanted[position]}:", f"        {store}"] if gradient else [f"    {store}"]
    return "\n".join(lines) + "\n"


def pairs_kernel(
    name: str,
    summary: str,
    inputs: Sequence[str],
    parameters: Sequence[str],
    callees: Sequence[Sequence[str]],
    gradient: bool,
    joined: bool,
    casts: bool = False,
) -> str:
    """The source of the kernel of two inputs that alternate in one tensor, otherwise as `joint_kernel`.

    Their gradients do so too, and where they are `joined`, two outputs and their gradients.
    """
    grads, outs = _numbered("grad", len(callees)), _numbered("out", len(callees))
    taken = RESERVED | _SHARED_NAMES | _PAIRS_NAMES
    taken |= {f"{each}{part}" for each in (*grads, *outs) for part in ("", "_ptr")}
    if {*inputs, *parameters} & taken:
        inputs = [f"x{i}" for i, _ in enumerate(inputs)]
        parameters = [f"p{i}" for i, _ in enumerate(parameters)]
    outer = ["grads"] if joined else grads
    stored = ["d_inputs"] if gradient else ["outs"] if joined else outs
    signature = [f"{each}_ptr" for each in (*(outer if gradient else []), "inputs", *stored)]
    signature += [f"{p}: tl.float64" for p in parameters]
    lines = [
        "@triton.jit",
        f"def {name}({', '.join(signature)}, start, n, {_CHOICES}):",
        f'    """{summary}"""',
    ]
    pairs = [(inputs, "inputs")]
    if gradient and joined:
        pairs.append((grads, "grads"))
    if not joined:
        lines.append("    i = _launch.tile_offsets(start, tile, wide)")
    if gradient and not joined:
        lines += [f"    {each} = _launch.widen(tl.load({each}_ptr + i, mask=i < n))" for each in grads]
    lines += [
        f"    {', '.join(each)} = _packed.load_pairs({place}_ptr, start, n, tile)" for each, place in pairs
    ]
    lines += [f"    {p} = _launch.as_parameter({p}, {inputs[0]})" for p in parameters]
    given = "".join(f"{each}, " for each in (*inputs, *parameters)) + _told(
        (outer if gradient else stored)[0], casts
    )
    values = _gradients(callees, grads, given) if gradient else [f"{row[0]}({given})" for row in callees]
    if gradient or joined:
        lines.append(f"    _packed.store_pairs({stored[0]}_ptr, {', '.join(values)}, start, n, tile)")
    else:
        lines += [
            f"    tl.store({out}_ptr + i, {value}, mask=i < n)"
            for out, value in zip(outs, values, strict=True)
        ]
    return "\n".join(lines) + "\n"


def _gradients(callees: Sequence[Sequence[str]], grads: Sequence[str], given: str) -> list[str]:
    """For each input, the sum over the outputs of a gradient times a derivative."""
    return [
        " + ".join(f"{grad} * {slope}({given})" for grad, slope in zip(grads, column, strict=True))
        for column in zip(*callees, strict=True)
    ]


def _told(tensor: str, casts: bool) -> str:
    """What a jit function is told last; the type of results, of which `tensor` is one, if it has `casts`."""
    return f"fast, {tensor}_ptr.dtype.element_ty" if casts else "fast"


_PARTS = ("_ptr", "_row", "_column")
"""What belongs to a tensor in the arguments of a kernel of several."""


def _numbered(name: str, count: int) -> list[str]:
    """A name, or as many as there are outputs."""
    return [name] if count == 1 else [f"{name}_{number}" for number in range(1, count + 1)]


_CHOICES = "tile: tl.constexpr, wide: tl.constexpr, fast: tl.constexpr"

_SHARED_NAMES = {"start", "n", "tile", "wide", "i", "_launch"}
"""What every kernel has for itself."""

_KERNEL_NAMES = (
    RESERVED | _SHARED_NAMES | {"grad_ptr", "x_ptr", "seed_ptr", "out_ptr", "x", "grad", "_chance"}
)

_JOINT_NAMES = {"columns", "strided", "scattered", "_joint"}
"""What the kernels of several inputs have for themselves besides."""

_PAIRS_NAMES = {"inputs_ptr", "d_inputs_ptr", "outs_ptr", "grads_ptr", "_packed"}
"""What the kernels of inputs that alternate have besides."""


def _shaped(result: Text, x: str) -> str:
    """A result in the shape of the input, though it may not depend on it."""
    match result.kind:
        case Kind.STATIC:
            return f"tl.full({x}.shape, {result.source}, {x}.dtype)"
        case Kind.UNIFORM:
            return f"tl.zeros_like({x}) + {result.within(SUM + 1)}"
        case _:
            return result.source


_ODD = (
    *("mul", "div", "ratio", "product", "neg", "max", "min", "cast"),
    *("expm1", "log1p", "erf", "sin", "asin", "atan", "cbrt", "sqrt", "sign", "floor", "ceil", "round"),
)
"""Operations whose result is a zero of the other sign, or an infinity, if an operand is."""


def _signs_kept(function: Function) -> tuple[list[Expr], Expr]:
    """The values of the steps and the result, with the sign of zero that negations should give.

    Triton's -x is 0 - x, which makes 0 of a zero that should be -0. Where the result tells the sign, a
    negation is a product, which compilers write as the negation that it is.
    """
    telling: set[Expr] = {function.result}

    def kept(root: Expr) -> Expr:
        for node in reversed(list(postorder(root))):
            if node in telling and isinstance(node, Apply):
                telling.update(_telling_operands(node))
        done: dict[Expr, Expr] = {}
        for node in postorder(root):
            args = tuple(done[arg] for arg in node.args)
            if is_op(node, "neg") and node in telling:
                done[node] = Number(-1) * args[0]
            else:
                done[node] = Apply(node.op, *args) if isinstance(node, Apply) else node
        return done[root]

    result, steps = kept(function.result), []
    for step in reversed(function.steps):
        if Symbol(step.name) in telling:
            telling.add(step.value)
        steps.append(kept(step.value))
    return steps[::-1], result


def _telling_operands(node: Apply) -> tuple[Expr, ...]:
    """The operands whose zeros' signs make that of the result."""
    if node.op in ("where", "copysign"):
        return node.args[1:]
    return node.args if node.op in _ODD else ()


def _is_float32(literal: str) -> bool:
    """Whether a literal's value survives in float32.

    >>> _is_float32("0.5"), _is_float32("0.1")
    (True, False)
    """
    try:
        value = float(literal)
        return bool(struct.unpack("f", struct.pack("f", value))[0] == value)
    except (OverflowError, ValueError):
        return False
