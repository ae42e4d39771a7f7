"""One expression of the syntax tree to the compiler's expressions: names looked up, calls inlined.

In: a term, and the scope it stands in. Out: an `Expr`, or None with the errors noted in the scope. An
operand that failed poisons what uses it silently, so that one mistake is reported once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from dsl.activation import Activation, known_defaults
from dsl.errors import Fix, Span, SpecError, respell
from dsl.expr import ONE, ZERO, Apply, Expr, Number, Symbol, is_op, postorder, symbols
from dsl.forms import DRAWS
from dsl.functions import CALLABLE, named
from dsl.indexed import INDEXED
from dsl.ops import CONSTANTS, FUNCTIONS, OPS, ROW_FUNCTIONS
from dsl.show import OPERATORS
from dsl.syntax import Source, Term

MARKS = named("mark")


@dataclass
class Scope:
    """What names mean where an expression stands, and what was found on the way.

    In `training` draws are allowed; `fixed` names the parameters that no derivative is taken by.
    """

    source: Source
    owner: str
    names: dict[str, Expr]
    upcoming: frozenset[str] = frozenset()
    callees: Mapping[str, Activation] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()
    labels: dict[Expr, str] = field(default_factory=dict)
    domains: list[Expr] = field(default_factory=list)
    requires: list[Expr] = field(default_factory=list)
    errors: list[SpecError] = field(default_factory=list)
    training: bool = False
    fixed: frozenset[str] = frozenset()
    draws: list[Expr] = field(default_factory=list)

    def number_draw(self) -> Expr:
        """A number for one more draw."""
        self.draws.append(Number(len(self.draws)))
        return self.draws[-1]

    vectors: dict[str, tuple[Expr, ...]] = field(default_factory=dict)
    """The entries of names that stand for several numbers."""
    running: list[str] = field(default_factory=list)
    """The names of the sums and products that are being written out, and how many terms they had."""
    terms: int = 0

    def note(
        self, code: str, message: str, span: Span, suggestion: str | None = None, fix: Fix | None = None
    ) -> None:
        """Record a finding."""
        self.errors.append(self.source.error(code, message, span, suggestion, fix))

    def label(self, node: Expr, name: str) -> None:
        """Give a subexpression a name for the generated code, unless it or the name already has one."""
        if node.args and node not in self.labels and name not in self.labels.values() and name != self.owner:
            self.labels[node] = name


def make(op: str, *args: Expr) -> Expr:
    """A node as the parser makes it: a negated or divided literal is a number.

    >>> make("div", Number(1), Number(8))
    Number(1/8)
    """
    if op == "neg" and isinstance(args[0], Number):
        return Number(-args[0].value)
    if op == "div" and isinstance(args[0], Number) and isinstance(args[1], Number) and args[1].value:
        return Number(args[0].value / args[1].value)
    return Apply(op, *args)


def translate(term: Term, scope: Scope) -> Expr | None:
    """The expression that a term denotes, or None if it is wrong (the scope then holds why)."""
    values: list[Expr | None] = []
    stack: list[tuple[Term, bool]] = [(term, False)]
    while stack:
        node, ready = stack.pop()
        if not ready:
            if node.kind in INDEXED:
                values.append(INDEXED[node.kind](node, scope, translate))
                continue
            stack.append((node, True))
            stack.extend((operand, False) for operand in reversed(node.operands))
            continue
        count = len(node.operands)
        operands = values[len(values) - count :]
        del values[len(values) - count :]
        values.append(_KINDS[node.kind](node, operands, scope))
    return values[0]


def is_condition(node: Expr) -> bool:
    """Whether an expression is a condition rather than a number."""
    return isinstance(node, Apply) and node.op in OPS and OPS[node.op].result == "b"


def check_sort(term: Term, value: Expr | None, sort: str, scope: Scope) -> bool:
    """Whether an operand is there and of the sort that its place needs; notes it where it is not."""
    if value is None:
        return False
    if is_condition(value) == (sort == "b"):
        return True
    if sort == "b":
        scope.note(
            "E0112", "a number where a condition is expected", term.span, "write a comparison, as in 'x > 0'"
        )
    else:
        message, help_ = "a condition where a number is expected", "write 'where(condition, 1, 0)'"
        scope.note("E0112", message, term.span, help_, _as_number(term.span, scope.source))
    return False


def _as_number(span: Span, source: Source) -> Fix | None:
    """The condition at a place as a number; None where brackets at its ends are not part of the place."""
    text = source.between(span)
    depth = list(accumulate((char == "(") - (char == ")") for char in text))
    whole = min(depth) >= 0 == depth[-1] and "#" not in text
    return Fix(span, f"where({text}, 1, 0)", True) if whole else None


def _all_real(terms: Sequence[Term], values: Sequence[Expr | None], scope: Scope) -> bool:
    checks = [check_sort(term, value, "r", scope) for term, value in zip(terms, values, strict=True)]
    return all(checks)


def _apply(op: str, node: Term, operands: list[Expr | None], scope: Scope) -> Expr | None:
    sorts = OPS[op].sorts
    checks = [
        check_sort(term, value, sort, scope)
        for term, value, sort in zip(node.operands, operands, sorts, strict=False)
    ]
    if not all(checks):
        return None
    args = [value for value in operands if value is not None]
    zero_divisor = op == "div" and args[1] is Number(0)
    zero_power = op == "pow" and args[0] is Number(0) and isinstance(args[1], Number) and args[1].value < 0
    if zero_divisor or zero_power:
        scope.note("E0110", "division by zero", node.operands[-1].span)
        return None
    return make(op, *args)


def _number(node: Term, _: list[Expr | None], __: Scope) -> Expr:
    assert node.value is not None
    return Number(node.value)


def _name(node: Term, _: list[Expr | None], scope: Scope) -> Expr | None:
    name = node.text
    if name in scope.vectors:
        scope.note(
            "E0112", f"'{name}' is a vector where a number is expected", node.span, f"'{name}[0]' is one"
        )
        return None
    if name in scope.names:
        return scope.names[name]
    if name in CONSTANTS:
        return Apply(name)
    if name in scope.upcoming:
        scope.note(
            "E0106", f"'{name}' is defined further down", node.span, "a 'with' may use those before it"
        )
    elif name not in scope.silent or name in FUNCTIONS:
        is_function = name in FUNCTIONS or name in scope.callees
        help_ = f"'{name}' is a function: write '{name}(...)'" if is_function else None
        fix = None
        if help_ is None:
            help_, fix = respell(name, [*scope.names, *CONSTANTS], node.span)
        scope.note("E0106", f"undefined name '{name}'", node.span, help_, fix)
    return None


def _call(node: Term, operands: list[Expr | None], scope: Scope) -> Expr | None:
    name, given = node.text, len(operands)
    folds = name in ("max", "min") and given > 2 and not node.keywords and name not in scope.callees
    if folds:
        return _fold(node, operands, scope)
    if is_builtin_call(node):
        return _apply(name, node, operands, scope)
    if name in scope.callees:
        return _inline(scope.callees[name], node, operands, scope)
    if name in MARKS and name not in scope.names:
        return _mark(node, operands, scope)
    if name in scope.silent:
        return None
    if name in scope.names:
        product = f"'{name}' is a number here: write '{name} * (...)'"
        sole = len(operands) == 1 and not node.keywords and not scope.source.divides_before(node.span)
        fix = Fix(_head(node), f"{name} * ", True) if sole else None
        scope.note("E0101", f"unknown function '{name}'", _head(node), product, fix)
    elif name in (*FUNCTIONS, *ROW_FUNCTIONS) and node.keywords:
        scope.note("E0119", f"'{name}' takes no keyword arguments", node.keywords[0].span)
    elif name in (*FUNCTIONS, *ROW_FUNCTIONS):
        help_ = f"'row{name}' is that of a row" if name in ("max", "min") and given == 1 else None
        scope.note("E0102", f"'{name}' takes {_count(OPS[name].arity)}, got {given}", node.span, help_)
    else:
        known = [*CALLABLE, *scope.callees]
        scope.note("E0101", f"unknown function '{name}'", _head(node), *respell(name, known, _head(node)))
    return None


def _mark(node: Term, operands: list[Expr | None], scope: Scope) -> Expr | None:
    """A function that only forms have (`dsl.forms`)."""
    name = node.text
    if node.keywords:
        scope.note("E0119", f"'{name}' takes no keyword arguments", node.keywords[0].span)
        return None
    arity = CALLABLE[name].arity
    if len(operands) != arity:
        scope.note("E0102", f"'{name}' takes {_count(arity)}, got {len(operands)}", node.span)
        return None
    if not _all_real(node.operands, operands, scope):
        return None
    args = [value for value in operands if value is not None]
    if name not in DRAWS:
        return make(name, *args)
    if not scope.training:
        place = "write 'with r = " + name + "(...) in training, ... in eval'"
        scope.note("E0130", f"'{name}' outside training", node.span, place)
        return None
    if name == "normal":
        mean, deviation = args
        draw = make("normal", scope.number_draw())
        draw = draw if deviation is ONE else make("mul", deviation, draw)
        return draw if mean is ZERO else make("add", mean, draw)
    return _uniform(node, args[0], args[1], scope)


def _uniform(node: Term, low: Expr, high: Expr, scope: Scope) -> Expr | None:
    moving = [name for name in symbols(low, high) if name not in scope.fixed]
    if moving:
        help_ = "write 'a + (b - a) * uniform(0, 1)'"
        scope.note("E0130", f"the bounds of a 'uniform' depend on '{moving[0]}'", node.span, help_)
        return None
    if isinstance(low, Number) and isinstance(high, Number) and low.value > high.value:
        scope.note("E0118", "the first bound of a 'uniform' is above the second", node.span)
        return None
    scope.requires.append(Apply("le", low, high))
    return make("uniform", low, high, scope.number_draw())


def _head(node: Term) -> Span:
    span = node.span
    return Span(span.path, span.line, span.column, span.line, span.column + len(node.text))


def _count(arity: int) -> str:
    return f"{arity} argument" + "s" * (arity != 1)


def is_builtin_call(node: Term) -> bool:
    """Whether a call means the language's own function: its arity fits, and no argument has a name."""
    name = node.text
    known = name in FUNCTIONS or name in ROW_FUNCTIONS
    return known and not node.keywords and len(node.operands) == OPS[name].arity


