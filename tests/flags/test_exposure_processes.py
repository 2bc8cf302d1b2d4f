"""Several processes behind one scrape, as gunicorn's workers are: prometheus_client's multi-process mode, for real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.process import ROOT

FLAGS = """
import os, sys
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from flags import FlagDocument, Snapshot
from flags.exposure import Exposure

flags = Exposure(Snapshot([FlagDocument("new-api", percentage=30)]))

def count(times, fails):
    for number in range(times):
        try:
            with flags.exposure("new-api", {"targetingKey": "user-2" if number % 2 else "user-1"}):
                if number < fails:
                    raise ValueError
        except ValueError:
            pass
"""
SCRAPE = """
registry = CollectorRegistry()
MultiProcessCollector(registry)
sys.stdout.write(generate_latest(registry).decode())
"""
PREFORK = """
count(4, 0)
children = []
for fails in (2, 6):
    pid = os.fork()
    if pid == 0:
        count(100, fails)
        os._exit(0)
    children.append(pid)
assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0]
"""


def run(folder: Path, code: str) -> str:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def values(text: str, name: str) -> dict[tuple[str, ...], float]:
    """By arm, band and outcome, as far as there are these."""
    labels = ("arm", "band", "outcome")
    return {
        tuple(sample.labels[label] for label in labels if label in sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


@pytest.mark.parametrize(
    "counting", ("one after the other", "forked after the parent has counted"), ids=("started", "forked")
)
def test_what_processes_count_adds_up_and_no_series_is_there_twice(tmp_path: Path, counting: str) -> None:
    if counting == "one after the other":
        run(tmp_path, FLAGS + "count(4, 0)")
        run(tmp_path, FLAGS + "count(100, 2)")
        text = run(tmp_path, FLAGS + "count(100, 6)" + SCRAPE)
    else:
        text = run(tmp_path, FLAGS + PREFORK + SCRAPE)
    assert values(text, "rollout_exposures_total") == {
        ("canary", "25", "ok"): 98,
        ("canary", "25", "error"): 4,
        ("control", "100", "ok"): 98,
        ("control", "100", "error"): 4,
    }
    assert values(text, "rollout_exposure_seconds_count") == {("canary",): 102, ("control",): 102}
    assert len(list(tmp_path.glob("counter_*.db"))) == 3


def test_a_child_forked_while_other_threads_meet_new_flags_can_count(tmp_path: Path) -> None:
    code = """
import threading
from flags.exposure import Answer

stop = threading.Event()

def meet(name):
    number = 0
    while not stop.is_set():
        Exposure(registry=CollectorRegistry(), most_flags=1).answered(f"{name}", str(number), Answer(True))
        number += 1

threads = [threading.Thread(target=meet, args=(name,)) for name in "ab"]
for thread in threads:
    thread.start()
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        Exposure(registry=CollectorRegistry())
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
"""
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    command = [sys.executable, "-c", FLAGS + code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
