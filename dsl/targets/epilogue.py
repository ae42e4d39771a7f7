"""The kernels of a normalisation between activations, as text.

In: the jit functions of the activations before and after it, and their parameters. Out: Triton source. What
the kernels share stands in `_epilogue.py` of the package; there is the launching, too.
"""

from __future__ import annotations

from collections.abc import Sequence

_WHERE = "outer, groups, units, steps, "
_CHOICES = "UNIT: tl.constexpr, R: tl.constexpr, K: tl.constexpr, T: tl.constexpr, " + ", ".join(
    f"{name}: tl.constexpr" for name in ("STAGES", "wide", "fast", "x_last", "carried")
)
_ALL_CHOICES = f"{_CHOICES}, y_last: tl.constexpr, affine: tl.constexpr, shifted: tl.constexpr"
_LOAD = "_launch.widen(tl.load({pointer}_ptr + at, mask=keep, other=0.0))"
_LOAD_X = """\
        o, i, keep = _epilogue.tile(row, column, g, outer, groups, inner, R, T)
        at = _epilogue.lattice(o, g, i, groups, inner, x_last)
        x = _launch.widen(tl.load(x_ptr + at, mask=keep, other=0.0))
        if carried:
            x = x + shift
"""
_NEXT = "        row, column = _epilogue.following(row, column, inner, T)\n"

_SHARE = """\
    inner = units * UNIT
    g, {part}, row, column = _epilogue.share(groups, inner, steps, K, T, wide)
    there = g < groups
"""
_COEFFICIENTS = """\
    mean = _epilogue.per_group(mean_ptr, g // per, there, 0.0)
    rstd = _epilogue.per_group(rstd_ptr, g // per, there, 0.0)
    weight = _epilogue.per_group(weight_ptr, g % channels, there & affine, 1.0)
    bias = _epilogue.per_group(bias_ptr, g % channels, there & shifted, 0.0)
    shift = _epilogue.per_group(shift_ptr, g % channels, there & carried, 0.0)
"""
_AT_PART = "g * (tl.num_programs(0) // tl.cdiv(groups, K)) + part"

_TURN = """\
        residual = {load_residual}
        grad = grad * {later}_grad({after}({normal}, {pass_after}fast) + residual, {pass_later}fast)
        tl.store(by_residual_ptr + at, grad, mask=keep)
"""

_MOMENTS = '''\
@triton.jit
def {name}_moments_kernel(
    x_ptr, shift_ptr, count_ptr, mean_ptr, m2_ptr, {declared_before}{where}{choices}, acc: tl.constexpr
):
    """How many values every group has before the normalisation, their mean and squared deviations, over a
    part of the tiles.
    """
{share}    shift = _epilogue.per_group(shift_ptr, g, there & carried, 0.0)
    pivot = tl.zeros((1, K, 1), acc)
    first = tl.zeros((R, K, T), acc)
    second = tl.zeros((R, K, T), acc)
    count = tl.full((), 0.0, acc)
    for step in tl.range(steps, num_stages=STAGES):
{read}{cast_before}        value = {before}(x, {pass_before}fast)
        size = _epilogue.elements(row, column, outer, inner, R, T)
        if step == 0:
            pivot = _epilogue.centre(value, keep, size)
        away = tl.where(keep, value - pivot, 0.0)
        first += away
        second += away * away
        count += size.to(acc)
{next}    mean, m2 = _epilogue.moments(pivot, first, second, count)
    at = {at_part}
    tl.store(count_ptr + at, tl.where(there, count, 0.0), mask=there)
    tl.store(mean_ptr + at, mean, mask=there)
    tl.store(m2_ptr + at, m2, mask=there)
'''

_APPLY = '''\
@triton.jit
def {name}_kernel(
    x_ptr, out_ptr, mean_ptr, rstd_ptr, weight_ptr, bias_ptr, shift_ptr, {added}{declared}{where}per,
    channels, {all_choices}
):
    """out = {opens}after(weight * (before(x + shift) - mean) * rstd + bias){closes}"""
{share_map}{coefficients}    scale = rstd * weight
    for _ in tl.range(steps, num_stages=STAGES):
{read}{cast}        z = ({before}(x, {pass_before}fast) - mean) * scale + bias
        at = _epilogue.lattice(o, g, i, groups, inner, y_last)
{read_residual}        tl.store(out_ptr + at, {result}, mask=keep)
{next}'''

