"""What all tests share: what is left out for its length, and how Hypothesis searches."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("fixed", derandomize=True)
"""The same examples at every run, for `make test`: what decides about a merge must not depend on luck."""


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker of what takes too long for every run."""
    config.addinivalue_line("markers", "exhaustive: runs only with -m exhaustive")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without -m, leave out what is marked `exhaustive`."""
    if config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("exhaustive")]
    items[:] = [item for item in items if not item.get_closest_marker("exhaustive")]
    config.hook.pytest_deselected(items=left_out)
