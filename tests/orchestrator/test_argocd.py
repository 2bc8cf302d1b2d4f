"""The health that Argo CD shows of a rollout: its script in a real Lua, with statuses as the controller writes them."""

from typing import Any

import pytest
from lupa.lua51 import LuaRuntime  # type: ignore[import-untyped]

from tests.support.process import ROOT

SCRIPT = (ROOT / "manifests" / "argocd" / "health.lua").read_text()


def health(status: dict[str, Any] | None, generation: int = 1) -> tuple[str, str]:
    """Argo CD hands the object to the script as the global `obj`."""
    lua = LuaRuntime(unpack_returned_tuples=True)
    found: dict[str, Any] = {"metadata": {"generation": generation}}
    if status is not None:
        found["status"] = status
    lua.globals().obj = lua.table_from(found, recursive=True)
    answer = lua.execute(SCRIPT)
    return answer.status, answer.message


def conditions(ready: str, progressing: str, stalled: str, message: str) -> list[dict[str, str]]:
    states = (("Ready", ready), ("Progressing", progressing), ("Stalled", stalled))
    return [{"type": kind, "status": state, "message": message} for kind, state in states]


def test_nothing_is_known_before_the_controller_has_looked() -> None:
    assert health(None)[0] == "Progressing"
    promoted = conditions("True", "False", "False", "promoted")
    assert health({"observedGeneration": 1, "conditions": promoted}, generation=2)[0] == "Progressing"


@pytest.mark.parametrize(
    ("states", "holds", "expected"),
    (
        (("False", "True", "False"), [], ("Progressing", "said")),
        (("True", "False", "False"), [], ("Healthy", "said")),
        (("False", "False", "True"), [], ("Degraded", "said")),
        (("False", "False", "False"), [{"reason": "paused", "detail": "by alice"}], ("Suspended", "paused: by alice")),
        (("False", "False", "False"), [{"reason": "approval"}], ("Suspended", "approval")),
        (("False", "False", "True"), [{"reason": "undo_failing"}], ("Degraded", "said")),
    ),
)
def test_health_follows_the_conditions_and_holds(
    states: tuple[str, str, str], holds: list[dict[str, str]], expected: tuple[str, str]
) -> None:
    status = {"observedGeneration": 1, "conditions": conditions(*states, "said"), "holds": holds}
    assert health(status) == expected
