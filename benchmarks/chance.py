"""What draws numbers, on a GPU: the draws of a CPU, graphs that draw anew, and times beside PyTorch's.

In: a generated package. Out: what was checked, and a table of times; exit code 1 if a check fails.

    python benchmarks/chance.py                  # on a GPU
    python benchmarks/chance.py --device cpu     # the checks that need none
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[1]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.float16: 4e-3, torch.bfloat16: 3e-2}
ELEMENTS = 2**26
PYTORCH: dict[str, Callable[[Tensor], Tensor]] = {
    "rrelu": lambda x: functional.rrelu(x, training=True),
    "noisy_relu": lambda x: functional.relu(x + 0.1 * torch.randn_like(x)),
    "probact": lambda x: functional.relu(x) + 0.1 * torch.randn_like(x),
    "silu_dropout": lambda x: functional.dropout(functional.silu(x)),
}
"""What somebody would type in torch, by name."""

Drawing = dict[str, tuple[Any, Callable[..., Tensor]]]


def main(arguments: Sequence[str]) -> int:
    """Check and measure what is asked for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--package", default="generated")
    parser.add_argument("--folder", type=Path, default=ROOT, help="where the package is")
    parser.add_argument("--device", default="cuda")
    chosen = parser.parse_args(arguments)
    sys.path.insert(0, str(chosen.folder))
    found = drawing(importlib.import_module(chosen.package))
    checks = [draws_of_a_cpu, backward_draws_again]
    on_gpu = torch.device(chosen.device).type == "cuda"
    wrong = [line for check in checks + [graphs] * on_gpu for line in check(found, chosen.device)]
    print("\n".join(wrong) or f"{len(found)} activations: no check failed")
    if on_gpu:
        print("\n".join(times(found)))
    return 1 if wrong else 0


def drawing(package: Any) -> Drawing:
    """The operators in training and the functions of what draws numbers, by name."""
    names = sorted(set(package._MODULES.values()))
    modules = {name: importlib.import_module(f"{package.__name__}.{name}") for name in names}
    return {
        name: (module._training_operator, getattr(module, name))
        for name, module in modules.items()
        if hasattr(module, "_training_operator")
    }


def draws_of_a_cpu(found: Drawing, device: str) -> Iterator[str]:
    """The operators at one seed on both devices; where there are two tiles, a rest, and many rows."""
    for name, (operator, _) in found.items():
        parameters = [0.25 + 0.5 * i for i in range(operator._parameters)]
        for dtype, tolerance in TOLERANCE.items():
            for shape, rows in (((3, 1031), 1), ((2**16,), 1), ((4, 515), 4)):
                x = torch.randn(shape, dtype=torch.float64).to(dtype)
                seed = torch.randint(2**62, (rows,))
                expected = operator.value(x, seed, *parameters)
                got = operator.value(x.to(device), seed.to(device), *parameters).cpu()
                if not torch.allclose(got, expected, rtol=tolerance, atol=tolerance):
                    yield f"{name} {dtype} {shape}: off by {(got - expected).abs().max():g}"


def backward_draws_again(found: Drawing, device: str) -> Iterator[str]:
    """The gradient of what is linear on a side is its slope there, which the value tells."""
    _, rrelu = found["rrelu"]
    x = (-torch.rand(100_003, device=device) - 0.1).requires_grad_()
    y = rrelu(x, training=True)
    (dx,) = torch.autograd.grad(y.sum(), x)
    if not torch.allclose(dx, y / x, rtol=1e-6):
        yield "rrelu: the backward pass has other draws"


def graphs(found: Drawing, device: str) -> Iterator[str]:
    """Every replay of a captured call draws anew, and repeats after the same seed."""
    for name, (_, function) in found.items():
        x = torch.randn(5000, device=device)
        function(x, training=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = function(x, training=True)
        replays = []
        for seed in (1, None, 1):
            if seed is not None:
                torch.cuda.manual_seed(seed)
            graph.replay()
            replays.append(y.clone())
        if torch.equal(replays[0], replays[1]):
            yield f"{name}: two replays have the same draws"
        if not torch.equal(replays[0], replays[2]):
            yield f"{name}: a seed does not decide what a replay draws"


def times(found: Drawing) -> Iterator[str]:
    """A table of milliseconds, forward and backward, beside a copy, PyTorch and torch.compile."""
    from triton.testing import do_bench

    yield f"{torch.cuda.get_device_name()}, {ELEMENTS} elements, median milliseconds"
    yield "| | copy | ours | ours, backward | eager | compiled |"
    yield "|---|---|---|---|---|---|"
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(ELEMENTS, device="cuda", dtype=dtype)
        for name, (_, function) in found.items():
            runs = ways(function, PYTORCH.get(name), x)
            cells = [f"{do_bench(run, return_mode='median'):.4f}" for run in runs]
            cells += [""] * (5 - len(cells))
            yield f"| {name} {str(dtype).removeprefix('torch.')} | {' | '.join(cells)} |"


def ways(
    function: Callable[..., Tensor], typed: Callable[[Tensor], Tensor] | None, x: Tensor
) -> list[Callable[[], object]]:
    """What is measured: a copy, ours, ours backward, and what is typed in torch, if anything is."""
    out = torch.empty_like(x)
    leaf = x.clone().requires_grad_()
    y = function(leaf, training=True)
    grad = torch.ones_like(y)
    runs: list[Callable[[], object]] = [
        lambda: out.copy_(x),
        lambda: function(x, training=True),
        lambda: torch.autograd.grad(y, leaf, grad, retain_graph=True),
    ]
    return runs if typed is None else [*runs, partial(typed, x), partial(torch.compile(typed), x)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
