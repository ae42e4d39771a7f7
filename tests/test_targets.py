"""The text of generated modules: what is printed, and that it says what the program says."""

from __future__ import annotations

import ast
import pickle
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsl import ops, targets
from dsl.activation import Parameter
from dsl.expr import Apply, Expr, Number, Symbol, call
from dsl.ieee import run
from dsl.ops import where
from dsl.program import Function, Step
from dsl.targets import eager, layout, plain, triton
from dsl.targets.spelling import ARITHMETIC, ATOM, Kind, Text, number, write
from tests import handmade

X = Symbol("x")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return handmade.import_package(tmp_path_factory.mktemp("targets"))


def arithmetic() -> st.SearchStrategy[Expr]:
    leaves = st.sampled_from([X, Number(2), Number(Fraction(-1, 3)), Number(Fraction(1, 10))])
    binary = st.sampled_from(["add", "sub", "mul", "div"])
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(lambda op, a, b: Apply(op, a, b), binary, inner, inner),
            st.builds(lambda a: Apply("neg", a), inner),
        ),
        max_leaves=30,
    )


@given(arithmetic())
def test_printed_arithmetic_means_the_same(expression: Expr) -> None:
    names = {"x": Text("x", ATOM, Kind.VARYING)}
    source = write(expression, names, {op: row.write for op, row in ARITHMETIC.items()}).source
    function = ast.unparse(ast.parse(source, mode="eval"))
    try:
        value = eval(function, {"x": 0.7})  # the text is ours, from the strategy above
    except (ZeroDivisionError, OverflowError):
        return
    expected = run(Function("f", "x", (), (), (), expression), {"x": 0.7})
    assert value == expected or (value != value and expected != expected)


@given(st.fractions())
def test_numbers_are_printed_to_the_last_bit(value: Fraction) -> None:
    assert float(ast.literal_eval(number(value))) == float(value)


@given(st.text())
def test_any_text_is_intact_in_a_docstring(text: str) -> None:
    source = layout.docstring(text)
    value = ast.literal_eval(source)
    assert value.count('"') == text.count('"')
    if text.isprintable():
        assert value == text


def test_conditions_on_parameters_are_plain_python() -> None:
    a, b = Symbol("a"), Symbol("b")
    condition = call("or", call("lt", a, b), call("and", call("gt", a, 1), call("not", call("eq", b, 0))))
    assert plain.condition(condition) == "a < b or a > 1.0 and not b == 0.0"


def test_the_vocabulary_is_spelled_by_every_target(tmp_path: Path) -> None:
    vocabulary = (
        "abs sign max min floor ceil round sqrt pow exp log sin cos asin acos atan cbrt exp_sum expm1 log1p "
        "erf erfcx product_error sum_error ratio turned exp_error pow_sum"
    ).split()
    for op in vocabulary:
        arity = {"exp_sum": 2, "product_error": 2, "sum_error": 2, "ratio": 2, "turned": 2}.get(
            op
        ) or ops.OPS[op].arity
        for operands in (
            [X] * arity,
            [X, Number(Fraction(1, 3)), X][:arity],
            [Symbol("alpha"), X, X][:arity],
        ):
            row = handmade.activation(
                f"try_{op}",
                op,
                (Apply(op, *operands), where(call("lt", X, 0), 1, 2), Apply("inf")),
                parameters=(Parameter("alpha", Fraction(1, 2)),),
            )
            ast.parse(targets.render(*row))


def test_every_block_that_a_target_calls_exists() -> None:
    blocks = targets.support_files()["_math.py"]
    for module in (triton, eager):
        called = set(re.findall(r"_math\.(\w+)", Path(module.__file__ or "").read_text(encoding="utf-8")))
        missing = {name for name in called if f"\ndef {name}(" not in blocks}
        assert not missing


def test_steps_that_are_numbers_keep_their_precision() -> None:
    function = Function("f", "x", (), (), (Step("third", Number(Fraction(1, 3))),), X * Symbol("third"))
    text = triton.jit_function(function, "_f", "f", {"x": "x", "third": "third"})
    assert "third: tl.constexpr = 0.3333333333333333" in text