def _fold(node: Term, operands: list[Expr | None], scope: Scope) -> Expr | None:
    if not _all_real(node.operands, operands, scope):
        return None
    first, *rest = (value for value in operands if value is not None)
    for value in rest:
        first = make(node.text, first, value)
    return first


def _inline(callee: Activation, node: Term, operands: list[Expr | None], scope: Scope) -> Expr | None:
    """The callee's body with its input and its parameters replaced by what the call gives.

    Learnable parameters come first, as in the function that is generated; a vector keeps its initial values.
    """
    if callee.others:
        count = len(callee.outputs)
        help_ = "call definitions of one output, or write its formula out"
        scope.note("E0112", f"'{node.text}' gives {count} numbers where one is expected", node.span, help_)
        return None
    vectors = {each.name for each in callee.learned if each.kind == "vector"}
    slots = [*callee.inputs, *(each.name for each in callee.settable if each.name not in vectors)]
    positional = len(operands) - len(node.keywords)
    if not len(callee.inputs) <= positional <= len(slots):
        most = len(slots) - len(callee.inputs)
        takes = _count(len(callee.inputs)) + (
            f" and up to {most} parameter" + "s" * (most != 1) if most else ""
        )
        scope.note("E0102", f"'{node.text}' takes {takes}, got {positional}", node.span)
        return None
    given = dict(zip(slots, zip(node.operands, operands, strict=True), strict=False))
    given = {name: given[name] for name in slots[:positional]}
    for keyword, term, value in zip(
        node.keywords, node.operands[positional:], operands[positional:], strict=True
    ):
        if keyword.text in given or keyword.text not in slots[len(callee.inputs) :]:
            again = "is given twice" if keyword.text in given else f"is no parameter of '{node.text}'"
            known = () if keyword.text in given else slots[len(callee.inputs) :]
            scope.note(
                "E0119",
                f"'{keyword.text}' {again}",
                keyword.span,
                *respell(keyword.text, known, keyword.span),
            )
            return None
        given[keyword.text] = (term, value)
    terms, arguments = zip(*given.values(), strict=True)
    if not _all_real(terms, arguments, scope):
        return None
    values: dict[Expr, Expr] = {}
    for parameter in callee.settable:
        if parameter.name not in given and parameter.default is None:
            scope.note("E0117", f"parameter '{parameter.name}' of '{node.text}' has no default", node.span)
            return None
    values |= {Symbol(name): Number(value) for name, value in known_defaults(callee).items()}
    values |= {Symbol(name): value for name, (_, value) in given.items() if value is not None}
    return _instantiate(callee, values, node, scope)


