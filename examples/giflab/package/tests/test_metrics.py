"""What is measured of GIFs, and how they are written and read."""

# ruff: noqa: INP001 - tests of the tool
import importlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

frames = importlib.import_module("giflab.frames")
gif = importlib.import_module("giflab.gif")
metrics = importlib.import_module("giflab.metrics")
results = importlib.import_module("giflab.results")


def waves(count: int, width: int, height: int) -> list[object]:
    rows = [
        tuple(bytes((row * column + at) % 128 for column in range(width)) for row in range(height))
        for at in range(count)
    ]
    return [frames.Frame(one) for one in rows]


@pytest.mark.parametrize("count", (1, 2, 5))
@pytest.mark.parametrize("size", ((1, 1), (3, 2), (16, 9), (40, 40)))
def test_what_is_written_is_read_again(tmp_path: Path, count: int, size: tuple[int, int]) -> None:
    written = waves(count, *size)
    gif.write(tmp_path / "a.gif", written)
    assert metrics.extract_gif_frames(tmp_path / "a.gif") == written


@pytest.mark.parametrize("size", (2, 3, 5, 8, 13))
def test_what_is_alike_is_as_near_as_can_be(size: int) -> None:
    found = metrics.calculate_comprehensive_metrics(waves(2, size, size), waves(2, size, size))
    assert found == {"frames": 2, "mse": 0.0, "psnr": 100.0}


@pytest.mark.parametrize("grey", (1, 2, 8, 32, 127))
def test_the_error_is_the_mean_square(grey: int) -> None:
    other = frames.Frame((bytes((grey,) * 4),) * 4)
    assert metrics.mean_squared_error(frames.zeros(4, 4), other) == grey**2


@pytest.mark.parametrize("error", (0.5, 1.0, 2.0, 4.0, 8.0, 16.0))
def test_a_larger_error_is_further_away(error: float) -> None:
    assert metrics.peak_signal_to_noise(error) > metrics.peak_signal_to_noise(2 * error)


def test_a_file_that_is_missing_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no nothing\.gif; `giflab run`"):
        metrics.extract_gif_frames(Path("nothing.gif"))


@pytest.mark.parametrize("length", (0, 5, 12, 100, 400))
def test_a_file_that_is_cut_off_is_no_gif(tmp_path: Path, length: int) -> None:
    gif.write(tmp_path / "a.gif", waves(1, 4, 4))
    (tmp_path / "b.gif").write_bytes((tmp_path / "a.gif").read_bytes()[:length])
    with pytest.raises(gif.NoGif, match=r"b\.gif"):
        gif.read(tmp_path / "b.gif")


@pytest.mark.parametrize("psnr", (10.0, 29.9, 30.0, 70.0))
def test_a_result_that_was_spoilt_is_found(tmp_path: Path, psnr: float) -> None:
    with results.opened(tmp_path / "r.db") as kept:
        kept.save("a.gif", 2, 1.0, psnr)
        kept.save("b.gif", 2, 1.0, psnr)
        assert kept.spoilt() == []
        with closing(sqlite3.connect(tmp_path / "r.db")) as another, another:
            another.execute("UPDATE results SET mse = 9 WHERE gif = 'b.gif'")
        assert kept.spoilt() == ["b.gif"]