def test_names_that_the_code_needs_are_kept_apart() -> None:
    row = handmade.activation(
        "taken",
        "x * fast + n",
        (X * Symbol("fast") + Symbol("n"), Symbol("fast"), Number(0)),
        parameters=(Parameter("fast", Fraction(2)), Parameter("n", Fraction(1))),
    )
    source = targets.render(*row)
    assert "def _taken(x, fast_, n, fast: tl.constexpr)" in source
    assert "def taken(x: Tensor, fast: float = 2.0, n: float = 1.0)" in source
    ast.parse(source)


def test_a_module_has_a_docstring_in_fixed_order() -> None:
    tree = ast.parse(targets.render(*handmade.ALL["elu"]))
    doc = ast.get_docstring(tree) or ""
    places = [doc.index(f"\n{title}\n") for title in ("Method", "Rewrites", "Accuracy", "Special cases")]
    assert places == sorted(places)
    assert "x = -inf: value -1, derivative 0" in doc


def test_documentation_comes_out_intact() -> None:
    spec, program = handmade.ALL["silu"]
    doc = ast.get_docstring(ast.parse(targets.render(spec, program))) or ""
    assert spec.doc in doc


def test_no_generation_imports_torch_or_triton() -> None:
    code = "import sys, dsl.targets; print([m for m in ('torch', 'triton', 'sympy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_function_wins_over_the_submodule(package: ModuleType) -> None:
    import importlib

    name = package.__name__
    assert callable(package.silu)
    module = importlib.import_module(f"{name}.silu")
    assert isinstance(module, ModuleType)
    assert package.silu is module.silu
    assert package.swish is package.silu
    namespace: dict[str, object] = {}
    exec(
        f"import {name}.relu\nfrom {name}.relu import Relu, relu\nfrom {name} import relu as again", namespace
    )
    assert package.relu is namespace["relu"] is namespace["again"]
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing


def test_submodules_are_imported_when_asked_for(tmp_path: Path) -> None:
    package = handmade.import_package(tmp_path)
    loaded = [name for name in sys.modules if name.startswith(f"{package.__name__}.")]
    assert loaded == []
    assert callable(package.relu)
    assert f"{package.__name__}.elu" not in sys.modules


def test_importing_again_does_not_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    monkeypatch.syspath_prepend(tmp_path)

    package = handmade.import_package(tmp_path)
    first = importlib.import_module(f"{package.__name__}.silu")
    second = importlib.reload(first)
    assert callable(second.silu)
    importlib.reload(package)


def test_two_copies_live_side_by_side(tmp_path: Path) -> None:
    import torch

    rows = [handmade.ALL["silu"]]
    one, two = handmade.import_package(tmp_path, rows), handmade.import_package(tmp_path, rows)
    x = torch.randn(4)
    assert torch.equal(one.silu(x), two.silu(x))


def test_a_package_may_live_inside_another(tmp_path: Path) -> None:
    outer = tmp_path / "outer_package"
    handmade.write_package(outer / "vendored" / "acts", [handmade.ALL["relu"]])
    for folder in (outer, outer / "vendored"):
        (folder / "__init__.py").write_text("")
    code = (
        "from outer_package.vendored.acts import relu\nimport torch\n"
        "print(relu(torch.tensor([-1.0, 2.0])).tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[0.0, 2.0]", done.stderr


def test_modules_pickle_and_print(package: ModuleType) -> None:
    module = pickle.loads(pickle.dumps(package.ELU(0.5, inplace=True)))
    assert repr(module) == "ELU(alpha=0.5, inplace=True)"
    assert repr(package.SiLU()) == "SiLU()"
    assert pickle.loads(pickle.dumps(package.silu)) is package.silu


def test_type_checkers_see_functions(tmp_path: Path) -> None:
    handmade.write_package(tmp_path / "acts", [handmade.ALL["elu"], handmade.ALL["silu"]])
    user = "import acts.silu\nfrom acts import ELU, elu, silu\nreveal_type(elu)\nreveal_type(ELU(0.5))\n"
    (tmp_path / "user.py").write_text(user)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--follow-imports=silent", "user.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "def (x: torch._tensor.Tensor, alpha: float =" in done.stdout, done.stdout
    assert "acts.elu.ELU" in done.stdout
    assert " error:" not in done.stdout