def _instantiate(callee: Activation, values: dict[Expr, Expr], node: Term, scope: Scope) -> Expr | None:
    done = dict(values)
    domain = () if callee.domain is None else (callee.domain,)
    for inner in postorder(callee.whole, *callee.names, *domain, *callee.requires):
        if inner in done:
            continue
        args = tuple(done[arg] for arg in inner.args)
        if is_op(inner, *DRAWS):  # every call has draws of its own
            moving = [name for name in symbols(*args) if name not in scope.fixed]
            if moving:
                message = f"the bounds of a 'uniform' in '{node.text}' depend on '{moving[0]}' here"
                scope.note("E0130", message, node.span)
                return None
            args = (*args[:-1], scope.number_draw())
        if isinstance(inner, Apply) and inner.op == "div" and args[1] is Number(0):
            scope.note("E0110", f"division by zero in '{node.text}' with these arguments", node.span)
            return None
        done[inner] = make(inner.op, *args) if isinstance(inner, Apply) else inner
    for inner, name in callee.names.items():
        if name not in scope.names:
            scope.label(done[inner], name)
    if callee.name not in scope.names:
        scope.label(done[callee.whole], callee.name)
    scope.domains.extend(done[condition] for condition in domain)
    scope.requires.extend(done[condition] for condition in callee.requires)
    return done[callee.whole]


