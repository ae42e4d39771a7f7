"""What names mean, and what a resolved definition holds."""

from fractions import Fraction

import pytest

from dsl.activation import Activation, Bound, Parameter, Reference
from dsl.constants import constant, holds
from dsl.expr import Apply, Symbol, call
from dsl.names import objection
from dsl.parse import parse_all
from dsl.resolve import activations, resolve_all
from dsl.show import show_expr

X = Symbol("x")


def one(text: str) -> Activation:
    return activations(text)[-1]


def test_a_definition_holds_what_was_said() -> None:
    activation = one(
        '"""Doc."""\nelu(x; alpha = 1/8) = where(x > 0, x, alpha * u)\n  with u = exp(x) - 1\n'
        '  reference torch.nn.functional.elu(alpha = 0.5, inplace = False, mode = "a")\n'
        "  alias e1  alias e2\n"
        "  accuracy backward 4 ulp, forward 2 ulps\n  domain x > -1\n  require alpha > 0\n  module ELU"
    )
    assert activation.doc == "Doc."
    assert activation.input == "x"
    assert activation.parameters == (Parameter("alpha", Fraction(1, 8)),)
    assert show_expr(activation.body) == "where(x > 0, x, alpha * (exp(x) - 1))"
    assert {show_expr(node): name for node, name in activation.names.items()} == {"exp(x) - 1": "u"}
    assert activation.formula == "where(x > 0, x, alpha * u)\nwith u = exp(x) - 1"
    arguments = (("alpha", Fraction(1, 2)), ("inplace", False), ("mode", "a"))
    assert activation.references == (Reference("torch.nn.functional.elu", arguments),)
    assert activation.aliases == ("e1", "e2")
    assert activation.accuracy == Bound(Fraction(2), Fraction(4))
    assert activation.class_name == "ELU"
    assert activation.domain is call("gt", X, -1)
    assert activation.requires == (call("gt", Symbol("alpha"), 0),)


def test_numbers_are_exact_decimals() -> None:
    assert one("f(x) = x + 0.1").body is X + Fraction(1, 10)


def test_chains_are_conjunctions() -> None:
    body = one("f(x; a = 1) = where(0 < x <= a, 1, 0)").body
    assert show_expr(body) == "where(0 < x and x <= a, 1, 0)"


def test_later_withs_use_earlier_ones() -> None:
    assert show_expr(one("f(x) = v\n  with u = x + 1\n  with v = u * u").body) == "(x + 1) * (x + 1)"


CALLEE = "scaled(x; s = 2, t = 3) = v * s + t\n  with v = exp(x)\n  alias sc\n  require s > 0\n"


@pytest.mark.parametrize(
    ("call_text", "shown"),
    [
        ("scaled(x)", "exp(x) * 2 + 3"),
        ("scaled(2 * x, 5)", "exp(2 * x) * 5 + 3"),
        ("scaled(x, t = a)", "exp(x) * 2 + a"),
        ("scaled(x, 5, t = x)", "exp(x) * 5 + x"),
        ("sc(x, s = 1/2)", "exp(x) * 0.5 + 3"),
        ("scaled(scaled(x))", "exp(exp(x) * 2 + 3) * 2 + 3"),
    ],
)
def test_calls_are_inlined(call_text: str, shown: str) -> None:
    assert show_expr(one(f"{CALLEE}f(x; a = 1) = {call_text}").body) == shown


def test_a_call_gives_its_names() -> None:
    activation = one(f"{CALLEE}f(x) = 1 + scaled(x)")
    assert {name: show_expr(node) for node, name in activation.names.items()} == {
        "v": "exp(x)",
        "scaled": "exp(x) * 2 + 3",
    }
    clash = one(f"{CALLEE}f(x; scaled = 1) = scaled + scaled(x)\n")
    assert set(clash.names.values()) == {"v"}


def test_callees_may_stand_below_and_bring_their_conditions() -> None:
    first = activations("f(x; a = 1) = g(x, a) g(x; b = 2) = log(x) * b  domain x > 0  require b > 0")[0]
    assert first.domain is call("gt", X, 0)
    assert first.requires == (call("gt", Symbol("a"), 0),)


def test_the_languages_own_functions_win_where_they_fit() -> None:
    text = (
        "softplus(x; beta = 1) = log(1 + exp(beta * x)) / beta\n"
        "f(x) = softplus(x)\ng(x) = softplus(x, beta = 2)"
    )
    own, f, g = activations(text)
    assert show_expr(own.body) == "log(1 + exp(beta * x)) / beta"
    assert f.body is Apply("softplus", X)
    assert show_expr(g.body) == "log(1 + exp(2 * x)) / 2"
    assert one("tanh(x) = tanh(x)").body is Apply("tanh", X)


def test_parameters_that_are_irrational_keep_fifty_digits() -> None:
    (parameter,) = one("f(x; s = sqrt(2 / pi)) = s * x").parameters
    assert parameter.default is not None
    assert str(float(parameter.default)) == "0.7978845608028654"
    assert len(str(parameter.default.denominator)) >= 45


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2**10", 1024.0),
        ("-(1/3)", -1 / 3),
        ("max(1, 2, 3)", 3.0),
        ("cosh(0)", 1.0),
        ("sigmoid(0)", 0.5),
        ("log10(1000)", 3.0),
        ("2**0.5", 2**0.5),
        ("abs(-e)", 2.718281828459045),
        ("1e-5", 1e-5),
        ("clamp(7, 0, 6)", 6.0),
        ("where(1 < 2, 3, 4)", 3.0),
    ],
)
def test_defaults(text: str, value: float) -> None:
    (parameter,) = one(f"f(x; a = {text}) = a * x").parameters
    assert parameter.default is not None
    assert float(parameter.default) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize("text", ["inf", "log(-1)", "1/0", "x", "1 > 0", "10**10**10", "log(0)", "2**2**20"])
def test_defaults_that_are_none(text: str) -> None:
    definitions, errors, _ = parse_all(f"f(x; a = {text}) = a * x")
    _, wrong = resolve_all(definitions)
    assert [*errors, *wrong]


def test_constant_conditions() -> None:
    assert holds(call("lt", Apply("e"), Apply("pi")))
    with pytest.raises(ValueError, match="depends on a name"):
        constant(X)


@pytest.mark.parametrize("name", ["con", "print", "None", "match_" * 30, "domain", "e", "_x"])
def test_names_that_a_definition_cannot_have(name: str) -> None:
    assert objection(name, defines=True)


@pytest.mark.parametrize("name", ["relu", "abs", "max", "match", "x1", "A_b"])
def test_names_that_a_definition_can_have(name: str) -> None:
    assert objection(name, defines=True) is None
