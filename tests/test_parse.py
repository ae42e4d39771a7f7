"""Any text gives definitions or our errors, fast, and every error has a place in the text."""

import re
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dsl.errors import CODES, SpecErrors
from dsl.functions import CALLABLE
from dsl.parse import parse, parse_all, statements
from dsl.reduce import MAX_DEPTH, unquote
from dsl.resolve import resolve_all

LANGUAGE = Path(__file__).parent / "language"

PIECES = st.sampled_from(
    "f g x y ( ) [ ] , ; : = == < > + - * / ** ^ .. -> 1 2.5 1e-3 .5 if else and or not in with domain "
    "require learn alias module model packed concat gradient accuracy reference forward ulp exp "
    "where max pi inf \" ''' # \n \\ \0 \u03b1 f(x) x)= "
    '"""doc""" sum(k uniform( in training'.split(" ")
)


def outcome(text: str) -> tuple[int, int]:
    definitions, errors, broken = parse_all(text, "t.act")
    activations, wrong = resolve_all(definitions, broken)
    lines = text.split("\n")
    for error in (*errors, *wrong):
        assert 1 <= error.span.line <= len(lines) + 1
        assert error.span.column >= 1
        assert str(error)
    return len(activations), len(errors) + len(wrong)


@given(st.text(max_size=200))
@example("f(x) = 1..2")
@example("\ufeff")
@example('"""')
@example("f(x) = '\\")
@settings(max_examples=150, deadline=None)
def test_any_text(text: str) -> None:
    outcome(text)


@given(st.lists(PIECES, max_size=40).map(" ".join))
@settings(max_examples=100, deadline=None)
def test_any_tokens(text: str) -> None:
    outcome(text)


@given(st.lists(PIECES, max_size=10), st.integers(0, 2000), st.sampled_from(["now.act", "later.act"]))
@settings(max_examples=100, deadline=None)
def test_any_damage_to_real_specs(pieces: list[str], at: int, name: str) -> None:
    text = (LANGUAGE / name).read_text(encoding="utf-8")
    at %= len(text)
    outcome(text[:at] + " ".join(pieces) + text[at + len(pieces) :])


def test_every_example_of_the_language_parses() -> None:
    for file in LANGUAGE.glob("*.act"):
        assert len(statements(file.read_text(encoding="utf-8"), file.name)) >= 3


def test_what_comes_later_is_refused_by_name() -> None:
    text = (LANGUAGE / "later.act").read_text(encoding="utf-8")
    definitions, errors, broken = parse_all("silu(x) = x * sigmoid(x)\n" + text)
    activations, wrong = resolve_all(definitions, broken)
    assert [activation.name for activation in activations] == ["silu"]
    assert {error.code for error in (*errors, *wrong)} == {"E0190"}
    found = {error.span.line for error in (*errors, *wrong)}
    assert len(found) >= 4


@pytest.mark.parametrize(
    "body",
    [
        "(" * 100_000 + "x" + ")" * 100_000,
        "(" * 100_000,
        "-" * 20_000 + "x",
        "exp(" * 100_000 + "x" + ")" * 100_000,
        "x" + " + x" * 20_000,
        "x" + "**x" * 20_000,
        "[" * 100_000,
        "x" + " if x > 0 else x" * 20_000,
        "not " * 20_000 + "x",
    ],
    ids=lambda body: body[:12],
)
def test_depth_is_refused_and_fast(body: str) -> None:
    start = time.monotonic()
    _, errors, _ = parse_all(f"f(x) = {body}")
    assert [error.code for error in errors] == ["E0111"]
    assert time.monotonic() - start < 20


def test_depth_within_the_limit_is_fine() -> None:
    text = "f(x) = " + "(" * (MAX_DEPTH - 10) + "x" + ")" * (MAX_DEPTH - 10) + " + x" * (MAX_DEPTH // 2)
    assert outcome(text) == (1, 0)


def test_many_definitions() -> None:
    text = "f0(x) = x\n" + "".join(f"f{n}(x) = f{n - 1}(x) + {n}\n" for n in range(1, 500))
    assert outcome(text) == (500, 0)


def test_a_long_cycle_is_shown_short() -> None:
    text = "f0(x) = f499(x)\n" + "".join(f"f{n}(x) = f{n - 1}(x)\n" for n in range(1, 500))
    definitions, _, _ = parse_all(text)
    _, errors = resolve_all(definitions)
    assert [error.code for error in errors] == ["E0109"]
    assert len(errors[0].message) < 200


def test_line_ends_and_indentation_do_not_matter() -> None:
    one = parse("f(x; a = 1) = where(x > 0, x, a * u) with u = exp(x) alias g h(x) = x")
    two = parse("f(\nx\n;a=\n1)\n=where(x>0,\n\n  x,a*u)\nwith\nu=exp(x)\nalias\ng\n\n\n\th(x)\n=x\n")
    assert [each.name.text for each in one] == [each.name.text for each in two] == ["f", "h"]
    assert [clause.word for clause in one[0].clauses] == [clause.word for clause in two[0].clauses]


@pytest.mark.parametrize(
    "word", ["domain", "alias", "learn", "reference", "training", "forward", "model", "ulp"]
)
def test_clause_words_are_names_elsewhere(word: str) -> None:
    assert outcome(f"f({word}) = {word} * u\n  with u = {word} + 1") == (1, 0)
    assert outcome(f"f(x; {word} = 2) = {word} * x\n  domain {word} > x\n  alias g") == (1, 0)


def test_comments_and_strings_hide_brackets() -> None:
    assert outcome("# (((\n'(((' f(x) = x # )))") == (1, 0)


def test_backslashes_stand_for_themselves() -> None:
    assert unquote(r'"""\tanh \"\"\" \\ \n"""') == r'\tanh """ \ \n'


def test_errors_are_raised_together() -> None:
    with pytest.raises(SpecErrors) as caught:
        parse("f(x) = (\ng(x) = )\n")
    assert len(caught.value.errors) == 2


def test_the_language_reference_is_true() -> None:
    text = (Path(__file__).parent.parent / "docs/language.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```act\n(.*?)```", text, re.DOTALL)
    *read, later = blocks
    assert len(read) == 11
    for block in read:
        assert outcome(block)[1] == 0
    definitions, errors, broken = parse_all("silu(x) = x * sigmoid(x)\n" + later)
    _, wrong = resolve_all(definitions, broken)
    assert {error.code for error in (*errors, *wrong)} == {"E0190"}
    assert all(code in text for code in CODES if code > "E0100")
    assert [name for name in CALLABLE if not re.search(rf"\b{name}[`(]", text)] == []
