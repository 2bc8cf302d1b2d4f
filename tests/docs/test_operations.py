"""The page about operations: its unit, its backup, its alerts; and every link of every page."""

import configparser
import re
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from orchestrator.cli.parser import make_parser
from tests.docs.blocks import blocks, pages
from tests.support.ports import free_port
from tests.support.process import ROOT, Rollout, wait_until

PAGE = (ROOT / "docs" / "operations.md").read_text()
PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: kept}
spec:
  flags: {kept: {}}
  stages: [{name: open, kind: batch, flag: kept, percentages: [5, 100], bake: 1h, settle: 0s}]
"""


def test_the_unit_starts_what_there_is() -> None:
    (text,) = [block.text for block in blocks() if block.language == "ini"]
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(text)
    program, *words = shlex.split(unit["Service"]["ExecStart"])
    assert program.endswith("/rollout")
    make_parser(words[0]).parse_args(words)
    assert int(unit["Service"]["TimeoutStopSec"]) > 10


def test_every_alert_has_its_row() -> None:
    rules = YAML(typ="safe", pure=True).load((ROOT / "manifests" / "monitoring" / "rules.yaml").read_text())
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    assert re.findall(r"^\| `(Rollout\w+)` \|", PAGE, re.MULTILINE) == alerts


def test_a_copy_of_the_store_that_was_made_under_way_can_be_gone_back_to(rollout: Rollout) -> None:
    store, copy = rollout.state / "staged-rollout" / "rollout.db", rollout.folder / "copy.db"
    (rollout.folder / "plan.yaml").write_text(PLAN)
    listen = f"127.0.0.1:{free_port()}"
    controller = rollout.start("serve", "--listen", listen)
    controller.wait_for("controller at")
    run = rollout.run("start", "plan.yaml", "--detach").last_line
    wait_until(lambda: rollout.json("status", run)["percentages"] == {"kept": 5}, what="the first step")
    with closing(sqlite3.connect(store)) as there, closing(sqlite3.connect(copy)) as made:
        there.backup(made)  # what `.backup` of the command does
    rollout.run("flag", "disable-all", "--reason", "after the copy")
    assert rollout.run("stop", run, "--reason", "after the copy").code == 0
    assert controller.stop() == 0
    copy.replace(store)
    for beside in ("-wal", "-shm"):
        store.with_name(store.name + beside).unlink(missing_ok=True)
    rollout.start("serve", "--listen", listen).wait_for("controller at")
    stands = rollout.json("status", run)
    assert (stands["phase"], stands["percentages"]) == ("running", {"kept": 5})
    assert "killed" in [hold["reason"] for hold in stands["holds"]]


def headings(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^()\s]+)\)", page.read_text()):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor and there.suffix == ".md":
            assert anchor in headings(there), f"{page.name}: {target}"