_SUMS = '''\
@triton.jit
def {name}_sums_kernel(
    grad_ptr, x_ptr, mean_ptr, rstd_ptr, weight_ptr, bias_ptr, shift_ptr, by_bias_ptr, by_weight_ptr,
    {turned}{declared}{where}per, channels, {all_choices}, acc: tl.constexpr
):
    """The gradients of every group's bias and weight, over a part of the tiles{and_residual}."""
{share}{coefficients}    scale = rstd * weight
    by_bias = tl.zeros((R, K, T), acc)
    by_weight = tl.zeros((R, K, T), acc)
    for _ in tl.range(steps, num_stages=STAGES):
{read}        at = _epilogue.lattice(o, g, i, groups, inner, y_last)
        grad = {load_grad}
{cast}        away = {before}(x, {pass_before}fast) - mean
{turn}        grad = tl.where(keep, grad * {after}_grad(away * scale + bias, {pass_after}fast), 0.0)
        by_bias += grad
        by_weight += tl.where(keep, grad * away, 0.0)
{next}    at = {at_part}
    tl.store(by_bias_ptr + at, _epilogue.total(by_bias), mask=there)
    tl.store(by_weight_ptr + at, _epilogue.total(by_weight) * _epilogue.total(rstd), mask=there)
'''

_SLOPE = '''\
@triton.jit
def {name}_grad_kernel(
    grad_ptr, x_ptr, mean_ptr, rstd_ptr, weight_ptr, bias_ptr, shift_ptr, shared_ptr, turned_ptr, out_ptr,
    by_shift_ptr, {declared}{where}per, channels, {all_choices}, frozen: tl.constexpr, acc: tl.constexpr
):
    """The gradient by x: what reaches a group's mean and deviation is taken out, unless they are `frozen`.

    Its sums over a part of the tiles are those by what is added to every group first, if it is `carried`.
    """
{share}{coefficients}    scale = rstd * weight
    if not frozen:
        shared = _epilogue.per_group(shared_ptr, g // per, there, 0.0) * rstd
        turned = _epilogue.per_group(turned_ptr, g // per, there, 0.0) * rstd * rstd
    by_shift = tl.zeros((R, K, T), acc)
    for _ in tl.range(steps, num_stages=STAGES):
{read}        across = _epilogue.lattice(o, g, i, groups, inner, y_last)
        grad = _launch.widen(tl.load(grad_ptr + across, mask=keep, other=0.0))
{cast}        away = {before}(x, {pass_before}fast) - mean
        grad = grad * {after}_grad(away * scale + bias, {pass_after}fast) * scale
        if not frozen:
            grad = grad - (shared + away * turned)
        grad = grad * {before}_grad(x, {pass_before}fast)
        tl.store(out_ptr + at, grad, mask=keep)
        if carried:
            by_shift += tl.where(keep, grad, 0.0)
{next}    if carried:
        tl.store(by_shift_ptr + {at_part}, _epilogue.total(by_shift), mask=there)
'''

_ROWS_CHOICES = (
    "R: tl.constexpr, T: tl.constexpr, centred: tl.constexpr, affine: tl.constexpr, shifted: tl.constexpr, "
    "wide: tl.constexpr, fast: tl.constexpr"
)

_ROWS = '''\
@triton.jit
def {name}_kernel(
    x_ptr, out_ptr, weight_ptr, bias_ptr, {added}{declared}eps: tl.float64, rows, length, {choices}
):
    """out = {opens}after(weight * (before(x) - mean) / deviation + bias){closes}, R rows to a program, \
in registers."""
    row = _epilogue.some_rows(tl.program_id(0), R, wide)
    i = tl.arange(0, T)
    at = row[:, None] * length + i[None, :]
    keep = (row < rows)[:, None] & (i < length)[None, :]
    weight = _epilogue.per_column(weight_ptr, i, (i < length) & affine, 1.0)
    bias = _epilogue.per_column(bias_ptr, i, (i < length) & shifted, 0.0)
    x = {load_x}
{cast}    normal, _ = _epilogue.normal_rows({before}(x, {pass_before}fast), keep, length, eps, centred)
{read_residual}    tl.store(out_ptr + at, {result}, mask=keep)
'''

