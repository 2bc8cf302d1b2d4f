"""Copies of Deployments: what they are made of, and how many of their pods stand in for the first."""

from typing import Any

import pytest

from orchestrator.adapters.kubernetes.making import missing_at_most, spec_of_copy
from orchestrator.adapters.kubernetes.wishes import Wish
from orchestrator.adapters.kubernetes.workloads import Workload
from tests.support.workloads import workload

ARM = {"stagedrollout.io/arm": "canary"}


def deployment(**spec: Any) -> Workload:
    return Workload("deployment/api", workload("api", "shop:1", replicas=4, **spec))


@pytest.mark.parametrize(
    ("rolling", "replicas", "missing"),
    (
        ({}, 4, 1),
        ({}, 3, 0),  # a quarter of three is rounded down
        ({"maxUnavailable": 0, "maxSurge": 1}, 4, 0),
        ({"maxUnavailable": 3}, 4, 3),
        ({"maxUnavailable": 9}, 4, 4),
        ({"maxUnavailable": "100%"}, 4, 4),
        ({"maxUnavailable": "50%"}, 5, 2),
        ({"maxUnavailable": "10%", "maxSurge": 0}, 4, 1),  # neither fewer nor more would never end
    ),
)
def test_pods_that_may_be_missing_follow_the_strategy(rolling: dict[str, Any], replicas: int, missing: int) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    assert missing_at_most(deployment(strategy=strategy), replicas) == missing


def test_a_copy_is_as_the_first_but_for_its_image_and_a_label_of_its_own() -> None:
    both = [{"name": "proxy", "image": "envoy:1"}, {"name": "app", "image": "shop:1", "env": []}]
    original = deployment(minReadySeconds=5, paused=True, pod={"containers": both})
    made = spec_of_copy(original, Wish(replicas=2, container="app", image="shop:2"))
    assert made == {
        "replicas": 0,
        "minReadySeconds": 5,
        "selector": {"matchLabels": {"app": "api", **ARM}},
        "template": {
            "metadata": {"labels": {"app": "api", **ARM}},
            "spec": {"containers": [both[0], {"name": "app", "image": "shop:2", "env": []}]},
        },
    }
    assert original.spec["paused"]
    assert original.containers()["app"] == "shop:1"


def test_a_selector_by_expressions_gets_the_label_beside_them() -> None:
    expressions = [{"key": "app", "operator": "In", "values": ["api"]}]
    made = spec_of_copy(deployment(selector={"matchExpressions": expressions}), Wish())
    assert made["selector"] == {"matchExpressions": expressions, "matchLabels": ARM}
