"""Activations with programs written by hand, and packages generated from them.

The tests of the targets and of the runtime start from these, so that they do not wait for the compiler.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from fractions import Fraction
from itertools import count
from pathlib import Path
from types import ModuleType

import black

from dsl import targets
from dsl.activation import Activation, Parameter
from dsl.expr import ONE, ZERO, Expr, Number, Symbol, call
from dsl.ops import where
from dsl.program import Constant, Function, Program, Step

X = Symbol("x")
ALPHA = Symbol("alpha")
_FRESH = count()


def activation(
    name: str,
    formula: str,
    bodies: tuple[Expr, Expr, Expr],
    *,
    parameters: tuple[Parameter, ...] = (),
    steps: tuple[tuple[Step, ...], ...] = ((), (), ()),
    constants: tuple[Constant, ...] = (),
    requires: tuple[Expr, ...] = (),
    aliases: tuple[str, ...] = (),
    class_name: str = "",
    doc: str = "",
) -> tuple[Activation, Program]:
    """An activation of x and the program for it."""
    names = tuple(parameter.name for parameter in parameters)
    value, gradient, curvature = (
        Function(label, "x", names, constants, own_steps, body)
        for label, own_steps, body in zip(("value", "gradient", "curvature"), steps, bodies, strict=True)
    )
    spec = Activation(
        name,
        ("x",),
        parameters,
        bodies[0],
        {},
        formula,
        class_name or name.title().replace("_", ""),
        doc=doc,
        requires=requires,
        aliases=aliases,
    )
    rules = (("one exponential", "exp(-abs(x)) cannot overflow"),)
    return spec, Program(value, gradient, curvature, rules)


def _silu() -> tuple[Activation, Program]:
    t, d, s = Symbol("t"), Symbol("d"), Symbol("s")
    decay = Step("t", call("exp", -call("abs", X)))
    sigmoid = Step("s", where(call("ge", X, 0), 1 / d, t / d))
    steps = (decay, Step("d", 1 + t))
    return activation(
        "silu",
        "x * sigmoid(x)",
        (
            where(call("ge", X, 0), X / d, X * t / d),
            s * (1 + X * (1 - s)),
            s * (1 - s) * (2 + X * (1 - 2 * s)),
        ),
        steps=(steps, (*steps, sigmoid), (*steps, sigmoid)),
        aliases=("swish",),
        class_name="SiLU",
        doc='Sigmoid linear unit, with "quotes", a \\backslash and """three""" quotes"',
    )


def _elu() -> tuple[Activation, Program]:
    positive = call("gt", X, 0)
    exponential = ALPHA * call("exp", call("min", X, 0))
    return activation(
        "elu",
        "where(x > 0, x, alpha * (exp(x) - 1))",
        (
            where(positive, X, ALPHA * call("expm1", X)),
            where(positive, ONE, exponential),
            where(positive, ZERO, exponential),
        ),
        parameters=(Parameter("alpha", Fraction(1)),),
        requires=(call("ne", ALPHA, 0),),
        class_name="ELU",
    )


def _snake() -> tuple[Activation, Program]:
    wave = Symbol("wave")
    return activation(
        "snake",
        "x + sin(alpha * x)**2 / alpha",
        (
            X + wave * wave * (1 / ALPHA),
            1 + call("sin", 2 * ALPHA * X),
            2 * ALPHA * call("cos", 2 * ALPHA * X),
        ),
        parameters=(Parameter("alpha", Fraction(1, 10)),),
        steps=((Step("wave", call("sin", ALPHA * X)),), (), ()),
    )


_POSITIVE = call("gt", X, 0)
_SLOPE = Symbol("slope")
_THRESHOLD, _VALUE = Symbol("threshold"), Symbol("value")

ALL: dict[str, tuple[Activation, Program]] = {
    "silu": _silu(),
    "elu": _elu(),
    "snake": _snake(),
    "relu": activation("relu", "max(x, 0)", (call("max", X, 0), where(_POSITIVE, 1, 0), ZERO)),
    "leaky": activation(
        "leaky",
        "where(x > 0, x, slope * x)",
        (where(_POSITIVE, X, _SLOPE * X), where(_POSITIVE, ONE, _SLOPE), ZERO),
        parameters=(Parameter("slope", Fraction(1, 100)),),
    ),
    "threshold": activation(
        "threshold",
        "where(x > threshold, x, value)",
        (where(call("gt", X, _THRESHOLD), X, _VALUE), where(call("gt", X, _THRESHOLD), 1, 0), ZERO),
        parameters=(Parameter("threshold", None), Parameter("value", None)),
    ),
    "identity": activation("identity", "x", (X, ONE, ZERO)),
    "constant": activation("constant", "0.1", (Number(Fraction(1, 10)), ZERO, ZERO)),
    "fraction": activation(
        "fraction",
        "where(x > 0, 0.1, 0.7) * max(x, 0.3) * RATE",
        (
            where(_POSITIVE, Number(Fraction(1, 10)), Number(Fraction(7, 10)))
            * call("max", X, Fraction(3, 10))
            * Symbol("RATE"),
            ZERO,
            ZERO,
        ),
        constants=(Constant("RATE", Fraction(1, 3), "1 / 3"),),
    ),
}


def write_package(
    folder: Path, rows: Iterable[tuple[Activation, Program]], digest: str = "0123456789"
) -> None:
    """A package of these activations in `folder`."""
    rows = tuple(rows)
    folder.mkdir(parents=True, exist_ok=True)
    texts = targets.support_files()
    texts["__init__.py"] = targets.package_init(spec for spec, _ in rows)
    for spec, program in rows:
        source = targets.render(spec, program, digest)
        texts[f"{spec.name}.py"] = black.format_str(source, mode=black.Mode(line_length=110))
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def import_package(
    folder: Path, rows: Iterable[tuple[Activation, Program]] = tuple(ALL.values())
) -> ModuleType:
    """A package of these activations, written under `folder` with a name of its own and imported."""
    name = f"handmade_{next(_FRESH)}"
    write_package(folder / name, rows)
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
