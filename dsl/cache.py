"""Where compiled formulas are kept from one process to the next.

In: the environment. Out: a directory, and one for this process alone where that cannot be written.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from functools import cache
from pathlib import Path

from platformdirs import user_cache_path

VARIABLE = "DSLGEN_CACHE"
"""The environment variable that names another directory."""


def folder() -> Path:
    """The directory of the cache: what DSLGEN_CACHE says, otherwise the user's cache directory."""
    named = os.environ.get(VARIABLE)
    return Path(named).absolute() if named else user_cache_path("dslgen")


def spare_folder(reason: OSError) -> Path:
    """A directory that lasts as long as this process, and a RuntimeWarning that says why it is needed."""
    said = reason.strerror or reason
    warnings.warn(
        f"{folder()} cannot be written ({said}): what is compiled is kept for this process alone; name a "
        f"directory with {VARIABLE}",
        RuntimeWarning,
        stacklevel=6,  # where `dsl.compile` was called
    )
    return Path(_spare().name)


@cache
def _spare() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="dslgen-")
