"""Floating-point formats as data, and distances measured in their units in the last place.

In: float64 arrays. Out: float64 arrays. Every value of the four formats is a float64, so one carrier serves
them all: a format here is three numbers, and its rounding, spacing and neighbours follow from these.

>>> FORMATS["float32"].ulp(np.array([1.0])) == 2.0**-23
array([ True])
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Format:
    """A binary format: `precision` bits of significand and normal exponents from `emin` to `emax`.

    `carrier` names the numpy dtype in which arrays of the format are handed to the functions that are
    measured; bfloat16, which numpy lacks, travels in float32.
    """

    name: str
    precision: int
    emin: int
    emax: int
    carrier: str

    @property
    def max(self) -> float:
        """The greatest finite value."""
        return (2.0 - 2.0 ** (1 - self.precision)) * 2.0**self.emax

    @property
    def smallest_normal(self) -> float:
        """The least positive value with a full significand."""
        return 2.0**self.emin

    @property
    def smallest(self) -> float:
        """The least positive value, a subnormal; also the spacing of all subnormals."""
        return 2.0 ** (self.emin - self.precision + 1)

    @property
    def root_unit(self) -> float:
        """Half of epsilon: the unit of absolute errors next to a root."""
        return 2.0**-self.precision

    @property
    def bits(self) -> int:
        """The width of an encoding."""
        return self.precision + (self.emax - self.emin + 2).bit_length()

    def ulp_exponent(self, values: Array) -> NDArray[np.int64]:
        """The exponents of `ulp`; for zero that of the smallest subnormal, for infinities that of `max`."""
        finite = np.where(np.isfinite(values), values, self.max)
        _, exponent = np.frexp(finite)
        exponent = np.where(finite == 0, self.emin, exponent - 1)
        result: NDArray[np.int64] = np.maximum(exponent, self.emin).astype(np.int64) - (self.precision - 1)
        return result

    def ulp(self, values: Array) -> Array:
        """The spacing of the format at each value.

        >>> FORMATS["float16"].ulp(np.array([0.0, 1.5, 4096.0])).tolist()
        [5.960464477539063e-08, 0.0009765625, 4.0]
        """
        return np.ldexp(1.0, self.ulp_exponent(values))

    def round(self, values: Array) -> Array:
        """The nearest value of the format, ties to even; infinite beyond the greatest by half an ulp.

        >>> FORMATS["bfloat16"].round(np.array([1.00390625, 3.4e38, 1e-45])).tolist()
        [1.0, inf, 0.0]
        """
        values = np.asarray(values, dtype=np.float64)
        if self.name == "float64":
            return values
        exponent = self.ulp_exponent(values)
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = np.ldexp(values, -exponent)
            rounded = np.ldexp(np.rint(scaled), exponent)
        return np.where(np.abs(rounded) > self.max, np.copysign(np.inf, values), rounded)

    def decode(self, patterns: NDArray[np.integer]) -> Array:
        """The values that bit patterns stand for.

        >>> FORMATS["bfloat16"].decode(np.array([0x3F80, 0x8000])).tolist()
        [1.0, -0.0]
        """
        if self.name == "bfloat16":
            carried = (patterns.astype(np.uint32) << 16).view(np.float32)
        else:
            carried = patterns.astype(f"uint{self.bits}").view(self.carrier)
        with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
            return carried.astype(np.float64)

    def encode(self, values: Array) -> NDArray[np.integer]:
        """The bit patterns of values of the format."""
        carried = np.ascontiguousarray(values, dtype=np.float64).astype(self.carrier)
        if self.name == "bfloat16":
            return (carried.view(np.uint32) >> 16).astype(np.uint16)
        patterns: NDArray[np.integer] = carried.view(f"uint{self.bits}")
        return patterns

    def every_value(self) -> Array:
        """All bit patterns of a 16-bit format, decoded.

        Raises ValueError for wider formats.
        """
        if self.bits > 16:
            raise ValueError(f"{self.name} has too many values to list")
        return self.decode(np.arange(2**self.bits))

    def neighbours(self, values: Array, distance: int) -> Array:
        """The values `distance` steps of the format above (below, where negative), held at the infinities.

        >>> FORMATS["float16"].neighbours(np.array([1.0, -0.0]), 1).tolist()
        [1.0009765625, 5.960464477539063e-08]
        """
        return self.from_order(self.order(values) + distance)

    def order(self, values: Array) -> NDArray[np.int64]:
        """The place of each value on the format's number line, in steps; both zeros are at 0."""
        patterns = self.encode(np.abs(values)).astype(np.int64)
        return np.where(values < 0, -patterns, patterns)

    def from_order(self, places: NDArray[np.int64]) -> Array:
        """The inverse of `order`."""
        infinity = int(self.encode(np.array([np.inf]))[0])
        held = np.clip(places, -infinity, infinity)
        return np.copysign(self.decode(np.abs(held)), np.where(held < 0, -1.0, 1.0))


FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format("float16", 11, -14, 15, "float16"),
        Format("bfloat16", 8, -126, 127, "float32"),
        Format("float32", 24, -126, 127, "float32"),
        Format("float64", 53, -1022, 1023, "float64"),
    )
}
"""The formats by the names of their dtypes."""


def round_to_odd(nearest: Array, rest: Array) -> Array:
    """Float64 values rounded to odd, from the nearest ones and what the rounding left over (any unit).

    A later rounding of the result to a format of at most 51 bits is that of the exact value.

    >>> round_to_odd(np.array([1.0, 1.0, 1.0]), np.array([0.0, 0.25, -0.25])).tolist()
    [1.0, 1.0000000000000002, 0.9999999999999999]
    """
    even = (np.ascontiguousarray(nearest).view(np.int64) & 1) == 0
    toward = np.where(rest > 0, np.inf, -np.inf)
    moved = np.nextafter(nearest, toward)
    return np.where(even & (rest != 0) & np.isfinite(nearest), moved, nearest)


def error_in_ulps(got: Array, rounded: Array, rest: Array, fmt: Format) -> Array:
    """|got - exact| in ulps of the rounded exact value, which is `rounded + rest * ulp(rounded)`.

    One step beyond the greatest finite value, infinity counts as the power of two that it stands for: an
    infinity is measured as that number where the exact value is within a few ulps of it, and is an infinite
    error elsewhere. NaN on both sides, and the same infinity where the exact value is infinite, are 0;
    any other disagreement about NaN is NaN.
    """
    exponent = fmt.ulp_exponent(rounded)
    brink = 2.0**fmt.precision
    with np.errstate(over="ignore", invalid="ignore"):
        scaled_got = np.where(np.isinf(got), np.copysign(brink, got), _scale(got, -exponent))
        scaled = np.where(np.isinf(rounded), np.copysign(brink, rounded), _scale(rounded, -exponent))
        near_brink = np.abs(np.abs(scaled) - brink) + np.abs(rest) <= BRINK_ULPS
        at_top = exponent == fmt.emax - fmt.precision + 1
        error = np.abs((scaled_got - scaled) - rest)
        opposed = np.isinf(rounded) & (np.sign(got) != np.sign(rounded))
        far = np.isinf(got) & (opposed | ~(near_brink & at_top))
        error = np.where(far, np.inf, error)
        agreed = (np.isinf(rounded) & (got == rounded)) | (np.isnan(rounded) & np.isnan(got))
        return np.where(agreed, 0.0, error)


BRINK_ULPS = 8.0
"""How near to the overflow threshold an infinity still counts as a number."""


def _scale(values: Array, exponent: NDArray[np.int64]) -> Array:
    """`ldexp` whose exponent may exceed what one multiplication can hold."""
    half = exponent // 2
    scaled: Array = np.ldexp(np.ldexp(values, half), exponent - half)
    return scaled
