"""The typed specification: what a definition in a `.act` file says, names resolved, calls inlined.

In: nothing (plain data). Out: `Activation`, the value that every later stage starts from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from dsl.expr import Expr, Symbol, substitute
from dsl.forms import has_own_derivative, is_random, is_symmetric
from dsl.ops import has_cast


@dataclass(frozen=True)
class Parameter:
    """A hyperparameter: an argument of the function and of the module's constructor, a number at a call."""

    name: str
    default: Fraction | None


@dataclass(frozen=True)
class Learned:
    """A learnable parameter: a tensor at a call, an `nn.Parameter` of the module.

    It is a `scalar`, a `vector`, or has a value for each `channel`. `entries` are the names that its values
    have in the body, as `a[0]` in a vector; `default` their initial values, one for each.
    """

    name: str
    kind: Literal["scalar", "channel", "vector"]
    entries: tuple[str, ...]
    default: tuple[Fraction, ...] | None


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


Layout = Literal["", "halves", "interleaved"]
"""How one tensor holds several: one after the other, or in turns; empty where none does."""


@dataclass(frozen=True)
class Activation:
    """A real function of `inputs` and `parameters`, and what its author said about it.

    `body` is over `Symbol`s of inputs, parameters and entries of learnable ones only; `others` are the
    outputs beside it. `packed` says how a tensor may hold all inputs, `concat` how one holds all outputs.
    `names` says which subexpressions the author (or the definition that was called) gave a name, in order;
    the generated code uses these names.
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
    others: tuple[Expr, ...] = ()
    packed: Layout = ""
    concat: Layout = ""
    path: str = ""
    learned: tuple[Learned, ...] = ()
    dim: int | None = None
    """The dimension that row reductions go over unless a call says another; None where there are none."""
    forms: tuple[Expr, ...] = ()
    """All outputs with their marks (`dsl.forms`), where any has one; `outputs` are these in evaluation."""

    @property
    def wholes(self) -> tuple[Expr, ...]:
        """All outputs with their marks, if they have any."""
        return self.forms or self.outputs

    @property
    def whole(self) -> Expr:
        """The body with its marks, if it has any."""
        return self.wholes[0]

    @property
    def own_derivative(self) -> bool:
        """Whether a derivative is another one than that of the value."""
        return any(map(has_own_derivative, self.wholes))

    @property
    def symmetric(self) -> bool:
        """Whether second derivatives do not depend on which of two variables comes first."""
        return all(map(is_symmetric, self.wholes))

    @property
    def random(self) -> bool:
        """Whether numbers are drawn in training."""
        return any(map(is_random, self.wholes))

    @property
    def casts(self) -> bool:
        """Whether something is rounded to the tensors' type in the middle."""
        return has_cast(*self.wholes)

    @property
    def variables(self) -> tuple[str, ...]:
        """What derivatives are taken by: the inputs, and the entries of learnable parameters."""
        return (*self.inputs, *self.entries)

    @property
    def entries(self) -> tuple[str, ...]:
        """The values of learnable parameters, as the body has them."""
        return tuple(entry for each in self.learned for entry in each.entries)

    @property
    def settable(self) -> tuple[Learned | Parameter, ...]:
        """All parameters, the learnable ones first."""
        return (*self.learned, *self.parameters)

    @property
    def channelled(self) -> bool:
        """Whether a learnable parameter has a value for each channel."""
        return any(each.kind == "channel" for each in self.learned)

    @property
    def outputs(self) -> tuple[Expr, ...]:
        """All outputs, of which most activations have one."""
        return (self.body, *self.others)

    @property
    def joint(self) -> bool:
        """Whether there are several inputs or several outputs."""
        return len(self.inputs) > 1 or bool(self.others)

    @property
    def unary(self) -> bool:
        """Whether this is an elementwise function of one input, without learnable parameters."""
        return len(self.variables) == 1 and not self.others and self.dim is None

    @property
    def labels(self) -> tuple[str, ...]:
        """What the value and its derivatives are called where the compiler's stages are shown."""
        if self.dim is not None:
            return "value", *(f"gradient_{name}" for name in self.inputs)
        if len(self.variables) == 1 and not self.others:
            return "value", "gradient", "curvature"
        parts = [re.sub(r"\W+", "_", name).strip("_") for name in self.variables]
        first = [f"gradient_{part}" for part in parts]
        second = [f"curvature_{parts[a]}_{parts[b]}" for a, b in self.pairs]
        one = ("value", *first, *second)
        if not self.others:
            return one
        return tuple(f"{label}_{number}" for number, _ in enumerate(self.outputs, 1) for label in one)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The places of two variables by which there is a second derivative of its own.

        That by the first is differentiated by the second; where the order does not matter, it is one of two.
        """
        places = range(len(self.variables))
        symmetric = self.symmetric
        return tuple((a, b) for a in places for b in places if a <= b or not symmetric)

    @property
    def input(self) -> str:
        """The input of an activation that has one."""
        (name,) = self.inputs
        return name


def as_numbers(activation: Activation) -> Activation:
    """The activation with a plain parameter in the place of each value of a learnable one.

    Values of a vector `a` are called `a_0`, `a_1` and so on, with an underscore more where that is taken.
    """
    taken = {*activation.inputs, *(each.name for each in activation.parameters)}
    names: dict[Expr, Expr] = {}
    values = known_defaults(activation)
    parameters = []
    for entry in activation.entries:
        name = re.sub(r"\W+", "_", entry).strip("_")
        while name in taken:
            name += "_"
        taken.add(name)
        names[Symbol(entry)] = Symbol(name)
        parameters.append(Parameter(name, values.get(entry)))
    return replace(
        activation,
        learned=(),
        parameters=(*parameters, *activation.parameters),
        body=substitute(activation.body, names),
        others=tuple(substitute(each, names) for each in activation.others),
        forms=tuple(substitute(each, names) for each in activation.forms),
        names={substitute(node, names): name for node, name in activation.names.items()},
        requires=tuple(substitute(each, names) for each in activation.requires),
        domain=None if activation.domain is None else substitute(activation.domain, names),
    )


def with_defaults(activation: Activation, values: Mapping[str, float | Fraction]) -> Activation:
    """The activation with these defaults of its parameters, and of learnable ones if every entry has one."""
    return replace(
        activation,
        parameters=tuple(
            replace(each, default=Fraction(values[each.name])) if each.name in values else each
            for each in activation.parameters
        ),
        learned=tuple(
            (
                replace(each, default=tuple(Fraction(values[entry]) for entry in each.entries))
                if all(entry in values for entry in each.entries)
                else each
            )
            for each in activation.learned
        ),
    )


def known_defaults(activation: Activation) -> dict[str, Fraction]:
    """The defaults of parameters and the initial values of learnable ones, of those that have any."""
    found = {each.name: each.default for each in activation.parameters if each.default is not None}
    for learned in activation.learned:
        found |= dict(zip(learned.entries, learned.default or (), strict=False))
    return found
