"""Tries every float32 input of every building block on a GPU: worst errors with their witnesses, as JSON.

Run `python benchmarks/blocks/scan_blocks.py [RESULT.json]`; a block takes about a second. The reference is
PyTorch in float64 on the same GPU, which decides the rounded float32 result but for about two inputs in 10^8:
good for scanning. A result of 0 where the exact one is subnormal is counted apart, as flushed. Blocks of two
operands are tried on 2^28 random pairs.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import triton
import triton.language as tl

MATH = Path(__file__).resolve().parents[2] / "dsl" / "support" / "_math.py"
CHUNK = 1 << 26
SIZE = 1024
SMALLEST_NORMAL = 2.0**-126
Reference = Callable[..., torch.Tensor]


def load() -> Any:
    """The building blocks."""
    spec = importlib.util.spec_from_file_location("building_blocks", MATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["building_blocks"] = module
    spec.loader.exec_module(module)
    return module


blocks = load()


@triton.jit
def unary(X, OUT, function: tl.constexpr, fast: tl.constexpr, SIZE: tl.constexpr):
    i = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    tl.store(OUT + i, function(tl.load(X + i), fast))


@triton.jit
def binary(X, Y, OUT, function: tl.constexpr, fast: tl.constexpr, SIZE: tl.constexpr):
    i = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    tl.store(OUT + i, function(tl.load(X + i), tl.load(Y + i), fast))


@triton.jit
def untiered(X, Y, OUT, function: tl.constexpr, SIZE: tl.constexpr):
    i = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    tl.store(OUT + i, function(tl.load(X + i), tl.load(Y + i)))


@triton.jit
def exp_factors(u, fast: tl.constexpr):
    return blocks.exp_high(u, fast) * blocks.exp_low(u, fast)


def everything(x: torch.Tensor) -> torch.Tensor:
    """Every input counts."""
    return torch.ones_like(x, dtype=torch.bool)


def not_negative(x: torch.Tensor) -> torch.Tensor:
    """The inputs of erfcx, NaN among them."""
    return ~(x < 0)


def not_positive(x: torch.Tensor) -> torch.Tensor:
    """The inputs of exp_high and exp_low, NaN among them."""
    return ~(x > 0)


def in_unit(x: torch.Tensor) -> torch.Tensor:
    """The inputs of log1p_unit."""
    return (x >= 0) & (x <= 1)


def cbrt(x: torch.Tensor) -> torch.Tensor:
    """The real cube root in float64, once corrected."""
    root = x.abs().pow(1 / 3)
    root = torch.where((root > 0) & (root < float("inf")), root - (root - x.abs() / (root * root)) / 3, root)
    return torch.copysign(root, x)


UNARY: dict[str, tuple[Reference, Reference]] = {
    "exp": (torch.exp, everything),
    "exp_factors": (torch.exp, not_positive),
    "expm1": (torch.expm1, everything),
    "log": (torch.log, everything),
    "log1p": (torch.log1p, everything),
    "log1p_unit": (torch.log1p, in_unit),
    "erf": (torch.erf, everything),
    "erfcx": (torch.special.erfcx, not_negative),
    "mills": (lambda x: torch.special.erfcx(x * 0.5**0.5), not_negative),
    "sin": (torch.sin, everything),
    "cos": (torch.cos, everything),
    "asin": (torch.asin, everything),
    "acos": (torch.acos, everything),
    "atan": (torch.atan, everything),
    "cbrt": (cbrt, everything),
    "sqrt": (torch.sqrt, everything),
}


class Tally:
    """The worst error so far, in ulps of float32 or in units of 2^-17 of the result, and what went wrong."""

    def __init__(self, fast: bool) -> None:
        self.fast = fast
        self.worst = 0.0
        self.witness: tuple[float, ...] = ()
        self.total = 0.0
        self.tried = self.wrong = self.flushed = 0
        self.wrong_witness: tuple[float, ...] = ()

    def add(
        self, found: torch.Tensor, exact: torch.Tensor, counts: torch.Tensor, *inputs: torch.Tensor
    ) -> None:
        """Takes in a chunk."""
        rounded = exact.float()
        wrong = counts & (
            (found.isnan() != rounded.isnan())
            | (~found.isnan() & (found.isinf() | rounded.isinf()) & (found != rounded))
        )
        flushed = counts & (rounded != 0) & (rounded.abs() < SMALLEST_NORMAL) & (found == 0)
        counts = counts & rounded.isfinite() & ~wrong & ~flushed
        size = exact.abs().clamp(min=SMALLEST_NORMAL)
        if self.fast:
            unit = size * 2.0**-17
            counts = counts & (exact.abs() >= SMALLEST_NORMAL)
        else:
            exponent = (size.view(torch.int64) >> 52) - 23
            unit = (exponent << 52).view(torch.float64)
        error = torch.where(counts, (found.double() - exact).abs() / unit, 0.0)
        at = int(error.argmax())
        if float(error[at]) > self.worst:
            self.worst, self.witness = float(error[at]), tuple(float(x[at]) for x in inputs)
        self.total += float(error.sum())
        self.tried += int(counts.sum())
        self.flushed += int(flushed.sum())
        count = int(wrong.sum())
        if count:
            at = int(wrong.int().argmax())
            self.wrong, self.wrong_witness = self.wrong + count, tuple(float(x[at]) for x in inputs)

    def result(self) -> dict[str, Any]:
        """As data."""
        unit = "2^-17" if self.fast else "ulp"
        found = {"worst": round(self.worst, 4), "unit": unit, "at": self.witness, "tried": self.tried}
        found["mean"] = round(self.total / max(self.tried, 1), 4)
        found |= {"flushed": self.flushed, "wrong": self.wrong, "wrong_at": self.wrong_witness}
        return found


def scan_unary(block: Any, reference: Reference, domain: Reference, fast: bool) -> dict[str, Any]:
    """Every float32 bit pattern."""
    tally = Tally(fast)
    for start in range(-(1 << 31), 1 << 31, CHUNK):
        x = torch.arange(start, start + CHUNK, dtype=torch.int32, device="cuda").view(torch.float32)
        found = torch.empty_like(x)
        unary[(CHUNK // SIZE,)](x, found, block, fast, SIZE)
        tally.add(found, reference(x.double()), domain(x), x)
    return tally.result()


def pairs(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two chunks of numbers between 2^-30 and 2^30, of both signs."""
    generator = torch.Generator("cuda").manual_seed(seed)
    size = torch.exp2(torch.rand((2, CHUNK), generator=generator, device="cuda") * 60 - 30)
    sign = torch.rand((2, CHUNK), generator=generator, device="cuda") < 0.5
    a, b = torch.where(sign, -size, size)
    return a, b


