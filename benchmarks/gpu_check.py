"""The tests that need a GPU, in one script: accuracy, layouts, compilers, graphs, great tensors.

In: a generated package, and a file of exact values, which `--make-truth` writes on a machine that has the
compiler's dependencies. Out: a short table, JSON at a given path, exit code 1 if something is wrong. Needs
torch, triton and numpy. `dslgen bench` has the times.

    python benchmarks/gpu_check.py --make-truth build/truth.npz
    python benchmarks/gpu_check.py build/truth.npz --json build/gpu.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "benchmarks"))


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for; 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("truth", type=Path, help="the file of exact values")
    parser.add_argument("--make-truth", action="store_true", help="write that file, from specs/")
    parser.add_argument("--specs", type=Path, default=ROOT / "specs")
    parser.add_argument("--package", default="generated")
    parser.add_argument("--folder", type=Path, default=ROOT, help="where the package is")
    parser.add_argument("--only", default="", metavar="NAME,...", help="these activations alone")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile")
    parser.add_argument("--no-great", action="store_true", help="without tensors beyond 2^31 elements")
    parser.add_argument("--device", default="cuda", help="cpu, with TRITON_INTERPRET=1, to try the script")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1))
    chosen = parser.parse_args(arguments)
    if chosen.make_truth:
        from gpu.truth import make

        make(chosen.specs, chosen.truth)
        return 0
    return Run(chosen).all()


class Run:
    """One run of the script: its options, and what it has found."""

    def __init__(self, options: argparse.Namespace) -> None:
        from gpu.checks import load
        from gpu.truth import TruthFile

        self.began = time.monotonic()
        self.options = options
        known = TruthFile(options.truth).activations
        self.names = [name for name in known if not options.only or name in options.only.split(",")]
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
        self.acts = load(options.package, str(options.folder))
        self.found: dict[str, Any] = {"accuracy": [], "checks": []}

    def all(self) -> int:
        """Everything, correctness first; then the table."""
        self.environment()
        self.correctness()
        self.save()
        self.print_correctness()
        if self.options.device == "cuda":
            self.on_the_device()
            self.save()
        return self.verdict()

    def say(self, text: str) -> None:
        """A line with the seconds since the start."""
        print(f"[{time.monotonic() - self.began:5.0f} s] {text}", flush=True)

    def environment(self) -> None:
        """What this runs on."""
        import torch
        import triton

        device = torch.cuda.get_device_name() if self.options.device == "cuda" else "cpu, interpreted"
        self.found["environment"] = {
            "device": device,
            "torch": torch.__version__,
            "triton": triton.__version__,
        }
        self.say(f"{device}, torch {torch.__version__}, triton {triton.__version__}, {len(self.names)} names")

    def correctness(self) -> None:
        """All checks of every activation, in several processes: most of the time goes into compiling."""
        from gpu.checks import per_activation

        options = self.options
        on_gpu = options.device == "cuda"
        compiling = on_gpu and not options.no_compile
        deep = {self.names[0], self.names[-1]} | ({"elu", "mish"} & set(self.names))
        with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
            common = (options.package, str(options.folder), str(options.truth))
            jobs = {
                pool.submit(per_activation, *common, name, options.device, compiling, name in deep): name
                for name in self.names
            }
            for job in as_completed(jobs):
                try:
                    rows, checks = job.result()
                except Exception as error:
                    rows, checks = [], [(f"{jobs[job]}: its process", f"{type(error).__name__}: {error}")]
                self.found["accuracy"] += rows
                self.found["checks"] += checks
        self.say("accuracy, layouts and compilers done")

    def on_the_device(self) -> None:
        """Graphs, streams, great tensors."""
        from gpu.checks import device_checks

        for name in [n for n in ("mish", "elu") if n in self.names] or self.names[:1]:
            self.found["checks"] += device_checks(self.acts, name, not self.options.no_great)
        self.say("graphs, streams and great tensors done")

    def save(self) -> None:
        """What has been found so far, as JSON."""
        if self.options.json:
            self.options.json.parent.mkdir(parents=True, exist_ok=True)
            self.options.json.write_text(json.dumps(self.found, indent=1), encoding="utf-8")

    def print_correctness(self) -> None:
        """Worst ulps, a line per activation."""
        rows = {(row["name"], row["dtype"], row["kind"]): row for row in self.found["accuracy"]}
        dtypes = ("float64", "float32", "bfloat16", "float16")
        print(f"\n{'worst ulp, value / gradient':28}" + "".join(f"{dtype:>18}" for dtype in dtypes))
        for name in self.names:
            cells = []
            for dtype in dtypes:
                pair = [rows.get((name, dtype, kind), {}) for kind in ("value", "gradient")]
                text = " / ".join(
                    f"{row['ulp']:.3g}{'!' if row['wrong'] else ''}" if "ulp" in row else "?" for row in pair
                )
                cells.append(f"{text:>18}")
            print(f"{name:28}" + "".join(cells))

    def verdict(self) -> int:
        """What is wrong, and the exit code."""
        wrong = [
            f"{row['name']} {row['kind']} {row['dtype']}: {row['wrong']}"
            for row in self.found["accuracy"]
            if row["wrong"]
        ]
        wrong += [f"{label}: {text}" for label, text in self.found["checks"] if text]
        tried = len(self.found["accuracy"]) + len(self.found["checks"])
        print(f"\n{tried} checks, {len(wrong)} wrong")
        for line in wrong[:60]:
            print(f"  {line[:600]}")
        self.say("done")
        return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
