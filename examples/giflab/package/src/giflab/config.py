"""What the tool does unless somebody says otherwise."""

import json
import os
from pathlib import Path
from typing import TypedDict

ENABLE_EXPERIMENTAL_CACHING = False
FRAME_CACHE = {"enabled": ENABLE_EXPERIMENTAL_CACHING}


class Thresholds(TypedDict):
    warning: float
    critical: float
    emergency: float


class MemoryPressure(TypedDict):
    enabled: bool
    interval_seconds: float
    thresholds: Thresholds


class Monitoring(TypedDict):
    memory_pressure: MemoryPressure


MONITORING: Monitoring = {
    "memory_pressure": {
        "enabled": os.environ.get("GIFLAB_MONITORING", "on") == "on",
        "interval_seconds": 5.0,
        "thresholds": {"warning": 0.70, "critical": 0.80, "emergency": 0.95},
    }
}


def home() -> Path:
    """Where GIFs, results and the user's settings are."""
    return Path(os.environ.get("GIFLAB_HOME", "."))


def settings() -> dict[str, object]:
    """ValueError if what is written there can't be read."""
    file = home() / "config.json"
    try:
        found: dict[str, object] = json.loads(file.read_text()) if file.exists() else {}
    except ValueError as error:
        raise ValueError(f"{file} can't be read: {error}; mend it, or remove it for the defaults") from None
    return found
