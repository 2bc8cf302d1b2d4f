"""Programs that are built from their Go module as it is published, once, into the user's cache folder."""

import argparse
import hashlib
import os
import platform
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from providing import HERE, Go, Unavailable, cache_folder, keep, only_one, run, say


@dataclass(frozen=True)
class Published:
    """*program* of a module, whose package is `cmd/PROGRAM`, and *files* out of it, a pattern. The folder `NAME-module`
    here pins all of it by go.mod and go.sum. *version_variable* is told the version, if the code does not know it.
    """

    name: str
    module: str
    program: str
    files: str
    version_variable: str = ""

    @property
    def pins(self) -> Path:
        return HERE / f"{self.name}-module"

    @property
    def version(self) -> str:
        return self._pinned("go.mod", rf"\s{self.module} v(\S+)")

    @property
    def checksum(self) -> str:
        return self._pinned("go.sum", rf"^{self.module} v[^\s/]+ (h1:\S+)$")

    @property
    def home(self) -> Path:
        """Another folder for each content of the pins, so that a change of them is built and not overlooked."""
        content = b"\0".join(path.read_bytes() for path in sorted(self.pins.iterdir()))
        return cache_folder(self.name) / f"{self.version}-{hashlib.sha256(content).hexdigest()[:8]}"

    def is_built(self) -> bool:
        return os.access(self.home / self.program, os.X_OK)  # it comes last

    def build(self) -> None:
        go = Go(self.pins)
        say(f"building {self.name} {self.version} from its Go module with {go.program}; this takes some minutes, once")
        with tempfile.TemporaryDirectory(prefix=f"{self.name}-build-") as name:
            got = go.download(f"{self.module}@v{self.version}", Path(name))
            if got["Sum"] != self.checksum:
                raise Unavailable(f"{self.module} has checksum {got['Sum']}, and go.sum pins {self.checksum}")
            binary = Path(name) / self.program
            stamps = {self.version_variable: self.version} if self.version_variable else {}
            go.build(f"{self.module}/cmd/{self.program}", binary, stamps=stamps)
            run([binary, "--help"], what=f"{self.program} --help")
            for file in Path(got["Dir"]).glob(self.files):
                shutil.copyfile(file, self.home / file.name)
            keep(binary, self.home / self.program)

    def _pinned(self, file: str, pattern: str) -> str:
        found = re.search(pattern, (self.pins / file).read_text(), re.MULTILINE)
        assert found is not None, f"{file} pins {self.module}"
        return found[1]


def provide(published: Published, description: str) -> int:
    """The exit code; what is wanted is said by arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=description.splitlines()[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--no-build", action="store_true", help="fail where it is missing, rather than build it")
    no_build = parser.parse_args().no_build
    try:
        if not published.is_built():
            if no_build:
                raise Unavailable(f"not built yet in {published.home}")
            with only_one(published.home):
                if not published.is_built():
                    published.build()
        print(published.home)
    except (Unavailable, OSError) as error:
        say(
            f"not to be had on {platform.system()} {platform.machine()} ({error})."
            " Measuring beside it needs a Go that can fetch modules, or network access to PyPI for one."
        )
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    return 0
