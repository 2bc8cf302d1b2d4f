"""A file system that is soon full."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class NoSmallDisk(Exception):
    """Only root mounts one, and not everywhere."""


@contextmanager
def small_disk_at(folder: Path) -> Iterator[Path]:
    """A file system of 2 MiB, mounted at the new *folder*. Raises ``NoSmallDisk``."""
    folder.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        raise NoSmallDisk("there is no mount")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True, check=False)
    if done.returncode != 0:
        raise NoSmallDisk(done.stderr.decode(errors="replace").strip())
    try:
        yield folder
    finally:
        subprocess.run([umount, "-l", folder], check=True)


def enlarge(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
