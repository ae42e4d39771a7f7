"""The compiler's stages, one after the other.

In: an `Activation`. Out: `Stages`, which holds what every stage made of it, so that each can be shown.

    spec -> derive (f, f', f'') -> simplify -> stabilise -> schedule -> target

Derivatives are taken of the real function, before anything is rewritten for floating point: the derivative of
a stabilised form is not a stable derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from dsl.activation import Activation, known_defaults
from dsl.derive import derivative
from dsl.expr import ZERO, Apply, Expr, Number, Symbol, postorder, substitute, symbols
from dsl.forms import evaluated, plain, trained
from dsl.memory import Found, recalled
from dsl.ops import has_cast, where
from dsl.program import Function, JointProgram, Output, Program, RowProgram, Training
from dsl.rewrite.carry import carry_roundings
from dsl.rewrite.cast import around_casts
from dsl.rewrite.core import lower
from dsl.rewrite.factors import factor_exponentials
from dsl.rewrite.far import patch_far
from dsl.rewrite.guard import Freedom, propagate_nan, settle_ends, settle_signs, settle_zero
from dsl.rewrite.parameters import stable_in_all
from dsl.rewrite.patch import patch_at_zero
from dsl.rewrite.quantities import ways
from dsl.rewrite.regroup import regroup
from dsl.rewrite.roots import patch_elsewhere
from dsl.rewrite.rules import RULES
from dsl.rewrite.separate import separate
from dsl.rewrite.simplify import simplify, simplify_all
from dsl.rewrite.stabilise import stabilise
from dsl.rewrite.tail import settle_tails
from dsl.rewrite.trial import best
from dsl.rows import RowStages, compile_rows
from dsl.rows.derive import gradients
from dsl.schedule import schedule

Triple = tuple[Expr, Expr, Expr]
"""An expression for the value, the first and the second derivative."""


@dataclass(frozen=True)
class Stages:
    """What each stage made of an activation."""

    activation: Activation
    derived: Triple
    simplified: Triple
    stabilised: Triple
    program: Program


@dataclass(frozen=True)
class JointStages:
    """What each stage made of an activation of several variables, which are inputs and learnable parameters,
    or of several outputs: for each output the value, the derivatives by each variable, and the second ones by
    each pair of them.
    """

    activation: Activation
    derived: tuple[Expr, ...]
    simplified: tuple[Expr, ...]
    stabilised: tuple[Expr, ...]
    program: JointProgram


def stages(activation: Activation) -> Stages | JointStages | RowStages:
    """Run every stage, whatever the inputs and parameters are, and whether rows are reduced."""
    if activation.dim is not None:
        return _compile_rows(activation)
    if activation.learned:
        return compile_learned(activation)
    return compile_joint(activation) if activation.joint else compile_activation(activation)


def compile_activation(activation: Activation) -> Stages:
    """Run every stage for an activation of one input."""
    derived = derive(activation)
    value, gradient, curvature = simplify_all(derived)
    simplified = (value, gradient, curvature)
    treat, fired = _treatment(freedom_of(activation))
    x = activation.input
    stable = [_around(exact, (x,), treat) for exact in simplified]
    stable[:2] = [
        settle_signs(root, exact, x) for root, exact in zip(stable[:2], simplified[:2], strict=True)
    ]
    guarded = [_guarded(activation, root) for root in stable]
    stabilised = (guarded[0], guarded[1], guarded[2])
    parameters = tuple(parameter.name for parameter in activation.parameters)
    functions = [
        schedule(label, root, activation.input, parameters, activation.names)
        for label, root in zip(("value", "gradient", "curvature"), stabilised, strict=True)
    ]
    training = None
    if activation.random:
        training, rules = compile_training(activation)
        fired |= rules
    rewrites = tuple((name, RULES[name].why) for name in fired)
    program = Program(functions[0], functions[1], functions[2], rewrites, training)
    return Stages(activation, derived, simplified, stabilised, program)


def compile_training(activation: Activation) -> tuple[Training, dict[str, None]]:
    """An activation of one input that draws numbers, as it is in training, and the rules that were used.

    A draw is one number where the activation is evaluated, and so is treated as a parameter is.
    """
    x = activation.input
    parameters = tuple(parameter.name for parameter in activation.parameters)
    chance = trained(activation.whole, (x, *parameters))
    draws = tuple(draw.name for draw in chance.draws)
    treat, fired = _treatment(freedom_of(activation))
    functions = []
    for label, exact in zip(activation.labels, simplify_all(_derive(chance.root, x)), strict=True):
        root = substitute(_guarded(activation, _around(exact, (x,), treat)), chance.values)
        functions.append(schedule(f"training_{label}", root, x, parameters, activation.names, draws))
    return Training(functions[0], functions[1], functions[2], chance.draws), fired


def compile_joint(activation: Activation) -> JointStages:
    """Run every stage for an activation of several inputs or outputs.

    What depends on one input alone is treated as an activation of that input is; see `separate`.
    """
    treat, fired = _treatment(freedom_of(activation))

    def stable(exact: Expr) -> Expr:
        return _around(exact, activation.inputs, treat)

    return _compile_variables(activation, stable, fired)


def compile_learned(activation: Activation) -> JointStages:
    """Run every stage for an activation with learnable parameters.

    Parameters are names in every expression, and each is made stable in the inputs, whatever values they
    have.
    """
    positive = positive_parameters(activation)
    usual = tuple(known_defaults(activation).items())
    fired: dict[str, None] = {}

    @cache
    def own(exact: Expr, name: str) -> Expr:
        def search() -> Found:
            stable = stabilise(exact, name, positive)
            return Found(stable.value, stable.rules)

        found = recalled(("own", name, sorted(positive)), exact, search)
        fired.update(dict.fromkeys(found.rules))
        return found.value

    @cache
    def treat(exact: Expr, name: str, known: frozenset[str]) -> Expr:
        return _best(exact, name, Freedom(known, usual), fired)

    def stable(exact: Expr) -> Expr:
        return carry_roundings(stable_in_all(exact, activation.inputs, positive, treat, own))

    return _compile_variables(activation, stable, fired)


def _compile_variables(
    activation: Activation, stable: Callable[[Expr], Expr], fired: Mapping[str, None]
) -> JointStages:
    """Run every stage for an activation with several things to take derivatives by.

    `stable` makes expressions so, and `fired` then holds the rules that it used.
    """
    derived = derive_joint(activation)
    simplified = simplify_all(derived)
    parameters = tuple(parameter.name for parameter in activation.parameters)
    stabilised = []
    for exact in simplified:
        root = stable(exact)
        for name in activation.inputs:
            root = propagate_nan(root, name) if Symbol(name) in set(postorder(exact)) else root
        stabilised.append(_within_domain(activation, root))
    x, *others = activation.variables
    functions = [
        schedule(label, root, x, parameters, activation.names, tuple(others))
        for label, root in zip(activation.labels, stabilised, strict=True)
    ]
    each = len(functions) // len(activation.outputs)
    outputs = [
        _output(activation, functions[start : start + each]) for start in range(0, len(functions), each)
    ]
    program = JointProgram(tuple(outputs), tuple((name, RULES[name].why) for name in fired))
    return JointStages(activation, derived, simplified, tuple(stabilised), program)


def _output(activation: Activation, functions: Sequence[Function]) -> Output:
    """One output of its value and derivatives, as `derive_joint` orders them."""
    first = 1 + len(activation.variables)
    curvatures = {
        pair: function
        for pair, function in zip(activation.pairs, functions[first:], strict=True)
        if function.result is not ZERO
    }
    return Output(functions[0], tuple(functions[1:first]), curvatures)


def row_program(activation: Activation) -> RowProgram:
    """The program of an activation with reductions over rows."""
    return _compile_rows(activation).program


def _compile_rows(activation: Activation) -> RowStages:
    return compile_rows(activation, *_treatment(freedom_of(activation)))


def _treatment(freedom: Freedom) -> tuple[Callable[[Expr, str], Expr], dict[str, None]]:
    """What is done to an expression of one input, once for each; and the rules that were used so far."""
    fired: dict[str, None] = {}

    @cache
    def treat(root: Expr, input: str) -> Expr:
        return carry_roundings(_best(simplify(lower(root)), input, freedom, fired))

    return treat, fired


def _around(exact: Expr, inputs: tuple[str, ...], treat: Callable[[Expr, str], Expr]) -> Expr:
    """An expression of inputs as `treat` makes it, between casts, of which each counts as an input."""
    if len(inputs) == 1 and not has_cast(exact):
        return treat(exact, inputs[0])

    def stable(part: Expr, casts: tuple[str, ...]) -> Expr:
        return simplify(separate(part, (*inputs, *casts), treat))

    return around_casts(exact, stable)


def _best(exact: Expr, input: str, freedom: Freedom, fired: dict[str, None]) -> Expr:
    """An expression of one input and parameters, stable; `fired` then holds the rules that were used."""
    found = recalled(
        ("best", input, sorted(freedom.positive), freedom.usual),
        exact,
        lambda: _search(exact, input, freedom),
    )
    fired.update(dict.fromkeys(found.rules))
    return found.value


def _search(exact: Expr, input: str, freedom: Freedom) -> Found:
    """The expression stabilised as a whole, or written otherwise if that is not right everywhere."""
    fired: dict[str, None] = {}

    def treat(root: Expr, name: str, positive: frozenset[str]) -> Expr:
        stable = stabilise(simplify(root), name, positive)
        fired.update(dict.fromkeys(stable.rules))
        return _settle(stable.value, root, name, Freedom(positive, freedom.usual))

    def others() -> Iterator[Expr]:
        for way in ways(exact, input, freedom.positive, treat):
            yield way
            yield settle_ends(way, exact, input, freedom)

    root = treat(exact, input, freedom.positive)
    rules = tuple(fired)
    if len(symbols(exact)) == 1:
        return Found(root, rules)
    chosen = best(root, others, exact, input, freedom)
    return Found(chosen, rules if chosen is root else tuple(fired))


def derive_rows(activation: Activation) -> tuple[Expr, ...]:
    """The value over rows in core operations, and what the incoming gradient makes of it for each input."""
    return lower(activation.body), *gradients(activation.body, activation.inputs)


def derive_joint(activation: Activation) -> tuple[Expr, ...]:
    """Each output in core operations, its derivatives by each variable, its second ones by each pair."""
    derived: list[Expr] = []
    for output in activation.wholes:
        body = lower(evaluated(output))
        if len(activation.inputs) == 1:
            body = _regrouped(body, activation.input)
        first = [simplify(derivative(body, name)) for name in activation.variables]
        second = (derivative(first[a], activation.variables[b]) for a, b in activation.pairs)
        derived += map(plain, (body, *first, *second))
    return tuple(derived)


def derive(activation: Activation) -> Triple:
    """The value in core operations, and its derivatives."""
    return _derive(evaluated(activation.whole), activation.input)


def _derive(form: Expr, input: str) -> Triple:
    body = _regrouped(lower(form), input)
    first = simplify(derivative(body, input))
    return plain(body), plain(first), plain(derivative(first, input))


def _regrouped(body: Expr, input: str) -> Expr:
    return around_casts(body, lambda part, _: regroup(part, input))


def freedom_of(activation: Activation) -> Freedom:
    """What the parameters of an activation may be."""
    return Freedom(positive_parameters(activation), tuple(known_defaults(activation).items()))


def positive_parameters(activation: Activation) -> frozenset[str]:
    """The parameters that a `require` clause makes positive."""
    return frozenset(name for clause in activation.requires for name in _positive(clause))


def _positive(clause: Expr) -> set[str]:
    if not isinstance(clause, Apply):
        return set()
    if clause.op == "and":
        return _positive(clause.args[0]) | _positive(clause.args[1])
    above, below = clause.args[::-1] if clause.op in ("lt", "le") else clause.args
    strict = clause.op in ("gt", "lt")
    if clause.op not in ("gt", "ge", "lt", "le") or not isinstance(above, Symbol):
        return set()
    limit = below.value if isinstance(below, Number) else None
    return {above.name} if limit is not None and (limit > 0 or (strict and limit == 0)) else set()


def _guarded(activation: Activation, root: Expr) -> Expr:
    """NaN for NaN, and outside the domain."""
    return _within_domain(activation, propagate_nan(root, activation.input))


def _settle(root: Expr, exact: Expr, input: str, freedom: Freedom) -> Expr:
    """A stabilised expression, right at the ends of the line and at zero; `freedom` as in `settle_ends`."""
    root = patch_far(root, exact, input)
    root = settle_ends(root, exact, input, freedom)
    root = settle_tails(root, exact, input)
    root = patch_at_zero(root, exact, input)
    root = patch_elsewhere(root, exact, input)
    root = factor_exponentials(root)
    return settle_zero(root, exact, input)


def _within_domain(activation: Activation, root: Expr) -> Expr:
    if activation.domain is None:
        return root
    return where(activation.domain, root, Apply("inf") * ZERO)
