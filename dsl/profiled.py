"""`python -m dsl.profiled PACKAGE NAME SHAPE DTYPE`: one call on a GPU, for a profiler to watch."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dsl.bench.run import load


def main() -> None:
    """Call a function, or a module made with `--arguments`, once; with `--gradient`, backward too."""
    parser = argparse.ArgumentParser(prog="python -m dsl.profiled", description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("name", help="a function or class of the package")
    parser.add_argument("shape", help="4096,393216 and the like")
    parser.add_argument("dtype")
    parser.add_argument("--gradient", action="store_true")
    parser.add_argument("--arguments", default="", help="of a class's constructor: 64,128,3")
    parser.add_argument("--device", default="cuda")
    given = parser.parse_args()
    dtype = getattr(torch, given.dtype)
    call: Any = getattr(load(given.package), given.name)
    if isinstance(call, type):
        call = call(*ast.literal_eval(f"({given.arguments},)" if given.arguments else "()"))
        call = call.to(given.device, dtype)
    shape = [int(each) for each in given.shape.split(",")]
    x = torch.rand(shape, device=given.device, dtype=dtype, requires_grad=given.gradient)
    upstream = torch.ones_like(call(x)) if given.gradient else None
    with _watched(given.device):
        y = call(x)
        if given.gradient:
            torch.autograd.grad(y, x, upstream)


@contextmanager
def _watched(device: str) -> Iterator[None]:
    """What a profiler sees: not the making of inputs, nor the first call, which compiles."""
    if device != "cuda":
        yield
        return
    torch.cuda.synchronize()
    torch.cuda.profiler.start()  # type: ignore[no-untyped-call]
    yield
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
