"""How much memory the system has left."""

import os
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ..config import MONITORING, MemoryPressure  # noqa: TID252 - it has its own name only where it is installed

MEMINFO = "/proc/meminfo"


class Pressure(Enum):
    NORMAL = 0
    WARNING = 1
    CRITICAL = 2
    EMERGENCY = 3


@dataclass(frozen=True)
class MemoryStats:
    total_gb: float
    available_gb: float

    @property
    def used_share(self) -> float:
        return 1 - self.available_gb / self.total_gb


class SystemMemoryMonitor:
    def __init__(self, settings: MemoryPressure = MONITORING["memory_pressure"]) -> None:
        self._settings = settings
        self._file = Path(os.environ.get("GIFLAB_MEMINFO", MEMINFO))

    def get_memory_stats(self) -> MemoryStats:
        found: dict[str, float] = {}
        with self._file.open() as lines:
            for line in lines:
                name, _, amount = line.partition(":")
                if name in {"MemTotal", "MemAvailable"}:
                    found[name] = int(amount.split()[0]) / 2**20
        return MemoryStats(found["MemTotal"], found["MemAvailable"])

    def get_pressure_level(self) -> Pressure:
        used, thresholds = self.get_memory_stats().used_share, self._settings["thresholds"]
        if used >= thresholds["emergency"]:
            return Pressure.EMERGENCY
        if used >= thresholds["critical"]:
            return Pressure.CRITICAL
        return Pressure.WARNING if used >= thresholds["warning"] else Pressure.NORMAL

    def overhead_share(self, looks: int = 10) -> float:
        """What share of the time between two looks a look takes."""
        began = time.perf_counter()
        for _ in range(looks):
            self.get_memory_stats()
        return (time.perf_counter() - began) / looks / self._settings["interval_seconds"]
