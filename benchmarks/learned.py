"""How long activations with learnable parameters take on a GPU, beside a copy, torch.compile and F.prelu.

In: a generated package. Out: a table of milliseconds, and JSON with `--json`. Needs torch and triton.

    python benchmarks/learned.py --json benchmarks/results/learned-h200.json

Values and backward passes, on tensors of 2^27 elements: (N, C), contiguous images, channels_last ones.
Every time is a median with the caches emptied before each call. What is compiled is the formula that the
package evaluates, as `torch.compile` makes it of the module.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsl.bench.clock import milliseconds

ROOT = Path(__file__).resolve().parents[1]
LAYOUTS: dict[str, tuple[tuple[int, ...], int, torch.memory_format]] = {
    "rows": ((32768, 4096), -1, torch.contiguous_format),
    "images": ((32, 256, 128, 128), 1, torch.contiguous_format),
    "channels_last": ((32, 256, 128, 128), 1, torch.channels_last),
    "small images": ((2048, 1024, 8, 8), 1, torch.contiguous_format),
}
"""Shapes, the dimension of the channels, and how they lie in memory."""


def main(arguments: Sequence[str]) -> int:
    """Measure what is asked for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--package", default="generated")
    parser.add_argument("--folder", type=Path, default=ROOT, help="where the package is")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--only", default="", metavar="NAME,...", help="these activations alone")
    parser.add_argument("--shrink", type=int, default=1, help="divide the first dimension by this")
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args(arguments)
    sys.path.insert(0, str(chosen.folder))
    package = importlib.import_module(chosen.package)
    only = chosen.only.split(",") if chosen.only else []
    found: dict[str, dict[str, float]] = {}
    for name in sorted(set(package._MODULES.values())):
        module = importlib.import_module(f"{chosen.package}.{name}")
        if hasattr(getattr(module, "_operator", None), "learned") and (not only or name in only):
            for dtype in chosen.dtypes.split(","):
                rows = measured(module, getattr(torch, dtype), torch.device(chosen.device), chosen.shrink)
                for layout, row in rows.items():
                    found[f"{name}/{dtype}/{layout}"] = row
                    print(f"{name}/{dtype}/{layout}", {k: round(v, 4) for k, v in row.items()}, flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps({"milliseconds": found}, indent=1) + "\n", encoding="utf-8")
    return 0


def measured(
    module: Any, dtype: torch.dtype, device: torch.device, shrink: int
) -> dict[str, dict[str, float]]:
    """By layout, the times of an activation."""
    (layer_class,) = {v for n in module.__all__ if isinstance(v := getattr(module, n), type)}
    channelled = "channel" in module._operator.learned.values()
    found = {}
    for layout, (shape, dim, memory) in LAYOUTS.items():
        if layout != "rows" and not channelled:
            continue
        shape = (max(1, shape[0] // shrink), *shape[1:])
        x = torch.randn(shape, device=device, dtype=dtype).to(memory_format=memory).requires_grad_()
        options = {"num_parameters": shape[dim], "dim": dim} if channelled else {}
        layer = layer_class(**options, device=device)
        found[layout] = times(layer, x, device)
        if module.__name__.endswith(".prelu") and dim == 1:
            weight = torch.full((shape[1],), 0.25, device=device, dtype=dtype, requires_grad=True)
            theirs = passes(lambda t, w=weight: functional.prelu(t, w), x, [weight], device)
            found[layout] |= {f"torch {key}": value for key, value in theirs.items()}
    return found


def times(layer: nn.Module, x: Tensor, device: torch.device) -> dict[str, float]:
    """A copy, then our passes and those of torch.compile."""
    out = torch.empty_like(x)
    with torch.no_grad():
        row = {"copy": milliseconds(lambda: out.copy_(x), device)}
    parameters = list(layer.parameters())
    row |= passes(layer, x, parameters, device)
    torch._dynamo.reset()
    compiled = passes(torch.compile(layer), x, parameters, device)
    return row | {f"compile {key}": value for key, value in compiled.items()}


def passes(
    function: Callable[[Tensor], Tensor], x: Tensor, parameters: list[Any], device: torch.device
) -> dict[str, float]:
    """The value, and the backward pass for the input and the parameters."""
    with torch.no_grad():
        value = milliseconds(lambda: function(x), device)
    y = function(x)
    gradient = torch.ones_like(y)
    back = milliseconds(lambda: torch.autograd.grad(y, [x, *parameters], gradient, retain_graph=True), device)
    return {"value": value, "backward": back}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
