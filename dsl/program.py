"""Straight-line programs: what the scheduler makes and the targets print.

In: nothing (plain data). Out: `Function`, `Program`, `JointProgram` of its `Output`s, and `RowProgram`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from dsl.expr import Expr
from dsl.forms import Draw


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
    """A function of the inputs and parameters, evaluated step by step; `result` is its value.

    `others` are the inputs beside the first, which is all that most activations have.
    """

    name: str
    input: str
    parameters: tuple[str, ...]
    constants: tuple[Constant, ...]
    steps: tuple[Step, ...]
    result: Expr
    others: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """All inputs."""
        return (self.input, *self.others)


@dataclass(frozen=True)
class Training:
    """What an activation is in training: functions of the input and of the draws, their `others`."""

    forward: Function
    gradient: Function
    curvature: Function
    draws: tuple[Draw, ...]


@dataclass(frozen=True)
class Program:
    """An activation ready to print: its value, its derivative and its second derivative.

    Where numbers are drawn in training, these are for evaluation, and `training` is there too.
    """

    forward: Function
    gradient: Function
    curvature: Function
    rewrites: tuple[tuple[str, str], ...]
    """Which rules fired and why, in order: name and reason."""
    training: Training | None = None

    @property
    def functions(self) -> tuple[Function, ...]:
        """The value, and the derivatives in their order; then those in training, if they are others."""
        training = self.training
        others = () if training is None else (training.forward, training.gradient, training.curvature)
        return self.forward, self.gradient, self.curvature, *others


@dataclass(frozen=True)
class Output:
    """An output of an activation of several inputs ready to print: its value and its partial derivatives.

    `gradients` are the derivatives by each input, `curvatures` the second ones, by the places of two inputs,
    of which the first is no later than the second; those that are zero everywhere are left out.
    """

    forward: Function
    gradients: tuple[Function, ...]
    curvatures: Mapping[tuple[int, int], Function]

    @property
    def functions(self) -> tuple[Function, ...]:
        """The value, and the derivatives in their order."""
        return self.forward, *self.gradients, *self.curvatures.values()


@dataclass(frozen=True)
class JointProgram:
    """An activation of several inputs or several outputs ready to print."""

    outputs: tuple[Output, ...]
    rewrites: tuple[tuple[str, str], ...]
    """Which rules fired and why, in order: name and reason."""

    @property
    def functions(self) -> tuple[Function, ...]:
        """Every output's value and derivatives."""
        return tuple(function for output in self.outputs for function in output.functions)


LENGTH = "_length"
"""The name that the number of a row's elements has in expressions; no spec can give it."""
GRAD = "_grad"
"""The name of the incoming gradient there."""


@dataclass(frozen=True)
class Reduction:
    """One number of each row: what `term` makes of its elements, reduced as `kind` says.

    `kind` is an operation: rowsum, rowmax or rowpeak. `level` is the pass over the row that finds it, from 0;
    a term may use what earlier levels found. One with a `peak` also uses that of its own level, by a factor
    exp(-rate * peak), so that it can be found while the peak is still growing.
    """

    name: str
    kind: str
    level: int
    term: Function
    peak: str = ""
    rate: Fraction = Fraction(0)


@dataclass(frozen=True)
class RowFunction:
    """A function of rows: its reductions, in an order in which they can be found, and the map after them.

    `whole` is the same in one piece, in which reductions are operations.
    """

    reductions: tuple[Reduction, ...]
    map: Function
    whole: Function

    @property
    def levels(self) -> int:
        """How many passes over a row its reductions take."""
        return 1 + max((each.level for each in self.reductions), default=-1)


@dataclass(frozen=True)
class RowProgram:
    """An activation with reductions over rows ready to print: its value, and what the incoming gradient makes
    of it for each input.
    """

    forward: RowFunction
    gradients: tuple[RowFunction, ...]
    rewrites: tuple[tuple[str, str], ...]
    """Which rules fired and why, in order: name and reason."""

    @property
    def functions(self) -> tuple[Function, ...]:
        """The value, and the gradients by each input."""
        return tuple(each.whole for each in (self.forward, *self.gradients))


AnyProgram = Program | JointProgram | RowProgram
"""A program of any kind of activation."""
