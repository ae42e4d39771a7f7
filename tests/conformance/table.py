"""The table: which checks there are, and running them.

In: the activations. Out: for every check and activation, what is wrong or None.
"""

from __future__ import annotations

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


def _together(check: Check) -> Check:
    """A check of all activations at once, whose failure is everyone's."""

    def run(subjects: Sequence[Subject]) -> Found:
        try:
            return check(subjects)
        except Exception as error:
            return {subject.name: _told(error) for subject in subjects}

    return run


def checks(device: str) -> Mapping[str, Check]:
    """The checks for a device, by name."""
    single = derivatives.CHECKS | tensors.CHECKS | modules.CHECKS
    cuda = device.startswith("cuda")
    if cuda:
        single |= devices.CHECKS
    table = {name: each(check) for name, check in single.items()}
    whole = compilers.CHECKS if cuda else compilers.CHECKS | compilers.ON_A_CPU
    return table | {name: _together(check) for name, check in whole.items()}


def run(check: Check, subjects: Sequence[Subject]) -> Found:
    """One check of all activations; a KeyError where it forgot one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = check(subjects)
    return {subject.name: found[subject.name] for subject in subjects}
