"""What an API server's refusals become: kinds that callers tell apart, and sentences."""

from typing import Any

import pytest

from orchestrator.adapters.kubernetes.errors import (
    Absent,
    Exists,
    Forbidden,
    Gone,
    Invalid,
    Stale,
    Unauthenticated,
    Unavailable,
    error_of,
)
from orchestrator.errors import Permanent, Temporary

TITLE = "Kubernetes (prod)"


@pytest.mark.parametrize(
    ("status", "reason", "kind", "axis"),
    (
        (400, "BadRequest", Invalid, Permanent),
        (401, "Unauthorized", Unauthenticated, Temporary),
        (403, "Forbidden", Forbidden, Permanent),
        (404, "NotFound", Absent, Permanent),
        (409, "AlreadyExists", Exists, Permanent),
        (409, "Conflict", Stale, Permanent),
        (410, "Expired", Gone, Temporary),
        (415, "UnsupportedMediaType", Invalid, Permanent),
        (422, "Invalid", Invalid, Permanent),
        (429, "TooManyRequests", Unavailable, Temporary),
        (500, "InternalError", Unavailable, Temporary),
        (504, "Timeout", Unavailable, Temporary),
    ),
)
def test_each_status_is_of_its_kind(status: int, reason: str, kind: type, axis: type) -> None:
    error = error_of(status, {"reason": reason, "message": "so it is."}, TITLE, 7.0)
    assert type(error) is kind
    assert isinstance(error, axis)
    if isinstance(error, Temporary):
        assert error.retry_after_seconds == 7.0
    if kind is not Unauthenticated:
        assert str(error) == "Kubernetes (prod) says: so it is"


@pytest.mark.parametrize(
    ("message", "sentence"),
    (
        (
            (
                'deployments.apps "api" is forbidden: User "bob" cannot patch resource "deployments/scale" in '
                'API group "apps" in the namespace "shop"'
            ),
            (
                "Kubernetes (prod) does not let bob patch deployments.apps/scale in namespace shop; bind it to a "
                'Role with the rule {apiGroups: ["apps"], resources: ["deployments/scale"], verbs: ["patch"]}'
            ),
        ),
        (
            (
                'pods is forbidden: User "system:serviceaccount:ops:rollout" cannot list resource "pods" in API '
                'group "" in the namespace "shop"'
            ),
            (
                "Kubernetes (prod) does not let system:serviceaccount:ops:rollout list pods in namespace shop; "
                'bind it to a Role with the rule {apiGroups: [""], resources: ["pods"], verbs: ["list"]}'
            ),
        ),
        (
            'nodes is forbidden: User "bob" cannot list resource "nodes" in API group "" at the cluster scope',
            (
                "Kubernetes (prod) does not let bob list nodes; bind it to a ClusterRole with the rule "
                '{apiGroups: [""], resources: ["nodes"], verbs: ["list"]}'
            ),
        ),
        (
            'pods "api-1" is forbidden: exceeded quota: few',
            'Kubernetes (prod) says: pods "api-1" is forbidden: exceeded quota: few',
        ),
    ),
)
def test_what_is_forbidden_says_to_whom_and_what_would_allow_it(message: str, sentence: str) -> None:
    assert str(error_of(403, {"message": message}, TITLE, None)) == sentence


def test_single_causes_are_kept() -> None:
    causes: list[Any] = [{"reason": "FieldManagerConflict", "message": 'conflict with "helm"'}]
    error = error_of(409, {"reason": "Conflict", "details": {"causes": causes}}, TITLE, None)
    assert list(error.causes) == causes


def test_an_answer_that_is_no_status_is_told_by_its_number() -> None:
    assert str(error_of(502, {}, TITLE, None)) == "Kubernetes (prod) says: HTTP status 502"


def test_a_long_message_is_cut() -> None:
    assert len(str(error_of(400, {"message": "x" * 10_000}, TITLE, None))) < 700
