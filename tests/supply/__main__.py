"""`python -m tests.supply` writes docs/sbom.cdx.json, what the package is made of, and asks what is known against it.

Both are of the locked versions of what the package itself needs, all of its extras included, and not of what only tests
need. Ends with 0 if nothing is known against any of them, 1 if something is, and 3 if that could not be asked of every
one: nobody is told that all is well who was not answered.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]
SBOM: Final = ROOT / "docs" / "sbom.cdx.json"
LOCK: Final = ROOT / "requirements.lock"
CYCLONEDX, PIP_AUDIT = "cyclonedx-bom==7.5.0", "pip-audit==2.10.1"
FINE, VULNERABLE, NOT_ASKED = 0, 1, 3
UNDECLARED: Final = {"promql-parser": "MIT"}
"""Licences of packages that say theirs only in a file that comes with them."""


def locked() -> dict[str, str]:
    """Name -> what the lock file has of it: its pinned version with hashes."""
    found: dict[str, str] = {}
    name = ""
    for line in LOCK.read_text().splitlines(keepends=True):
        if not line[0].isspace():
            name = str(canonicalize_name(line.partition("==")[0]))
        found[name] = found.get(name, "") + line
    return found


def version_in(block: str) -> str:
    return block.partition("==")[2].split()[0].rstrip(";")


def needed() -> dict[str, str]:
    """Name -> version of everything that the package needs here, directly or not, as it is locked."""
    pins = {name: version_in(block) for name, block in locked().items()}
    project = distribution("staged-rollout")
    ahead = [(Requirement(one), project.metadata.get_all("Provides-Extra") or []) for one in project.requires or []]
    found: dict[str, set[str]] = {}
    while ahead:
        one, extras = ahead.pop()
        if one.marker is not None and not any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            continue
        name = str(canonicalize_name(one.name))
        if name in found and one.extras <= found[name]:
            continue
        found.setdefault(name, set()).update(one.extras)
        ahead += [(Requirement(text), sorted(one.extras)) for text in distribution(name).requires or []]
    return {name: pins[name] for name in sorted(found)}


def write_sbom(target: Path) -> None:
    """By CycloneDX's own tool, of an environment in which there is nothing else. The same lock gives the same text."""
    blocks = locked()
    with tempfile.TemporaryDirectory(prefix="rollout-supply-") as folder:
        pins = Path(folder) / "requirements.txt"
        pins.write_text("".join(blocks[name] for name in needed()))
        place = Path(folder) / "environment"
        _run("uv", "venv", "--quiet", "--python", sys.executable, place)
        _run(
            "uv", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--python", place, "--requirement", pins
        )
        made = Path(folder) / "sbom.json"
        options = ("--pyproject", ROOT / "pyproject.toml", "--output-reproducible", "--validate", "--output-file", made)
        _run("uv", "tool", "run", "--from", CYCLONEDX, "cyclonedx-py", "environment", *options, place)
        bill = json.loads(made.read_text())
        for one in bill["components"]:
            if one["name"] in UNDECLARED:
                one.setdefault("licenses", [{"license": {"id": UNDECLARED[one["name"]]}}])
        target.write_text(json.dumps(bill, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def audit() -> int:
    """What is known against them, printed; and how that ended."""
    wanted = needed()
    with tempfile.TemporaryDirectory(prefix="rollout-supply-") as folder:
        pins = Path(folder) / "requirements.txt"
        pins.write_text("".join(f"{name}=={version}\n" for name, version in wanted.items()))
        options = ("--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off")
        asked = ("uv", "tool", "run", "--from", PIP_AUDIT, "pip-audit", "--requirement", pins, *options)
        done = subprocess.run(_words(*asked), capture_output=True, text=True, check=False, cwd=folder)
    try:
        answers: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"audit: none of {len(wanted)} packages could be asked for: {last[:300]}")
        return NOT_ASKED
    return judged(wanted, answers)


def judged(wanted: dict[str, str], answers: list[dict[str, Any]]) -> int:
    """A package that was skipped, or is not among the answers, was not asked for."""
    told = {str(canonicalize_name(one["name"])): one for one in answers if "skip_reason" not in one}
    missing = sorted(wanted.keys() - told.keys())
    known = [(name, one["version"], hit) for name, one in sorted(told.items()) for hit in one.get("vulns", ())]
    for name, version, hit in known:
        print(f"audit: {name} {version}: {hit['id']}, mended in {', '.join(hit['fix_versions']) or 'no version yet'}")
    if missing:
        skipped = next((str(one["skip_reason"]) for one in answers if "skip_reason" in one), "there was no answer")
        some = ", ".join(missing[:5])
        print(f"audit: {len(missing)} of {len(wanted)} packages were NOT looked at ({some} ...): {skipped}")
    if known:
        return VULNERABLE
    if missing:
        return NOT_ASKED
    print(f"audit: nothing is known against any of {len(wanted)} packages")
    return FINE


def _words(*words: str | Path) -> list[str]:
    program = Path(sys.executable).with_name(str(words[0]))
    return [str(program), *map(str, words[1:])]


def _run(*words: str | Path) -> None:
    plain = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(_words(*words), capture_output=True, text=True, check=False, env=plain)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words[:4]))} ended with {done.returncode}:\n{done.stderr}")


def main() -> int:
    write_sbom(SBOM)
    print(f"{SBOM.name} is written")
    return audit()


if __name__ == "__main__":
    sys.exit(main())
