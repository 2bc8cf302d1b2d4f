"""Which role may ask what, as data: every route of the server, or the tests that go through them fail."""

from typing import Any

WHY = {"reason": "a test"}
EVALUATE = {"context": {"targetingKey": "user-1"}}

# method, path in OpenAPI, path asked, body -> the least role; "local": none on loopback; "open": none anywhere
MATRIX: tuple[tuple[str, str, str, Any, str], ...] = (
    ("POST", "/api/v1/runs", "/api/v1/runs", {}, "operator"),
    ("GET", "/api/v1/runs", "/api/v1/runs", None, "viewer"),
    ("GET", "/api/v1/runs/{run}", "/api/v1/runs/search", None, "viewer"),
    ("POST", "/api/v1/runs/{run}/commands", "/api/v1/runs/search/commands", {"command": "pause", **WHY}, "operator"),
    ("GET", "/api/v1/runs/{run}/commands", "/api/v1/runs/search/commands", None, "viewer"),
    ("GET", "/api/v1/runs/{run}/events", "/api/v1/runs/search/events", None, "viewer"),
    ("GET", "/api/v1/runs/{run}/timeline", "/api/v1/runs/search/timeline", None, "viewer"),
    ("GET", "/api/v1/runs/{run}/journal", "/api/v1/runs/search/journal", None, "viewer"),
    ("GET", "/api/v1/runs/{run}/report", "/api/v1/runs/search/report", None, "viewer"),
    ("POST", "/api/v1/plans/validate", "/api/v1/plans/validate", {"text": "kind: Nothing"}, "viewer"),
    ("POST", "/api/v1/plans/foresee", "/api/v1/plans/foresee", {"text": "kind: Nothing"}, "operator"),
    ("GET", "/api/v1/approvals", "/api/v1/approvals", None, "viewer"),
    ("GET", "/api/v1/flags", "/api/v1/flags", None, "viewer"),
    ("GET", "/api/v1/flags/{key}", "/api/v1/flags/new-api", None, "viewer"),
    ("PATCH", "/api/v1/flags/{key}", "/api/v1/flags/new-api", {"percentage": 5, **WHY}, "operator"),
    ("GET", "/api/v1/flag-history/{key}", "/api/v1/flag-history/new-api", None, "viewer"),
    ("POST", "/api/v1/flags/import", "/api/v1/flags/import", {"flagd": {"flags": {}}, **WHY}, "operator"),
    ("GET", "/api/v1/me", "/api/v1/me", None, "viewer"),
    ("GET", "/api/v1/freeze", "/api/v1/freeze", None, "viewer"),
    ("POST", "/api/v1/freeze", "/api/v1/freeze", WHY, "operator"),
    ("DELETE", "/api/v1/freeze", "/api/v1/freeze", WHY, "approver"),
    ("GET", "/api/v1/schedules", "/api/v1/schedules", None, "viewer"),
    ("POST", "/api/v1/schedules", "/api/v1/schedules", {}, "operator"),
    ("GET", "/api/v1/schedules/{name}", "/api/v1/schedules/nightly", None, "viewer"),
    ("DELETE", "/api/v1/schedules/{name}", "/api/v1/schedules/nightly", WHY, "operator"),
    ("POST", "/api/v1/tokens", "/api/v1/tokens", {"name": "kim", "role": "viewer"}, "admin"),
    ("GET", "/api/v1/tokens", "/api/v1/tokens", None, "admin"),
    ("DELETE", "/api/v1/tokens/{token}", "/api/v1/tokens/kim", WHY, "admin"),
    ("POST", "/api/v1/blocks", "/api/v1/blocks", {"subject": "kim", **WHY}, "admin"),
    ("GET", "/api/v1/audit", "/api/v1/audit", None, "admin"),
    ("POST", "/feature-flags/disable-all", "/feature-flags/disable-all", WHY, "operator"),
    ("GET", "/feature-flags/disable-all", "/feature-flags/disable-all", None, "viewer"),
    ("DELETE", "/feature-flags/disable-all", "/feature-flags/disable-all", WHY, "approver"),
    ("POST", "/ofrep/v1/evaluate/flags", "/ofrep/v1/evaluate/flags", EVALUATE, "local"),
    ("POST", "/ofrep/v1/evaluate/flags/{key}", "/ofrep/v1/evaluate/flags/new-api", EVALUATE, "local"),
    # with a name that is none, for with one they would stream for ever
    ("GET", "/ofrep/v1/events", "/ofrep/v1/events?environment=%20", None, "local"),
    ("GET", "/flags/v1/stream", "/flags/v1/stream?environment=%20", None, "local"),
    ("GET", "/flags/v1/feed", "/flags/v1/feed", None, "local"),
    ("GET", "/flagd/v1/flags.json", "/flagd/v1/flags.json", None, "local"),
    ("GET", "/metrics", "/metrics", None, "local"),
    ("GET", "/healthz", "/healthz", None, "open"),
    ("GET", "/readyz", "/readyz", None, "open"),
)
