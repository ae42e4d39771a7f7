"""Syntax tree to activations: every name looked up, every call of another definition inlined.

In: the definitions of a project (any number of files). Out: one `Activation` for each that is right, in the
order of the definitions, and every error found. Callees are resolved first, without recursion.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

from dsl.activation import Activation, Bound, Learned, Parameter, Reference
from dsl.constants import constant, holds
from dsl.derive import derivative
from dsl.errors import Span, SpecError, SpecErrors, respell
from dsl.expr import Apply, Expr, Number, Symbol, is_op, postorder, substitute, symbols
from dsl.forms import evaluated, given_slope, is_marked, is_random, plain, trained
from dsl.learned import is_channelled, numbers, read, refuse_hidden
from dsl.names import camel_case, objection
from dsl.ops import REDUCTIONS, has_cast
from dsl.packing import layouts, output_terms
from dsl.parse import parse
from dsl.show import show_expr, show_number, show_term
from dsl.syntax import Clause, Definition, Name, Term
from dsl.translate import Scope, check_sort, is_builtin_call, translate

DIMENSION = "dim"
"""The argument of functions and modules that says which dimension the rows lie along."""

_SINGLE = ("domain", "accuracy", "module", "packed", "concat")
"""Clauses that a definition has at most once."""


def activations(text: str, path: str = "<string>") -> tuple[Activation, ...]:
    """The activations of a spec given as text; raises `SpecErrors`.

    >>> [activation.class_name for activation in activations("gelu_fast(x) = x * sigmoid(1.702 * x)")]
    ['GeluFast']
    """
    return resolve(parse(text, path))


def resolve(definitions: Sequence[Definition]) -> tuple[Activation, ...]:
    """The activations of a project, in the order of their definitions; raises `SpecErrors`."""
    resolved, errors = resolve_all(definitions)
    if errors:
        raise SpecErrors(errors)
    return resolved


def resolve_all(
    definitions: Sequence[Definition], broken: frozenset[str] = frozenset()
) -> tuple[tuple[Activation, ...], tuple[SpecError, ...]]:
    """What could be resolved, and what was wrong; `broken` names definitions that did not even parse."""
    errors = _collisions(definitions)
    by_name: dict[str, Definition] = {}
    for definition in reversed(definitions):
        for name in _names_of(definition):
            by_name[name] = definition
    order, cycle_errors, cyclic = _callees_first(definitions, by_name)
    errors += cycle_errors
    silent = broken | {name for name, definition in by_name.items() if definition in cyclic}
    callees: dict[str, Activation] = {}
    done: dict[Definition, Activation] = {}
    for definition in order:
        if definition in cyclic:
            continue
        own = {name: callee for name, callee in callees.items() if name not in _names_of(definition)}
        activation, found = _resolve_one(definition, own, silent)
        errors += found
        if activation is None:
            silent |= set(_names_of(definition))
        else:
            done[definition] = activation
            callees |= {name: activation for name in _names_of(definition) if by_name[name] is definition}
    return tuple(done[definition] for definition in definitions if definition in done), tuple(errors)


def _names_of(definition: Definition) -> tuple[str, ...]:
    return definition.name.text, *(clause.name.text for clause in definition.clause("alias") if clause.name)


def _collisions(definitions: Sequence[Definition]) -> list[SpecError]:
    """Two things of one name in the generated package, or two files of one name where case does not count."""
    errors: list[SpecError] = []
    exported: dict[str, tuple[str, Span]] = {}
    files: dict[str, tuple[str, Span]] = {}
    for definition in definitions:
        module = next((clause.name for clause in definition.clause("module") if clause.name), None)
        class_name = module or Name(camel_case(definition.name.text), definition.name.span)
        aliases = [clause.name for clause in definition.clause("alias") if clause.name]
        for name, what in (
            (definition.name, "definition"),
            (class_name, "class"),
            *((alias, "alias") for alias in aliases),
        ):
            table, key = (files, name.text.lower()) if what == "definition" else (exported, name.text)
            first = exported.get(name.text) or (table.get(key) if table is files else None)
            if first is None:
                exported[name.text] = table[key] = (what, name.span)
                continue
            other, span = first
            place = f"{span.path}:{span.line}:{span.column}"
            if (what, other) == ("definition", "definition"):
                message = f"'{name.text}' is defined twice, first at {place}"
                if name.text not in exported:
                    message = f"'{name.text}' and the definition at {place} have the same name but for case"
                errors.append(definition.source.error("E0108", message, name.span))
                break
            message = f"{what} '{name.text}' is already taken by the {other} at {place}"
            help_ = "name the class with a 'module' clause" if "class" in (what, other) else None
            errors.append(definition.source.error("E0108", message, name.span, help_))
    return errors


def _calls(definition: Definition, known: Mapping[str, Definition]) -> list[tuple[Term, Definition]]:
    found: list[tuple[Term, Definition]] = []
    terms = [definition.body, *(term for clause in definition.clauses for term in clause.terms)]
    while terms:
        term = terms.pop()
        terms.extend(term.operands)
        if term.kind == "call" and term.text in known and not is_builtin_call(term):
            found.append((term, known[term.text]))
    return found[::-1]


def _callees_first(
    definitions: Sequence[Definition], known: Mapping[str, Definition]
) -> tuple[list[Definition], list[SpecError], set[Definition]]:
    order: list[Definition] = []
    errors: list[SpecError] = []
    cyclic: set[Definition] = set()
    finished: set[Definition] = set()
    for root in definitions:
        if root in finished:
            continue
        path: list[Definition] = [root]
        on_path: set[Definition] = {root}
        pending = [iter(_calls(root, known))]
        while path:
            step = next(pending[-1], None)
            if step is None:
                pending.pop()
                last = path.pop()
                on_path.discard(last)
                finished.add(last)
                order.append(last)
                continue
            term, callee = step
            if callee in on_path:
                circle = path[path.index(callee) :]
                names = " -> ".join(_clip([definition.name.text for definition in (*circle, callee)]))
                caller = path[-1]
                errors.append(caller.source.error("E0109", f"cyclic calls: {names}", term.span))
                cyclic.update(circle)
            elif callee not in finished:
                path.append(callee)
                on_path.add(callee)
                pending.append(iter(_calls(callee, known)))
    return order, errors, cyclic


def _clip(names: list[str]) -> list[str]:
    return names if len(names) <= 12 else [*names[:6], "...", *names[-5:]]


def _resolve_one(
    definition: Definition, callees: Mapping[str, Activation], silent: frozenset[str]
) -> tuple[Activation | None, list[SpecError]]:
    withs = definition.clause("with")
    upcoming = frozenset(clause.name.text for clause in withs if clause.name)
    scope = Scope(definition.source, definition.name.text, {}, upcoming, callees, silent)
    _check_support(definition, scope)
    parameters, learned = _signature(definition, scope)
    for clause in withs:
        _bind(clause, scope)
    scope.upcoming = frozenset()
    bodies = [_real(term, scope) for term in output_terms(definition, scope)]
    forms = _differentiated(definition, bodies, learned, scope)
    packed, concat = layouts(definition, scope)
    domain = _conditions(definition.clause("domain"), scope)
    requires = [
        *_conditions(definition.clause("require"), scope),
        *scope.requires,
    ]
    requires = [plain(evaluated(condition)) for condition in requires]
    requires = _constraints(definition, requires, (*parameters, *numbers(learned)), scope)
    reduced = [each for each in (*bodies, *domain, *scope.domains) if each is not None and _reduces(each)]
    dim = _dimension(definition, parameters, reduced, scope) if reduced else None
    if reduced:
        marked = any(form is not None and is_marked(form) for form in forms)
        parameters = tuple(parameter for parameter in parameters if parameter.name != DIMENSION)
        _refuse_beside_rows(definition, learned, marked, scope)
    _check_casts(definition, forms, [*domain, *requires, *scope.domains], bool(reduced), scope)
    references = tuple(_reference(clause, scope) for clause in definition.clause("reference"))
    class_name = _class_name(definition, scope)
    if scope.errors or None in forms:
        return None, scope.errors
    whole = tuple(form for form in forms if form is not None)
    if any(map(is_random, whole)):
        _check_chance(definition, scope)
    body, *others = (plain(evaluated(form)) for form in whole)
    aliases = tuple(clause.name.text for clause in definition.clause("alias") if clause.name)
    activation = Activation(
        name=definition.name.text,
        inputs=tuple(name.text for name in definition.inputs),
        parameters=parameters,
        body=body,
        others=tuple(others),
        names=_names(scope.labels, whole),
        formula=_formula(definition),
        class_name=class_name,
        doc=definition.doc,
        references=references,
        domain=_all_of([plain(evaluated(condition)) for condition in (*domain, *scope.domains)]),
        requires=tuple(requires),
        accuracy=_accuracy(definition),
        aliases=aliases,
        packed=packed,
        concat=concat,
        path=definition.source.path,
        learned=learned,
        dim=dim,
        forms=whole if any(map(is_marked, whole)) else (),
    )
    return (None, scope.errors) if scope.errors else (activation, [])


def _names(labels: Mapping[Expr, str], forms: Iterable[Expr]) -> dict[Expr, str]:
    """The names of subexpressions: of forms, and of what they are in evaluation and in training."""
    marked = [form for form in forms if is_marked(form)]
    if not marked:
        return dict(labels)
    found = dict(labels)
    for form in marked:
        chance = trained(form)
        for node, name in labels.items():
            found.setdefault(plain(evaluated(node)), name)
            training = plain(chance.of(node))
            found.setdefault(chance.values.get(training, training), name)
    return {node: name for node, name in found.items() if node.args}


def _differentiated(
    definition: Definition, bodies: Sequence[Expr | None], learned: Iterable[Learned], scope: Scope
) -> Sequence[Expr | None]:
    """The one output with the derivatives that the definition gives; its others are those of the formula."""
    if len(bodies) > 1:  # and then `_check_support` has refused such derivatives
        return bodies
    (body,) = bodies
    known = [
        *(name.text for name in definition.inputs),
        *(entry for each in learned for entry in each.entries),
    ]
    given: dict[str, Expr] = {}
    for clause in definition.clause("gradient"):
        name = _differentiated_by(clause, definition, known, scope)
        slope = translate(clause.terms[0], scope)
        if not check_sort(clause.terms[0], slope, "r", scope) or slope is None or name is None:
            continue
        if name in given:
            scope.note("E0115", f"a second 'gradient' clause for '{name}'", clause.span)
        given[name] = slope
    if not given or body is None or scope.errors:
        return bodies
    return [given_slope(body, [(name, given.get(name) or derivative(body, name)) for name in known])]


def _differentiated_by(
    clause: Clause, definition: Definition, known: Sequence[str], scope: Scope
) -> str | None:
    """What a `gradient` clause is the derivative by: an input or a learnable parameter."""
    if clause.name is None:
        if len(definition.inputs) == 1:
            return definition.inputs[0].text
        help_ = f"write 'gradient {known[0]} = ...'" if known else None
        scope.note("E0115", "'gradient' does not say by which input", clause.span, help_)
        return None
    name = clause.name
    if name.text in known:
        return name.text
    if name.text in scope.vectors:
        message = f"a 'gradient' by '{name.text}', which is a vector, is not yet supported"
        scope.note("E0190", message, name.span)
    elif name.text in (each.name.text for each in definition.parameters):
        message = f"'{name.text}' is no learnable parameter: nothing is differentiated by it"
        scope.note("E0115", message, name.span, "a 'gradient' is by an input or a learnable parameter")
    else:
        message = f"'{name.text}' is no input and no learnable parameter"
        scope.note("E0106", message, name.span, *respell(name.text, known, name.span))
    return None


def _check_chance(definition: Definition, scope: Scope) -> None:
    """What definitions that draw numbers cannot have."""
    learns = any(parameter.learned for parameter in definition.parameters)
    for what, there in (*_several(definition), ("learnable parameters", learns)):
        if there:
            message = f"random draws in definitions of {what} are not yet supported"
            scope.note("E0190", message, definition.name.span)
    names = (*definition.inputs, *(parameter.name for parameter in definition.parameters))
    for name in names:
        if name.text in _FOR_CHANCE:
            message = f"'{name.text}' is an argument of every function that draws numbers"
            scope.note("E0107", message, name.span, f"write '{name.text}_'")


def _check_casts(
    definition: Definition,
    forms: Sequence[Expr | None],
    conditions: Sequence[Expr | None],
    reduces: bool,
    scope: Scope,
) -> None:
    """Where nothing can be rounded in the middle yet."""
    if has_cast(*filter(None, conditions)):
        message = "'cast' in a 'domain' or a 'require' is not yet supported"
        scope.note("E0190", message, definition.name.span)
    if not has_cast(*filter(None, forms)):
        return
    beside = {
        "row reductions": reduces,
        "learnable parameters": any(parameter.learned for parameter in definition.parameters),
        "random draws": any(form is not None and is_random(form) for form in forms),
    }
    for what, there in beside.items():
        if there:
            scope.note("E0190", f"'cast' beside {what} is not yet supported", definition.name.span)


_FOR_CHANCE = ("training", "generator")


def _several(definition: Definition) -> tuple[tuple[str, bool], ...]:
    """What a definition may have several of, and whether it has."""
    return (
        ("several inputs", len(definition.inputs) > 1),
        ("several outputs", definition.body.kind == "tuple"),
    )


def _real(term: Term, scope: Scope) -> Expr | None:
    value = translate(term, scope)
    check_sort(term, value, "r", scope)
    return value


def _check_support(definition: Definition, scope: Scope) -> None:
    """What the language has and this version does not, and clauses given more than once."""
    if not definition.inputs:
        scope.note("E0102", f"'{definition.name.text}' has no input", definition.name.span)
    for parameter in definition.parameters:
        if parameter.learned and definition.body.kind == "tuple":
            message = "learnable parameters of several outputs are not yet supported"
            scope.note("E0190", message, parameter.span)
        elif is_channelled(parameter) and definition.clause("packed"):
            message = "'packed' beside a parameter with a value for each channel is not yet supported"
            scope.note("E0190", message, parameter.span)
    seen: set[str] = set()
    for clause in definition.clauses:
        if clause.word == "gradient" and definition.body.kind == "tuple":
            help_ = "give each output a definition of its own, with its gradient, and call these"
            scope.note("E0190", "'gradient' of several outputs is not yet supported", clause.span, help_)
        if clause.word in _SINGLE and clause.word in seen:
            scope.note("E0115", f"a second '{clause.word}' clause", clause.span)
        seen.add(clause.word)


def _reduces(*roots: Expr) -> bool:
    return any(is_op(node, *REDUCTIONS) for node in postorder(*roots))


def _dimension(
    definition: Definition, parameters: tuple[Parameter, ...], reduced: Sequence[Expr], scope: Scope
) -> int:
    """The dimension that reductions go over: the last, or the default of a parameter called `dim`."""
    if DIMENSION in symbols(*reduced) or any(name.text == DIMENSION for name in definition.inputs):
        message = f"'{DIMENSION}' is the dimension that reductions go over, and no number in the formula"
        scope.note("E0107", message, definition.name.span)
    declared = [parameter for parameter in parameters if parameter.name == DIMENSION]
    default = declared[0].default if declared else None
    if default is None:
        return -1
    if default.denominator == 1:
        return int(default)
    span = next(each.span for each in definition.parameters if each.name.text == DIMENSION)
    scope.note("E0117", f"the default of '{DIMENSION}' is the number of a dimension, as in 'dim = -3'", span)
    return -1


def _refuse_beside_rows(
    definition: Definition, learned: Sequence[Learned], marked: bool, scope: Scope
) -> None:
    """What cannot stand beside row reductions yet."""
    beside = {
        "learnable parameters": bool(learned),
        "several outputs": definition.body.kind == "tuple",
        "derivatives of one's own and draws": marked,
        "tensors that hold several": bool(definition.clause("packed") or definition.clause("concat")),
    }
    for what, found in beside.items():
        if found:
            scope.note("E0190", f"row reductions beside {what} are not yet supported", definition.name.span)


def _declare(name: Name, value: Expr, scope: Scope) -> None:
    refused = objection(name.text)
    if refused is not None:
        scope.note("E0107", refused[0], name.span, refused[1])
    elif name.text in scope.names:
        scope.note("E0108", f"'{name.text}' is already defined here", name.span)
    scope.names.setdefault(name.text, value)


def _signature(definition: Definition, scope: Scope) -> tuple[tuple[Parameter, ...], tuple[Learned, ...]]:
    for name in (definition.name, *(clause.name for clause in definition.clause("alias"))):
        refused = objection(name.text, defines=True) if name else None
        if name and refused:
            scope.note("E0107", refused[0], name.span, refused[1])
    for name in definition.inputs:
        _declare(name, Symbol(name.text), scope)
    parameters = []
    learned = []
    for parameter in definition.parameters:
        default = None
        if parameter.learned or parameter.shape is not None:
            found = read(parameter, scope)
            _declare(parameter.name, Symbol(parameter.name.text), scope)
            if found is not None:
                learned.append(found)
            continue
        if parameter.default is not None:
            bare = Scope(scope.source, scope.owner, {}, frozenset(), scope.callees, scope.silent)
            default = _constant(parameter.default, bare)
            scope.errors.extend(bare.errors)
        _declare(parameter.name, Symbol(parameter.name.text), scope)
        scope.fixed |= {parameter.name.text}
        parameters.append(Parameter(parameter.name.text, default))
    required_after = [
        later
        for earlier, later in pairwise(parameters)
        if earlier.default is not None and later.default is None
    ]
    if required_after and not scope.errors:
        late = required_after[0].name
        message = f"parameter '{late}' has no default and stands after one that has"
        span = next(each.span for each in definition.parameters if each.name.text == late)
        scope.note("E0117", message, span)
    refuse_hidden(definition, learned, scope)
    return tuple(parameters), tuple(learned)


def _constant(term: Term, scope: Scope) -> Fraction | None:
    value = translate(term, scope)
    if not check_sort(term, value, "r", scope) or value is None:
        return None
    try:
        return constant(value)
    except ValueError as error:
        scope.note("E0117", f"not a constant that can be used: {error}", term.span)
        return None


def _bind(clause: Clause, scope: Scope) -> None:
    assert clause.name is not None
    scope.training = clause.chance is not None
    value = translate(clause.terms[0], scope)
    scope.training = False
    fine = check_sort(clause.terms[0], value, "r", scope)
    if clause.chance is not None:
        other = translate(clause.terms[1], scope)
        fine = check_sort(clause.terms[1], other, "r", scope) and fine
        value = Apply("mode", value, other) if fine and value is not None and other is not None else None
    scope.upcoming -= {clause.name.text}
    if not fine or value is None:
        scope.silent |= {clause.name.text}
        return
    _declare(clause.name, value, scope)
    scope.label(value, clause.name.text)


def _conditions(clauses: Iterable[Clause], scope: Scope) -> list[Expr]:
    found = []
    for clause in clauses:
        value = translate(clause.terms[0], scope)
        if check_sort(clause.terms[0], value, "b", scope) and value is not None:
            found.append(value)
    return found


def _constraints(
    definition: Definition, requires: list[Expr], parameters: tuple[Parameter, ...], scope: Scope
) -> list[Expr]:
    """Constraints on parameters alone, met by the defaults; those a call has fixed are decided here."""
    kept: list[Expr] = []
    inputs = {name.text for name in definition.inputs}
    clauses = definition.clause("require")
    defaults: dict[Expr, Expr] = {
        Symbol(parameter.name): Number(parameter.default)
        for parameter in parameters
        if parameter.default is not None
    }
    for position, condition in enumerate(requires):
        span = clauses[position].span if position < len(clauses) else definition.name.span
        names = set(symbols(condition))
        if _reduces(condition) and position < len(clauses):
            scope.note("E0118", "'require' constrains parameters, and rows have none of their own", span)
            continue
        if names & inputs:
            if position < len(clauses):
                help_ = "a condition on the input is a 'domain'"
                scope.note("E0118", "'require' constrains parameters, not inputs", span, help_)
            else:
                scope.domains.append(condition)
            continue
        try:
            met = holds(substitute(condition, defaults))
        except ValueError:
            met = True
        if not met:
            given = ", ".join(
                f"{parameter.name} = {show_number(parameter.default)}"
                for parameter in parameters
                if parameter.name in names and parameter.default is not None
            )
            scope.note(
                "E0118", f"'{show_expr(condition)}' is not met" + (f" by {given}" if given else ""), span
            )
        if names and condition not in kept:
            kept.append(condition)
    return kept


def _all_of(conditions: list[Expr]) -> Expr | None:
    unique = list(dict.fromkeys(conditions))
    if not unique:
        return None
    whole = unique[0]
    for condition in unique[1:]:
        whole = Apply("and", whole, condition)
    return whole


def _reference(clause: Clause, scope: Scope) -> Reference:
    assert clause.name is not None
    bare = replace(scope, names={}, errors=[], labels={}, domains=[], requires=[])
    arguments: list[tuple[str, str | Fraction | bool]] = []
    for name, term in clause.keywords:
        if any(name.text == earlier for earlier, _ in arguments):
            bare.note("E0119", f"'{name.text}' is given twice", name.span)
        if term.kind == "text":
            arguments.append((name.text, term.text))
        elif term.kind == "name" and term.text in ("True", "False"):
            arguments.append((name.text, term.text == "True"))
        elif (value := _constant(term, bare)) is not None:
            arguments.append((name.text, value))
    scope.errors.extend(bare.errors)
    return Reference(clause.name.text, tuple(arguments))


def _class_name(definition: Definition, scope: Scope) -> str:
    given = next((clause.name for clause in definition.clause("module") if clause.name), None)
    if given is None:
        return camel_case(definition.name.text)
    refused = objection(given.text, defines=True)
    if refused is not None:
        scope.note("E0107", refused[0], given.span, refused[1])
    return given.text


def _accuracy(definition: Definition) -> Bound:
    bounds = {name.text: amount for clause in definition.clause("accuracy") for name, amount in clause.bounds}
    return Bound(bounds.get("forward"), bounds.get("backward"))


def _formula(definition: Definition) -> str:
    lines = [show_term(definition.body)]
    lines += [
        f"with {clause.name.text} = {_bound(clause)}" for clause in definition.clause("with") if clause.name
    ]
    lines += [
        f"gradient {clause.name.text + ' ' if clause.name else ''}= {show_term(clause.terms[0])}"
        for clause in definition.clause("gradient")
    ]
    return "\n".join(lines)


def _bound(clause: Clause) -> str:
    """What a `with` says: one expression, or one for training and one for evaluation."""
    shown = [show_term(term) for term in clause.terms]
    return " in training, ".join(shown) + (" in eval" if clause.chance is not None else "")
