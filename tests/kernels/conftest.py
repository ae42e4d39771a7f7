"""What the tests of the shipped kernels share: the package, built anew, and a process that interprets it."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dsl.build import build
from tests.kernels import shipped, worker

Interpreter = Callable[..., Any]


@pytest.fixture(scope="session")
def package_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds the package made from specs/."""
    folder = tmp_path_factory.mktemp("shipped")
    build([shipped.SPECS], folder / worker.PACKAGE)
    return folder


@pytest.fixture(scope="session")
def acts(package_folder: Path) -> Iterator[ModuleType]:
    """The package, imported here, for compilers and for the eager formulas."""
    sys.path.insert(0, str(package_folder))
    try:
        yield importlib.import_module(worker.PACKAGE)
    finally:
        sys.path.remove(str(package_folder))


@pytest.fixture(scope="session")
def interpreter(package_folder: Path) -> Iterator[Interpreter]:
    """Calls a function of `worker` in the process where Triton interprets."""
    context = get_context("spawn")
    before = os.environ.get("TRITON_INTERPRET")
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        pool = ProcessPoolExecutor(1, context, worker.start, (str(package_folder),))
        pool.submit(int).result()  # the process starts here, and takes the environment with it
    finally:
        if before is None:
            del os.environ["TRITON_INTERPRET"]
        else:
            os.environ["TRITON_INTERPRET"] = before
    with pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result()


@pytest.fixture(scope="session")
def truths(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where exact values are kept from one run to the next."""
    kept = getattr(pytestconfig, "cache", None)
    folder: Path = kept.mkdir("exact") if kept is not None else tmp_path_factory.mktemp("exact")
    return folder
