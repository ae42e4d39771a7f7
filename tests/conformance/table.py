"""The table: which checks there are, and running them.

In: the activations. Out: for every check and activation, what is wrong or None.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.conformance import compilers, derivatives, devices, modules, tensors
from tests.conformance.subject import Subject

Found = dict[str, str | None]
Check = Callable[[Sequence[Subject]], Found]


def _told(error: BaseException) -> str:
    """An exception and where it came from, on one line."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:600]} ({places})"


def each(check: Callable[[Subject], None]) -> Check:
    """A check of one activation as a check of them all."""

    def run(subjects: Sequence[Subject]) -> Found:
        found: Found = {}
        for subject in subjects:
            try:
                check(subject)
                found[subject.name] = None
            except Exception as error:
                found[subject.name] = _told(error)
        return found

    return run


def together(check: Check) -> Check:
    """A check of several activations at once.

    Where it fails as a whole, halves of them are tried until one fails alone; the others that failed with it
    are told so.
    """

    def tried(subjects: Sequence[Subject]) -> tuple[Found, bool]:
        try:
            return check(subjects), False
        except Exception as error:
            others = f", with {len(subjects) - 1} others" if len(subjects) > 1 else ""
            return {subject.name: _told(error) + others for subject in subjects}, True

    def narrowed(subjects: Sequence[Subject], found: Found) -> Found:
        middle = len(subjects) // 2
        halves = [(half, *tried(half)) for half in (subjects[:middle], subjects[middle:]) if middle]
        worst = next((half for half, _, failed in halves if failed), None)
        if worst is None:
            return found
        result: Found = {}
        for half, told, _ in halves:
            result |= narrowed(half, told) if half is worst else told
        return result

    def run(subjects: Sequence[Subject]) -> Found:
        found, failed = tried(subjects)
        return narrowed(subjects, found) if failed else found

    return run


def _in_batches(check: Check, size: int) -> Check:
    """A check of no more than so many activations at once."""

    def run(subjects: Sequence[Subject]) -> Found:
        found: Found = {}
        for start in range(0, len(subjects), size):
            found |= check(subjects[start : start + size])
        return found

    return run


def checks(device: str) -> Mapping[str, Check]:
    """The checks for a device, by name."""
    single = derivatives.CHECKS | tensors.CHECKS | modules.CHECKS
    cuda = device.startswith("cuda")
    if cuda:
        single |= devices.CHECKS
    table = {name: each(check) for name, check in single.items()}
    whole = compilers.CHECKS if cuda else compilers.CHECKS | compilers.ON_A_CPU
    batches = {
        name: _in_batches(together(check), compilers.BATCHES.get(name, sys.maxsize))
        for name, check in whole.items()
    }
    return table | batches


def run(check: Check, subjects: Sequence[Subject]) -> Found:
    """One check of all activations; a KeyError where it forgot one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = check(subjects)
    return {subject.name: found[subject.name] for subject in subjects}
