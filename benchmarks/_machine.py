"""What every benchmark says of where it was measured: the machine, how busy it was, and of which versions."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def load() -> list[float]:
    """Of the last minute, of five and of fifteen."""
    return [round(number, 1) for number in os.getloadavg()]


def versions(*distributions: str, **others: str) -> dict[str, str]:
    """Python's and those of installed *distributions*; what is not installed is left out. *others* as they are."""
    found = {"python": platform.python_version()}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {**found, **others}


def stated(result: Mapping[str, Any]) -> str:
    """What a result says of all this, as a line of its table."""
    said = [result["machine"]]
    if "load" in result:
        loads = result["load"] if isinstance(result["load"], list) else [result["load"]]
        said.append(f"load {', '.join(map(str, loads))}")
    if "versions" in result:
        said.append(", ".join(f"{name} {number}" for name, number in result["versions"].items()))
    return "; ".join(said)
