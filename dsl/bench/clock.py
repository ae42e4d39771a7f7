"""How long a call takes: on the device, and for the host that starts it.

In: a call without arguments. Out: milliseconds of the device, or microseconds of the host; medians.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from triton.testing import do_bench

Call = Callable[[], object]

WARMUP_MS, MEASURED_MS = 15, 60
"""How long `do_bench` runs a call before it measures, and while it does."""


class NoDevice(Exception):
    """There is no such device here; the message says what to do."""


def device(name: str | None) -> torch.device:
    """The device of that name, by default this machine's accelerator; raises `NoDevice` if it has none."""
    if name == "cpu":
        return torch.device("cpu")
    found = torch.accelerator.current_accelerator(check_available=True)
    if found is None:
        asked = f"'{name}'" if name else "GPU"
        raise NoDevice(f"no {asked} here: measure where there is one, or the CPU's formulas by --device cpu")
    if name is not None and name.partition(":")[0] != found.type:
        raise NoDevice(f"no '{name}' here: this machine has '{found.type}', and there is always cpu")
    return found if name is None else torch.device(name)


def milliseconds(call: Call, where: torch.device) -> float:
    """The median time of a call on a device; on a GPU with its caches emptied before every call."""
    if where.type != "cpu":
        result: float = do_bench(call, warmup=WARMUP_MS, rep=MEASURED_MS, return_mode="median")
        return result
    return 1e3 * _spaced(call, MEASURED_MS / 1e3)


def _spaced(call: Call, budget: float) -> float:
    call()
    times: list[float] = []
    while len(times) < 5 or (sum(times) < budget and len(times) < 1000):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return median(times)


def host_microseconds(call: Call, where: torch.device, calls: int = 300, rounds: int = 9) -> float:
    """How long one call keeps the host busy: what it starts is not waited for."""
    times = []
    for _ in range(rounds):
        if where.type != "cpu":
            torch.accelerator.synchronize(where)
        start = time.perf_counter()
        for _ in range(calls):
            call()
        times.append((time.perf_counter() - start) / calls)
    return 1e6 * median(times)
