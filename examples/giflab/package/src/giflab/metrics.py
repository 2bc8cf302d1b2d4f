"""How near a compressed GIF is to its original."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import gif
from .config import ENABLE_EXPERIMENTAL_CACHING
from .frames import Frame, resize

CACHING_ENABLED = ENABLE_EXPERIMENTAL_CACHING
resize_frame_cached: Callable[[Frame, tuple[int, int]], Frame] = resize
if CACHING_ENABLED:
    from .caching import resize_frame as resize_frame_cached

PEAK = 127.0


def extract_gif_frames(file: Path) -> list[Frame]:
    """FileNotFoundError and gif.NoGif say what is amiss."""
    if not file.exists():
        raise FileNotFoundError(f"there is no {file.name}; `giflab run` takes what is in the inbox")
    return gif.read(file)


def mean_squared_error(one: Frame, other: Frame) -> float:
    pairs = [(a, b) for row, there in zip(one.rows, other.rows, strict=True) for a, b in zip(row, there, strict=True)]
    return sum((a - b) ** 2 for a, b in pairs) / len(pairs)


def peak_signal_to_noise(error: float) -> float:
    """In dB; 100 of frames that are alike."""
    return 100.0 if error == 0 else min(100.0, 20 * math.log10(PEAK / math.sqrt(error)))


def calculate_comprehensive_metrics(original: list[Frame], compressed: list[Frame]) -> dict[str, Any]:
    """ValueError if one has more frames than the other."""
    if len(original) != len(compressed):
        raise ValueError(f"{len(original)} frames can't be compared with {len(compressed)}")
    height, width, _ = original[0].shape
    fitted = [resize_frame_cached(frame, (width, height)) for frame in compressed]
    errors = [mean_squared_error(one, other) for one, other in zip(original, fitted, strict=True)]
    mean = sum(errors) / len(errors)
    return {"frames": len(original), "mse": round(mean, 3), "psnr": round(peak_signal_to_noise(mean), 3)}


def is_near(found: dict[str, Any], psnr: float = 30.0) -> bool:
    return bool(found["psnr"] >= psnr)


def summary(found: dict[str, Any]) -> str:
    return f"{found['frames']} frames, psnr {found['psnr']}, {'near' if is_near(found) else 'far'}"