_ROWS_SLOPE = '''\
@triton.jit
def {name}_grad_kernel(
    grad_ptr, x_ptr, out_ptr, weight_ptr, bias_ptr, by_bias_ptr, by_weight_ptr, {turned}{declared}
    eps: tl.float64, rows, length, blocks, {choices}
):
    """The gradient by x{and_residual}, and this program's part of those by weight and bias, from one read."""
    i = tl.arange(0, T)
    weight = _epilogue.per_column(weight_ptr, i, (i < length) & affine, 1.0)
    bias = _epilogue.per_column(bias_ptr, i, (i < length) & shifted, 0.0)
    by_bias = tl.zeros((T,), by_bias_ptr.dtype.element_ty)
    by_weight = tl.zeros((T,), by_weight_ptr.dtype.element_ty)
    for block in range(tl.program_id(0), blocks, tl.num_programs(0)):
        row = _epilogue.some_rows(block, R, wide)
        at = row[:, None] * length + i[None, :]
        keep = (row < rows)[:, None] & (i < length)[None, :]
        x = {load_x}
        grad = {load_grad}
{cast_inside}        value = {before}(x, {pass_before}fast)
        normal, rstd = _epilogue.normal_rows(value, keep, length, eps, centred)
{turn}        grad = tl.where(keep, grad * {after}_grad(normal * weight + bias, {pass_after}fast), 0.0)
        by_bias += tl.sum(grad, 0)
        by_weight += tl.sum(grad * normal, 0)
        grad = grad * weight
        turned = tl.sum(grad * normal, 1) / length
        grad = grad - normal * turned[:, None]
        if centred:
            grad = grad - (tl.sum(tl.where(keep, grad, 0.0), 1) / length)[:, None]
        tl.store(out_ptr + at, grad * rstd * {before}_grad(x, {pass_before}fast), mask=keep)
    tl.store(by_bias_ptr + tl.program_id(0) * length + i, by_bias, mask=i < length)
    tl.store(by_weight_ptr + tl.program_id(0) * length + i, by_weight, mask=i < length)
'''

KERNELS = {
    "channels": (
        ("moments_kernel", _MOMENTS),
        ("kernel", _APPLY),
        ("sums_kernel", _SUMS),
        ("grad_kernel", _SLOPE),
    ),
    "rows": (("kernel", _ROWS), ("grad_kernel", _ROWS_SLOPE)),
}
"""The kernels of a normalisation over channels or groups, and over rows, by the ends of their names."""

CLASSES = {"channels": "BatchNormalised", "groups": "GroupNormalised", "rows": "RowNormalised"}
"""What launches them, by the family of the layer."""


def kernels(
    family: str, name: str, chains: Sequence[tuple[str, Sequence[str]]], residual: bool = False
) -> list[tuple[str, str]]:
    """The kernels' names and sources, for activations before the normalisation, after it, and after what is
    added if there is a `residual`: each chain's jit function and parameters.

    Where no activation follows the residual its gradient is the result's, and no kernel is needed for it.
    """
    rows = family == "rows"
    (before, own), (after, following), *rest = chains
    later, added = rest[0] if rest else ("", ())
    parameters = (*own, *following, *added)
    load = _LOAD.format(pointer="residual")
    value = f"{after}({'normal * weight + bias' if rows else 'z'}, {_passed(following)}fast)"
    if residual:
        value = f"{later}({value} + residual, {_passed(added)}fast)" if later else f"{value} + residual"

    def casts(names: Sequence[str], depth: int) -> str:
        indent = 4 * depth * " "
        return "".join(f"{indent}{each}_ = _launch.as_parameter({each}, x)\n" for each in names)

    said = ", that by what is added" if rows else "; and the gradient by what is added"
    fields = {
        "name": name,
        "before": before,
        "after": after,
        "declared": "".join(f"{each}: tl.float64, " for each in parameters),
        "declared_before": "".join(f"{each}: tl.float64, " for each in own),
        "pass_before": _passed(own),
        "pass_after": _passed(following),
        "pass_later": _passed(added),
        "later": later,
        "normal": "normal * weight + bias" if rows else "away * scale + bias",
        "result": value,
        "added": "residual_ptr, " if residual else "",
        "load_residual": load,
        "read_residual": f"{(4 if rows else 8) * ' '}residual = {load}\n" if residual else "",
        "turned": "residual_ptr, by_residual_ptr, " if later else "",
        "and_residual": said if later else "",
        "opens": "later(" if later else "",
        "closes": f" + residual{')' if later else ''}" if residual else "",
        "load_x": _LOAD.format(pointer="x"),
        "load_grad": _LOAD.format(pointer="grad"),
        "choices": _ROWS_CHOICES if rows else _CHOICES,
        "all_choices": _ALL_CHOICES,
        "where": _WHERE,
        "share": _SHARE.format(part="part"),
        "share_map": _SHARE.format(part="_"),
        "coefficients": _COEFFICIENTS,
        "read": _LOAD_X,
        "next": _NEXT,
        "at_part": _AT_PART,
        "cast": casts(parameters, 1 if rows else 2),
        "cast_before": casts(own, 2),
        "cast_inside": casts(parameters, 2),
    }
    fields["turn"] = _TURN.format(**fields) if later else ""
    templates = KERNELS["rows" if rows else "channels"]
    return [(f"{name}_{end}", text.format(**fields)) for end, text in templates]


def _passed(parameters: Sequence[str]) -> str:
    """Parameters as a kernel hands them on."""
    return "".join(f"{each}_, " for each in parameters)
