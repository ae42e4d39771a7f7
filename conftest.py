"""What holds for every test: nothing goes into the user's cache, shipped specs are not searched again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dsl.memory import remembering


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DSLGEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _memory() -> Iterator[None]:
    with remembering(Path(__file__).parent / "stabilised.json"):
        yield
