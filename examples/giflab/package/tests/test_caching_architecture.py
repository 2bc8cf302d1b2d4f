"""Frames are resized without a cache, and nothing of the cache is loaded while it is off."""

# ruff: noqa: INP001 - tests of the tool
import importlib
import subprocess
import sys

import pytest

config = importlib.import_module("giflab.config")
frames = importlib.import_module("giflab.frames")
metrics = importlib.import_module("giflab.metrics")


def test_feature_flag_disabled() -> None:
    assert not config.ENABLE_EXPERIMENTAL_CACHING
    assert not config.FRAME_CACHE["enabled"]
    assert not metrics.CACHING_ENABLED


def test_conditional_import_system() -> None:
    words = "import sys, giflab.metrics; sys.exit('giflab.caching' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0


@pytest.mark.parametrize("height", (1, 2, 7, 50))
@pytest.mark.parametrize("width", (1, 3, 50, 64))
def test_a_frame_gets_the_size_that_is_asked_for(height: int, width: int) -> None:
    assert metrics.resize_frame_cached(frames.zeros(10, 10), (width, height)).shape == (height, width, 3)


@pytest.mark.parametrize("factor", (2, 3, 4, 5))
def test_a_frame_made_larger_and_small_again_is_what_it_was(factor: int) -> None:
    frame = frames.Frame(tuple(bytes((row * 8 + column) % 128 for column in range(8)) for row in range(6)))
    larger = metrics.resize_frame_cached(frame, (8 * factor, 6 * factor))
    assert metrics.resize_frame_cached(larger, (8, 6)) == frame
