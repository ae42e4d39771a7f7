"""Formulas set in type: read back as a reader reads them, they are the formulas that they were."""

import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsl import equations
from dsl.derivation import whole
from dsl.expr import Apply, Expr, Number, Symbol, is_op, postorder, substitute
from dsl.ieee import evaluate
from dsl.latex import align, latex
from dsl.mathml import equations as as_page
from dsl.mathml import mathml
from dsl.paper import document, fragment
from dsl.parse import parse
from dsl.pipeline import stages
from dsl.project import read_project
from dsl.resolve import activations
from dsl.typeset import as_written

X = 0.7
CHILDREN = {"mfrac": 2, "msup": 2, "msub": 2, "mroot": 2, "munderover": 3}


@pytest.mark.parametrize(
    ("typed", "set_"),
    [
        ("-a * x**-2 / 3", r"\frac{-a\,x^{-2}}{3}"),
        ("x - (1 - x) - -x", r"x - (1 - x) - (-x)"),
        ("(x + 1)**2 * 3", r"(x + 1)^{2} \cdot 3"),
        ("sin(x)**2 + sin(x)**-1", r"\sin^{2}(x) + \sin(x)^{-1}"),
        ("exp(-x) * exp(1 / x)", r"\mathrm{e}^{-x}\,\exp\left(\frac{1}{x}\right)"),
        ("1e-30 * alpha * negative_slope", r"10^{-30}\,\alpha\,\mathit{negative\_slope}"),
        ("cbrt(x) + sqrt(abs(x))", r"\sqrt[3]{x} + \sqrt{|x|}"),
        ("1 if 0 < x <= 1 else 2 if not x < 3 else e", r"\begin{cases} 1 & \text{if } 0 < x \le 1 \\ "
         r"2 & \text{if } \neg (x < 3) \\ \mathrm{e} & \text{otherwise} \end{cases}"),
        ("2 * (x if x > 0 else 0)", r"2\,\left(\begin{cases} x & \text{if } x > 0 \\ "
         r"0 & \text{otherwise} \end{cases}\right)"),
        ("sum(k in 0..n: w[k] * x**k)", r"\sum_{k = 0}^{n} w_{k}\,x^{k}"),
        ("silu(x, beta = 2) * floor(t1)", r"\operatorname{silu}(x, \beta = 2)\,\lfloor t_{1}\rfloor"),
    ],
)  # fmt: skip
def test_latex(typed: str, set_: str) -> None:
    (definition,) = parse(f"f(x) = {typed}")
    assert latex(as_written(definition.body)) == set_


def test_derivatives_have_their_signs() -> None:
    one, two = activations("f(x) = x**2  g(a, b) = a * b")
    assert [latex(left) for block in equations.stage(one, [one.body] * 3) for left, _ in block.rows] == [
        "f(x)",
        r"f^{\prime}(x)",
        r"f^{\prime\prime}(x)",
    ]
    lefts = [latex(block.rows[0][0]) for block in equations.stage(two, [two.body] * 6)]
    assert lefts[1] == r"\frac{\partial g}{\partial a}"
    assert lefts[4] == r"\frac{\partial ^{2}g}{\partial a\partial b}"


@st.composite
def formulas(draw: st.DrawFn, depth: int = 4) -> Expr:
    """Sums, products, quotients, powers and calls of x and small numbers."""
    kind = draw(st.integers(0, 8)) if depth else 0
    if kind <= 1:
        return Symbol("x") if draw(st.booleans()) else Number(draw(st.sampled_from([1, 2, 3, -1, -2])))
    inner = formulas(depth - 1)
    if kind == 2:
        return Apply(draw(st.sampled_from(["neg", "sin", "abs"])), draw(inner))
    if kind == 3:
        return Apply("pow", draw(inner), Number(draw(st.integers(1, 3))))
    return Apply(draw(st.sampled_from(["add", "sub", "mul", "div"])), draw(inner), draw(inner))


