"""Calls on all processors: the same results as one after another."""

from __future__ import annotations

import os
import threading
from functools import partial

import pytest

from dsl import parallel
from dsl.parallel import WORTHWHILE, in_order


def fail_from(place: int, n: int) -> int:
    if n >= place:
        raise ValueError(f"number {n}")
    return n


@pytest.fixture
def forking(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with processors to spare, whatever threads the tests' own process has."""
    monkeypatch.setattr(parallel, "_processors", lambda: 2)
    monkeypatch.setattr(parallel, "_may_fork", lambda: hasattr(os, "fork"))


@pytest.mark.usefixtures("forking")
@pytest.mark.parametrize("count", [0, 1, WORTHWHILE - 1, WORTHWHILE, 5 * WORTHWHILE])
def test_results_come_in_order(count: int) -> None:
    assert in_order([partial(pow, n, 2) for n in range(count)]) == [n * n for n in range(count)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.usefixtures("forking")
def test_work_is_shared() -> None:
    here = os.getpid()
    places = in_order([os.getpid] * 10 * WORTHWHILE)
    assert places[0] == here
    assert here not in places[1:]


@pytest.mark.usefixtures("forking")
@pytest.mark.parametrize("place", [0, 1, 7])
def test_the_first_exception_is_raised(place: int) -> None:
    with pytest.raises(ValueError, match=f"number {place}$"):
        in_order([partial(fail_from, place, n) for n in range(3 * WORTHWHILE)])
    assert in_order([partial(abs, -n) for n in range(WORTHWHILE)]) == list(range(WORTHWHILE))


def test_a_process_with_threads_is_not_forked() -> None:
    wait = threading.Event()
    thread = threading.Thread(target=wait.wait)
    thread.start()
    try:
        assert set(in_order([os.getpid] * WORTHWHILE)) == {os.getpid()}
    finally:
        wait.set()
        thread.join()
