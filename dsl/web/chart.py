"""Plots as SVG in a page: they take its colours, and say in words what they show.

In: points. Out: SVG, the same for the same points. Classes say what a line is; `style.css` has their colours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from dsl.ulp import Array

WIDTH, HEIGHT = 380, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 24
VERTICES = 500
"""Of a line so many points at most are drawn."""

Tick = tuple[float, str]


@dataclass(frozen=True)
class Line:
    """A line, broken where it is NaN: `kind` is its class, `marks` are points of x that are marked on top."""

    kind: str
    label: str
    x: Array
    y: Array
    marks: Array | None = None
    steps: bool = False


@dataclass(frozen=True)
class Axis:
    """From where to where an axis goes, and what stands at it."""

    low: float
    high: float
    ticks: Sequence[Tick]
    label: str = ""


def linear(low: float, high: float, count: int = 5, label: str = "") -> Axis:
    """An axis with about so many round numbers.

    >>> [text for _, text in linear(-10, 10).ticks]
    ['−10', '−5', '0', '5', '10']
    """
    step = _round_step((high - low) / count)
    first = math.ceil(low / step - 1e-9)
    ticks = [(n * step, _number(n * step, step)) for n in range(first, math.floor(high / step + 1e-9) + 1)]
    return Axis(low, high, ticks, label)


def around(lines: Iterable[Array], label: str = "") -> Axis:
    """A linear axis with room around values, and zero in it where that is near."""
    values = np.concatenate([each[np.isfinite(each)] for each in lines])
    low, high = (float(values.min()), float(values.max())) if len(values) else (-1.0, 1.0)
    if high - low < 1e-9 * max(1.0, abs(low)):
        low, high = low - 1, high + 1
    room = 0.06 * (high - low)
    return linear(low - room, high + room, 4, label)


def _round_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)


def _number(value: float, step: float) -> str:
    if abs(value) < step / 2:
        return "0"
    return f"{value:.6g}".replace("-", "−")


def plot(title: str, said: str, across: Axis, up: Axis, lines: Sequence[Line]) -> str:
    """A plot with axes; `said` tells in words what it shows."""

    def at_x(value: float) -> float:
        return _LEFT + (value - across.low) / (across.high - across.low) * (WIDTH - _LEFT - _RIGHT)

    def at_y(value: float) -> float:
        return HEIGHT - _BOTTOM - (value - up.low) / (up.high - up.low) * (HEIGHT - _TOP - _BOTTOM)

    parts = [_horizontal(at_y(value), text, value == 0) for value, text in up.ticks]
    parts += [_vertical(at_x(value), text, value == 0) for value, text in across.ticks]
    for line in lines:
        parts.append(f'<path class="{line.kind}" d="{path(line, at_x, at_y)}"/>')
        for mark in () if line.marks is None else line.marks:
            parts.append(_cross(at_x(float(mark)), at_y(up.high), line.kind))
    return _figure(WIDTH, HEIGHT, title, said, "".join(parts))


def sketch(title: str, lines: Sequence[Line]) -> str:
    """A plot without numbers, for a card."""
    width, height, edge = 200, 104, 6
    ends = [float(end(line.x)) for end in (np.min, np.max) for line in lines]
    first, last = min(ends), max(ends)
    axis = around(line.y for line in lines)

    def at_x(value: float) -> float:
        return edge + (value - first) / (last - first) * (width - 2 * edge)

    def at_y(value: float) -> float:
        return height - edge - (value - axis.low) / (axis.high - axis.low) * (height - 2 * edge)

    parts = (
        [f'<path class="axis" d="M{edge} {at_y(0):.1f}H{width - edge}"/>'] if axis.low < 0 < axis.high else []
    )
    parts += [f'<path class="axis" d="M{at_x(0):.1f} {edge}V{height - edge}"/>'] if first < 0 < last else []
    parts += [f'<path class="{line.kind}" d="{path(line, at_x, at_y)}"/>' for line in lines]
    return f'<svg viewBox="0 0 {width} {height}" aria-hidden="true" class="sketch">{"".join(parts)}</svg>'


def _figure(width: int, height: int, title: str, said: str, body: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" class="plot" '
        f'aria-label="{escape(title)}: {escape(said)}">{body}</svg>'
    )


def _horizontal(y: float, text: str, zero: bool) -> str:
    kind = "axis" if zero else "grid"
    return (
        f'<path class="{kind}" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>'
        f'<text class="up" x="{_LEFT - 6}" y="{y + 3.5:.1f}">{text}</text>'
    )


def _vertical(x: float, text: str, zero: bool) -> str:
    kind = "axis" if zero else "grid"
    return (
        f'<path class="{kind}" d="M{x:.1f} {_TOP}V{HEIGHT - _BOTTOM}"/>'
        f'<text class="across" x="{x:.1f}" y="{HEIGHT - 8}">{text}</text>'
    )


def _cross(x: float, y: float, kind: str) -> str:
    return f'<path class="{kind} mark" d="M{x - 2:.1f} {y - 2:.1f}l4 4m0 -4l-4 4"/>'


def path(line: Line, at_x: Callable[[float], float], at_y: Callable[[float], float]) -> str:
    """A line as the commands of an SVG path, a new one after every gap."""
    stride = max(1, len(line.x) // VERTICES)
    commands, pen, last = [], "M", 0.0
    for x, y in zip(line.x[::stride].tolist(), line.y[::stride].tolist(), strict=True):
        if not math.isfinite(y):
            pen = "M"
            continue
        across, up = at_x(x), at_y(y)
        if line.steps and pen == "L":
            middle = (across + last) / 2
            commands.append(f"H{middle:.1f}V{up:.1f}H{across:.1f}")
        else:
            commands.append(f"{pen}{across:.1f} {up:.1f}")
        pen, last = "L", across
    return "".join(commands)
