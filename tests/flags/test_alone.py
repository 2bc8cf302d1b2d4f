"""`flags` as a package of its own: built, unpacked beside the hash function alone, and used."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import mmh3

from tests.support.process import ROOT

PROGRAM = """
import sys
sys.path[:0] = sys.argv[1:]
from flags import FlagDocument, Snapshot
from flags.client import FlagClient
snapshot = Snapshot([FlagDocument("new", percentage=50)])
print(sum(snapshot.get("new").is_on({"targetingKey": f"user-{number}"}) for number in range(1000)))
with FlagClient("http://127.0.0.1:9", defaults={"new": True}) as client:
    print(client.is_on("new"))
import flags
print(flags.__file__)
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("orchestrator", "stages", "pydantic", "httpx")))
"""


def test_the_package_is_built_alone_and_needs_the_hash_function_alone(tmp_path: Path) -> None:
    made = tmp_path / "made"
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(made)]
    source = shutil.copytree(ROOT / "flags", tmp_path / "flags", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([*command, source], check=True, timeout=120, cwd=tmp_path)
    [wheel] = made.iterdir()
    there = tmp_path / "there"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(there)
        metadata = archive.read("staged_rollout_flags-0.1.0.dist-info/METADATA").decode()
    assert [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra" not in line] == [
        "Requires-Dist: mmh3>=5.1"
    ]
    shutil.copy(mmh3.__file__, there)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PROGRAM, there], check=True, capture_output=True, text=True, timeout=60
    )
    on, default, file, others = done.stdout.splitlines()
    assert 430 < int(on) < 570
    assert (default, others) == ("True", "[]")
    assert Path(file).is_relative_to(there)