@given(formulas())
def test_read_as_a_reader_reads_it(formula: Expr) -> None:
    """What groups on the screen are signs, brackets, fractions and exponents: `mrow` is not seen."""
    try:
        exact = evaluate(formula, {"x": X})
    except (ZeroDivisionError, OverflowError):
        return
    if not math.isfinite(exact) or _divides_by_zero(formula):
        return
    found = _Reader(ET.fromstring(mathml(formula))).value
    assert found == pytest.approx(exact, rel=1e-9, abs=1e-9)


def _divides_by_zero(formula: Expr) -> bool:
    below = [node.args[1] for node in postorder(formula) if is_op(node, "div")]
    return any(evaluate(each, {"x": X}) == 0 for each in below)


class _Reader:
    """The value of a row of MathML as it is read: products before sums, a sign for a whole product."""

    value: float

    def __init__(self, root: ET.Element) -> None:
        self._parts = list(_seen(root))
        self.value = self._sum()
        assert not self._parts

    def _next(self, *texts: str) -> bool:
        if self._parts and self._parts[0].tag == "mo" and self._parts[0].text in texts:
            self._parts.pop(0)
            return True
        return False

    def _sum(self) -> float:
        total = -self._product() if self._next("−") else self._product()
        while self._parts:
            if self._next("+"):
                total += self._product()
            elif self._next("−"):
                total -= self._product()
            else:
                break
        return total

    def _product(self) -> float:
        total = self._factor()
        while self._next("\u2062", "·"):
            total *= self._factor()
        return total

    def _factor(self) -> float:
        for left, right in (("(", ")"), ("|", "|")):
            if self._next(left):
                value = self._sum()
                assert self._next(right)
                return abs(value) if left == "|" else value
        part = self._parts.pop(0)
        power = 1.0
        if part.tag == "msup":
            base, exponent = part
            power = _Reader(exponent).value
            if base.text != "sin":
                return math.pow(_Reader(base).value, power)
            part = base
        if part.text == "sin":
            assert self._next("\u2061")
            return math.pow(math.sin(self._factor()), power)
        if part.tag == "mfrac":
            above, below = part
            return _Reader(above).value / _Reader(below).value
        return X if part.text == "x" else float(part.text or "")


def _seen(node: ET.Element) -> list[ET.Element]:
    if node.tag in ("math", "mrow"):
        return [part for child in node for part in _seen(child)]
    return [] if node.tag == "mspace" else [node]


def test_every_spec_in_type() -> None:
    """Whole markup for all of them, and for every stage of two."""
    found = read_project([Path(__file__).parent.parent / "specs"]).checked().activations
    blocks = [equations.written(each) for each in found]
    for each in found:
        if each.name in ("gelu", "swiglu"):
            made = stages(each)
            for roots in (made.derived, made.simplified, made.stabilised):
                blocks += equations.stage(each, roots)
            blocks += equations.program(each, made.program.functions[:2])
    for block in blocks:
        for element in ET.fromstring(as_page(block)).iter():
            assert len(element) == CHILDREN.get(element.tag, len(element))
        text = align([block])
        plain = re.sub(r"\\[{}]", "", text)
        assert plain.count("{") == plain.count("}")
        assert text.count(r"\left") - text.count(r"\leftarrow") == text.count(r"\right")


def test_a_deep_formula() -> None:
    deep: Expr = Symbol("x")
    for _ in range(3000):
        deep = Apply("neg", Apply("sin", deep))
    assert latex(substitute(deep, {})).count(r"\sin") == 3000


def test_a_document() -> None:
    (named,) = activations('"""50 % of a_b & more."""\nhalf_of(x) = log(1 + exp(x)) / 2')
    parts = whole(named)
    text = document([("half_of", parts)])
    for environment in ("document", "align*", "itemize", "verbatim"):
        begun = text.count(rf"\begin{{{environment}}}")
        assert begun == text.count(rf"\end{{{environment}}}") > 0
    assert r"\section*{half\_of}" in text
    assert fragment(parts[:1]).startswith(r"\begin{align*}")
