"""What holds of a flag wherever it is: in our own store, in a flagd document in a file, a ConfigMap or a FeatureFlag,
in a real Unleash; and what is Unleash's own.

The Unleash is npm's `unleash-server` on PostgreSQL; where it can't be had these tests are skipped, and fail in
continuous integration. It is started once, for this file. The cluster's API server is a real one too.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flags.model import FlagState
from orchestrator.core.effect import EffectState
from orchestrator.errors import Permanent, Temporary
from stages.cluster import Kubernetes
from stages.flag_spec import ABSENT, FlagChange, FlagSpec, change_value, raise_value
from tests.acceptance.worlds.host import Host, host_in
from tests.contract.flag_sites import (
    DOCUMENT,
    KEY,
    ConfigMapSite,
    Desk,
    FeatureFlagSite,
    FlagdSite,
    Json,
    ObjectSite,
    OwnSite,
    Site,
    UnleashSite,
    desk_at,
    desk_for,
    unleash_at,
    valued,
)
from tests.support.http_server import (
    Received,
    ScriptedServer,
    answer,
    reset,
)
from tests.support.postgres import PostgresServer
from tests.support.process import wait_until
from tests.support.unleash import PERSON, Feature, Unavailable, Unleash, unleash_on


@pytest.fixture(scope="module")
def unleash_server(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unleash]:
    try:
        with postgres_server.database() as dsn, unleash_on(dsn, tmp_path_factory.mktemp("unleash")) as server:
            yield server
    except Unavailable as problem:
        if os.environ.get("CI") == "true":
            pytest.fail(str(problem))
        pytest.skip(str(problem))


@pytest.fixture
def feature(unleash_server: Unleash) -> Iterator[Feature]:
    """Not there yet."""
    yield unleash_server.unused()
    unleash_server.thaw()


ALL = (
    "own",
    "flagd",
    pytest.param("config map", marks=pytest.mark.cluster),
    pytest.param("feature flag", marks=pytest.mark.cluster),
    pytest.param("unleash", marks=pytest.mark.postgres),
)
FOREIGN = ALL[1:]


@pytest.fixture(params=ALL)
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    made = site_of(request, tmp_path)
    yield made
    if isinstance(made, ObjectSite):
        await made.clusters.close()


@pytest.fixture(params=FOREIGN)
async def foreign(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    made = site_of(request, tmp_path)
    yield made
    if isinstance(made, ObjectSite):
        await made.clusters.close()


def site_of(request: pytest.FixtureRequest, folder: Path) -> Site:
    match request.param:
        case "own":
            return OwnSite()
        case "flagd":
            return FlagdSite(folder)
        case "config map" | "feature flag" as kind:
            made = ConfigMapSite if kind == "config map" else FeatureFlagSite
            return made(request.getfixturevalue("control_plane"), request.getfixturevalue("cluster_namespace"))
        case _:
            return UnleashSite(request.getfixturevalue("feature"))


def desk_of(site: Site) -> Desk:
    if isinstance(site, UnleashSite):
        return desk_for(site.feature)
    store = site.store if isinstance(site, OwnSite) else None
    return desk_at(site.place(), store=store, clusters=site.clusters if isinstance(site, ObjectSite) else None)


# --- everywhere -------------------------------------------------------------------------------------------------------


async def test_a_flag_is_seen_where_it_stands(site: Site) -> None:
    await site.put(True, 30)
    seen = await desk_of(site).look()
    assert (seen.exists, seen.value["state"], seen.value["percentage"]) == (True, "enabled", 30)


async def test_a_flag_of_another_system_that_is_not_there_is_named(foreign: Site) -> None:
    desk = desk_of(foreign)
    with pytest.raises(Permanent, match=desk.key):
        await desk.look()


async def test_a_flag_is_raised_and_lowered_and_read_back_each_time(site: Site) -> None:
    await site.put(False, 0)
    desk = desk_of(site)
    for percentage in (5, 50, 100):
        observed = await desk.raised(percentage)
        assert (observed["state"], observed["percentage"]) == ("enabled", percentage)
        assert (await desk.look()).value == observed
    before = (await desk.look()).value
    outcome = await desk.set({**before, "percentage": 20.0}, before)
    assert (outcome.state, (await desk.look()).value["percentage"]) == (EffectState.DONE, 20)


@pytest.mark.parametrize(("enabled", "percentage"), ((False, 0), (False, 30), (True, 0), (True, 7)))
async def test_a_flag_goes_back_to_exactly_what_was_there(site: Site, enabled: bool, percentage: int) -> None:
    await site.put(enabled, percentage)
    desk, there = desk_of(site), await site.exactly()
    before = (await desk.look()).value
    await desk.raised(50)
    assert await site.exactly() != there
    standing = await desk.raised(100)
    outcome = await desk.set(before, standing)
    assert outcome.state is EffectState.DONE, outcome.detail
    assert (await site.exactly(), outcome.observed) == (there, before)


async def test_a_change_that_was_made_is_not_made_again(site: Site) -> None:
    await site.put(True, 5)
    desk = desk_of(site)
    before = (await desk.look()).value
    await desk.set({**before, "percentage": 60.0}, before)
    there, log = await site.exactly(), log_of(site)
    again = await desk.set({**before, "percentage": 60.0}, before)
    assert (again.state, await site.exactly(), log_of(site)) == (EffectState.DONE, there, log)


def log_of(site: Site) -> Any:
    """What would tell of a write that changed nothing."""
    match site:
        case UnleashSite():
            return site.feature.changes
        case FlagdSite():
            return site.file.stat().st_ino
        case ObjectSite():
            return site.content()["metadata"]["resourceVersion"]
        case _:
            return None


async def test_what_somebody_else_changed_is_left_and_said(site: Site) -> None:
    await site.put(True, 5)
    desk = desk_of(site)
    before = (await desk.look()).value
    await site.edit(40)
    there = await site.exactly()
    outcome = await desk.set({**before, "percentage": 60.0}, before)
    assert (outcome.state, await site.exactly(), outcome.changed_by) == (EffectState.REFUSED, there, site.who)
    assert "was changed" in outcome.detail
    assert outcome.observed["percentage"] == 40
    seen = await desk.look()
    assert (seen.value["percentage"], seen.changed_by) == (40, site.who)


async def test_a_flag_is_switched_off_and_on_with_its_percentage_kept(site: Site) -> None:
    await site.put(True, 30)
    desk = desk_of(site)
    before = (await desk.look()).value
    off = await desk.set(change_value(before, FlagChange(state=FlagState.DISABLED)), before)
    assert (off.state, off.observed["state"], off.observed["percentage"]) == (EffectState.DONE, "disabled", 30)
    on = await desk.set(before, off.observed)
    assert (on.state, on.observed) == (EffectState.DONE, before)


async def test_of_changes_at_once_every_one_that_is_done_stood_there(site: Site) -> None:
    await site.put(True, 5)
    desk = desk_of(site)
    before = (await desk.look()).value
    outcomes = await asyncio.gather(*(desk.set({**before, "percentage": float(n)}, before) for n in range(10, 16)))
    done = [outcome.observed["percentage"] for outcome in outcomes if outcome.state is EffectState.DONE]
    assert {outcome.state for outcome in outcomes} <= {EffectState.DONE, EffectState.REFUSED}
    assert done
    assert (await desk.look()).value["percentage"] in range(10, 16)
    if not isinstance(site, UnleashSite):  # which has nothing to write against
        assert done == [(await desk.look()).value["percentage"]]


async def test_a_value_from_nowhere_is_refused(foreign: Site) -> None:
    await foreign.put(True, 5)
    desk = desk_of(foreign)
    for value, sentence in (
        ({**ABSENT, "percentage": 101}, "a number from 0 to 100"),
        ({**ABSENT, "targets": {"team": ["a"]}}, "no targets"),
        (valued(True, 50), "was not seen in"),
    ):
        outcome = await desk.set(value, None)
        assert (outcome.state, sentence in outcome.detail) == (EffectState.REFUSED, True)
    assert (await desk.look()).value["percentage"] == 5


# --- our own store ----------------------------------------------------------------------------------------------------


async def test_a_flag_of_our_own_store_that_was_not_there_is_off_afterwards() -> None:
    site = OwnSite()
    desk = desk_of(site)
    assert not (await desk.look()).exists
    standing = await desk.raised(50)
    await desk.set(ABSENT, standing)
    assert await site.exactly() == ABSENT


# --- Unleash ----------------------------------------------------------------------------------------------------------


@pytest.mark.postgres
@pytest.mark.parametrize("percentage", (5, 100))
async def test_a_feature_without_a_strategy_gets_one_and_loses_it_again(feature: Feature, percentage: int) -> None:
    feature.create()
    there = feature.stands()
    desk = desk_for(feature)
    before = (await desk.look()).value
    assert before["state"] == "disabled"
    standing = await desk.raised(percentage)
    (strategy,) = feature.stands()["strategies"]
    assert (strategy["title"], strategy["parameters"]["rollout"]) == ("staged rollout: run r1", str(percentage))
    outcome = await desk.set(before, standing)
    assert (outcome.state, outcome.observed, feature.stands()) == (EffectState.DONE, before, there)


@pytest.mark.postgres
async def test_what_else_a_strategy_has_is_kept(feature: Feature) -> None:
    feature.create()
    variants = [{"name": "a", "weight": 1000, "weightType": "variable", "stickiness": "default"}]
    strategy = feature.strategy(5, title="the team's", variants=variants)
    there = feature.stands()["strategies"][0]
    await desk_for(feature).raised(30)
    stands = feature.stands()["strategies"][0]
    assert stands["id"] == strategy
    assert {**stands, "parameters": None} == {**there, "parameters": None}
    assert stands["parameters"] == {**there["parameters"], "rollout": "30"}


@pytest.mark.postgres
async def test_an_environment_has_a_name_of_its_own_there(feature: Feature) -> None:
    feature.create()
    feature.strategy(0, environment="development")
    system = unleash_at(feature.server.url).within("staging", "development", Kubernetes())
    await desk_at(system, feature.server.token, key=feature.name).raised(10)
    assert feature.stands("development")["enabled"]
    assert feature.stands() == {"enabled": False, "strategies": []}


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("strategies", "sentence"),
    (
        (({}, {"title": "late"}), r"has 2 strategies \(flexibleRollout, flexibleRollout 'late'\)"),
        (({"name": "default", "parameters": {}},), "default .* is no flexibleRollout"),
        (
            ({"constraints": [{"contextName": "appName", "operator": "IN", "values": ["a"]}]},),
            "has constraints",
        ),
        (({"disabled": True},), "is switched off"),
        (({"segments": True},), "has segments"),
    ),
)
async def test_strategies_that_are_no_percentage_are_refused_by_name(
    feature: Feature, strategies: tuple[Json, ...], sentence: str
) -> None:
    feature.create()
    for one in strategies:
        feature.strategy(5, **(one | {"segments": [feature.server.segment()]} if "segments" in one else one))
    there = feature.stands()
    desk = desk_for(feature)
    with pytest.raises(Permanent, match=sentence):
        await desk.look()
    outcome = await desk.set(valued(True, 50), None)
    assert (outcome.state, feature.stands()) == (EffectState.REFUSED, there)


@pytest.mark.postgres
async def test_what_is_not_there_or_not_allowed_is_named(feature: Feature) -> None:
    feature.create()
    feature.strategy(5)
    url, token = feature.server.url, feature.server.token
    absent = (
        (
            unleash_at(url).within("x", "nowhere", Kubernetes()),
            token,
            "Unleash has no feature .* in environment 'nowhere'",
        ),
        (unleash_at(url, project="lost"), token, f"'{feature.name}' of project 'lost' .* in project .*default"),
        (unleash_at(url), "*:*.nonsense", "does not know the token at env UNLEASH_TOKEN"),
        (unleash_at(url), feature.server.client_token, "the token at env UNLEASH_TOKEN may not look at it"),
        (unleash_at(url), "", "the environment variable UNLEASH_TOKEN is not set"),
    )
    for system, secret, sentence in absent:
        with pytest.raises(Permanent, match=sentence):
            await desk_at(system, secret, key=feature.name).look()
        outcome = await desk_at(system, secret, key=feature.name).set(valued(True, 50), None)
        assert outcome.state is EffectState.REFUSED
        assert not secret or secret not in outcome.detail


@pytest.mark.postgres
async def test_half_a_percent_is_refused_and_nothing_written(feature: Feature) -> None:
    feature.create()
    feature.strategy(5)
    desk, there = desk_for(feature), feature.stands()
    before = (await desk.look()).value
    outcome = await desk.set({**before, "state": "enabled", "percentage": 5.5}, before)
    assert (outcome.state, feature.stands()) == (EffectState.REFUSED, there)
    assert "whole number" in outcome.detail


@pytest.mark.postgres
async def test_a_server_that_hangs_is_waited_for_and_the_change_made_once(feature: Feature) -> None:
    feature.create()
    feature.strategy(5)
    desk = desk_for(feature, timeout=0.5)
    patient = desk_for(feature)
    before = (await patient.look()).value
    wanted = {**before, "state": "enabled", "percentage": 50.0}
    feature.server.freeze()
    assert (await desk.set(wanted, before)).state is EffectState.TEMPORARY
    with pytest.raises(Temporary):
        await desk.look()
    feature.server.thaw()
    assert (await patient.set(wanted, before)).state is EffectState.DONE
    assert feature.rollout == 50


class Between:
    """Passes requests on to Unleash; what comes *after* the first one of a method may be lost, and something may be
    done *before* it.
    """

    def __init__(self, url: str, method: str) -> None:
        self._url = url
        self._method = method
        self.lose = False
        self.before: Any = None
        self.sent: list[str] = []

    async def __call__(self, received: Received, writer: asyncio.StreamWriter) -> None:
        is_met = received.method == self._method
        if is_met and self.before is not None:
            act, self.before = self.before, None
            await asyncio.to_thread(act)
        headers = {
            name: received.headers[name] for name in ("authorization", "content-type") if name in received.headers
        }
        async with httpx.AsyncClient(base_url=self._url, trust_env=False) as client:
            reply = await client.request(received.method, received.target, headers=headers, content=received.body)
        if received.method != "GET":
            self.sent.append(f"{received.method} {received.target.rpartition('/')[2]}")
        if is_met and self.lose:
            self.lose = False
            return await reset(received, writer)
        return await answer(reply.content, reply.status_code, {"content-type": "application/json"})(received, writer)


@pytest.mark.postgres
@pytest.mark.parametrize(("there", "method"), ((True, "PATCH"), (False, "POST")))
async def test_a_change_whose_answer_was_lost_is_looked_for_and_not_made_again(
    feature: Feature, there: bool, method: str
) -> None:
    feature.create()
    if there:
        feature.strategy(5)
    async with ScriptedServer() as server:
        between = Between(feature.server.url, method)
        between.lose = True
        server.behave(between)
        desk = desk_for(feature, server.url)
        before = (await desk.look()).value
        wanted = raise_value(before, FlagChange(percentage=50), FlagSpec())
        assert (await desk.set(wanted, before)).state is EffectState.TEMPORARY
        outcome = await desk.set(wanted, before)
    assert outcome.state is EffectState.DONE, outcome.detail
    (strategy,) = feature.stands()["strategies"]
    assert (strategy["parameters"]["rollout"], len(between.sent), between.sent[-1]) == ("50", 2, "POST on")


@pytest.mark.postgres
async def test_a_percentage_that_was_set_between_look_and_write_is_seen_and_stays(feature: Feature) -> None:
    feature.create()
    feature.strategy(5)
    feature.switch(True)
    async with ScriptedServer() as server:
        between = Between(feature.server.url, "PATCH")
        between.before = lambda: feature.roll(33)
        server.behave(between)
        desk = desk_for(feature, server.url)
        before = (await desk.look()).value
        outcome = await desk.set({**before, "percentage": 50.0}, before)
    assert (outcome.state, outcome.changed_by, outcome.observed["percentage"]) == (EffectState.REFUSED, PERSON, 33)
    assert feature.rollout == 33


@pytest.mark.postgres
async def test_a_strategy_that_somebody_removed_meanwhile_is_not_added_again(feature: Feature) -> None:
    feature.create()
    strategy = feature.strategy(5)
    feature.switch(True)
    async with ScriptedServer() as server:
        between = Between(feature.server.url, "PATCH")
        between.before = lambda: feature.remove(strategy)
        server.behave(between)
        desk = desk_for(feature, server.url)
        before = (await desk.look()).value
        outcome = await desk.set({**before, "percentage": 50.0}, before)
    assert outcome.state is EffectState.REFUSED
    assert feature.stands() == {"enabled": False, "strategies": []}


# --- whole runs -------------------------------------------------------------------------------------------------------

PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {{name: elsewhere}}
spec:
  flag_systems: {{main: {system}}}
  flags: {{{key}: {{system: main}}}}
  stages:
    - {{name: batches, kind: batch, flag: {key}, percentages: [50, 100], bake: 1s, settle: 0s}}
  watch: 10m
"""


