"""What holds for every test: nothing is kept in the user's cache."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DSLGEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
