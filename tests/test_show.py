"""The printer is the parser's inverse."""

from fractions import Fraction
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsl.expr import ONE, Apply, Expr, Number, Symbol
from dsl.program import Constant, Function, Step
from dsl.resolve import activations
from dsl.show import quote, show_activation, show_expr, show_function, show_number, show_stage
from tests.strategies import expressions

X = Symbol("x")


def parsed(text: str) -> Expr:
    (activation,) = activations(f"f(x; a = 1, b = 1) = {text}")
    return activation.body


@given(expressions())
@settings(max_examples=200, deadline=None)
def test_parse_inverts_show(expression: Expr) -> None:
    assert parsed(show_expr(expression)) is expression


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("(x)", "x"),
        ("((x + 1)) * 2", "(x + 1) * 2"),
        ("x - (1 - x)", "x - (1 - x)"),
        ("(x - 1) - x", "x - 1 - x"),
        ("(-x)**2", "(-x)**2"),
        ("-(x**2)", "-x**2"),
        ("(x**a)**b", "(x**a)**b"),
        ("x**(a**b)", "x**a**b"),
        ("x**-2", "x**-2"),
        ("x / (a * b)", "x / (a * b)"),
        ("1/3 * x", "1/3 * x"),
        ("x * (1/3)", "x * (1/3)"),
        ("1 if x > 0 else 2", "where(x > 0, 1, 2)"),
        ("where(0 < x <= 1 and not x == 2, x, 1)", "where(0 < x and x <= 1 and not x == 2, x, 1)"),
        ("where((x > 1 or x < 0) and x != 3, x, 1)", "where((x > 1 or x < 0) and x != 3, x, 1)"),
        ("max(x, a, b)", "max(max(x, a), b)"),
        ("+x", "x"),
    ],
)
def test_brackets_only_where_needed(text: str, shown: str) -> None:
    assert show_expr(parsed(text)) == shown


@given(st.fractions() | st.decimals(allow_nan=False, allow_infinity=False).map(Fraction))
def test_numbers_are_exact(value: Fraction) -> None:
    text = show_number(value)
    numerator, _, denominator = text.partition("/")
    assert Fraction(numerator) / Fraction(denominator or 1) == value


def test_depth_is_no_problem() -> None:
    deep: Expr = X
    for _ in range(3_000):
        deep = Apply("add", ONE, Apply("neg", Apply("sub", deep, ONE)))
    assert parsed(show_expr(deep)) is deep


def test_shared_subexpressions_are_shown_once() -> None:
    node: Expr = X
    for _ in range(200):
        node = Apply("exp", Apply("mul", node, node))
    (activation,) = activations("f(x) = x")
    shown = show_stage(activation, (node,))
    assert len(shown) < 20_000
    (again,) = activations(shown)
    assert again.body is node


DEFINITION = r'''"""Two lines of "words", a \tanh and a \\ at the end \\

and more."""
f(x; alpha = 1/8, beta = 2.5) = where(x > 0, u, alpha * (exp(u) - 1))
  with u = x * beta
  reference some.where.f(approximate = "tanh", exact = False, scale = 0.5)
  domain x > -1
  require alpha > 0
  require beta != 0
  accuracy forward 2 ulp, backward 3.5 ulp
  alias g
  alias h
  module Fun
'''


def test_an_activation_comes_back_whole() -> None:
    (activation,) = activations(DEFINITION)
    (again,) = activations(show_activation(activation))
    for name, value in vars(activation).items():
        if name not in ("formula", "path"):
            assert getattr(again, name) == value, name
    assert activation.doc == 'Two lines of "words", a \\tanh and a \\ at the end \\\n\nand more.'
    assert show_activation(again) == show_activation(activation)


@given(st.text(alphabet="ab\"'\\\n#", max_size=20))
def test_quoted_text_comes_back(text: str) -> None:
    quoted = quote(f"-{text}-")
    (activation,) = activations(f"{quoted}\nf(x) = x")
    assert activation.doc.split() == f"-{text}-".split()


def test_a_function_of_a_program() -> None:
    constant = Constant("THIRD", Fraction(1, 3), "1/3")
    step = Step("t", Apply("exp", X))
    function = Function(
        "f", "x", ("alpha",), (constant,), (step,), Apply("mul", Symbol("t"), Symbol("THIRD"))
    )
    assert show_function(function).splitlines() == [
        "f(x; alpha) = t * THIRD",
        "  with THIRD = 0.33333333333333333  # 1/3",
        "  with t = exp(x)",
    ]


def test_every_form_has_a_number_it_can_negate() -> None:
    signs = chain.from_iterable(
        (Number(value), Number(-value)) for value in (Fraction(1, 3), Fraction(2), Fraction(1, 4))
    )
    for number in signs:
        for op in ("add", "sub", "mul", "div", "pow"):
            for node in (Apply(op, X, number), Apply(op, number, X)):
                assert parsed(show_expr(node)) is node
