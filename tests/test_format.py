"""The formatter moves white space only, and once."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsl.errors import SpecErrors
from dsl.format import format_text
from dsl.parse import parse_all
from tests.strategies import expressions

HERE = Path(__file__).parent

BEFORE = '''# top


# second
f(x)=x # trailing
g( x ) = x   # t2
 # before with
 with a=x[1] # ww

 # dangling
"""doc
 text"""   # after doc
# between
h(x;a=1,) = where(x>0, # positive
      x, # own
      # line
   -x ** - 2) domain (x) > 0 and not (x<2)
 require(a) > 0
one(x)=x
two(x)=
  x

three(x) = x
# end
'''

AFTER = '''# top

# second
f(x) = x  # trailing

g(x) = x  # t2
  # before with
  with a = x[1]  # ww

# dangling
"""doc
 text"""  # after doc
# between
h(x; a = 1,) = where(x > 0,  # positive
    x,  # own
    # line
    -x**-2)
  domain (x) > 0 and not (x < 2)
  require (a) > 0

one(x) = x
two(x) = x

three(x) = x

# end
'''


def test_comments_strings_and_breaks() -> None:
    assert format_text(BEFORE) == AFTER
    assert format_text(AFTER) == AFTER


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "f(x) = x"])
def test_small_files(text: str) -> None:
    assert format_text(format_text(text)) == format_text(text)


def test_the_examples_of_the_language() -> None:
    for file in (HERE / "language").glob("*.act"):
        once = format_text(file.read_text(encoding="utf-8"))
        assert format_text(once) == once


def test_long_bodies_keep_their_breaks() -> None:
    text = "f(x) = " + "x + " * 30 + "\n x - \n 1\n"
    assert format_text(text).count("\n    ") == 2
    assert format_text(text.replace(" + ", "+")) == format_text(text)


def test_broken_specs_are_refused() -> None:
    with pytest.raises(SpecErrors):
        format_text("f(x) = (")


SPACE = st.sampled_from(["", " ", "\n", "  # a comment\n", "\n# another\n", "\n\n\n", "\t"])
TOKENS = (
    "f ( x ; a = 1.5 ) = where ( not x > - 1 , x ** - 2 , sum ( k in 0 .. 5 : x [ k ] ) ) "
    "with u = x - - 1 alias g"
)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_any_spacing(data: st.DataObject) -> None:
    tokens = [*TOKENS.split(), *('"doc" h ( x ) = x if x < 1 else 2 domain ( x ) > 0'.split())]
    text = "".join(token + (data.draw(SPACE) or " ") for token in tokens)
    once = format_text(text)
    assert format_text(once) == once
    assert [line for line in once.splitlines() if line != line.rstrip()] == []


@given(expressions())
@settings(max_examples=100, deadline=None)
def test_meaning_is_kept(expression: object) -> None:
    from dsl.expr import Expr
    from dsl.resolve import resolve
    from dsl.show import show_expr

    assert isinstance(expression, Expr)
    text = f"f(x; a = 1, b = 1) = {show_expr(expression)}"
    definitions, _, _ = parse_all(format_text(text.replace(" ", "\n")))
    assert resolve(definitions)[0].body is expression
