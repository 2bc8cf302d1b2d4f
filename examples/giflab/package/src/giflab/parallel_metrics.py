"""Many GIFs at once."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .metrics import calculate_comprehensive_metrics, extract_gif_frames, resize_frame_cached

WORKERS = 2


def measure(file: Path) -> dict[str, Any]:
    """Against itself at half the size."""
    frames = extract_gif_frames(file)
    height, width, _ = frames[0].shape
    return calculate_comprehensive_metrics(
        frames, [resize_frame_cached(one, (width // 2, height // 2)) for one in frames]
    )


def measure_all(files: Iterable[Path], **options: Any) -> dict[Path, dict[str, Any] | Exception]:
    """What came of each file; an exception where nothing did."""
    with ThreadPoolExecutor(max_workers=int(options.get("workers", WORKERS))) as pool:
        return dict(pool.map(lambda file: (file, _or_error(file)), files))


def _or_error(file: Path) -> dict[str, Any] | Exception:
    try:
        return measure(file)
    except (OSError, ValueError) as error:
        return error


def failures(found: dict[Path, dict[str, Any] | Exception]) -> dict[Path, Exception]:
    return {file: what for file, what in found.items() if isinstance(what, Exception)}
