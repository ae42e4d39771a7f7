"""Specs in colour: a lexer for Pygments, which finds it by its entry point (`pygmentize -l act`).

In: the text of a spec, right or wrong. Out: Pygments' tokens. The words are the parser's own.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pygments.lexer import RegexLexer, words
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Whitespace

from dsl.functions import CALLABLE
from dsl.ops import CONSTANTS
from dsl.vocabulary import LOGIC, WORDS, clauses, terminals

HEAD = r"[A-Za-z_]\w*(?=\s*\([^()]*(?:\((?:[^()]|\([^()]*\))*\)[^()]*)*\)\s*=(?!=))"
"""The name of a definition: what follows is its inputs in brackets, and an equals sign."""
BUILTINS = tuple(CALLABLE)
_T = terminals()
_OPERATORS = ("COMPARE", "POWER", "ARROW", "RANGE", "SIGN", "TIMES", "EQUAL")
_OPENING = ("LPAR", "LSQB", "COMMA", "SEMICOLON", "COLON", "DOT")
_CLOSING = ("RPAR", "RSQB")


def any_of(names: tuple[str, ...]) -> str:
    """The regular expression of any of some terminals."""
    return "|".join(_T[name] for name in names)


def _rules(ended: tuple[str, ...], wanted: tuple[str, ...]) -> list[Any]:
    """What stands anywhere; `ended` and `wanted` are the moves to the states after and before an operand."""
    return [
        (r"[ \t\r\n\f]+", Whitespace),
        (_T["COMMENT"], Comment.Single),
        (_T["STRING"], String, *ended),
        (any_of(LOGIC), Operator.Word, *wanted),
        (any_of(WORDS), Keyword, *wanted),
        (_T["NUMBER"], Number, *ended),
        (words(BUILTINS, prefix=r"\b", suffix=r"(?=\s*\()"), Name.Builtin, *ended),
        (words(CONSTANTS, prefix=r"\b", suffix=r"\b(?!\s*\()"), Keyword.Constant, *ended),
        (_T["NAME"], Name, *ended),
        (any_of(_OPERATORS), Operator, *wanted),
        (any_of(_CLOSING), Punctuation, *ended),
        (any_of(_OPENING), Punctuation, *wanted),
    ]


class ActLexer(RegexLexer):  # type: ignore[misc] # Pygments has no types.
    """The `.act` language.

    A clause or a definition may begin where an expression may end, and only there are its words keywords:
    that is the state `root`; in the state `wanted` an operand has to come.

    >>> from pygments import lex
    >>> tokens = list(lex("f(x) = domain with u = 1", ActLexer()))
    >>> [str(kind) for kind, text in tokens if text in ("f", "domain", "with")]
    ['Token.Name.Function', 'Token.Name', 'Token.Keyword.Declaration']
    """

    name = "act"
    aliases: ClassVar[list[str]] = ["act"]
    filenames: ClassVar[list[str]] = ["*.act"]

    tokens: ClassVar[dict[str, list[Any]]] = {
        "root": [
            (any_of(tuple(clauses())), Keyword.Declaration, "wanted"),
            (HEAD, Name.Function),
            *_rules((), ("wanted",)),
        ],
        "wanted": _rules(("#pop",), ()),
    }
