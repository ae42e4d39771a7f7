"""The kernels of a normalisation between activations, as text.

In: the jit functions of the activations before and after it, and their parameters. Out: Triton source. What
the kernels share stands in `_epilogue.py` of the package; there is the launching, too.
"""

from __future__ import annotations

from collections.abc import Sequence

_CHOICES = "R: tl.constexpr, K: tl.constexpr, T: tl.constexpr, wide: tl.constexpr, fast: tl.constexpr"
_LOAD = "_launch.widen(tl.load({pointer}_ptr + at, mask=keep, other=0.0))"

_MOMENTS = '''\
@triton.jit
def {name}_moments_kernel(
    x_ptr, mean_ptr, m2_ptr, {declared_before}outer, groups, units, slab, UNIT: tl.constexpr, {choices},
    acc: tl.constexpr
):
    """Mean and squared deviations of every group's values, before the normalisation, over a slab."""
    inner = units * UNIT
    g, first, part = _epilogue.slab_of(groups, slab, K, wide)
    last = tl.minimum(first + slab, outer)
    mean = tl.zeros((K,), acc)
    m2 = tl.zeros((K,), acc)
    count = tl.full((), 0.0, acc)
    for start in range(first, last, R):
        for begin in range(0, inner, T):
            o, i = start + tl.arange(0, R), begin + tl.arange(0, T)
            at, keep = _epilogue.lattice(o, g, i, last, groups, inner)
            x = {load_x}
{cast_before}            value = {before}(x, {pass_before}fast)
            size = (tl.minimum(last - start, R) * tl.minimum(inner - begin, T)).to(acc)
            mean, m2, count = _epilogue.merge(mean, m2, count, value, keep, size)
    tl.store(mean_ptr + part * groups + g, mean, mask=g < groups)
    tl.store(m2_ptr + part * groups + g, m2, mask=g < groups)
'''

_COEFFICIENTS = """\
{indent}mean = _epilogue.per_group(mean_ptr, g // per, g < groups, 0.0)
{indent}rstd = _epilogue.per_group(rstd_ptr, g // per, g < groups, 0.0)
{indent}weight = _epilogue.per_group(weight_ptr, g % channels, (g < groups) & affine, 1.0)
{indent}bias = _epilogue.per_group(bias_ptr, g % channels, (g < groups) & shifted, 0.0)
"""

_APPLY = '''\
@triton.jit
def {name}_kernel(
    x_ptr, out_ptr, mean_ptr, rstd_ptr, weight_ptr, bias_ptr, {declared}outer, groups, units, per, channels,
    UNIT: tl.constexpr, {choices}, affine: tl.constexpr, shifted: tl.constexpr
):
    """out = after(weight * (before(x) - mean) * rstd + bias)"""
    inner = units * UNIT
    o, g, i = _epilogue.place(outer, groups, inner, R, K, T, wide)
    at, keep = _epilogue.lattice(o, g, i, outer, groups, inner)
{coefficients}    x = {load_x}
{cast}    z = ({before}(x, {pass_before}fast) - mean) * (rstd * weight) + bias
    tl.store(out_ptr + at, {after}(z, {pass_after}fast), mask=keep)
'''

_SUMS = '''\
@triton.jit
def {name}_sums_kernel(
    grad_ptr, x_ptr, mean_ptr, rstd_ptr, weight_ptr, bias_ptr, by_bias_ptr, by_weight_ptr, {declared}
    outer, groups, units, slab, per, channels, UNIT: tl.constexpr,
    {choices}, affine: tl.constexpr, shifted: tl.constexpr,
    acc: tl.constexpr
):
    """The gradients of every group's bias and weight, over a slab."""
    inner = units * UNIT
    g, first, part = _epilogue.slab_of(groups, slab, K, wide)
    last = tl.minimum(first + slab, outer)
{coefficients}    by_bias = tl.zeros((K,), acc)
    by_weight = tl.zeros((K,), acc)
    for start in range(first, last, R):
        for begin in range(0, inner, T):
            o, i = start + tl.arange(0, R), begin + tl.arange(0, T)
            at, keep = _epilogue.lattice(o, g, i, last, groups, inner)
            x = {load_x}
            grad = {load_grad}
{cast_inside}            normal = ({before}(x, {pass_before}fast) - mean) * rstd
            grad = tl.where(keep, grad * {after}_grad(normal * weight + bias, {pass_after}fast), 0.0)
            by_bias += _epilogue.total(grad)
            by_weight += _epilogue.total(tl.where(keep, grad * normal, 0.0))
    tl.store(by_bias_ptr + part * groups + g, by_bias, mask=g < groups)
    tl.store(by_weight_ptr + part * groups + g, by_weight, mask=g < groups)
'''

