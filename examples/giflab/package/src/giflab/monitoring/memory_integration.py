"""Tells what collects metrics of this machine's files."""

from pathlib import Path

from . import SystemMemoryMonitor

FILE = "giflab_memory.prom"


class MemoryPressureIntegration:
    def __init__(self, monitor: SystemMemoryMonitor, collector: Path) -> None:
        self._monitor, self._collector = monitor, collector

    def report(self) -> Path:
        """OSError if the collector's folder takes nothing."""
        stats, pressure = self._monitor.get_memory_stats(), self._monitor.get_pressure_level()
        draft, file = self._collector / f"{FILE}.draft", self._collector / FILE
        draft.write_text(
            f"giflab_reported_used_share {stats.used_share:.4f}\ngiflab_reported_pressure {pressure.value}\n"
        )
        draft.replace(file)
        return file