@pytest.mark.acceptance
def test_a_run_raises_a_flag_in_a_flagd_file_and_takes_it_back_to_the_byte(tmp_path: Path) -> None:
    with host_in(tmp_path) as host:
        file = host.write("flags.json", DOCUMENT)
        _, run = host.started(host.write("plan.yaml", PLAN.format(system="{flagd: {file: flags.json}}", key=KEY)))
        levels = watched(host, run, lambda: json.loads(file.read_text())["flags"][KEY]["targeting"]["fractional"][0][1])
        assert levels == [0, 50, 100][-len(levels) :]
        assert json.loads(file.read_text())["flags"][KEY]["state"] == "ENABLED"
        host.ok("rollback", run, "--reason", "because of the test")
        host.wait_for_end(run, "rolled_back")
        assert file.read_text() == DOCUMENT


@pytest.mark.postgres
@pytest.mark.acceptance
def test_a_run_raises_a_feature_in_unleash_and_takes_it_back(feature: Feature, tmp_path: Path) -> None:
    feature.create()
    there = feature.stands()
    with host_in(tmp_path, UNLEASH_TOKEN=feature.server.token) as host:
        system = f'{{unleash: {{url: "{feature.server.url}", token: {{env: UNLEASH_TOKEN}}}}}}'
        _, run = host.started(host.write("plan.yaml", PLAN.format(system=system, key=feature.name)))
        levels = watched(host, run, lambda: feature.rollout)
        assert levels == [0, 50, 100][-len(levels) :]
        host.ok("rollback", run, "--reason", "because of the test")
        host.wait_for_end(run, "rolled_back")
    assert feature.stands() == there


def watched(host: Host, run: str, level: Any) -> list[int]:
    """The levels that were seen, in order, until the watch has begun."""
    seen: list[int] = []

    def look() -> bool:
        now = level()
        if now not in seen[-1:]:
            seen.append(now)
        return (host.status(run) or {}).get("phase") == "watching"

    wait_until(look, what=f"{run} to be watched", deadline_seconds=60)
    return seen
