"""What an activation's kernels cost: machine instructions, from compiled code, before anything is built.

In: activations. Out: text. Compiling takes torch and Triton, a few seconds, and no GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from dsl import assess, inspect
from dsl.activation import Activation
from dsl.bench.run import load

DTYPES = ("float32", "bfloat16")


def costs(activations: Sequence[Activation], target: str) -> dict[str, str]:
    """By name, a line for each kernel: instructions per element on a target, and what else it needs."""
    jobs = assess.jobs(activations)
    with TemporaryDirectory() as folder:
        package = Path(folder) / f"dslgen_cost_{Path(folder).name}"
        assess.write_package(package, jobs)
        rows = inspect.table(load(package), target, DTYPES)
    return {
        each.name: "\n".join(
            _line(f"{dtype} {kind}", rows[f"{target}/{dtype}/{each.name}/{kind}"])
            for dtype in DTYPES
            for kind in (*inspect.KINDS, *inspect.IN_TRAINING)
            if f"{target}/{dtype}/{each.name}/{kind}" in rows
        )
        for each in activations
    }


def _line(what: str, row: inspect.Counts) -> str:
    local = f", {row.spills} bytes of local memory" if row.spills else ""
    return (
        f"{what:18}{row.instructions:6.1f} instructions an element, {row.special:.1f} of the slow unit, "
        f"{row.registers} registers{local}"
    )
