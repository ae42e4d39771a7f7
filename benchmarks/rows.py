"""Times of functions of rows against PyTorch and torch.compile, by the length of the row.

In: the generated package. Out: a table, and JSON at a given path: milliseconds forward, and forward and
backward, of ours, of PyTorch in eager mode and of torch.compile, and the time of a copy of as many bytes as
have to move forward. Every length has about as many elements. Needs torch and triton.

    python benchmarks/rows.py --json benchmarks/results/rows-h200.json
    TRITON_INTERPRET=1 python benchmarks/rows.py --device cpu --elements 4096 --lengths 128,1024 --no-compile
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dsl.bench import clock  # noqa: E402
from dsl.bench.run import as_json, kept  # noqa: E402

LENGTHS = (128, 256, 1024, 4096, 16384, 32768, 131072, 1048576)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

Function = Callable[[Tensor], Tensor]


def _rms(x: Tensor) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:], eps=1e-6)


def _standardize(x: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], eps=1e-5)


PLAIN: dict[str, Function] = {
    "softmax": lambda x: functional.softmax(x, -1),
    "log_softmax": lambda x: functional.log_softmax(x, -1),
    "rms_gate": _rms,
    "standardize": _standardize,
    "solu": lambda x: x * functional.softmax(x, -1),
}


def measured(function: Function, x: Tensor, where: torch.device) -> dict[str, float]:
    """Milliseconds of the value, and of the value and the gradient together."""
    wanted = x.detach().requires_grad_()
    outer = torch.randn_like(x)

    def both() -> None:
        torch.autograd.grad(function(wanted), wanted, outer)

    return {
        "forward": clock.milliseconds(lambda: function(x), where),
        "both": clock.milliseconds(both, where),
    }


def worst(ours: Function, plain: Function, x: Tensor) -> float:
    """The greatest difference to plain torch in float64, of value or gradient, as a share of the greatest."""
    few = x[: max(1, 2**20 // x.shape[-1])].detach().requires_grad_()
    wide = few.detach().double().requires_grad_()
    outer = torch.randn_like(few)
    y, exact = ours(few), plain(wide)
    (dx,) = torch.autograd.grad(y, few, outer)
    (exact_dx,) = torch.autograd.grad(exact, wide, outer.double())
    pairs = ((y, exact), (dx, exact_dx))
    return max(float((a.double() - b).abs().max() / b.abs().max()) for a, b in pairs)


def main(arguments: Sequence[str]) -> int:
    """Measure what is asked for; 1 if a result is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", help="otherwise this machine's GPU")
    parser.add_argument("--elements", type=int, default=2**26)
    parser.add_argument("--lengths", default=",".join(map(str, LENGTHS)))
    parser.add_argument("--only", default=",".join(PLAIN), metavar="NAME,...")
    parser.add_argument("--package", default="generated")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    where = clock.device(options.device)
    package = __import__(options.package)
    found: dict[str, Any] = {
        "command": f"python benchmarks/rows.py {kept(arguments)}",
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else where.type,
        "torch": torch.__version__,
        "elements": options.elements,
        "rows": [],
    }
    wrong = 0
    for dtype_name, dtype in DTYPES.items():
        for length in map(int, options.lengths.split(",")):
            x = torch.randn(max(1, options.elements // length), length, device=where, dtype=dtype)
            copied = torch.empty_like(x)
            copy = clock.milliseconds(lambda to=copied, source=x: to.copy_(source), where)
            for name in options.only.split(","):
                ours, plain = getattr(package, name), PLAIN[name]
                rivals = {"ours": ours, "eager": plain}
                if not options.no_compile:
                    torch._dynamo.reset()
                    rivals["compile"] = torch.compile(plain)
                error = worst(ours, plain, x)
                wrong += not error < (1e-5 if dtype is torch.float32 else 1e-2)
                times = {each: measured(function, x, where) for each, function in rivals.items()}
                row = {"name": name, "dtype": dtype_name, "length": length, "rows": x.shape[0]}
                found["rows"].append({**row, "copy": copy, "error": error, "milliseconds": times})
                if options.json:  # after every row: the compiler takes long, and what is done is kept
                    options.json.write_text(as_json(found), encoding="utf-8")
                shown = "  ".join(f"{each} {t['forward']:.4f} {t['both']:.4f}" for each, t in times.items())
                print(
                    f"{dtype_name:9}{length:8} {name:12} copy {copy:.4f}  {shown}  error {error:.1e}",
                    flush=True,
                )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
