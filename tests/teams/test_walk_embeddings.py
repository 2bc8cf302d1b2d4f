from pathlib import Path

import pytest

from tests.teams.short import short_walk

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]


def test_it_goes_forward_and_back(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    short_walk("embeddings", tmp_path, request)
