"""The process itself, under the names that Prometheus' own clients use."""

import os
import time
from pathlib import Path

from orchestrator.metrics.families import Name, gauge, pairs_gauge

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc/self")


def lines() -> list[str]:
    """As Prometheus reads them. Where there is no /proc (proc(5)), only the time of its start."""
    started = gauge("process_start_time_seconds", "Start of the process, Unix time.", STARTED_AT)
    try:
        fields = _stat()
        files, most = sum(1 for _ in (_PROC / "fd").iterdir()), _most_files()
    except (OSError, ValueError, StopIteration):
        return started
    cpu_seconds = (int(fields[11]) + int(fields[12])) / _TICKS
    return [
        *started,
        *pairs_gauge(Name("process_cpu_seconds_total", "CPU time, of user and system."), {(): cpu_seconds}, "counter"),
        *gauge("process_virtual_memory_bytes", "Virtual memory.", int(fields[20])),
        *gauge("process_resident_memory_bytes", "Resident memory.", int(fields[21]) * _PAGE_BYTES),
        *gauge("process_open_fds", "Open file descriptors.", files),
        *gauge("process_max_fds", "File descriptors that may be open.", most),
    ]


def _stat() -> list[str]:
    """The fields from the third on: the second, a name, may have spaces in it."""
    return (_PROC / "stat").read_text().rpartition(")")[2].split()


def _most_files() -> float:
    line = next(one for one in (_PROC / "limits").read_text().splitlines() if one.startswith("Max open files"))
    soft = line.split()[3]
    return float("inf") if soft == "unlimited" else float(soft)


def _started_at() -> float:
    """Linux counts it in clock ticks since boot."""
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return float(boot.split()[1]) + int(_stat()[19]) / _TICKS


def _start() -> float:
    try:
        return _started_at()
    except (OSError, ValueError, StopIteration):
        return time.time()  # elsewhere: when this module was loaded, which is soon after


STARTED_AT = _start()
