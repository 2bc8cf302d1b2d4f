import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.browser import Desk, provided_axe, provided_chromium


@pytest.fixture(scope="session")
def chromium() -> Path:
    """A real Chromium, installed the first time where that may be done, and the pages as they are now. Skips where they
    can't be had; in continuous integration (CI=true) fails.
    """
    try:
        return provided_chromium()
    except RuntimeError as error:
        missing(str(error))


@pytest.fixture(scope="session")
def axe() -> str:
    """What finds barriers in a page. Skips, or fails, as above."""
    try:
        return provided_axe()
    except RuntimeError as error:
        missing(str(error))


def missing(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def desk(chromium: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One controller and one browser for all tests of a file. Each test has runs and pages of its own."""
    with Desk(tmp_path_factory.mktemp("desk"), chromium) as made:
        yield made
