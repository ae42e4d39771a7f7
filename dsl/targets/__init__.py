"""Programs to Python source: the modules, the package around them, and the support files they import.

In: activations and their programs. Out: text, not yet formatted. Nothing here imports torch or triton; the
support files are read as text. What prints a module is imported when one is printed: a build that changes
nothing does without.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from dsl.activation import Activation
from dsl.model import Model
from dsl.program import AnyProgram, JointProgram, RowProgram
from dsl.targets import package

SUPPORT = (
    "_chance.py",
    "_epilogue.py",
    "_joint.py",
    "_launch.py",
    "_learned.py",
    "_math.py",
    "_packed.py",
    "_rows.py",
    "_runtime.py",
    "_sharding.py",
    "py.typed",
)
"""The files that every generated package holds besides its activations."""


def render(
    activation: Activation,
    program: AnyProgram,
    digest: str = "",
    accuracy: str = "",
) -> str:
    """The source of one activation's module.

    `digest` tells this version of the module from others in PyTorch's registry of operators; its first eight
    characters are written into the text. `accuracy` is what a certificate says. The caller adds the lines of
    provenance and formats the whole.
    """
    from dsl.targets import chance, joint, layout, learned, rows

    if isinstance(program, RowProgram):
        return rows.module(activation, program, digest, accuracy)
    if isinstance(program, JointProgram):
        if activation.learned:
            return learned.module(activation, program, digest, accuracy)
        return joint.module(activation, program, digest, accuracy)
    if program.training is not None:
        return chance.module(activation, program, program.training, digest, accuracy)
    return layout.module(activation, program, digest, accuracy)


def render_model(model: Model, digest: str = "") -> str:
    """The source of a model's module."""
    from dsl.targets import model as printer

    return printer.module(model, digest)


def computations(activation: Activation, program: AnyProgram) -> str:
    """The kernels and formulas of an activation's module: what a certificate is for."""
    from dsl.targets import joint, layout, learned, rows

    if isinstance(program, RowProgram):
        return rows.computations(activation, program)
    if isinstance(program, JointProgram) and activation.learned:
        return learned.computations(activation, program)
    if isinstance(program, JointProgram):
        return joint.computations(activation, program)
    return layout.computations(activation, program)


def support_files() -> dict[str, str]:
    """The support files' names and contents, verbatim."""
    return {name: _support(name) for name in SUPPORT}


def bundled_files() -> dict[str, str]:
    """The same, and those that are only ever part of a file of one module."""
    return support_files() | {"_single.py": _support("_single.py")}


@cache
def _support(name: str) -> str:
    return (Path(__file__).parent.parent / "support" / name).read_text(encoding="utf-8")


def package_init(activations: Iterable[Activation | Model]) -> str:
    """The source of the package's `__init__.py`."""
    return package.package_init(activations)
