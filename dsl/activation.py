"""The typed specification: what a definition in a `.act` file says, names resolved, calls inlined.

In: nothing (plain data). Out: `Activation`, the value that every later stage starts from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations_with_replacement

from dsl.expr import Expr


@dataclass(frozen=True)
class Parameter:
    """A hyperparameter: an argument of the function and of the module's constructor, a number at a call."""

    name: str
    default: Fraction | None


@dataclass(frozen=True)
class Reference:
    """A public function to hold the activation against: its dotted name and its fixed keyword arguments."""

    target: str
    arguments: tuple[tuple[str, str | Fraction | bool], ...] = ()


@dataclass(frozen=True)
class Bound:
    """An `accuracy` clause: the greatest error allowed, in ulps; None where the project's default stands."""

    forward: Fraction | None = None
    backward: Fraction | None = None


@dataclass(frozen=True)
class Activation:
    """A real function of `inputs` and `parameters`, and what its author said about it.

    `body` is over `Symbol`s of inputs and parameters only. `names` says which subexpressions the author (or
    the definition that was called) gave a name, in order; the generated code uses these names.
    """

    name: str
    inputs: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    body: Expr
    names: Mapping[Expr, str]
    formula: str
    class_name: str
    doc: str = ""
    references: tuple[Reference, ...] = ()
    domain: Expr | None = None
    requires: tuple[Expr, ...] = ()
    accuracy: Bound = Bound()
    aliases: tuple[str, ...] = ()
    path: str = ""
    dim: int | None = None
    """The dimension that row reductions go over unless a call says another; None where there are none."""

    @property
    def joint(self) -> bool:
        """Whether there are several inputs."""
        return len(self.inputs) > 1

    @property
    def unary(self) -> bool:
        """Whether this is an elementwise function of one input."""
        return not self.joint and self.dim is None

    @property
    def labels(self) -> tuple[str, ...]:
        """What the value and its derivatives are called where the compiler's stages are shown."""
        if self.dim is not None:
            return "value", *(f"gradient_{name}" for name in self.inputs)
        if not self.joint:
            return "value", "gradient", "curvature"
        first = [f"gradient_{name}" for name in self.inputs]
        second = [f"curvature_{a}_{b}" for a, b in combinations_with_replacement(self.inputs, 2)]
        return "value", *first, *second

    @property
    def input(self) -> str:
        """The input of an activation that has one."""
        (name,) = self.inputs
        return name
