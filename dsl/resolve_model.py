"""Models resolved: every stage looked up among the layers and the project's activations.

In: a model's syntax tree and the activations. Out: a `Model`, or the errors found. Arguments of stages become
Python source: numbers, the model's own arguments, True, False, None, tuples, sums, differences and products.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from dsl.activation import Activation
from dsl.errors import SpecError, respell
from dsl.model import LAYERS, Argument, Model, Stage
from dsl.names import camel_case, objection
from dsl.syntax import Definition, Name, Term
from dsl.syntax import Model as Syntax

_CONSTANTS = ("True", "False", "None")
_TIGHTNESS = {"+": 1, "-": 1, "*": 2}
_ATOM = 3


def resolve_models(
    models: Sequence[Syntax],
    definitions: Sequence[Definition],
    activations: Iterable[Activation],
    broken: frozenset[str] = frozenset(),
) -> tuple[tuple[Model, ...], tuple[SpecError, ...]]:
    """What could be resolved, and what was wrong.

    `broken` names what could not be parsed; what else among the definitions is not an activation had errors
    of its own. Neither is reported again where it is a stage.

    >>> from dsl.parse import parse_statements
    >>> from dsl.resolve import activations
    >>> parsed = parse_statements("model net(n) = linear(n, 2 * n) -> relu -> linear(2 * n, n)")
    >>> (net,), errors = resolve_models(parsed.models, (), activations("relu(x) = max(x, 0)"))
    >>> [(stage.attribute, stage.arguments) for stage in net.stages][0]
    ('linear1', (('in_features', 'n'), ('out_features', '2 * n')))
    """
    callees = {name: each for each in activations for name in (each.name, *each.aliases)}
    silent = broken | {each.name.text for each in definitions}
    taken = {each.name.text.lower(): each.name for each in definitions}
    classes = {each.class_name for each in callees.values()} | set(callees)
    found: list[Model] = []
    errors: list[SpecError] = []
    for syntax in models:
        reader = _Reader(syntax, callees, silent)
        reader.name(taken, classes)
        model = reader.read()
        errors += reader.errors
        if not reader.errors:
            found.append(model)
    return tuple(found), tuple(errors)


class _Reader:
    """One model as it is read, and what is wrong in it."""

    def __init__(self, syntax: Syntax, callees: Mapping[str, Activation], silent: frozenset[str]) -> None:
        self.syntax, self.callees, self.silent = syntax, callees, silent
        self.names = {each.name.text for each in syntax.arguments}
        self.types: dict[str, str] = {}
        self.errors: list[SpecError] = []

    def note(self, code: str, message: str, where: Name | Term, help_: str | None = None) -> None:
        self.errors.append(self.syntax.source.error(code, message, where.span, help_))

    def name(self, taken: dict[str, Name], classes: set[str]) -> None:
        """Check the model's name against the files and classes that there are, and enter it there."""
        name = self.syntax.name
        refused = objection(name.text, defines=True)
        if refused is not None:
            self.note("E0107", refused[0], name, refused[1])
        first = taken.setdefault(name.text.lower(), name)
        class_name = camel_case(name.text)
        if first is not name:
            place = f"{first.span.path}:{first.span.line}:{first.span.column}"
            self.note("E0108", f"'{name.text}' is defined twice, first at {place}", name)
        elif class_name in classes:
            self.note("E0108", f"the class '{class_name}' is already that of an activation", name)
        classes.add(class_name)

    def read(self) -> Model:
        """The model; worth nothing where there are errors."""
        defaults = self.signature()
        stages = _numbered(list(filter(None, map(self.stage, self.syntax.stages))))
        first = self.syntax.stages[0]
        if first.text == "residual":
            message = "a residual as the first stage would add the model's input to itself"
            self.note("E0103", message, first, "put it behind the stages whose result the input is added to")
        arguments = tuple(
            Argument(name, self.types.get(name, _type_of(default)), default)
            for name, default in defaults.items()
        )
        formula = " -> ".join(self.syntax.source.between(each.span) for each in self.syntax.stages)
        name = self.syntax.name.text
        return Model(
            name,
            arguments,
            stages,
            " ".join(formula.split()),
            camel_case(name),
            self.syntax.doc,
            self.syntax.source.path,
        )

    def signature(self) -> dict[str, str | None]:
        """The arguments' defaults."""
        found: dict[str, str | None] = {}
        own, self.names = self.names, set()  # a default does not depend on another argument
        for each in self.syntax.arguments:
            refused = objection(each.name.text)
            if each.learned or each.shape is not None:
                self.errors.append(
                    self.syntax.source.error(
                        "E0190", "learned arguments of models are not yet supported", each.span
                    )
                )
            elif refused is not None:
                self.note("E0107", refused[0], each.name, refused[1])
            elif each.name.text in found:
                self.note("E0108", f"'{each.name.text}' is already defined here", each.name)
            default = None if each.default is None else self.source(each.default)[0]
            if default is None and any(value is not None for value in found.values()):
                message = f"argument '{each.name.text}' has no default and stands after one that has"
                self.note("E0117", message, each.name)
            found[each.name.text] = default
        self.names = own
        return found

    def stage(self, term: Term) -> Stage | None:
        """A stage, looked up."""
        if term.text in LAYERS:
            layer = LAYERS[term.text]
            return Stage(layer, self.arguments(term, layer.arguments, layer.required), layer.attribute)
        if term.text not in self.callees:
            if term.text not in self.silent:
                help_ = respell(term.text, [*LAYERS, *self.callees], term.span)[0]
                message = f"unknown stage '{term.text}': neither a layer nor an activation of the project"
                self.note("E0101", message, term, help_ or f"layers are {', '.join(LAYERS)}")
            return None
        activation = self.callees[term.text]
        if activation.joint:
            count = len(activation.inputs)
            kind = f"{count} inputs" if count > 1 else "several outputs"
            self.note("E0102", f"'{term.text}' has {kind}, and a stage hands on one tensor", term)
            return None
        for what, there in (
            ("learnable parameters", bool(activation.learned)),
            ("reductions over rows", activation.dim is not None),
            ("random draws", activation.random),
            ("roundings in the middle", activation.casts),
        ):
            if there:
                message = f"'{term.text}' has {what}, which are not yet supported in models"
                self.note("E0190", message, term)
                return None
        known = tuple((each.name, "float") for each in activation.parameters)
        required = sum(each.default is None for each in activation.parameters)
        return Stage(activation, self.arguments(term, known, required))

    def arguments(
        self, term: Term, known: tuple[tuple[str, str], ...], required: int
    ) -> tuple[tuple[str, str], ...]:
        """The arguments of a stage by their names, in the order of what is called."""
        positional = len(term.operands) - len(term.keywords)
        names = [name for name, _ in known]
        if positional > len(known):
            takes = f"takes {len(known)} arguments ({', '.join(names)})" if known else "takes no arguments"
            self.note("E0102", f"'{term.text}' {takes}, {positional} given", term)
            return ()
        given: dict[str, Term] = dict(zip(names, term.operands[:positional], strict=False))
        for keyword, operand in zip(term.keywords, term.operands[positional:], strict=True):
            text = keyword.text
            if text not in names:
                help_ = respell(text, names, keyword.span)[0]
                takes = f"it takes {', '.join(names)}" if names else "it takes none"
                self.note("E0119", f"'{term.text}' has no argument '{text}'", keyword, help_ or takes)
            elif text in given:
                self.note("E0119", f"'{text}' is given twice", keyword)
            given[text] = operand
        missing = [name for name in names[:required] if name not in given]
        if missing:
            self.note("E0102", f"'{term.text}' lacks {' and '.join(missing)}", term)
        types = dict(known)
        found = []
        for name, operand in given.items():
            if operand.kind == "name" and operand.text in self.names:
                self.types.setdefault(operand.text, types.get(name, ""))
            found.append((name, self.source(operand)[0]))
        return tuple(found)

    def source(self, term: Term) -> tuple[str, int]:
        """An argument as Python source, and how tightly that binds."""
        match term.kind:
            case "number":
                return _number(term), _ATOM
            case "name":
                if term.text not in self.names and term.text not in _CONSTANTS:
                    help_ = respell(term.text, [*self.names, *_CONSTANTS], term.span)[0]
                    self.note("E0106", f"undefined name '{term.text}'", term, help_)
                return term.text, _ATOM
            case "tuple":
                inside = [self.source(each)[0] for each in term.operands]
                return f"({', '.join(inside)}{',' if len(inside) == 1 else ''})", _ATOM
            case "unary" if term.text in _TIGHTNESS:
                return f"{term.text}{self._within(term.operands[0], _ATOM)}", _TIGHTNESS["*"]
            case "binary" if term.text in _TIGHTNESS:
                binds = _TIGHTNESS[term.text]
                left, right = term.operands
                return f"{self._within(left, binds)} {term.text} {self._within(right, binds + 1)}", binds
            case _:
                message = "an argument of a stage is a number, a name, a tuple, or a sum or product of such"
                self.note("E0190", f"{message}; others are not yet supported", term)
                return "None", _ATOM

    def _within(self, term: Term, tightness: int) -> str:
        source, binds = self.source(term)
        return source if binds >= tightness else f"({source})"


def _number(term: Term) -> str:
    value = term.value or Fraction(0)
    return repr(int(value)) if term.text.isdigit() else repr(float(value))


def _type_of(default: str | None) -> str:
    """The type of an argument that goes to no stage as it is."""
    if default in ("True", "False"):
        return "bool"
    return "int" if default is None or default.isdigit() else "float"


def _numbered(stages: list[Stage]) -> tuple[Stage, ...]:
    """The stages with a number after each attribute that several layers would have: conv1, conv2."""
    total = Counter(each.attribute for each in stages)
    seen: Counter[str] = Counter()
    found = []
    for each in stages:
        seen[each.attribute] += 1
        number = f"{seen[each.attribute]}" if each.attribute and total[each.attribute] > 1 else ""
        found.append(Stage(each.what, each.arguments, each.attribute + number))
    return tuple(found)
