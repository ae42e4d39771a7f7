"""One file with one class, `ModelNew`: an activation's module or a model, as benchmarks of kernels load it.

In: an activation or a model, the sources of the modules that it needs, and the support files. Out: Python
source, not yet formatted: imports, jit functions, what launches them, the class. No test, no example to run.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from dsl.activation import Activation
from dsl.model import Model
from dsl.targets.bundle import Bundle
from dsl.targets.layout import docstring

NAME = "ModelNew"
"""What the class is called."""

ORDER = (
    "_math",
    "_launch",
    "_runtime",
    "_single",
    "_joint",
    "_learned",
    "_packed",
    "_chance",
    "_rows",
    "_epilogue",
)
"""The support files, in the order in which what is needed of them comes."""


def source(subject: Activation | Model, modules: Mapping[str, str], support: Mapping[str, str]) -> str:
    """The file's text; `modules` are the generated modules' texts by name, the subject's own last."""
    sources = {name: support[f"{name}.py"] for name in ORDER} | dict(modules)
    bundle = Bundle(
        sources,
        (subject.name, subject.class_name),
        {("_runtime", "Operator"): ("_single", "Operator"), ("_launch", "_tuned"): ("_single", "_tuned")},
        NAME,
    )
    said = ast.get_docstring(ast.parse(modules[subject.name])) or ""
    return f"{docstring(said)}\n\n{bundle.text()}"
