"""Straight-line programs: what the scheduler makes and the targets print.

In: nothing (plain data). Out: `Function`, `Program`, and `JointProgram` of its `Output`s.
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
