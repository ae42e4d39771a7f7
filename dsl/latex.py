"""Mathematics in LaTeX, for papers: fragments that need amsmath and nothing else.

In: an expression, or equations. Out: LaTeX. See `dsl.typeset` for what becomes of an expression.
"""

from __future__ import annotations

from collections.abc import Sequence

from dsl.equations import Equations
from dsl.expr import Expr
from dsl.typeset import GREEK, typeset

_LETTERS = {sign: f"\\{name}" for name, sign in GREEK.items() if name not in ("lambd", "lambda_")} | {
    "∞": r"\infty"
}
_SIGNS = {
    "−": "-",
    "≤": r"\le",
    "≥": r"\ge",
    "≠": r"\ne",
    "×": r"\times",
    "¬": r"\neg ",
    "∂": r"\partial ",
    "′": r"\prime",
    "∑": r"\sum",
    "∏": r"\prod",
}
_KNOWN = frozenset(
    "arccos arcsin arctan cos cosh exp log max min sin sinh tan tanh".split()
)  # without `dim`, `det` and such: no spec means these
_INVERSE = {"asin": r"\arcsin", "acos": r"\arccos", "atan": r"\arctan"}
_BRACKETS = {"⌊": r"\lfloor", "⌋": r"\rfloor", "⌈": r"\lceil", "⌉": r"\rceil"}
_SPECIAL = {
    **{char: f"\\{char}" for char in "#$%&_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "≥": r"$\ge$",
    "≤": r"$\le$",
    "−": r"$-$",
}


def latex(root: Expr) -> str:
    r"""An expression in LaTeX's mathematics.

    >>> from dsl.expr import Symbol
    >>> x = Symbol("x")
    >>> print(latex(x**2 / (1 + x)))
    \frac{x^{2}}{1 + x}
    """
    return typeset(root, _LATEX)


def align(blocks: Sequence[Equations]) -> str:
    """Equations as one `align*` each, what they are written with below the first line."""
    return "\n\n".join(map(_align, blocks))


def _align(block: Equations) -> str:
    rows = [f"{latex(left)} &= {latex(right)}" for left, right in block.rows]
    return "\n".join([r"\begin{align*}", " \\\\\n".join(f"  {row}" for row in rows), r"\end{align*}"])


def escape(text: str) -> str:
    r"""A text as LaTeX's text.

    >>> print(escape("50 % of a_b"))
    50 \% of a\_b
    """
    return "".join(_SPECIAL.get(char, char) for char in text)


class _Latex:
    times, dot, apply = r"\,", r" \cdot ", ""

    def letter(self, name: str) -> str:
        return _LETTERS.get(name, name)

    def variable(self, name: str) -> str:
        return rf"\mathit{{{escape(name)}}}"

    def word(self, name: str) -> str:
        if name == "e":
            return r"\mathrm{e}"
        known = f"\\{name}" if name in _KNOWN else _INVERSE.get(name)
        return known or rf"\operatorname{{{escape(name)}}}"

    def text(self, text: str) -> str:
        return rf"\text{{{escape(text)}}}"

    def number(self, digits: str) -> str:
        return digits

    def sign(self, sign: str, spaced: bool) -> str:
        shown = _SIGNS.get(sign, sign)
        return f" {shown} " if spaced else f"{shown} " if sign == "," else shown

    def row(self, parts: Sequence[str]) -> str:
        joined = ""
        for part in parts:  # a control word ends where no letter follows
            word = joined.rpartition("\\")[2]
            needs = "\\" in joined and word.isalpha() and part[:1].isalpha()
            joined += f" {part}" if needs else part
        return joined

    def fenced(self, left: str, body: str, right: str) -> str:
        left, right = _BRACKETS.get(left, left), _BRACKETS.get(right, right)
        if any(tall in body for tall in (r"\frac", r"\begin", r"\sum", r"\prod", r"\sqrt", "^")):
            return rf"\left{left}{_apart(left, body)} \right{right}".replace(" \\right", r"\right")
        return f"{left}{_apart(left, body)}{right}"

    def fraction(self, above: str, below: str) -> str:
        return rf"\frac{{{above}}}{{{below}}}"

    def power(self, base: str, exponent: str) -> str:
        return f"{base}^{{{exponent}}}"

    def index(self, base: str, index: str) -> str:
        return f"{base}_{{{index}}}"

    def root(self, body: str, degree: str) -> str:
        return rf"\sqrt[{degree}]{{{body}}}" if degree else rf"\sqrt{{{body}}}"

    def series(self, sign: str, below: str, above: str) -> str:
        return f"{_SIGNS[sign]}_{{{below}}}^{{{above}}} "

    def cases(self, rows: Sequence[tuple[str, str]]) -> str:
        lines = [
            rf"{value} & \text{{if }} {when}" if when else rf"{value} & \text{{otherwise}}"
            for value, when in rows
        ]
        return r"\begin{cases} " + r" \\ ".join(lines) + r" \end{cases}"


def _apart(bracket: str, body: str) -> str:
    return f" {body}" if bracket.startswith("\\") and body[:1].isalpha() else body


_LATEX = _Latex()
