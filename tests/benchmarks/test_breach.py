"""The benchmark of breaches: what its servers note, what it makes of tries, and a few real ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import _flagger_fleet, breach
from benchmarks._argo import ReplicaSets, argo_folder
from benchmarks._flagger import Watch
from benchmarks._flipped_server import BAD, FlippedServer

QUERY = "/api/v1/query?time=1800000000&query=failures_total%7Bservice%3D%22shop%22%7D"


def value_of(answer: str) -> str:
    value: str = json.loads(answer)["data"]["result"][0]["value"][1]
    return value


def told(server: FlippedServer, what: str) -> dict[str, float | None]:
    answer: dict[str, float | None] = json.loads(server.answer(f"/{what}?service=shop", ""))
    return answer


def route(weight: int) -> dict[str, Any]:
    backends = [{"name": "shop-primary", "weight": 100 - weight}, {"name": "shop-canary", "weight": weight}]
    return {"metadata": {"name": "shop"}, "spec": {"rules": [{"backendRefs": backends}]}}


def result_with(peers: dict[str, Any], not_measured: dict[str, str]) -> dict[str, Any]:
    ours = breach.of_tries([breach.Try(10.0, 10.5, 10.52), breach.Try(20.0, 20.1, 20.12)])
    return {
        "decided_to_off_p50_s": ours["decided_to_off"]["p50_s"],
        "decided_to_off_p99_s": ours["decided_to_off"]["p99_s"],
        "breach_to_off_p50_s": ours["breach_to_off"]["p50_s"],
        "by_every": {"1": ours},
        "peers": peers,
        "not_measured": not_measured,
        "runs_at_once": 5,
        "load": [0.1, 0.2, 0.3],
        "machine": "two cores",
        "versions": {"python": "3.11"},
    }


def test_a_service_is_healthy_until_it_is_flipped_and_again_when_it_is_mended() -> None:
    server = FlippedServer()
    assert value_of(server.answer(QUERY, "")) != BAD
    told(server, "flip")
    assert value_of(server.answer(QUERY, "")) == BAD
    assert value_of(server.answer(QUERY.replace("shop", "other"), "")) != BAD
    told(server, "mend")
    assert value_of(server.answer(QUERY, "")) != BAD


def test_the_first_bad_answer_is_the_one_that_counts() -> None:
    server = FlippedServer()
    server.answer(QUERY, "")
    flipped = told(server, "flip")
    assert flipped["flipped_at"] is not None
    assert flipped["bad_at"] is None
    server.answer(QUERY, "")
    first = told(server, "told")["bad_at"]
    assert first is not None
    assert first >= flipped["flipped_at"]
    server.answer(QUERY, "")
    assert told(server, "flip") == {**flipped, "bad_at": first}


def test_a_peer_that_asks_whether_anybody_is_there_hears_that_it_is_so() -> None:
    assert value_of(FlippedServer().answer("/api/v1/query?query=vector%281%29", "")) == "1"


def test_a_canary_is_at_zero_once_it_had_a_share_and_lost_it() -> None:
    watch = Watch()
    watch.note(route(0), 1.0)
    assert watch.zero_at == {}
    watch.note(route(5), 2.0)
    watch.note(route(0), 3.0)
    watch.note(route(0), 4.0)
    assert watch.zero_at == {"shop": 3.0}
    watch.note(route(1), 5.0)
    assert watch.zero_at == {}


def replica_set(name: str, replicas: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "ownerReferences": [{"name": "shop"}]}, "spec": {"replicas": replicas}}


def test_a_canary_of_two_replica_sets_is_at_zero_once_the_new_one_is_told_so() -> None:
    sets = ReplicaSets()
    sets.note(replica_set("shop-old", 2), 1.0)
    assert not sets.is_shared("shop")
    sets.note(replica_set("shop-new", 1), 2.0)
    assert sets.is_shared("shop")
    sets.note(replica_set("shop-new", 0), 3.0)
    sets.note(replica_set("shop-old", 2), 4.0)
    assert sets.zero_at == {"shop": 3.0}
    sets.note(replica_set("shop-newer", 1), 5.0)
    assert sets.zero_at == {}


def test_a_folder_without_the_controller_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT_ARGO_ROLLOUTS", str(tmp_path))
    with pytest.raises(RuntimeError, match="rollouts-controller or the definitions"):
        argo_folder()
    monkeypatch.delenv("ROLLOUT_ARGO_ROLLOUTS")
    with pytest.raises(RuntimeError, match="names no folder"):
        argo_folder()


def test_seconds_count_from_the_answer_and_from_the_breach() -> None:
    found = breach.of_tries(
        [breach.Try(10.0, 10.5, 10.52), breach.Try(20.0, 20.1, 20.14), breach.Try(30.0, 30.9, 31.0)]
    )
    assert found["tries"] == 3
    assert found["decided_to_off"] == {"p50_s": 0.04, "p99_s": 0.1, "least_s": 0.02, "most_s": 0.1}
    assert found["breach_to_off"] == {"p50_s": 0.52, "p99_s": 1.0, "least_s": 0.14, "most_s": 1.0}


def test_a_peer_that_was_measured_is_compared() -> None:
    peer = {**breach.peer_of(breach.of_tries([breach.Try(0.0, 4.0, 14.0)])), "every_s": 10, "version": "1.44.0"}
    shown = breach.table(result_with({"flagger": peer}, {}))
    assert "Flagger 1.44.0, every 10 s" in shown
    assert "Flagger takes 500.0 times as long" in shown


def test_a_peer_that_was_not_measured_has_a_reason_and_no_ratio() -> None:
    shown = breach.table(result_with({}, {"flagger": "no Go"}))
    assert "Flagger: not measured: no Go" in shown
    assert "times as long" not in shown


@pytest.mark.slow
@pytest.mark.acceptance
def test_a_flag_is_off_in_an_application_after_the_answer_that_decides() -> None:
    result = breach.measured(2, 0, 0)
    found = result["by_every"]["1"]
    assert found["tries"] == 2
    assert 0 < found["decided_to_off"]["least_s"] <= found["breach_to_off"]["least_s"]
    assert result["decided_to_off_p50_s"] <= result["decided_to_off_p99_s"] == found["decided_to_off"]["most_s"]
    assert result["peers"] == {}
    assert "a look every 1 s" in breach.table(result)


def test_a_fleet_of_canaries_is_not_watched_until_the_first_ones_are_promoted() -> None:
    with pytest.raises(ValueError, match="seconds: at most 400"):
        _flagger_fleet.measure(1, 401)
