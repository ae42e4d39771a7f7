"""What a measurement found, as plain data.

In: nothing. Out: `Failure` and `Measurement`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """A NaN or an infinity in the wrong place: the input, the computed value, the correctly rounded one."""

    input: float
    got: float
    exact: float


@dataclass(frozen=True)
class Measurement:
    """A function's errors in one dtype.

    `worst_ulp` is the greatest error away from roots, found at `worst_input`, where the function gave `got`
    and `exact` is the correctly rounded value. `near_roots` is the greatest error close to a root that is no
    representable number, in halves of epsilon or in ulps, whichever is less, None where no point was there.
    `flushed` counts zeros in the place of subnormal results, `signs` zeros of the wrong sign, `failed` all
    failures, of which `failures` holds the first; `undecided` the points that had no exact value to compare
    with. `exhaustive` says that every input was tried.
    """

    dtype: str
    worst_ulp: float
    worst_input: float
    got: float
    exact: float
    tried: int
    exhaustive: bool
    failures: tuple[Failure, ...] = ()
    failed: int = 0
    flushed: int = 0
    signs: int = 0
    undecided: int = 0
    near_roots: float | None = None
    near_roots_input: float | None = None

    def __str__(self) -> str:
        """One line: the worst error, where, and how it was searched for.

        >>> str(Measurement("float32", 1.25, 0.5, 0.75, 0.75, 65536, True))
        'float32: 1.25 ulp at 0.5, every input'
        """
        tried = "every input" if self.exhaustive else f"{self.tried} sampled"
        parts = [f"{self.dtype}: {self.worst_ulp:.3g} ulp at {self.worst_input!r}", tried]
        if self.near_roots is not None:
            parts.append(f"{self.near_roots:.3g} half epsilons near roots")
        counts = {"failed": self.failed, "flushed to zero": self.flushed, "undecided": self.undecided}
        counts["zeros of the wrong sign"] = self.signs
        return ", ".join(parts + [f"{count} {name}" for name, count in counts.items() if count])
