"""What a workload shall be against what it is, and whose work the difference is."""

from typing import Any

import pytest

from orchestrator.adapters.kubernetes.marks import Author, owner_of, written_at
from orchestrator.adapters.kubernetes.wishes import Wish, only_container
from orchestrator.adapters.kubernetes.workloads import Workload
from orchestrator.errors import Permanent, Temporary

OURS = "stagedrollout.io"
RUN = "shop-1a2b"


def entry(manager: str, at: str, fields: dict[str, Any], **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": "Update", "time": at, "fieldsV1": fields, **more}


REPLICAS: dict[str, Any] = {"f:spec": {"f:replicas": {}}}
IMAGE: dict[str, Any] = {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"app"}': {"f:image": {}}}}}}}


def workload(
    replicas: int = 3, image: str = "shop:1", run: str | None = None, managed: list[dict[str, Any]] | None = None
) -> Workload:
    marks = {"stagedrollout.io/run": run} if run else {}
    content = {
        "metadata": {"name": "api", "annotations": marks, "managedFields": managed or []},
        "spec": {
            "replicas": replicas,
            "template": {
                "spec": {
                    "containers": [{"name": "app", "image": image}],
                    "initContainers": [{"name": "first", "image": "tool:1"}],
                }
            },
        },
    }
    return Workload("deployment/api", content)


def test_what_is_as_wished_or_as_it_was_is_nobody_elses() -> None:
    wish, before = Wish(replicas=5), Wish(replicas=3)
    assert wish.strangers(workload(replicas=5), before, RUN) == []
    assert wish.strangers(workload(replicas=3), before, RUN) == []


def test_what_is_neither_is_somebody_elses() -> None:
    wish, before = Wish(5, "app", "shop:2"), Wish(3, "app", "shop:1")
    assert wish.strangers(workload(replicas=4, image="shop:1"), before, RUN) == ["replicas"]
    assert wish.strangers(workload(replicas=5, image="shop:7"), before, RUN) == ["image"]
    assert wish.strangers(workload(replicas=4, image="shop:7"), before, RUN) == ["replicas", "image"]


@pytest.mark.parametrize(
    ("run", "managed", "is_ours"),
    (
        (RUN, [entry(OURS, "2026-01-01T00:00:00Z", IMAGE)], True),
        ("other-run", [entry(OURS, "2026-01-01T00:00:00Z", IMAGE)], False),
        (RUN, [entry("kubectl-set", "2026-01-01T00:01:00Z", IMAGE), entry(OURS, "2026-01-01T00:00:00Z", {})], False),
        (RUN, [entry(OURS, "2026-01-01T00:00:00Z", REPLICAS)], False),
        (RUN, [], False),
    ),
)
def test_what_this_run_wrote_on_its_way_is_its_own(run: str, managed: list[dict[str, Any]], is_ours: bool) -> None:
    wish, before = Wish(container="app", image="shop:1"), Wish(container="app", image="shop:1")
    now = workload(image="shop:2", run=run, managed=managed)
    assert (wish.strangers(now, before, RUN) == []) is is_ours


def test_a_restart_is_taken_by_nobody_else() -> None:
    assert Wish(restarted_by="effect-1").strangers(workload(), Wish(), RUN) == []


def test_only_what_is_wished_is_written() -> None:
    now = workload()
    assert Wish(replicas=0).spec(now) == {"replicas": 0}
    assert Wish(container="first", image="tool:2").spec(now) == {
        "template": {"spec": {"initContainers": [{"name": "first", "image": "tool:2"}]}}
    }
    assert Wish(4, "app", "shop:2").spec(now) == {
        "replicas": 4,
        "template": {"spec": {"containers": [{"name": "app", "image": "shop:2"}]}},
    }


def test_a_container_is_the_only_one_or_named() -> None:
    assert only_container(workload(), None) == "app"
    assert only_container(workload(), "first") == "first"
    with pytest.raises(Permanent, match="deployment/api has no container web; it has app, first"):
        only_container(workload(), "web")


def test_the_newest_who_wrote_a_field_owns_it_and_status_is_no_field_of_ours() -> None:
    managed = [
        entry("helm", "2026-01-01T00:00:00Z", REPLICAS),
        entry("kubectl", "2026-01-02T00:00:00Z", REPLICAS, subresource="scale"),
        entry("kube-controller-manager", "2026-01-03T00:00:00Z", REPLICAS, subresource="status"),
    ]
    metadata = {"managedFields": managed}
    assert owner_of(metadata, ("f:spec", "f:replicas")) == "kubectl"
    assert owner_of(metadata, ("f:spec", "f:paused")) is None
    assert owner_of({}, ("f:spec", "f:replicas")) is None


def test_when_we_wrote_last_is_in_the_servers_words() -> None:
    managed = [entry(OURS, "2026-01-01T00:00:00Z", IMAGE), entry("helm", "2026-01-02T00:00:00Z", IMAGE)]
    assert written_at({"managedFields": managed}) == "2026-01-01T00:00:00Z"
    assert written_at({}) == ""


# --- marks ------------------------------------------------------------------------------------------------------------

AUTHOR = Author("effect-1", RUN, 3)


def test_an_effect_knows_its_own_marks_and_when_it_began() -> None:
    marks = AUTHOR.annotations(1_700_000_000.0)
    assert AUTHOR.has_marked(marks)
    assert AUTHOR.is_current(marks)
    assert AUTHOR.began_at(marks) == 1_700_000_000.0

    later = Author("effect-1", RUN, 4)
    assert later.has_marked(marks)
    assert not later.is_current(marks)
    assert Author("effect-2", RUN, 3).began_at(marks) is None


@pytest.mark.parametrize("since", ({}, {"stagedrollout.io/since": "yesterday"}))
def test_marks_that_somebody_spoilt_say_nothing_of_the_time(since: dict[str, str]) -> None:
    marks = {"stagedrollout.io/effect": "effect-1", "stagedrollout.io/run": RUN, **since}
    assert AUTHOR.began_at(marks) is None


def test_who_lost_the_run_writes_nothing_more() -> None:
    newer = Author("effect-9", RUN, 4).annotations(0.0)
    with pytest.raises(Temporary, match="another controller has taken shop-1a2b over"):
        AUTHOR.check(newer, "deployment/api")


@pytest.mark.parametrize(
    "marks",
    (
        {},
        Author("effect-9", RUN, 3).annotations(0.0),
        Author("effect-9", RUN, 2).annotations(0.0),
        Author("effect-9", "another-run", 9).annotations(0.0),
        {"stagedrollout.io/run": RUN, "stagedrollout.io/epoch": "many"},
    ),
)
def test_older_lives_and_other_runs_do_not_fence(marks: dict[str, str]) -> None:
    AUTHOR.check(marks, "deployment/api")
