"""The shipped activations and their exact values, for tests that go through all of them.

In: specs/. Out: activations by name, and the truth of each value and gradient at a sample of a dtype's
values. Truths are kept in files, so that only the first run of the tests waits for them.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np

import dsl
from dsl.activation import Activation
from dsl.certify import Truth, truth
from dsl.evaluate import Reference, Values
from dsl.expr import Expr
from dsl.pipeline import derive
from dsl.project import read_project
from dsl.show import show_expr
from dsl.ulp import FORMATS

ROOT = Path(__file__).resolve().parents[2]
SPECS = ROOT / "specs"
ACTIVATIONS = {
    activation.name: activation
    for activation in read_project([SPECS]).checked().activations
    if activation.unary  # tests/test_joint.py, test_learned.py and test_rows.py have the others
}
KINDS = ("value", "gradient")
DTYPES = ("float16", "bfloat16", "float32", "float64")
_COMPILER = Path(dsl.__file__).parent


def defaults(name: str) -> dict[str, Fraction]:
    """The parameters' default values."""
    found = {}
    for parameter in ACTIVATIONS[name].parameters:
        assert parameter.default is not None, "a shipped activation can be called with x alone"
        found[parameter.name] = parameter.default
    return found


@cache
def expression(name: str, kind: str) -> Expr:
    """The value or the gradient of an activation, as the spec and calculus say."""
    activation: Activation = ACTIVATIONS[name]
    return activation.body if kind == "value" else derive(activation)[1]


def exact(name: str, kind: str, dtype: str, count: int, folder: Path) -> Truth:
    """The truth of an activation's value or gradient, from a file in `folder` if it is there."""
    root, parameters = expression(name, kind), defaults(name)
    x = ACTIVATIONS[name].input
    key = "\0".join((_judge(), show_expr(root), repr(sorted(parameters.items())), dtype, str(count)))
    file = folder / f"{name}-{kind}-{dtype}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    if file.exists():
        with np.load(file) as kept:
            values = Values(kept["rounded"], kept["rest"], kept["decided"], kept["signed"])
            return Truth(
                FORMATS[dtype], Reference(root, x, parameters), kept["points"], values, kept["roots"]
            )
    with np.errstate(all="ignore"):
        known = truth(root, x, dtype, parameters, count)
    partial = file.with_suffix(f".{hashlib.sha256(str(id(known)).encode()).hexdigest()[:8]}.npz")
    np.savez_compressed(
        partial,
        points=known.points,
        rounded=known.values.rounded,
        rest=known.values.rest,
        decided=known.values.decided,
        signed=known.values.signed,
        roots=known.roots,
    )
    partial.replace(file)
    return known


@cache
def _judge() -> str:
    """A digest of the code that truths come from."""
    files = [*_COMPILER.glob("evaluate/*.py"), *_COMPILER.glob("certify/*.py"), _COMPILER / "ulp.py"]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()
