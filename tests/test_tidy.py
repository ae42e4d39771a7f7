"""Modules come out as Black would have them, though it does not get to see every line."""

from pathlib import Path

import pytest

from dsl.build import _render
from dsl.memory import remembering
from dsl.project import read_project
from dsl.targets import render_model
from dsl.tidy import LINE_LENGTH, black, tidy

ROOT = Path(__file__).parent.parent

HEAD = '"""Words,  as they   came. """\nimport math\n__all__ = [\'f\']\n\n'
LONG = " + ".join(f"term_{i} * factor_{i}" for i in range(12))
LATER = "\n\ndef f(x):\n    return x\n"
"""What ends the head."""


@pytest.mark.parametrize("file", sorted((ROOT / "specs").glob("*.act")), ids=lambda file: file.stem)
def test_specs(file: Path) -> None:
    project = read_project([file], [ROOT / "specs"]).checked()
    with remembering(ROOT / "stabilised.json"):
        texts = [_render(each, "", None) for each in project.activations[::4]]
    texts += map(render_model, project.models)
    for text in texts:
        assert tidy(text) == black(text)


@pytest.mark.parametrize(
    "body",
    [
        f"def g(x):\n    y = {LONG}\n    return {LONG}",
        f"def g({', '.join(f'argument_{i}: float = {i}.0' for i in range(8))}) -> float:\n    return 1.0",
        f"class C:\n    def g(self, x):\n        if x:\n            y = {LONG}\n        return (y)",
        f"for i in range(3):\n    with a:\n        y = {LONG}",
        f"if x:\n    y = 1\nelif {LONG}:\n    y = 2\nelse:\n    y = {LONG}",
        f"try:\n    y = {LONG}\nexcept ValueError:\n    y = 1\nfinally:\n    z = {LONG}",
        f"def g(x):\n    # {LONG}\n    y = {LONG}  # a remark\n    return y",
        f'def g(x):\n    """{LONG}"""\n    return x',
        "x = call(\n    1,\n    2\n)\ny = (1, )\nz = [1, 2,]\nv = (a + b)\nw = 1e+18\nu = {'b': 2}['b',]",
        f"@decorated({LONG})\ndef g(x):\n    return x",
    ],
)
def test_statements(body: str) -> None:
    text = f"{HEAD}{LATER}\n\n{body}\n"
    assert max(map(len, text.split("\n"))) > LINE_LENGTH or "call(" in text
    assert tidy(text) == black(text)
    assert tidy(tidy(text)) == tidy(text)


def test_a_module_without_functions() -> None:
    assert tidy(HEAD) == black(HEAD)
