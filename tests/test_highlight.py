"""Specs in colour: the words are the parser's, and the lexer and the TextMate grammar agree on all specs."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pygments.lexers import load_lexer_from_file
from pygments.token import Error, Keyword, Name, Operator, String, Token

from dsl import highlight, textmate
from dsl.highlight import ActLexer
from dsl.mistakes import CLAUSE_WORDS
from dsl.names import CLAUSES
from dsl.parse import _lark
from dsl.vocabulary import LOGIC, WORDS, clauses, terminals

ROOT = Path(__file__).parent.parent
SPECS = sorted((ROOT / "specs").glob("*.act"))


def test_the_terminals_are_the_parsers() -> None:
    parser, _ = _lark()
    known = {each.name: each.pattern.to_regexp() for each in parser.terminals if each.name in terminals()}
    assert {name: pattern.replace("\n", "\\n") for name, pattern in known.items()} == terminals()
    unnamed = {each.name for each in parser.terminals} - set(terminals())
    assert all(name.startswith("__") for name in unnamed)  # white space alone


def test_the_clauses_are_those_of_the_messages() -> None:
    assert {name.lower() for name in clauses()} == CLAUSES == {*CLAUSE_WORDS, "model"}
    assert set(terminals()) >= {*LOGIC, *WORDS}


def kinds(text: str) -> list[tuple[Any, str]]:
    found = [(kind, value) for kind, value in ActLexer(ensurenl=False, stripnl=False).get_tokens(text)]
    return [(kind, value) for kind, value in found if value.strip()]


def test_words_are_keywords_where_a_clause_may_begin() -> None:
    text = """'doc'
        domain(alias; module) = alias + with
          with with = where(alias > pi, exp(module), 0)
          alias alias
    """
    found = kinds(text)
    declared = [at for at, (kind, _) in enumerate(found) if kind is Keyword.Declaration]
    assert [found[at][1] for at in declared] == ["with", "alias"]
    assert [found[at + 1] for at in declared] == [(Name, "with"), (Name, "alias")]
    assert found[0] == (String, "'doc'")
    assert found[1] == (Name.Function, "domain")
    assert {value for kind, value in found if kind is Name.Builtin} == {"where", "exp"}
    assert (Keyword.Constant, "pi") in found


def test_what_is_later_and_what_is_wrong() -> None:
    found = kinds("swish(x; learn beta = 1.0) = x if not x > 0 and x in 0..2 else rowsum(x) ^ 2")
    assert [value for kind, value in found if kind is Keyword] == ["learn", "if", "in", "else"]
    assert [value for kind, value in found if kind is Operator.Word] == ["not", "and"]
    assert [value for kind, value in found if kind is Error] == ["^"]
    assert (Name.Builtin, "rowsum") in found


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_nothing_in_a_spec_is_an_error(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = list(ActLexer(ensurenl=False, stripnl=False).get_tokens(text))
    assert "".join(value for _, value in found) == text
    assert not [value for kind, value in found if kind is Error]
    declared = sum(kind is Name.Function for kind, _ in found)
    assert declared == len(re.findall(r"^\w+\(.*\) =", text, re.MULTILINE))


@given(st.text(alphabet="f(x) = +*,;[]\"'#\n\\1.e with alias if not_é^", max_size=40))
def test_every_text_comes_back(text: str) -> None:
    found = ActLexer(ensurenl=False, stripnl=False).get_tokens(text)
    assert "".join(value for _, value in found) == text


def test_the_entry_point() -> None:
    given = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    module, _, name = given["pygments.lexers"]["act"].partition(":")
    assert (module, getattr(highlight, name)) == ("dsl.highlight", ActLexer)


# A TextMate grammar as editors run one: line by line, the first match, and of two the earlier pattern.


def scopes(grammar: dict[str, Any], text: str) -> Iterator[tuple[str, str]]:
    inside: dict[str, Any] | None = None
    for line in text.splitlines(keepends=True):
        at = 0
        while at < len(line):
            if inside:
                quote = inside["end"]
                end = re.compile(rf"(?:\\.|(?!{quote}).)*(?:{quote})?", re.DOTALL).match(line, at)
                assert end is not None
                yield inside["name"], end[0]
                closed = re.search(rf"(?:{inside['end']})\Z", end[0])
                at, inside = end.end(), None if closed else inside
                continue
            rules = grammar["patterns"]
            found = [re.compile(rule.get("match") or rule["begin"]).search(line, at) for rule in rules]
            starts = [(match.start(), rank) for rank, match in enumerate(found) if match and match[0]]
            if not starts:
                break
            _, rank = min(starts)
            match, rule = found[rank], rules[rank]
            assert match is not None
            yield rule["name"], match[0]
            at, inside = match.end(), rule if "begin" in rule else None


SAME = {
    Name.Function: "entity.name.function.act",
    Name.Builtin: "support.function.act",
    Name: "variable.other.act",
    Keyword.Declaration: "keyword.declaration.act",
    Keyword: "keyword.control.act",
    Keyword.Constant: "constant.language.act",
    Operator.Word: "keyword.operator.word.act",
    Operator: "keyword.operator.act",
    Token.Literal.Number: "constant.numeric.act",
    Token.Comment.Single: "comment.line.number-sign.act",
}


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_the_textmate_grammar_agrees_with_the_lexer(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    expected = [(SAME[kind], value) for kind, value in kinds(text) if kind in SAME]
    found = [(name, value.strip()) for name, value in scopes(textmate.grammar(), text)]
    assert [each for each in found if not each[0].startswith("string.")] == expected
    quoted = "".join(value for name, value in found if name.startswith("string."))
    lexed = "".join(value for kind, value in kinds(text) if kind is String)
    assert re.sub(r"\s", "", quoted) == re.sub(r"\s", "", lexed)


def test_the_grammar_for_editors_is_up_to_date() -> None:
    assert textmate.FILE.read_text(encoding="utf-8") == textmate.text()
    assert json.loads(textmate.text())["scopeName"] == "source.act"


def test_pygments_loads_the_lexer_from_its_file() -> None:
    assert load_lexer_from_file(str(ROOT / "dsl/highlight.py"), "ActLexer").name == "act"
