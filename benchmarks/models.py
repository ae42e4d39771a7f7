"""The two cases that the project started from, on a GPU: a whole model and its epilogue, and one activation.

In: the generated package (`generated/`), torch, triton. Out: a table, and JSON with `--json FILE`.

Case 1, a convolution, mish and a batch normalisation (64 images of 64 channels and 128 x 128, 128 channels
out, 3 x 3): the whole model and what comes after the convolution, in training and eval, forward and with the
backward pass, in both memory formats; against eager PyTorch, torch.compile, and a naive Triton kernel for
mish before PyTorch's own normalisation. Case 2, softsign of 4096 x 393216 elements.

    python -m benchmarks.models --json benchmarks/results/models-h200.json
    TRITON_INTERPRET=1 python -m benchmarks.models --tiny     # no GPU: that it runs, no figures
"""

from __future__ import annotations

import argparse
import copy
import importlib
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from torch.nn import functional

from dsl.bench import clock
from dsl.bench.run import as_json, kept, load

Call = Callable[[], object]
FORMATS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2}
"""Of the largest result: a convolution sums 576 products, and a gradient cancels most of what comes in."""


@triton.jit  # type: ignore[untyped-decorator]
def _naive_kernel(x_ptr, out_ptr, n, tile: tl.constexpr):  # type: ignore[no-untyped-def]
    """Mish as it is typed; NaN above 44, as typed."""
    i = tl.program_id(0) * tile + tl.arange(0, tile)
    x = tl.load(x_ptr + i, mask=i < n).to(tl.float32)
    y = tl.where(x > 0, x + tl.log(1 + tl.exp(-x)), tl.log(1 + tl.exp(x)))
    e = tl.exp(2 * y)
    tl.store(out_ptr + i, x * (e - 1) / (e + 1), mask=i < n)


def naive(x: Tensor) -> Tensor:
    """Mish by the naive kernel, forward alone."""
    out = torch.empty_like(x)
    _naive_kernel[triton.cdiv(x.numel(), 1024),](x, out, x.numel(), 1024)
    return out


