"""Fifty applications, each a process of its own, and the real `rollout serve`, with a network between them that parts.

ROLLOUT_PARTITION_SECONDS is how long (20 unless it says otherwise). Of a short one the clients notice as much as of a
long one by being less patient: a stream in which nothing comes for longer than a heartbeat takes is given up.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import pytest

from flags.client import Timing
from flags.feed import FeedVersion
from tests.acceptance.worlds.host import Host, Json
from tests.flags.client_world import Network
from tests.support.process import DEADLINE_SECONDS, ROOT, Child, wait_until

PARTITION_SECONDS = float(os.environ.get("ROLLOUT_PARTITION_SECONDS", "20"))
TIMING = Timing() if PARTITION_SECONDS >= 120 else Timing(silent_seconds=17, longest_retry_seconds=2)
CLIENTS = 50
CHANGES = 4  # while the network is parted
LAST = 5
REASON = ("--reason", "because of the test")
START_SECONDS = 120.0  # of fifty processes, on a busy machine
HEALED_SECONDS = 200.0  # until the last client has asked again

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(PARTITION_SECONDS + 400)]

APPLICATION = """
import json, os, pathlib, sys, time
from flags.client import FlagClient, Timing

url, mode, timing, path = sys.argv[1:]
report, user = pathlib.Path(path), {"targetingKey": "somebody"}
asked, slowest_ms, seen, versions, told_at = 0, 0.0, [], [], 0.0
with FlagClient(url, mode=mode, poll_seconds=2, timing=Timing(**json.loads(timing))) as client:
    while True:
        began = time.perf_counter()
        is_on, details = client.is_on("new", user), client.details("new", False, user)
        slowest_ms = max(slowest_ms, (time.perf_counter() - began) * 1000)
        asked += 1
        answer = [details.metadata.get("change"), details.metadata.get("killed", False), details.value]
        if answer not in seen[-1:]:
            seen.append(answer)
        status = client.status()
        if [status.version] != [version for version, _ in versions[-1:]]:
            versions.append((status.version, time.time()))
        if time.monotonic() - told_at > 0.25:
            told_at = time.monotonic()
            said = {"asked": asked, "slowest_ms": slowest_ms, "on": is_on, "seen": seen, "versions": versions,
                    "connected": status.connected, "age_seconds": status.age_seconds, "error": status.last_error}
            made = report.with_suffix(".new")
            made.write_text(json.dumps(said))
            made.replace(report)
        time.sleep(0.01)
"""


class Applications:
    """Half of them listen, half poll. What each has seen is in a file that it replaces four times a second."""

    def __init__(self, url: str, folder: Path) -> None:
        self._reports = [folder / f"application-{number}.json" for number in range(CLIENTS)]
        timing = json.dumps(asdict(TIMING))
        self.children = [
            Child([sys.executable, "-c", APPLICATION, url, ("stream", "poll")[number % 2], timing, report], folder)
            for number, report in enumerate(self._reports)
        ]
        for child in self.children:
            child.environment["PYTHONPATH"] = str(ROOT)

    def reports(self) -> list[Json]:
        """Of those that have made one."""
        for child in self.children:
            assert child.running, f"{child} ended with {child.exit_code}: {child.errors}"
        return [json.loads(report.read_text()) for report in self._reports if report.exists()]

    def until_all(self, what: str, seconds: float = DEADLINE_SECONDS, **wanted: object) -> list[Json]:
        def so() -> list[Json]:
            found = self.reports()
            met = [one for one in found if all(one[name] == value for name, value in wanted.items())]
            return met if len(met) == CLIENTS else []

        return wait_until(so, what=what, deadline_seconds=seconds, every_seconds=0.25)

    def until_all_answered_again(self) -> list[Json]:
        """Each of them has been asked since, and has answered."""
        before = [one["asked"] for one in self.reports()]

        def so() -> list[Json]:
            found = self.reports()
            return found if all(one["asked"] > asked for one, asked in zip(found, before, strict=True)) else []

        return wait_until(so, what="every client to answer", every_seconds=0.25)


@pytest.fixture
def network(host: Host, free_port: int) -> Iterator[Network]:
    host.rollout.start("serve", "--listen", f"127.0.0.1:{free_port}")
    wait_until(host.controller, what="a controller")
    with Network(free_port) as made:
        yield made


@pytest.fixture
def applications(host: Host, network: Network) -> Iterator[Applications]:
    change(host, 0)
    with ExitStack() as stack:
        made = Applications(network.url, host.folder)
        for child in made.children:
            stack.enter_context(child)
        made.until_all("all clients to be fed", START_SECONDS, on=True, connected=True)
        yield made


def is_on_after(number: int) -> bool:
    return number % 2 == 0


def change(host: Host, number: int) -> None:
    """Every one turns the flag over, and is known by its number."""
    percentage = "100" if is_on_after(number) else "0"
    arguments = ("--percentage", percentage, "--state", "enabled", "--parameter", f"change={number}", *REASON)
    host.ok("flag", "set", "new", *arguments)


def test_through_a_partition_every_client_answers_none_goes_back_and_all_catch_up(
    host: Host, network: Network, applications: Applications
) -> None:
    network.part()
    parted_at = time.time()
    for number in range(1, CHANGES + 1):
        change(host, number)
        while time.time() < parted_at + PARTITION_SECONDS * number / CHANGES:
            for one in applications.until_all_answered_again():
                assert one["seen"][-1] == [0, False, True], one
            time.sleep(0.5)
    host.ok("flag", "disable-all", *REASON)
    applications.until_all("every client to know that it is alone", connected=False, on=True)

    network.heal()
    healed_at = time.time()
    applications.until_all("the kill switch to reach every client", HEALED_SECONDS, on=False, connected=True)
    host.ok("flag", "lift", "--yes", *REASON)
    applications.until_all("what changed meanwhile to be answered", on=True)
    change(host, LAST)
    found = applications.until_all("the next change to reach every client", on=False, connected=True, error=None)
    for one in found:
        check_history(one)
    tell(found, parted_at, healed_at)


def check_history(report: Json) -> None:
    """Versions only rise, and whoever has seen a change answers as it says."""
    versions = [FeedVersion.parse(version) for version, _ in report["versions"] if version is not None]
    assert versions == sorted(versions), report
    seen = [one for one in report["seen"] if one[0] is not None]
    assert [number for number, *_ in seen] == sorted(number for number, *_ in seen), report
    assert seen[-1] == [LAST, False, False], report
    assert all(value is (is_on_after(number) and not killed) for number, killed, value in seen), report


def tell(reports: list[Json], parted_at: float, healed_at: float) -> None:
    """For who reads it (`pytest -s`): how it went."""
    caught_up = sorted(min(at for _, at in one["versions"] if at > healed_at) - healed_at for one in reports)
    slowest_ms = max(one["slowest_ms"] for one in reports)
    print(
        f"\nparted for {healed_at - parted_at:.0f} s: {sum(one['asked'] for one in reports):,} answers of "
        f"{len(reports)} clients, the slowest in {slowest_ms:.1f} ms; caught up {caught_up[0]:.1f} to "
        f"{caught_up[-1]:.1f} s after, half of them within {caught_up[len(caught_up) // 2]:.1f} s"
    )
