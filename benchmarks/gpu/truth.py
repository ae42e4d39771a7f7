"""Exact values in a file, for a machine that has a GPU but not the exact arithmetic.

In: specs. Out: an .npz with, for every activation, its value and gradient in four dtypes at some thousands of
points. Making it needs the compiler's own dependencies; reading it needs numpy alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsl.ulp import FORMATS, Array, error_in_ulps

KINDS = ("value", "gradient")
COUNT = {"float16": 16384, "bfloat16": 16384, "float32": 4096, "float64": 1024}
"""Points of each dtype."""
REST_SCALE = 100.0
"""Below this fraction of an ulp the exact values are not kept."""
_DECIDED, _SIGNED, _NEAR = 1, 2, 4


@dataclass(frozen=True)
class Known:
    """Points of a dtype, and a function's exact values there, as `dsl.evaluate.Values` has them.

    `near` says which points are next to a root, where the error is absolute.
    """

    dtype: str
    points: Array
    rounded: Array
    rest: Array
    decided: NDArray[np.bool_]
    signed: NDArray[np.bool_]
    near: NDArray[np.bool_]

    def compare(self, got: Array) -> dict[str, Any]:
        """The worst error in ulps and where, that next to roots in halves of epsilon, and what is wrong."""
        fmt = FORMATS[self.dtype]
        errors = error_in_ulps(got, self.rounded, self.rest, fmt)
        flushed = (self.rounded != 0) & (np.abs(self.rounded) < fmt.smallest_normal) & (got == 0)
        failed = self.decided & ~np.isfinite(errors)
        counted = self.decided & ~failed & ~flushed
        with np.errstate(all="ignore"):
            absolute = np.abs(got - self.rounded) / fmt.root_unit
        close = np.where(self.near & counted, np.fmin(errors, absolute), 0.0)
        errors = np.where(counted & ~self.near, errors, 0.0)
        zeros = self.signed & (self.rounded == 0) & (got == 0)
        signs = zeros & (np.signbit(self.rounded) != np.signbit(got))
        worst = int(np.argmax(errors))
        return {
            "ulp": float(errors[worst]),
            "at": float(self.points[worst]),
            "got": float(got[worst]),
            "near roots": float(close.max()),
            "failed": int(failed.sum()),
            "failures": [
                [float(self.points[i]), float(got[i]), float(self.rounded[i])]
                for i in np.flatnonzero(failed)[:4]
            ],
            "flushed": int(flushed.sum()),
            "signs": int(signs.sum()),
        }


class TruthFile:
    """A file of exact values, opened."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as data:
            self._data = dict(data)
        self.activations: dict[str, Any] = json.loads(str(self._data["activations"]))

    def __call__(self, name: str, kind: str, dtype: str) -> Known:
        """What is known of an activation's value or gradient in a dtype."""
        fmt = FORMATS[dtype]

        def column(part: str) -> NDArray[Any]:
            return self._data[f"{name}/{kind}/{dtype}/{part}"]

        flags = column("flags")
        return Known(
            dtype,
            fmt.decode(column("points")),
            fmt.decode(column("rounded")),
            column("rest").astype(np.float64) / (2 * REST_SCALE),
            (flags & _DECIDED) != 0,
            (flags & _SIGNED) != 0,
            (flags & _NEAR) != 0,
        )


def make(specs: Path, path: Path) -> None:
    """Write the exact values of all activations in `specs`."""
    from dsl.project import read_project

    activations = [each for each in read_project([specs]).checked().activations if len(each.variables) == 1]
    columns: dict[str, Any] = {"activations": np.array(json.dumps(facts(activations)))}
    for activation in activations:
        print(activation.name, flush=True)
        for key, column in _columns(activation):
            columns[key] = column
    np.savez_compressed(path, **columns)
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


def facts(activations: Iterable[Any]) -> dict[str, Any]:
    """What a machine without the compiler needs to know of activations: defaults and references."""
    return {
        activation.name: {
            "parameters": {p.name: float(p.default) for p in activation.parameters if p.default is not None},
            "references": [
                [reference.target, {key: _plain(value) for key, value in reference.arguments}]
                for reference in activation.references
            ],
        }
        for activation in activations
    }


def _plain(value: object) -> object:
    return value if isinstance(value, (str, bool)) else float(value)  # type: ignore[arg-type]


def _columns(activation: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    from dsl.certify import kinks
    from dsl.certify.roots import near, roots
    from dsl.evaluate import Reference
    from dsl.pipeline import derive

    parameters = {p.name: p.default for p in activation.parameters}
    for kind, root in zip(KINDS, (activation.body, derive(activation)[1]), strict=True):
        reference = Reference(root, activation.input, parameters)
        interest = kinks(root, activation.input, parameters)
        for dtype, fmt in FORMATS.items():
            points = _points(dtype, interest)
            with np.errstate(all="ignore"):
                values = reference(points, dtype)
                close = near(points, roots(reference, fmt, points, values.rounded))
            flags = _DECIDED * values.decided + _SIGNED * values.signed + _NEAR * close
            prefix = f"{activation.name}/{kind}/{dtype}"
            yield f"{prefix}/points", fmt.encode(points)
            yield f"{prefix}/rounded", fmt.encode(values.rounded)
            yield f"{prefix}/rest", np.rint(values.rest * 2 * REST_SCALE).astype(np.int8)
            yield f"{prefix}/flags", flags.astype(np.uint8)


def _points(dtype: str, interest: tuple[float, ...]) -> Array:
    """Sorted points: the specials, what is near kinks, and a draw from the sample that certificates use."""
    from dsl.certify import sample

    fmt = FORMATS[dtype]
    rng = np.random.default_rng(0)
    every = sample(fmt, 4 * COUNT[dtype], interest)
    around = fmt.order(fmt.round(np.array([*interest, 0.0])))[:, None] + np.arange(-4, 5)[None, :]
    always = [fmt.from_order(around.reshape(-1)), [fmt.max, -fmt.max, np.inf, -np.inf]]
    drawn = rng.choice(every[np.isfinite(every) & (every != 0)], COUNT[dtype], replace=False)
    plain = np.unique(np.concatenate([drawn, *always]))
    plain = plain[plain != 0]
    place = int(np.searchsorted(plain, 0.0))
    return np.concatenate([plain[:place], [-0.0, 0.0], plain[place:], [np.nan]])