class Plain(nn.Module):
    """Case 1 as one types it, over the same layers."""

    def __init__(self, conv: nn.Module, bn: nn.Module, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.bn, self.activation = conv, bn, activation

    def forward(self, x: Tensor) -> Tensor:
        """The layers in order."""
        result: Tensor = self.bn(self.activation(self.conv(x)))
        return result


def contenders(package: Any, shape: tuple[int, int, int, int], kernel: int) -> dict[str, nn.Module]:
    """Case 1 as four modules of the same weights."""
    _, channels, _, _ = shape
    ours = package.ConvMishBn(channels, 2 * channels, kernel)
    found: dict[str, nn.Module] = {"dslgen": ours}
    found["eager"] = Plain(*copy.deepcopy((ours.conv, ours.bn)), functional.mish)
    found["naive"] = Plain(*copy.deepcopy((ours.conv, ours.bn)), naive)
    found["compile"] = Plain(*copy.deepcopy((ours.conv, ours.bn)), functional.mish)
    return found


def tail(module: nn.Module, package: Any) -> Callable[[Tensor], Tensor]:
    """What comes after the convolution."""
    model: Any = module
    if isinstance(module, Plain):
        return lambda x: model.bn(model.activation(x))
    epilogue = importlib.import_module(f"{package.__name__}.conv_mish_bn")._normalised
    return lambda x: epilogue(x, model.bn)


def step(call: Callable[[Tensor], Tensor], x: Tensor, module: nn.Module, backward: bool) -> Call:
    """A forward pass, or both passes."""
    if not backward:

        def forward() -> Tensor:
            with torch.no_grad():
                return call(x)

        return forward
    x = x.detach().requires_grad_()
    with torch.no_grad():
        y = call(x)
    grad = torch.linspace(-1000, 1000, y.numel(), device=y.device).cos().view(y.shape).to(y)

    def both() -> object:
        y = call(x)
        wanted = [x, *(each for each in module.parameters() if each.requires_grad)]
        return torch.autograd.grad(y, wanted, grad, allow_unused=True)

    return both


MODES = {"train forward": (True, False), "train both": (True, True), "eval forward": (False, False)}


def case_one(package: Any, options: Any, where: torch.device) -> Iterator[dict[str, Any]]:
    """The model and its epilogue, in every type, format and mode."""
    shape = (2, 4, 8, 9) if options.tiny else (64, 64, 128, 128)
    for dtype in options.dtypes.split(","):
        kind = getattr(torch, dtype)
        for layout, memory in FORMATS.items():
            modules = contenders(package, shape, 3)
            for each in modules.values():
                each.to(where, kind)
                each.to(memory_format=memory)  # type: ignore[call-overload]
            x = torch.randn(shape, device=where, dtype=kind).to(memory_format=memory)
            inner = modules["eager"].conv(x).detach()  # type: ignore[operator]
            state = copy.deepcopy(modules["eager"].state_dict())
            for part in ("model", "epilogue"):
                for mode, (training, backward) in MODES.items():
                    for each in modules.values():  # whoever was timed more often moved its statistics more
                        each.load_state_dict(state)
                    row = {
                        "case": "conv_mish_bn",
                        "part": part,
                        "dtype": dtype,
                        "layout": layout,
                        "mode": mode,
                    }
                    row |= compared(modules, package, part, training, backward, x, inner, where, dtype)
                    yield row


def compared(
    modules: dict[str, nn.Module],
    package: Any,
    part: str,
    training: bool,
    backward: bool,
    x: Tensor,
    inner: Tensor,
    where: torch.device,
    dtype: str,
) -> dict[str, Any]:
    """Milliseconds of everyone; how far the result, or the gradient by the input, is from eager PyTorch's."""
    ms: dict[str, float] = {}
    errors: dict[str, float] = {}
    given = x if part == "model" else inner
    expected: Tensor | None = None
    for name in ("eager", "dslgen", "compile", "naive"):
        module = modules[name].train(training)
        call = module.__call__ if part == "model" else tail(module, package)
        if name == "naive" and (backward or (where.type == "cpu" and not _interpreted())):
            continue  # it has no gradient, and no kernel here
        if name == "compile":
            if where.type == "cpu":
                continue  # the compiler's own minutes would be all that a smoke test shows
            torch._dynamo.reset()
            call = torch.compile(call, dynamic=False)
        run = step(call, given, module, backward)
        result: Any = run()
        y = (result[0] if backward else result).float()
        expected = y if expected is None else expected
        errors[name] = float((y - expected).abs().max() / expected.abs().max())
        ms[name] = clock.milliseconds(run, where)
    wrong = [name for name, error in errors.items() if not error <= TOLERANCE[dtype]]
    return {"ms": ms, "error": errors, "wrong": wrong}


def case_two(package: Any, options: Any, where: torch.device) -> Iterator[dict[str, Any]]:
    """Softsign, beside a copy."""
    x = torch.rand((4, 64) if options.tiny else (4096, 393216), device=where)
    out = torch.empty_like(x)
    calls: dict[str, Call] = {
        "copy": lambda: out.copy_(x),
        "eager": lambda: functional.softsign(x),
        "dslgen": lambda: package.softsign(x),
    }
    if where.type != "cpu":
        compiled = torch.compile(functional.softsign, dynamic=False)
        calls["compile"] = lambda: compiled(x)
    error = float((package.softsign(x) - functional.softsign(x)).abs().max())
    ms = {name: clock.milliseconds(call, where) for name, call in calls.items()}
    wrong = [] if error <= 1e-6 else ["dslgen"]
    yield {"case": "softsign", "dtype": "float32", "ms": ms, "error": {"dslgen": error}, "wrong": wrong}


def _interpreted() -> bool:
    return not isinstance(_naive_kernel, triton.runtime.JITFunction)


def main() -> int:
    """Measure both cases; 1 where a result of ours is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=__doc__)
    parser.add_argument("--package", type=Path, default=Path("generated"))
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--tiny", action="store_true", help="on a CPU, small: that everything runs")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    where = clock.device("cpu" if options.tiny else None)
    package = load(options.package)
    name = platform.machine() if where.type == "cpu" else torch.cuda.get_device_name(where)
    found: dict[str, Any] = {
        "command": f"python -m benchmarks.models {kept(sys.argv[1:])}".rstrip(),
        "environment": {"device": name, "torch": torch.__version__, "triton": triton.__version__},
        "rows": [],
    }
    for cases in (case_one, case_two):
        for row in cases(package, options, where):
            found["rows"].append(row)
            label = " ".join(
                str(row[key]) for key in ("case", "part", "dtype", "layout", "mode") if key in row
            )
            print(f"{label:58}" + "  ".join(f"{who} {ms:.4f}" for who, ms in row["ms"].items()), flush=True)
            if options.json:
                options.json.write_text(as_json(found), encoding="utf-8")
    wrong = [row for row in found["rows"] if "dslgen" in row["wrong"]]
    for row in wrong:
        print(f"wrong: {row}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
