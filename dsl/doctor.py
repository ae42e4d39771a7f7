"""What is installed of what dslgen needs, and which GPU there is: `dslgen doctor`.

In: this Python's packages, as their metadata says, and torch in a process of its own, so that one that cannot
be imported is a finding. Out: `Check`s, each with what to do.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

from dsl import __version__, cache
from dsl.config import ConfigError, load

Status = Literal["ok", "absent", "broken"]
"""`absent` is what some commands do without; `broken` is what has to be mended."""

TIMEOUT = 120
"""Seconds that torch may take to be imported: a cold disk is slow."""

_PROBE = """
import json, torch
found = {"CUDA": torch.version.cuda, "ROCm": torch.version.hip, "devices": []}
for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
    each = torch.cuda.get_device_properties(index)
    found["devices"].append([each.name, f"{each.major}.{each.minor}", each.total_memory])
print(json.dumps(found))
"""
_GET_TORCH = "install the build of torch that fits this machine: https://pytorch.org/get-started"
_PURPOSES = {
    "torch": "running what is built, bench, inspect",
    "certify": "certify, explain",
    "web": "gallery, playground, pages",
    "plot": "plot",
    "lsp": "lsp",
}
"""What an extra is for."""


@dataclass(frozen=True)
class Check:
    """One line of the report: what was looked at, what was found, and what to do about it."""

    name: str
    status: Status
    found: str
    advice: str = ""


def examine(directory: Path) -> tuple[Check, ...]:
    """Everything that is looked at, in order: Python, packages, extras, GPU, cache, configuration."""
    return (_python(), *_packages(), *_gpu(), _cache(), _configuration(directory))


def report(checks: Sequence[Check]) -> str:
    """Checks for a reader.

    >>> print(report((Check("numpy", "absent", "not installed", "pip install numpy"),)))
    -  numpy  not installed
              pip install numpy
    """
    marks = {"ok": "ok", "absent": "-", "broken": "!!"}
    mark = max(len(marks[check.status]) for check in checks)
    name = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{marks[check.status]:{mark}}  {check.name:{name}}  {check.found}")
        lines += [f"{'':{mark + name + 4}}{check.advice}"] if check.advice else []
    return "\n".join(lines)


def as_json(checks: Sequence[Check]) -> str:
    """Checks for a machine: a list of objects with name, status, found and advice."""
    return json.dumps([vars(check) for check in checks], indent=2)


def _python() -> Check:
    found = f"{platform.python_version()} at {sys.executable}, {platform.system()} {platform.machine()}"
    return Check("Python", "ok", found)


def _requirements() -> Iterator[tuple[Requirement, str]]:
    """What dslgen's metadata names: what it always needs, and then what extras add, each with its extra."""
    needed = [Requirement(line) for line in requires("dslgen") or ()]
    extras = metadata("dslgen").get_all("Provides-Extra") or []
    for extra in ("", *extras):
        for each in needed:
            plain = each.marker is None or each.marker.evaluate({"extra": ""})
            if plain != bool(extra) and (plain or (each.marker and each.marker.evaluate({"extra": extra}))):
                yield each, extra


def _packages() -> Iterator[Check]:
    try:
        wanted = list(_requirements())
    except PackageNotFoundError:
        advice = "pip install dslgen, or in a checkout: pip install -e ."
        yield Check("dslgen", "broken", f"{__version__}, which is not installed", advice)
        return
    yield Check("dslgen", "ok", __version__)
    for requirement, extra in wanted:
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            found = None
        yield package(requirement, extra, found)


def package(requirement: Requirement, extra: str, found: str | None) -> Check:
    """Whether a version, or None, is what a requirement asks for; an extra may be absent, and not be too old.

    >>> package(Requirement("numpy>=2.0"), "certify", "1.26.4").found
    '1.26.4, and >=2.0 is needed'
    """
    get = f"pip install '{requirement.name}{requirement.specifier}'"
    purpose = f" (for {_PURPOSES.get(extra, extra)})" if extra else ""
    if found is None and extra:
        return Check(requirement.name, "absent", f"not installed{purpose}", f"pip install 'dslgen[{extra}]'")
    if found is None:
        return Check(requirement.name, "broken", f"not installed, and needed{purpose}", get)
    if not requirement.specifier.contains(found, prereleases=True):
        return Check(requirement.name, "broken", f"{found}, and {requirement.specifier} is needed", get)
    return Check(requirement.name, "ok", found + purpose)


def probe(code: str = _PROBE) -> dict[str, Any] | str:
    """What torch says of itself, or why it cannot be imported."""
    command = [sys.executable, "-c", code]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return f"not imported within {TIMEOUT} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def gpus(found: dict[str, Any] | str, driver: str) -> Iterator[Check]:
    """The GPUs that torch sees; `driver` is what NVIDIA's own command says of the machine, if it is there."""
    if isinstance(found, str):
        yield Check(
            "GPU", "broken", f"torch cannot be imported: {found}", "see https://pytorch.org/get-started"
        )
        return
    for name, capability, memory in found["devices"]:
        yield Check("GPU", "ok", f"{name}, compute capability {capability}, {memory / 2**30:.0f} GiB")
    platforms = [f"{name} {found[name]}" for name in ("CUDA", "ROCm") if found[name]]
    built = f"torch is built for {' and '.join(platforms) or 'CPUs'}"
    if driver and not found["devices"]:
        yield Check("GPU", "broken", f"{driver}, which torch does not see; {built}", _GET_TORCH)
    elif not found["devices"]:
        advice = "kernels need one; tensors on a CPU take torch operations, and a build needs neither"
        yield Check("GPU", "absent", f"none; {built}", advice)


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (
        done.stdout.strip().partition("\n")[0].replace(", ", " with driver ") if done.returncode == 0 else ""
    )


def _gpu() -> Iterator[Check]:
    if find_spec("torch") is not None:
        yield from gpus(probe(), _driver())


def _cache() -> Check:
    """Whether what `dsl.compile` makes can be kept."""
    folder = cache.folder()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if there.is_dir() and os.access(there, os.W_OK):
        return Check("cache", "ok", str(folder))
    advice = f"dsl.compile keeps nothing between processes; name another place with {cache.VARIABLE}"
    return Check("cache", "absent", f"{folder} cannot be written", advice)


def _configuration(directory: Path) -> Check:
    try:
        config = load(directory)
    except ConfigError as error:
        return Check("configuration", "broken", str(error), "see [tool.dslgen] in the README")
    missing = [str(path) for path in config.specs if not (directory / path).exists()]
    found = f"specs in {', '.join(map(str, config.specs))}, package in {config.out}"
    if missing:
        return Check("configuration", "absent", f"{found}; there is no {', '.join(missing)}", "dslgen init")
    return Check("configuration", "ok", found)
