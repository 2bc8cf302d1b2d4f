"""A limit of processor time for processes, by a control group of Linux, where one may be made (as root, mostly)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PERIOD_US = 20_000
VERSION_1, VERSION_2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")


class Unlimited(Exception):
    """Why no limit can be set here."""


@contextmanager
def limited(pid: int, cores: float) -> Iterator[None]:
    """The process has so much of a processor until the end. Raises ``Unlimited``."""
    is_first = VERSION_1.is_dir()
    group = (VERSION_1 if is_first else VERSION_2) / f"rollout-benchmark-{pid}"
    quota_us = round(cores * PERIOD_US)
    try:
        group.mkdir()
        if is_first:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota_us))
        else:
            (group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        raise Unlimited(f"no control group for processor time can be made: {error}") from error
    try:
        yield
    finally:
        _empty(group)


def _empty(group: Path) -> None:
    """What still lives goes back to the group above."""
    for pid in (group / "cgroup.procs").read_text().split():
        if Path(f"/proc/{pid}").exists():
            (group.parent / "cgroup.procs").write_text(pid)
    os.rmdir(group)  # noqa: PTH106 - a control group is no folder with files in it