_SLOPE = '''\
@triton.jit
def {name}_grad_kernel(
    grad_ptr, x_ptr, mean_ptr, rstd_ptr, weight_ptr, bias_ptr, shared_ptr, turned_ptr, out_ptr, {declared}
    outer, groups, units, per, channels, UNIT: tl.constexpr,
    {choices}, affine: tl.constexpr, shifted: tl.constexpr,
    frozen: tl.constexpr
):
    """The gradient by x: what reaches a group's mean and deviation is taken out, unless they are `frozen`."""
    inner = units * UNIT
    o, g, i = _epilogue.place(outer, groups, inner, R, K, T, wide)
    at, keep = _epilogue.lattice(o, g, i, outer, groups, inner)
{coefficients}    x = {load_x}
    grad = {load_grad}
{cast}    normal = ({before}(x, {pass_before}fast) - mean) * rstd
    grad = grad * {after}_grad(normal * weight + bias, {pass_after}fast) * weight
    if not frozen:
        shared = _epilogue.per_group(shared_ptr, g // per, g < groups, 0.0)
        turned = _epilogue.per_group(turned_ptr, g // per, g < groups, 0.0)
        grad = grad - (shared + normal * turned)
    tl.store(out_ptr + at, grad * rstd * {before}_grad(x, {pass_before}fast), mask=keep)
'''

_ROWS_CHOICES = (
    "R: tl.constexpr, T: tl.constexpr, centred: tl.constexpr, affine: tl.constexpr, shifted: tl.constexpr, "
    "wide: tl.constexpr, fast: tl.constexpr"
)

_ROWS = '''\
@triton.jit
def {name}_kernel(
    x_ptr, out_ptr, weight_ptr, bias_ptr, {declared}eps: tl.float64, rows, length, {choices}
):
    """out = after(weight * (before(x) - mean) / deviation + bias), R rows to a program, in registers."""
    row = _epilogue.some_rows(tl.program_id(0), R, wide)
    i = tl.arange(0, T)
    at = row[:, None] * length + i[None, :]
    keep = (row < rows)[:, None] & (i < length)[None, :]
    weight = _epilogue.per_column(weight_ptr, i, (i < length) & affine, 1.0)
    bias = _epilogue.per_column(bias_ptr, i, (i < length) & shifted, 0.0)
    x = {load_x}
{cast}    normal, _ = _epilogue.normal_rows({before}(x, {pass_before}fast), keep, length, eps, centred)
    tl.store(out_ptr + at, {after}(normal * weight + bias, {pass_after}fast), mask=keep)
'''

_ROWS_SLOPE = '''\
@triton.jit
def {name}_grad_kernel(
    grad_ptr, x_ptr, out_ptr, weight_ptr, bias_ptr, by_bias_ptr, by_weight_ptr, {declared}eps: tl.float64,
    rows, length, blocks, {choices}
):
    """The gradient by x, and this program's part of those by weight and bias, from one read."""
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
        grad = tl.where(keep, grad * {after}_grad(normal * weight + bias, {pass_after}fast), 0.0)
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
    family: str, name: str, before: str, after: str, own: Sequence[str], later: Sequence[str]
) -> list[tuple[str, str]]:
    """The kernels' names and sources; `own` are the parameters of `before`, `later` those of `after`."""
    rows = family == "rows"
    parameters = (*own, *later)

    def casts(names: Sequence[str], depth: int) -> str:
        indent = 4 * depth * " "
        return "".join(f"{indent}{each}_ = _launch.as_parameter({each}, x)\n" for each in names)

    fields = {
        "name": name,
        "before": before,
        "after": after,
        "declared": "".join(f"{each}: tl.float64, " for each in parameters),
        "declared_before": "".join(f"{each}: tl.float64, " for each in own),
        "pass_before": "".join(f"{each}_, " for each in own),
        "pass_after": "".join(f"{each}_, " for each in later),
        "load_x": _LOAD.format(pointer="x"),
        "load_grad": _LOAD.format(pointer="grad"),
        "coefficients": _COEFFICIENTS.format(indent="    "),
        "choices": _ROWS_CHOICES if rows else _CHOICES,
        "cast": casts(parameters, 1),
        "cast_before": casts(own, 3),
        "cast_inside": casts(parameters, 2 if rows else 3),
    }
    templates = KERNELS["rows" if rows else "channels"]
    return [(f"{name}_{end}", text.format(**fields)) for end, text in templates]
