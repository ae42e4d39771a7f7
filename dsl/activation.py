"""The typed specification: what a definition in a `.act` file says, names resolved, calls inlined.

In: nothing (plain data). Out: `Activation`, the value that every later stage starts from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from dsl.expr import Expr
from dsl.forms import has_own_derivative, is_random, is_symmetric


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
    form: Expr | None = None
    """The body with its marks (`dsl.forms`), where it has any; `body` is its value in evaluation."""

    @property
    def whole(self) -> Expr:
        """The body with its marks, if it has any."""
        return self.body if self.form is None else self.form

    @property
    def own_derivative(self) -> bool:
        """Whether the derivative is another one than that of the value."""
        return has_own_derivative(self.whole)

    @property
    def random(self) -> bool:
        """Whether numbers are drawn in training."""
        return is_random(self.whole)

    @property
    def joint(self) -> bool:
        """Whether there are several inputs."""
        return len(self.inputs) > 1

    @property
    def labels(self) -> tuple[str, ...]:
        """What the value and its derivatives are called where the compiler's stages are shown."""
        if not self.joint:
            return "value", "gradient", "curvature"
        first = [f"gradient_{name}" for name in self.inputs]
        second = [f"curvature_{self.inputs[a]}_{self.inputs[b]}" for a, b in self.pairs]
        return "value", *first, *second

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The places of two inputs by which there is a second derivative of its own.

        That by the first is differentiated by the second; where the order does not matter, it is one of two.
        """
        places = range(len(self.inputs))
        symmetric = is_symmetric(self.whole)
        return tuple((a, b) for a in places for b in places if a <= b or not symmetric)

    @property
    def input(self) -> str:
        """The input of an activation that has one."""
        (name,) = self.inputs
        return name