def _chain(node: Term, operands: list[Expr | None], scope: Scope) -> Expr | None:
    if not _all_real(node.operands, operands, scope):
        return None
    args = [value for value in operands if value is not None]
    links = [
        Apply(OPERATORS[operator], left, right)
        for operator, left, right in zip(node.text.split(), args, args[1:], strict=False)
    ]
    whole: Expr = links[0]
    for link in links[1:]:
        whole = Apply("and", whole, link)
    return whole


def _unary(node: Term, operands: list[Expr | None], scope: Scope) -> Expr | None:
    if node.text == "+":
        return operands[0] if check_sort(node.operands[0], operands[0], "r", scope) else None
    return _apply("not" if node.text == "not" else "neg", node, operands, scope)


def _text(node: Term, _: list[Expr | None], scope: Scope) -> None:
    scope.note("E0112", "a string where a number is expected", node.span)


def _tuple(node: Term, _: list[Expr | None], scope: Scope) -> None:
    scope.note("E0112", "several numbers where one is expected", node.span)


_KINDS: dict[str, Callable[[Term, list[Expr | None], Scope], Expr | None]] = {
    "number": _number,
    "name": _name,
    "call": _call,
    "unary": _unary,
    "binary": lambda node, operands, scope: _apply(OPERATORS[node.text], node, operands, scope),
    "chain": _chain,
    "conditional": lambda node, operands, scope: _apply("where", node, operands, scope),
    "text": _text,
    "tuple": _tuple,
}
