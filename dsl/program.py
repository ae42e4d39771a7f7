"""Straight-line programs: what the scheduler makes and the targets print.

In: nothing (plain data). Out: `Function` and `Program`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from dsl.expr import Expr


@dataclass(frozen=True)
class Constant:
    """A named constant: its value to more digits than any dtype holds, and the mathematics it stands for.

    A `table` holds the coefficients of a polynomial, lowest first, and has no value of its own.
    """

    name: str
    value: Fraction
    meaning: str
    table: tuple[Fraction, ...] = ()


@dataclass(frozen=True)
class Step:
    """One assignment. `value` is over inputs, parameters, constants and the names of earlier steps."""

    name: str
    value: Expr


@dataclass(frozen=True)
class Function:
    """A function of one input and the parameters, evaluated step by step; `result` is its value."""

    name: str
    input: str
    parameters: tuple[str, ...]
    constants: tuple[Constant, ...]
    steps: tuple[Step, ...]
    result: Expr


@dataclass(frozen=True)
class Program:
    """An activation ready to print: its value, its derivative and its second derivative."""

    forward: Function
    gradient: Function
    curvature: Function
    rewrites: tuple[tuple[str, str], ...]
    """Which rules fired and why, in order: name and reason."""
