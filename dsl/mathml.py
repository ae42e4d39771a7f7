"""Mathematics for pages: MathML Core, which browsers draw and screen readers read, with no script or font.

In: an expression, or equations. Out: MathML. See `dsl.typeset` for what becomes of an expression.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from dsl.equations import Equations
from dsl.expr import Expr
from dsl.typeset import typeset

_SPACED = "+−"
_TALL = ("<mfrac", "<mtable", "<munderover")


def mathml(root: Expr, display: bool = False) -> str:
    """An expression as a `math` element, on a line of its own if `display`.

    >>> from dsl.expr import Symbol
    >>> mathml(Symbol("x") + 1)
    '<math><mrow><mi>x</mi><mo>+</mo><mn>1</mn></mrow></math>'
    """
    attribute = ' display="block"' if display else ""
    return f"<math{attribute}>{typeset(root, _MATHML)}</math>"


def equations(block: Equations) -> str:
    """Equations as one `math` element, aligned at their signs."""
    sides = [(typeset(left, _MATHML), typeset(right, _MATHML)) for left, right in block.rows]
    rows = "".join(
        f"<mtr><mtd>{left}</mtd><mtd><mo>=</mo></mtd><mtd>{right}</mtd></mtr>" for left, right in sides
    )
    return f'<math display="block" class="equations"><mtable displaystyle="true">{rows}</mtable></math>'


class _MathML:
    times = '<mspace width="0.17em"></mspace><mo>&#x2062;</mo>'
    dot = "<mo>·</mo>"
    apply = "<mo>&#x2061;</mo>"

    def letter(self, name: str) -> str:
        return f"<mi>{escape(name)}</mi>"

    def variable(self, name: str) -> str:
        return f'<mi class="name">{escape(name)}</mi>'

    def word(self, name: str) -> str:
        return f'<mi mathvariant="normal">{escape(name)}</mi>'

    def text(self, text: str) -> str:
        return f"<mtext>{escape(text).replace(' ', '&#xA0;')}</mtext>"

    def number(self, digits: str) -> str:
        return f"<mn>{digits}</mn>"

    def sign(self, sign: str, spaced: bool) -> str:
        form = "" if spaced or sign not in _SPACED else ' form="prefix"'
        return f"<mo{form}>{escape(sign)}</mo>"

    def row(self, parts: Sequence[str]) -> str:
        return f"<mrow>{''.join(parts)}</mrow>" if len(parts) > 1 else "".join(parts)

    def fenced(self, left: str, body: str, right: str) -> str:
        # Brackets that may grow take the room of those that have.
        grow = "" if any(tall in body for tall in _TALL) else ' stretchy="false"'
        return f'<mrow><mo form="prefix"{grow}>{left}</mo>{body}<mo form="postfix"{grow}>{right}</mo></mrow>'

    def fraction(self, above: str, below: str) -> str:
        return f"<mfrac>{above}{below}</mfrac>"

    def power(self, base: str, exponent: str) -> str:
        return f"<msup>{base}{exponent}</msup>"

    def index(self, base: str, index: str) -> str:
        return f"<msub>{base}{index}</msub>"

    def root(self, body: str, degree: str) -> str:
        return f"<mroot>{body}{degree}</mroot>" if degree else f"<msqrt>{body}</msqrt>"

    def series(self, sign: str, below: str, above: str) -> str:
        return f"<munderover><mo>{sign}</mo>{below}{above}</munderover>"

    def cases(self, rows: Sequence[tuple[str, str]]) -> str:
        lines = "".join(
            f"<mtr><mtd>{value}</mtd><mtd>"
            + (f"<mrow><mtext>if&#xA0;</mtext>{when}</mrow>" if when else "<mtext>otherwise</mtext>")
            + "</mtd></mtr>"
            for value, when in rows
        )
        grid = f'<mtable class="cases" displaystyle="true">{lines}</mtable>'
        return f'<mrow><mo form="prefix">{{</mo>{grid}</mrow>'


_MATHML = _MathML()
