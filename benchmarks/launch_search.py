"""Every tile and number of warps for every kernel on this GPU, against the choice that the package makes.

In: a generated package. Out: a table and JSON: milliseconds of the best launch and of the built-in one, and
how much slower that is. Needs torch, triton and a GPU; takes about three minutes on an H200. The choice is
meant to be within 3 %.

    python benchmarks/launch_search.py --json benchmarks/results/launch-h200.json
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from triton.testing import do_bench

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dsl.bench.run import as_json, environment, kept, load  # noqa: E402 - from the folder above
from dsl.inspect import KINDS, activations, kernel  # noqa: E402

TILES = (512, 1024, 2048, 4096, 8192)
WARPS = (2, 4, 8)
BYTES_A_THREAD = (8, 256)
"""A thread with fewer cannot load 128 bits, nearly, and one with more spills."""

WARMUP_MS, MEASURED_MS = 3, 10
"""For the search; the best few and the built-in choice are measured again for longer, in turn."""
FINALISTS, FINAL_MS, ROUNDS = 2, 25, 3

Launch = tuple[int, int]


def main(arguments: Sequence[str]) -> int:
    """Search, print, write; 2 where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--package", type=Path, default=ROOT / "generated")
    parser.add_argument("--only", default="", metavar="NAME,...")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--elements", type=int, default=2**26)
    parser.add_argument("--workers", type=int, default=min(14, os.cpu_count() or 1))
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("launch_search.py: no GPU here, and there is nothing to search without", file=sys.stderr)
        return 2
    package = load(given.package)
    names = [n for n in activations(package) if not given.only or n in given.only.split(",")]
    began = time.monotonic()
    with ProcessPoolExecutor(given.workers, get_context("spawn")) as pool:
        jobs = [pool.submit(_warm, str(given.package), name, given.dtypes.split(",")) for name in names]
        for job in as_completed(jobs):
            job.result()
    print(f"compiled in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    rows = []
    for dtype in given.dtypes.split(","):
        tensors = [torch.randn(given.elements, dtype=getattr(torch, dtype), device="cuda") for _ in range(3)]
        for name in names:
            for kind in KINDS:
                rows.append(search(package, name, kind, dtype, tensors))
                print(told(rows[-1]), flush=True)
    worst = sorted(rows, key=lambda row: -row["slower"])
    print(f"\n{sum(row['slower'] <= 0.03 for row in rows)} of {len(rows)} within 3 % of the best; the worst:")
    print("\n".join(told(row) for row in worst[:10]))
    for dtype in given.dtypes.split(","):
        print(f"one launch for all of {dtype}: " + "; ".join(single_choices(rows, dtype)))
    if given.json:
        found = {
            "command": f"python benchmarks/launch_search.py {kept(arguments)}",
            "environment": environment(torch.device("cuda")),
            "elements": given.elements,
            "seconds": time.monotonic() - began,
            "launches": rows,
        }
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(as_json(found), encoding="utf-8")
    return 0


def candidates(itemsize: int) -> Iterator[Launch]:
    """The tiles and warps worth trying for elements of a size.

    >>> (1024, 4) in candidates(4), (512, 8) in candidates(2)
    (True, False)
    """
    least, most = BYTES_A_THREAD
    for tile in TILES:
        for warps in WARPS:
            if least <= tile * itemsize // (32 * warps) <= most:
                yield tile, warps


def search(package: Any, name: str, kind: str, dtype: str, tensors: Sequence[Any]) -> dict[str, Any]:
    """Milliseconds of every launch of a kernel; the best and the built-in one measured again in turn."""
    built_in = built_in_launch(package, name, kind, dtype)
    launches = dict.fromkeys([built_in, *candidates(tensors[0].element_size())])
    times: dict[Launch, float] = {}
    for launch in launches:
        times[launch] = _time(package, name, kind, tensors, launch, WARMUP_MS, MEASURED_MS)
    finalists = dict.fromkeys([*sorted(times, key=times.__getitem__)[:FINALISTS], built_in])
    final: dict[Launch, list[float]] = {launch: [] for launch in finalists}
    for _ in range(ROUNDS):
        for launch in finalists:
            final[launch].append(_time(package, name, kind, tensors, launch, WARMUP_MS, FINAL_MS))
    settled = {launch: sorted(each)[ROUNDS // 2] for launch, each in final.items()}
    best = min(settled, key=settled.__getitem__)
    return {
        "name": name,
        "kind": kind,
        "dtype": dtype,
        "built_in": built_in,
        "best": best,
        "ms": settled[built_in],
        "best_ms": settled[best],
        "slower": settled[built_in] / settled[best] - 1,
        "all": {f"{tile}/{warps}": ms for (tile, warps), ms in times.items()},
    }


def built_in_launch(package: Any, name: str, kind: str, dtype: str) -> Launch:
    """The tile and the warps that the package itself takes."""
    launch = sys.modules[f"{package.__name__}._launch"]
    return launch._TILE[getattr(torch, dtype)], launch._WARPS


def _time(
    package: Any, name: str, kind: str, tensors: Sequence[Any], launch: Launch, warmup: int, measured: int
) -> float:
    call = _call(package, name, kind, tensors, launch)
    result: float = do_bench(call, warmup=warmup, rep=measured, return_mode="median")
    return result


def _call(package: Any, name: str, kind: str, tensors: Sequence[Any], launch: Launch) -> Any:
    """A call that launches a kernel as the package would, but for the tile and the warps."""
    function = kernel(package, name, kind)
    tile, warps = launch
    given = tuple(tensors) if kind == "gradient" else (tensors[0], tensors[-1])
    values = _parameters(package, name)
    n = given[-1].numel()
    arguments = (*given, *values, 0, n, tile, False, given[-1].element_size() == 2)
    grid = ((n + tile - 1) // tile,)
    return lambda: function[grid](*arguments, num_warps=warps)


def _parameters(package: Any, name: str) -> tuple[float, ...]:
    """Defaults of an activation's parameters, which its signature holds; 1 where there is none."""
    from inspect import Parameter, signature

    module = sys.modules[f"{package.__name__}.{name}"]
    given = signature(getattr(module, name)).parameters.values()
    floats = [each for each in given if each.annotation is float]
    return tuple(1.0 if each.default is Parameter.empty else float(each.default) for each in floats)


def _warm(folder: str, name: str, dtypes: Sequence[str]) -> None:
    """Compile all launches of an activation's kernels into Triton's cache."""
    package = load(Path(folder))
    for dtype in dtypes:
        tensors = [torch.zeros(2**14, dtype=getattr(torch, dtype), device="cuda") for _ in range(3)]
        for kind in KINDS:
            kernel(package, name, kind)
            for launch in candidates(tensors[0].element_size()):
                _call(package, name, kind, tensors, launch)()


def single_choices(rows: Sequence[dict[str, Any]], dtype: str) -> Iterator[str]:
    """The three launches that would serve all kernels of a dtype best, by how far each is off at most."""
    chosen = [row for row in rows if row["dtype"] == dtype]
    off = {
        launch: max(row["all"][launch] / min(row["all"].values()) - 1 for row in chosen)
        for launch in chosen[0]["all"]
        if all(launch in row["all"] for row in chosen)
    }
    for launch in sorted(off, key=off.__getitem__)[:3]:
        yield f"{launch} {off[launch]:.1%} off at most"


def told(row: dict[str, Any]) -> str:
    """A row of the table."""
    (tile, warps), (best_tile, best_warps) = row["built_in"], row["best"]
    return (
        f"{row['name']:18}{row['kind']:9}{row['dtype']:9}{tile:6}/{warps} {row['ms']:.4f} ms, best "
        f"{best_tile:6}/{best_warps} {row['best_ms']:.4f} ms: {row['slower']:.1%}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
