"""``giflab deps``: what the tool needs, whether it is there, and how the system is."""

import argparse
import json
import sys
from collections.abc import Mapping

from . import __version__
from .config import ENABLE_EXPERIMENTAL_CACHING, MONITORING, home
from .lazy_imports import OPTIONAL, REQUIRED, help_for, is_available
from .monitoring import SystemMemoryMonitor
from .monitoring.memory_integration import MemoryPressureIntegration


def deps(given: argparse.Namespace) -> int:
    """what the tool needs, and whether it is there: check, install-help, status"""
    if given.action == "install-help":
        return _install_help(given.name)
    found = status()
    if given.json:
        print(json.dumps(found))
    else:
        _print(found, memory=given.action == "status" or given.verbose)
    return 1 if found["missing"] else 0


def _install_help(name: str | None) -> int:
    for one in [name] if name else [*REQUIRED, *OPTIONAL]:
        try:
            print(f"{one}: {help_for(one)}")
        except KeyError:
            known = ", ".join((*REQUIRED, *OPTIONAL))
            print(f"giflab: nothing needs {one}; known are {known}", file=sys.stderr)
            return 1
    return 0


def status() -> dict[str, object]:
    there = {name: is_available(name) for name in (*REQUIRED, *OPTIONAL)}
    return {
        "version": __version__,
        "dependencies": there,
        "missing": [name for name in REQUIRED if not there[name]],
        "caching": ENABLE_EXPERIMENTAL_CACHING,
        "memory": _memory() if MONITORING["memory_pressure"]["enabled"] else None,
    }


def _memory() -> dict[str, object]:
    monitor = SystemMemoryMonitor()
    stats = monitor.get_memory_stats()
    return {
        "available_gb": round(stats.available_gb, 2),
        "used_share": round(stats.used_share, 4),
        "pressure": monitor.get_pressure_level().name,
        "overhead_share": monitor.overhead_share(),
        "reported": _reported(monitor),
    }


def _reported(monitor: SystemMemoryMonitor) -> bool:
    try:
        MemoryPressureIntegration(monitor, home() / "collector").report()
    except OSError as error:
        print(f"giflab: the collector takes no report: {error}", file=sys.stderr)
        return False
    return True


def _print(found: Mapping[str, object], *, memory: bool) -> None:
    there = found["dependencies"]
    assert isinstance(there, dict)
    for name, available in there.items():
        print(f"{name}: {'available' if available else f'missing; {help_for(name)}'}")
    if memory:
        told = found["memory"]
        print("system capabilities:")
        print(f"  memory monitoring: {'off' if told is None else json.dumps(told)}")
