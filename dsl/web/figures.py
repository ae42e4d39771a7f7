"""The plots of an activation: values and errors along a line, and a table of values beside them.

In: an activation. Out: HTML, and the lines of a sketch. Parameters are at their defaults; what cannot be
drawn raises `CurveError`, which says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from html import escape

import numpy as np

from dsl.activation import Activation, as_numbers
from dsl.certificate import show_parameters
from dsl.curves import (
    FLOOR,
    OURS,
    TORCH,
    TYPED,
    Panel,
    Way,
    ceiling,
    has_pole,
    known,
    panels,
    summary,
    without_pole,
)
from dsl.evaluate import Reference
from dsl.families import family, has_family
from dsl.pipeline import derive
from dsl.ulp import Array
from dsl.web.chart import Axis, Line, around, linear, plot
from dsl.web.html import bullets, table

ENDS = (-10.0, 10.0)
POINTS = 2000
CLASSES = {TYPED: "typed", TORCH: "torch", OURS: "ours"}
"""Drawn in this order, thinner lines on thicker ones."""
ORDERS = ("Value", "First derivative", "Second derivative")
FAMILY = 5
"""So many curves in one plot have colours of their own."""
SHOWN = (-10.0, -5.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class Figures:
    """HTML of the plots, and what a small picture shows."""

    page: str
    sketch: tuple[Line, ...]
    panels: tuple[Panel, ...] = ()


def figures(
    activation: Activation,
    ends: tuple[float, float] = ENDS,
    points: int = POINTS,
    errors: bool = True,
    made: Callable[[], Way] | None = None,
) -> Figures:
    """The plots of an activation between two ends, in float32; see `dsl.curves.panels` and `dsl.families`."""
    if activation.learned:
        activation, made = replace(as_numbers(activation), references=()), None
    values = known(activation)
    given = f" With {show_parameters(values)}." if values else ""
    if has_family(activation):
        return _family(activation, given, ends)
    if activation.own_derivative:
        given += " It has a derivative of its own, which autograd of the formula does not give."
    if activation.random:
        given += " In evaluation, where nothing is drawn."
    found = panels(activation, *ends, "float32", points, errors, made)
    shown = _with_errors(activation, found, given) if errors else _plots(activation, found)
    lines = tuple(
        Line(kind, "", panel.x[::8], _tamed(panel)[::8])
        for kind, panel in zip(("value", "slope"), found[:2], strict=True)
    )
    return Figures(shown + _values(activation, values), lines, found)


def _with_errors(activation: Activation, found: Sequence[Panel], given: str) -> str:
    drawn = [name for name in CLASSES if any(name in panel.errors for panel in found)]
    x = found[0].x
    torch = ", PyTorch’s function" if TORCH in drawn else ""
    note = (
        f"Exact values, and the errors of float32 results from {x[0]:g} to {x[-1]:g}: the generated code"
        f"{torch} and the formula typed in torch operations, differentiated by autograd. A cross marks NaN "
        f"or an infinity in a wrong place.{given}"
    )
    legend = "".join(f'<li class="{CLASSES[name]}">{name}</li>' for name in reversed(drawn))
    picture = _plots(activation, found, ceiling(found))
    return f'<p class="note">{escape(note)}</p><ul class="legend">{legend}</ul>{picture}'


def _plots(activation: Activation, found: Sequence[Panel], top: float = 0.0) -> str:
    """The panels, beside each other if there is room; with their errors below, if `top` is their end."""
    columns = [
        f"<figure><figcaption>{ORDERS[panel.order]}</figcaption>{value_plot(activation.name, panel)}"
        f"{_errors(activation.name, panel, top) if top else ''}</figure>"
        for panel in found
    ]
    return f'<div class="plots">{"".join(columns)}</div>'


def _tamed(panel: Panel) -> Array:
    return without_pole(panel.exact)[0] if has_pole(panel.exact) else panel.exact


def value_plot(name: str, panel: Panel) -> str:
    """The exact values of one panel."""
    if has_pole(panel.exact):
        values, (low, high) = without_pole(panel.exact)
        up = linear(low, high, 4)
    else:
        values = panel.exact
        up = around([values])
    across = linear(float(panel.x[0]), float(panel.x[-1]))
    said = _words(panel)
    return plot(f"{ORDERS[panel.order]} of {name}", said, across, up, [Line("value", "", panel.x, values)])


def _words(panel: Panel) -> str:
    """What a curve does, for those who do not see it."""
    finite = np.isfinite(panel.exact)
    if not finite.any():
        return "nowhere defined here"
    x, y = panel.x[finite], panel.exact[finite]
    low, high = int(y.argmin()), int(y.argmax())
    return (
        f"from {y[0]:.4g} at {x[0]:.4g} to {y[-1]:.4g} at {x[-1]:.4g}; least {y[low]:.4g} at {x[low]:.4g}, "
        f"greatest {y[high]:.4g} at {x[high]:.4g}"
    )


def _errors(name: str, panel: Panel, top: float) -> str:
    lines, said = [], []
    for way, kind in CLASSES.items():
        if way in panel.errors:
            x, worst, wrong = summary(panel.x, panel.errors[way])
            height = np.log10(np.clip(worst, FLOOR, top))
            lines.append(Line(kind, way, x, height, x[wrong], steps=True))
            greatest = np.nanmax(worst) if np.isfinite(worst).any() else 0.0
            said.append(f"{way} at most {greatest:.3g}{', wrong in places' if wrong.any() else ''}")
    powers = [(float(power), _power(power)) for power in range(1, int(np.log10(top)))]
    ticks = [(np.log10(FLOOR), "exact"), (np.log10(0.5), "0.5"), *powers[:: 1 if len(powers) < 6 else 2]]
    up = Axis(np.log10(FLOOR) - 0.15, np.log10(top), [*ticks, (np.log10(top), "wrong")])
    across = linear(float(panel.x[0]), float(panel.x[-1]))
    title = '<p class="under">Error, in units in the last place</p>'
    return title + plot(f"Errors of {name}", "; ".join(said), across, up, lines)


def _power(power: int) -> str:
    raised = str(power).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return str(10**power) if power < 3 else f"10{raised}"


def _values(activation: Activation, values: dict[str, Fraction]) -> str:
    """A table of values, folded away."""
    x = np.array(SHOWN)
    columns = [Reference(root, activation.input, values)(x).rounded for root in derive(activation)]
    rows = [(f"{point:g}", *(f"{column[at]:.7g}" for column in columns)) for at, point in enumerate(SHOWN)]
    name = activation.name
    head = (activation.input, name, f"{name}′", f"{name}″")
    shown = table([head, *rows], kind="numbers")
    return f"<details><summary>Values</summary>{shown}</details>"


def _family(activation: Activation, given: str, ends: tuple[float, float]) -> Figures:
    """Curves that belong together, in one plot."""
    found = family(activation, *ends)
    count = len(found.curves)
    kinds = [f"f{place * FAMILY // count}" for place in range(count)]
    if activation.dim is not None:
        kinds = ["value", *kinds[: count - 1]]  # the element that moves, and those beside it
    lines = [
        Line(kind, curve.label, curve.x, curve.y) for kind, curve in zip(kinds, found.curves, strict=True)
    ]
    said = "; ".join(f"{line.label}: from {line.y[0]:.4g} to {line.y[-1]:.4g}" for line in lines)
    title = f"{activation.name} along {activation.inputs[0]}"
    picture = plot(title, said, linear(*ends), around(line.y for line in lines), lines)
    legend = "".join(f'<li class="{line.kind}">{escape(line.label)}</li>' for line in lines)
    page = (
        f'<p class="note">Exact values {escape(found.note)}.{escape(given)}</p>'
        f'<ul class="legend">{legend}</ul><div class="plots one"><figure>{picture}</figure></div>'
    )
    return Figures(page, tuple(Line(line.kind, "", line.x[::4], line.y[::4]) for line in lines))


def unavailable(reason: str) -> str:
    """In the place of plots, why there are none."""
    return bullets([f"No plot: {reason}"])


def worst(found: Sequence[Panel]) -> tuple[tuple[str, ...], ...]:
    """The greatest errors of each way, as a table: `wrong` where NaN or an infinity is in a wrong place."""
    ways = [way for way in reversed(CLASSES) if any(way in panel.errors for panel in found)]
    rows = [
        (ORDERS[panel.order], *(_worst(panel.errors[way]) if way in panel.errors else "none" for way in ways))
        for panel in found
    ]
    return (("float32, ulp", *ways), *rows)


def _worst(errors: Array) -> str:
    finite = errors[np.isfinite(errors)]
    greatest = f"{max(finite.max(initial=0), 0):.3g}"
    return greatest if len(finite) == len(errors) else f"wrong; else {greatest}"
