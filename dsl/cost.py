"""What an activation's kernels cost: machine instructions, from compiled code, before anything is built.

In: activations. Out: text. Compiling takes torch and Triton, a few seconds, and no GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

from dsl import inspect
from dsl.activation import Activation
from dsl.bench.run import load
from dsl.pipeline import stages
from dsl.targets import render, support_files

DTYPES = ("float32", "bfloat16")


def costs(activations: Sequence[Activation], target: str) -> dict[str, str]:
    """By name, a line for each kernel: instructions per element on a target, and what else it needs."""
    sources = {each.name: render(each, stages(each).program) for each in activations}
    with package(sources) as made:
        rows = inspect.table(made, target, DTYPES)
    return {
        each.name: "\n".join(
            _line(f"{dtype} {kind}", rows[f"{target}/{dtype}/{each.name}/{kind}"])
            for dtype in DTYPES
            for kind in (*inspect.KINDS, *inspect.IN_TRAINING)
            if f"{target}/{dtype}/{each.name}/{kind}" in rows
        )
        for each in activations
    }


@contextmanager
def package(sources: Mapping[str, str]) -> Iterator[ModuleType]:
    """Generated modules, by name, imported as a package that goes when it has been used."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"dslgen_cost_{Path(folder).name}"
        path.mkdir()
        for name, text in {"__init__.py": "", **support_files()}.items():
            (path / name).write_text(text, encoding="utf-8")
        for name, text in sources.items():
            (path / f"{name}.py").write_text(text, encoding="utf-8")
        yield load(path)


def _line(what: str, row: inspect.Counts) -> str:
    local = f", {row.spills} bytes of local memory" if row.spills else ""
    return (
        f"{what:26}{row.instructions:6.1f} instructions an element, {row.special:.1f} of the slow unit, "
        f"{row.registers} registers{local}"
    )
