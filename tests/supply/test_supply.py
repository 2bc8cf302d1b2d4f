"""What the package consists of is written down, and nobody is told that all is well who was not answered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from tests.supply.__main__ import FINE, NOT_ASKED, SBOM, VULNERABLE, judged, locked, needed, version_in

WANTED = {"httpx": "1.0", "yarl": "2.0"}


def answer(name: str, *vulnerabilities: str) -> dict[str, Any]:
    hits = [{"id": one, "fix_versions": ["9.9"]} for one in vulnerabilities]
    return {"name": name, "version": WANTED[name], "vulns": hits}


def test_the_bill_of_materials_names_every_locked_package_with_version_and_licence() -> None:
    bill = json.loads(SBOM.read_text())
    parts = {str(canonicalize_name(one["name"])): one for one in bill["components"]}
    here, pins = needed(), {name: version_in(block) for name, block in locked().items()}
    assert here.keys() <= parts.keys(), "it is old: `make audit` writes it"
    assert {name: one["version"] for name, one in parts.items()} == {name: pins[name] for name in parts}
    assert not [name for name, one in parts.items() if not one.get("licenses")]
    assert all(one["purl"].startswith("pkg:pypi/") for one in parts.values())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "staged-rollout")


def test_what_only_tests_need_is_no_part_of_the_package() -> None:
    assert {"httpx", "psycopg", "cryptography", "grpcio"} <= needed().keys()
    assert not {"pytest", "hypothesis", "mypy", "ruff"} & needed().keys()


def test_all_is_well_only_where_every_package_was_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert judged(WANTED, [answer("httpx"), answer("yarl")]) == FINE
    assert "nothing is known against any of 2" in capsys.readouterr().out
    assert judged(WANTED, [answer("httpx")]) == NOT_ASKED
    skipped = {"name": "yarl", "skip_reason": "it is on no index"}
    assert judged(WANTED, [answer("httpx"), skipped]) == NOT_ASKED
    assert "1 of 2 packages were NOT looked at (yarl ...): it is on no index" in capsys.readouterr().out
    assert judged(WANTED, [answer("httpx", "CVE-1"), skipped]) == VULNERABLE
    assert "httpx 1.0: CVE-1, mended in 9.9" in capsys.readouterr().out
