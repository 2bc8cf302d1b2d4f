"""Flags in Unleash, by its admin API: one gradual rollout (``flexibleRollout``) in one environment of one project.

Ours to raise is the only strategy that a feature has in the environment, if it is a gradual rollout for everybody; or,
where there is none, one that a run adds under a title of its own and takes away again on the way back. With several
strategies, constraints or segments a percentage would not say who has the feature: these are refused.

The state is whether the feature is on in the environment. A change is up to two writes, in the order in which nobody
is exposed to more than was asked for: upwards the percentage comes before switching on, downwards after switching off.

Unleash has no version to write against. A percentage is patched under a JSON Patch ``test`` of what was looked at,
which the server holds against what it has just read; switching, adding and removing are only preceded by a look.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from orchestrator.adapters.flag_systems.port import Moved, Sight, Wish
from orchestrator.adapters.http import PUT_OFF, excerpt
from orchestrator.adapters.http_client import HttpClient, Reply, Unreadable, server_of
from orchestrator.adapters.kubernetes.marks import Author
from orchestrator.errors import Permanent, RolloutError, Temporary
from stages.checks import HttpRequest
from stages.flag_systems import UnleashSystem
from stages.values import Json

GRADUAL = "flexibleRollout"
TITLE = "staged rollout: run "
NO_STRATEGY = "none"
NOT_AS_TESTED = "TEST_OPERATION_FAILED"
EVENTS = 20
CHANGES = ("feature-strategy-", "feature-environment-")

Method = Literal["GET", "POST", "PATCH", "DELETE"]


@dataclass(frozen=True, slots=True)
class _Strategy:
    """The gradual rollout that is there."""

    id: str
    rollout: str  # as Unleash has it: a number in text
    title: str

    @property
    def is_a_runs(self) -> bool:
        return self.title.startswith(TITLE)


class UnleashFlags:
    """Implements ``FlagSystem``. The parameters of its values: ``{"strategy": ID}``, or ``"none"``."""

    kind = "Unleash"
    mark = "strategy"
    is_fenced = False

    def __init__(self, http: HttpClient, system: UnleashSystem, directory: str | None = None) -> None:
        assert system.environment is not None, "placed in an environment of the plan"
        self._http = http
        self._system = system
        self._environment = system.environment
        self._directory = directory

    # --- looking ------------------------------------------------------------------------------------------------------

    async def look(self, key: str) -> Sight:
        found = await self._in_environment(key)
        enabled, strategies = found["enabled"], found.get("strategies")
        if not strategies:
            if enabled:
                raise Permanent(f"{self._named(key)} is on without a strategy, so everybody has it; add a {GRADUAL}")
            return Sight(False, 0.0, {"strategy": NO_STRATEGY})
        strategy = self._only(key, strategies)
        return Sight(enabled, float(strategy.rollout), {"strategy": strategy.id}, strategy)

    async def _in_environment(self, key: str) -> dict[str, Any]:
        """Of the whole feature, since an answer for one environment leaves segments out."""
        reply = await self._call("GET", self._feature(key), "look at it", key)
        feature = _json(reply, self._system.url)
        match feature:
            case {"environments": list(known)} if all(map(_is_environment, known)):
                found = next((one for one in known if one["name"] == self._environment), None)
            case _:
                raise Temporary(f"{server_of(self._system.url)} answers as no Unleash does{excerpt(reply)}")
        if found is None:
            there = ", ".join(one["name"] for one in known) or "none"
            raise Permanent(f"Unleash has no {self._named(key)}; its environments are: {there}")
        return dict(found)

    def _only(self, key: str, strategies: Any) -> _Strategy:
        """Raises ``Permanent`` for what is not one gradual rollout for everybody."""
        if not isinstance(strategies, list) or not all(isinstance(one, dict) for one in strategies):
            raise Temporary(f"{server_of(self._system.url)} answers as no Unleash does: its strategies are no list")
        if len(strategies) > 1:
            names = ", ".join(map(_name, strategies))
            raise Permanent(
                f"{self._named(key)} has {len(strategies)} strategies ({names}), so no percentage says who has it; "
                f"leave one {GRADUAL}"
            )
        (only,) = strategies
        obstacle = _obstacle(only)
        if obstacle is not None:
            raise Permanent(f"the strategy {_name(only)} of {self._named(key)} {obstacle}")
        return _Strategy(str(only["id"]), only["parameters"]["rollout"], str(only.get("title") or ""))

    async def changed_by(self, key: str) -> str | None:
        query = f"?feature=IS%3A{quote(key, safe='')}&limit={EVENTS}"
        try:
            reply = await self._call("GET", f"/search/events{query}", "read its log", key)
            found = _json(reply, self._system.url)["events"]
            changes = (one for one in found if str(one["type"]).startswith(CHANGES))
            newest = next((one for one in changes if one["environment"] == self._environment), None)
            return str(newest["createdBy"]) if newest is not None else None
        except (RolloutError, Moved, KeyError, TypeError):
            return None  # it is told without a name

    # --- where it stands ----------------------------------------------------------------------------------------------

    def is_reached(self, sight: Sight, wish: Wish) -> bool:
        strategy: _Strategy | None = sight.detail
        if sight.enabled is not wish.enabled:
            return False
        if _wants_none(wish):
            return strategy is None or not strategy.is_a_runs
        if strategy is None:
            return wish.percentage == 0  # off, without anything that would have to be lowered
        return sight.percentage == wish.percentage

    def is_between(self, sight: Sight, before: Json, wish: Wish) -> bool:
        came = Wish.of(before, self.kind)
        if wish.enabled:
            is_ours = sight.parameters == came.parameters or _is_added(sight, came)
            return is_ours and sight.enabled is came.enabled and sight.percentage == wish.percentage
        return not sight.enabled and sight.percentage == came.percentage and sight.parameters == came.parameters

    # --- writing ------------------------------------------------------------------------------------------------------

    async def step(self, key: str, sight: Sight, wish: Wish, author: Author) -> None:
        if not wish.enabled and sight.enabled:
            await self._call("POST", f"{self._path(key)}/off", "switch it off", key)
        elif not self._has_rollout(sight, wish):
            await self._set_rollout(key, sight.detail, wish, author.run)
        else:
            await self._call("POST", f"{self._path(key)}/on", "switch it on", key)

    def _has_rollout(self, sight: Sight, wish: Wish) -> bool:
        return wish.enabled and sight.detail is not None and sight.percentage == wish.percentage

    async def _set_rollout(self, key: str, strategy: _Strategy | None, wish: Wish, run: str) -> None:
        sentence = self._system.cannot_say(wish.percentage)
        if sentence is not None:
            raise Permanent(sentence)
        rollout, path = str(int(wish.percentage)), f"{self._path(key)}/strategies"
        if strategy is None:
            parameters = {"rollout": rollout, "stickiness": "default", "groupId": key}
            added = {"name": GRADUAL, "title": f"{TITLE}{run}", "parameters": parameters, "constraints": []}
            await self._call("POST", path, "add a strategy", key, added)
        elif _wants_none(wish):
            await self._call("DELETE", f"{path}/{quote(strategy.id, safe='')}", "remove a strategy", key)
        else:
            place = "/parameters/rollout"
            patch = [
                {"op": "test", "path": place, "value": strategy.rollout},
                {"op": "test", "path": "/constraints", "value": []},
                {"op": "test", "path": "/segments", "value": []},
                {"op": "replace", "path": place, "value": rollout},
            ]
            await self._call("PATCH", f"{path}/{quote(strategy.id, safe='')}", "change a strategy", key, patch)

    # --- the server ---------------------------------------------------------------------------------------------------

    def _feature(self, key: str) -> str:
        return f"/projects/{quote(self._system.project, safe='')}/features/{quote(key, safe='')}"

    def _path(self, key: str) -> str:
        return f"{self._feature(key)}/environments/{quote(self._environment, safe='')}"

    def _named(self, key: str) -> str:
        return f"feature {key!r} of project {self._system.project!r} in environment {self._environment!r}"

    async def _call(self, method: Method, path: str, what: str, key: str, body: Json = None) -> Reply:
        fields: dict[str, Any] = {"json": body} if body is not None else {}
        request = HttpRequest(
            url=f"{self._system.url.rstrip('/')}/api/admin{path}",
            method=method,
            headers={"Authorization": self._system.token},
            timeout=self._system.timeout,
            **fields,
        )
        try:
            reply = await self._http.request(request, directory=self._directory)
        except Unreadable as problem:
            raise Temporary(str(problem)) from problem  # it may have been carried out: the next look tells
        if reply.status >= 300:
            raise self._failure(reply, what, key, is_look=method == "GET")
        return reply

    def _failure(self, reply: Reply, what: str, key: str, *, is_look: bool) -> Exception:
        said, named = excerpt(reply), self._named(key)
        match reply.status:
            case 401:
                return Permanent(f"Unleash does not know the token at {self._system.token} (401{said})")
            case 403:
                return Permanent(
                    f"the token at {self._system.token} may not {what}, for {named} (403{said}); give it the "
                    "permissions to update the feature's environment and its strategies there"
                )
            case 404 if is_look:
                return Permanent(f"Unleash has no {named} (404{said})")
            case 404 | 409:
                return Moved()
            case status if status in PUT_OFF or status >= 500:
                if not is_look and NOT_AS_TESTED in reply.text:
                    return Moved()
                sentence = f"Unleash could not {what} ({status}{said})"
                return Temporary(sentence, reply.retry_after_seconds)
            case status:
                return Permanent(f"Unleash would not {what}, for {named} ({status}{said})")


def _json(reply: Reply, url: str) -> Any:
    try:
        return reply.json()
    except (ValueError, RecursionError):
        raise Temporary(f"{server_of(url)} answers with no JSON{excerpt(reply)}") from None


def _is_environment(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str) and isinstance(value.get("enabled"), bool)


def _name(strategy: Mapping[str, Any]) -> str:
    title = strategy.get("title")
    return f"{strategy.get('name')} {title!r}" if title else str(strategy.get("name"))


def _obstacle(strategy: Mapping[str, Any]) -> str | None:
    """Why a strategy is not a percentage of everybody."""
    parameters = strategy.get("parameters")
    rollout = parameters.get("rollout") if isinstance(parameters, dict) else None
    if strategy.get("name") != GRADUAL:
        return f"is no {GRADUAL}, so it has no percentage to raise"
    if strategy.get("constraints"):
        return "has constraints, so its percentage is not one of everybody; remove them"
    if strategy.get("segments"):
        return "has segments, so its percentage is not one of everybody; remove them"
    if strategy.get("disabled"):
        return "is switched off; switch it on, or remove it"
    if not isinstance(rollout, str) or not rollout.isascii() or not rollout.isdigit() or int(rollout) > 100:
        return f"has the rollout {rollout!r}, which is no whole number from 0 to 100"
    return None if "id" in strategy else "has no id"


def _wants_none(wish: Wish) -> bool:
    """Back to a feature without a strategy, which a run found off."""
    return not wish.enabled and wish.percentage == 0 and wish.parameters.get("strategy") == NO_STRATEGY


def _is_added(sight: Sight, came: Wish) -> bool:
    """Whether the strategy that stands is one that a run added where there was none."""
    strategy: _Strategy | None = sight.detail
    return came.parameters.get("strategy") == NO_STRATEGY and strategy is not None and strategy.is_a_runs