def scan_binary(blocks: Any, name: str, fast: bool) -> dict[str, Any]:
    """Random pairs, made into the operands that the block is for."""
    tally = Tally(fast)
    for seed in range(4):
        a, b = pairs(seed)
        if name == "ratio":
            b = b.abs()
            exact = a.double() / b.double()
        elif name == "pow":
            a = a.abs()
            b = torch.where(b.abs() > 4, 1 / b, b)
            exact = a.double().pow(b.double())
        elif name == "exp_sum":
            wide = -a.double() * b.double()
            a = wide.float()
            b = (wide - a.double()).float()
            exact = torch.exp(a.double() + b.double())
        else:
            exact = a.double() * b.double() - (a * b).double()
        found = torch.empty_like(a)
        if name == "product_error":
            untiered[(CHUNK // SIZE,)](a, b, found, blocks.product_error, SIZE)
        else:
            binary[(CHUNK // SIZE,)](a, b, found, getattr(blocks, name), fast, SIZE)
        tally.add(found, exact, everything(a), a, b)
    return tally.result()


def main(names: list[str]) -> None:
    """Scans all, prints each as it is done, and writes the results."""
    results: dict[str, Any] = {
        "command": "python benchmarks/blocks/scan_blocks.py",
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": triton.__version__,
    }
    for fast in (False, True):
        for name in [*UNARY, "ratio", "pow", "exp_sum", "product_error"]:
            began = time.perf_counter()
            if name in UNARY:
                found = scan_unary(getattr(blocks, name, exp_factors), *UNARY[name], fast)
            else:
                found = scan_binary(blocks, name, fast)
            label = f"{name}, fast" if fast else name
            results[label] = found
            print(f"{label}: {json.dumps(found)} {time.perf_counter() - began:.1f} s", flush=True)
            if names:
                Path(names[0]).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
