"""The controller with a real service and an API server in memory: objects start runs once, show them, and end them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.cluster import controller, lease, starting
from orchestrator.cluster.controller import ClusterController
from orchestrator.cluster.lease import Holder
from orchestrator.cluster.objects import FINALIZER
from orchestrator.cluster_port import Body, Kind
from orchestrator.core.commands import Command
from orchestrator.service import Service
from stages.load import LoadedPlan
from stages.problems import Problem
from tests.orchestrator.cluster.fake_api import FakeApi
from tests.orchestrator.cluster.wishes import QUICK, SPEC, STAGE, command_body
from tests.orchestrator.house import ANN, House
from tests.support.process import DEADLINE_SECONDS

ME = Holder("host/1", "store-a")
BOB = "bob"
ALICE = {"annotations": {"stagedrollout.io/created-by": "alice"}}
BACK = {**SPEC, "deletionPolicy": "rollback"}


@dataclass
class Linted:
    errors: tuple[Problem, ...] = ()


def lint(plan: LoadedPlan, plan_file: str, directory: str | None) -> Linted:
    return Linted()


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "SOON_SECONDS", 0.01)
    monkeypatch.setattr(controller, "REFRESH_SECONDS", 0.05)
    monkeypatch.setattr(controller, "OBJECT_TO_COME_SECONDS", 0.05)
    monkeypatch.setattr(lease, "AGAIN_SECONDS", 0.05)
    for name in ("BUNDLE_AGAIN_SECONDS", "BUSY_AGAIN_SECONDS", "WORLD_AGAIN_SECONDS"):
        monkeypatch.setattr(starting, name, 0.05)


@dataclass
class Town:
    """A store with its service, and the API server whose objects drive it."""

    house: House = field(default_factory=House)
    api: FakeApi = field(default_factory=FakeApi)

    @asynccontextmanager
    async def driven(self, me: Holder = ME) -> AsyncIterator[Service]:
        """One life of the controller."""
        service = await self.house.move_in()
        task = asyncio.create_task(ClusterController(service, self.api, lint, me).run())
        try:
            yield service
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await service.close(0)

    def apply(self, name: str = "demo", spec: Any = None, **metadata: Any) -> None:
        self.api.put(Kind.ROLLOUT, {"metadata": {"name": name, **ALICE, **metadata}, "spec": spec or SPEC})

    def ask(self, name: str, command: str, rollout: str = "demo", **more: Any) -> None:
        body = command_body(name, command, rollout, **more)
        body["metadata"]["creationTimestamp"] = datetime.now(UTC).isoformat()
        self.api.put(Kind.COMMAND, body)

    def ready(self, name: str = "demo") -> tuple[str, str]:
        """Reason and message."""
        conditions = self.api.status(name).get("conditions") or ()
        found = next((one for one in conditions if one["type"] == "Ready"), {"reason": "", "message": ""})
        return found["reason"], found["message"]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition():  # noqa: ASYNC110 - of a service there is nobody to tell
                await asyncio.sleep(0.01)

    async def until_reason(self, reason: str, name: str = "demo") -> str:
        await self.until(lambda: self.ready(name)[0] == reason)
        return self.ready(name)[1]

    async def runs(self) -> list[str]:
        return [row.run for row in await self.house.store.rows()]


@pytest.fixture
def town() -> Town:
    return Town()


def events(town: Town) -> list[str]:
    return [str(body["reason"]) for (kind, _), body in town.api.stored.items() if kind is Kind.EVENT]


async def test_an_object_becomes_a_run_that_its_creator_started_and_shows_how_it_goes(town: Town) -> None:
    town.apply(spec=QUICK)
    async with town.driven() as service:
        await town.until_reason("Promoted")
        status = town.api.status("demo")
        assert (status["phase"], status["outcome"], status["observedGeneration"]) == ("ended", "promoted", 1)
        first = (await service.history(status["run"]))[0]
        assert (first["by"], first["reason"]) == ("alice", "StagedRollout shop/demo, generation 1")
        assert events(town) == ["Started", "StepRaised", "Promoted"]


async def test_an_invalid_plan_starts_nothing_and_says_its_first_problems_in_words(town: Town) -> None:
    stages = [{**STAGE, "name": f"s{number}", "flag": f"no{number}"} for number in range(5)]
    town.apply(spec={**SPEC, "stages": stages})
    async with town.driven():
        words = await town.until_reason("InvalidPlan")
        assert words.startswith("spec.stages[0].flag: unknown flag 'no0'; there are beta; spec.stages[1].flag: ")
        assert words.endswith("; and 2 more")
        assert await town.runs() == []
        assert events(town) == ["InvalidPlan"]
        town.apply(spec=QUICK)
        await town.until_reason("Promoted")


class Killed(BaseException):
    """What ``kill -9`` does: nothing after it happens."""


@pytest.mark.parametrize("write", range(1, 12))
async def test_a_controller_that_is_killed_at_any_write_starts_each_run_once(town: Town, write: int) -> None:
    """The next life finds what was done, and brings the object up to date."""
    writes = 0

    def count(kind: Kind, body: Body) -> None:
        nonlocal writes
        writes += 1
        if writes >= write:
            raise Killed

    town.apply(spec=QUICK)
    town.api.before_write = count
    service = await town.house.move_in()
    task = asyncio.create_task(ClusterController(service, town.api, lint, ME).run())
    await town.until(lambda: writes >= write or town.ready()[0] == "Promoted")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await service.close(0)
    town.api.before_write = lambda kind, body: None
    async with town.driven():
        await town.until_reason("Promoted")
        assert await town.runs() == [town.api.status("demo")["run"]]


async def test_a_plan_that_was_edited_after_the_end_runs_anew_and_an_unchanged_one_does_not(town: Town) -> None:
    town.apply(spec=QUICK)
    async with town.driven():
        await town.until_reason("Promoted")
        first = town.api.status("demo")["run"]
    async with town.driven():
        town.apply(spec={**QUICK, "owner": "search"})
        await town.until(lambda: town.api.status("demo")["run"] != first)
        await town.until(lambda: town.api.status("demo")["observedGeneration"] == 2)
        await town.until_reason("Promoted")
        assert len(await town.runs()) == 2
    town.apply(spec=QUICK)
    async with town.driven():
        await town.until(lambda: town.api.status("demo")["observedGeneration"] == 3)
        await town.until_reason("Promoted")
        assert len(await town.runs()) == 3  # the first plan again, and yet a wish of its own


async def test_an_edit_that_changes_nothing_of_the_plan_is_seen_and_starts_nothing(town: Town) -> None:
    town.apply(spec=QUICK)
    async with town.driven():
        await town.until_reason("Promoted")
        town.apply(spec={**QUICK, "x-anchors": {"a": 1}})
        await town.until(lambda: town.api.status("demo")["observedGeneration"] == 2)
        assert len(await town.runs()) == 1


async def test_what_the_creator_may_not_do_is_not_done_for_him_until_he_may(town: Town) -> None:
    steps = [{"scale": "deployment/web", "replicas": 2, "undo": "none"}]
    town.api.denied = {("patch", "web")}
    town.apply(spec={"stages": [{"name": "do", "kind": "steps", "steps": steps}]})
    async with town.driven():
        words = await town.until_reason("NotAllowed")
        assert words.startswith("alice, who asks for it, may not patch deployment/web in shop; bind alice to a Role")
        assert await town.runs() == []
        town.api.denied = set()
        await town.until(lambda: "run" in town.api.status("demo"))


async def test_what_a_group_of_the_creator_may_do_counts_once_the_group_is_named(town: Town) -> None:
    steps = [{"scale": "deployment/web", "replicas": 2, "undo": "none"}]
    town.api.denied, town.api.granted_to = {("patch", "web")}, "developers"
    spec = {"stages": [{"name": "do", "kind": "steps", "steps": steps}]}
    town.apply(spec=spec)
    async with town.driven():
        words = await town.until_reason("NotAllowed")
        assert "RBAC was asked by name alone" in words
        assert "stagedrollout.io/created-by-groups" in words
        named = {"stagedrollout.io/created-by-groups": "viewers\n developers\n"}
        town.apply(spec=spec, annotations={**ALICE["annotations"], **named})
        await town.until(lambda: "run" in town.api.status("demo"))


async def test_no_run_is_started_where_nobody_holds_names_to_be_true(town: Town) -> None:
    town.api.policies = ["there is no ValidatingAdmissionPolicy authors.stagedrollout.io"]
    town.apply(spec=QUICK)
    async with town.driven():
        words = await town.until_reason("PoliciesMissing")
        assert words.startswith(
            "there is no ValidatingAdmissionPolicy authors.stagedrollout.io: nobody holds the names"
        )
        assert "manifests/base/policies.yaml" in words
        assert await town.runs() == []
        town.api.policies = []
        await town.until_reason("Promoted")


async def test_runs_are_started_where_the_policies_are_not_to_be_seen(town: Town) -> None:
    town.api.policies = None
    town.apply(spec=QUICK)
    async with town.driven():
        await town.until_reason("Promoted")


async def test_a_plan_that_changes_workloads_and_bears_no_name_is_refused_and_one_of_flags_is_not(town: Town) -> None:
    steps = [{"restart": "deployment/web", "undo": "none"}]
    town.apply("workloads", {"stages": [{"name": "do", "kind": "steps", "steps": steps}]}, annotations={})
    town.apply("flags", QUICK, annotations={})
    async with town.driven() as service:
        assert "nobody says who asks for it" in await town.until_reason("CreatorUnknown", "workloads")
        await town.until_reason("Promoted", "flags")
        first = (await service.history(town.api.status("flags")["run"]))[0]
        assert first["by"] == "somebody (no created-by)"


async def test_files_come_from_the_config_map_that_is_named_also_when_it_comes_later(town: Town) -> None:
    stage = {"name": "m", "kind": "migration", "migrations": [{"up": "sql/001.sql", "keep": "it is new"}]}
    annotations = {**ALICE["annotations"], "stagedrollout.io/bundle": "files"}
    town.apply(spec={"database": "postgresql://db/shop", "stages": [stage]}, annotations=annotations)
    async with town.driven() as service:
        assert "there is no ConfigMap files" in await town.until_reason("BundleMissing")
        data = {"001.sql": "CREATE TABLE t (id int);"}
        town.api.put(Kind.CONFIG_MAP, {"metadata": {"name": "files"}, "spec": {}, "data": data})
        await town.until(lambda: "run" in town.api.status("demo"))
        first = (await service.history(town.api.status("demo")["run"]))[0]
        assert first["data"]["files"] == ["sql/001.sql"]


async def test_a_target_in_another_runs_hands_is_waited_for(town: Town) -> None:
    town.apply("first")
    async with town.driven():
        await town.until(lambda: town.api.status("first").get("leg") == "baking")
        town.apply("second", QUICK)
        words = await town.until_reason("TargetBusy", "second")
        assert town.api.status("first")["run"] in words
        town.ask("c1", "stop", "first")
        await town.until_reason("Promoted", "second")


async def test_a_command_is_obeyed_once_and_answered_with_its_place_in_the_journal(town: Town) -> None:
    town.apply()
    async with town.driven() as service:
        await town.until(lambda: town.api.status("demo").get("leg") == "baking")
        town.ask("c1", "pause")
        await town.until(lambda: town.api.status("c1", Kind.COMMAND))
        answer = town.api.status("c1", Kind.COMMAND)
        assert answer["accepted"]
        entry = (await service.history(answer["run"], answer["seq"] - 1))[0]
        assert (entry["type"], entry["by"], entry["reason"]) == ("Paused", BOB, "a look")
        await town.until_reason("Paused")


async def test_a_command_that_makes_no_sense_is_refused_and_the_answer_says_what_would_work(town: Town) -> None:
    town.apply()
    town.apply("broken", {"stages": []})
    async with town.driven():
        await town.until(lambda: town.api.status("demo").get("leg") == "baking")
        town.ask("c1", "resume")
        town.ask("c2", "pause", "broken")
        town.ask("c3", "pause", "nothing")
        await town.until(lambda: all(town.api.status(name, Kind.COMMAND) for name in ("c1", "c2", "c3")))
        said = [town.api.status(name, Kind.COMMAND)["message"] for name in ("c1", "c2", "c3")]
        assert "is not paused; " in said[0]
        assert said[1] == "StagedRollout broken has no run yet; its conditions say why"
        assert said[2] == "there is no StagedRollout nothing in shop"


async def test_a_command_whose_answer_was_lost_with_the_controller_is_not_obeyed_again(town: Town) -> None:
    town.apply()
    answers: list[Body] = []

    def break_at_the_answer(kind: Kind, body: Body) -> None:
        if kind is Kind.COMMAND and "status" in body:
            answers.append(body)
            raise Killed

    async with town.driven():
        await town.until(lambda: town.api.status("demo").get("leg") == "baking")
        town.api.before_write = break_at_the_answer
        town.ask("c1", "pause")
        await town.until(lambda: answers)
    town.api.before_write = lambda kind, body: None
    async with town.driven() as service:
        await town.until(lambda: town.api.status("c1", Kind.COMMAND))
        answer = town.api.status("c1", Kind.COMMAND)
        assert answer["accepted"], answer
        entries = await service.history(answer["run"])
        assert [entry["seq"] for entry in entries if entry["type"] == "Paused"] == [answer["seq"]]


async def test_a_rollback_of_an_ended_run_is_shown_by_the_same_object(town: Town) -> None:
    town.apply(spec=QUICK)
    async with town.driven():
        await town.until_reason("Promoted")
        first = town.api.status("demo")["run"]
        town.ask("c1", "rollback")
        words = await town.until_reason("RolledBack")
        status = town.api.status("demo")
        assert status["run"] != first
        assert status["run"] in town.api.status("c1", Kind.COMMAND)["message"]
        assert words.startswith("rolled back (reverse by bob): a look")


async def test_a_rollback_that_was_asked_for_elsewhere_is_shown_too(town: Town) -> None:
    town.apply(spec=QUICK)
    async with town.driven() as service:
        await town.until_reason("Promoted")
        back = Command(command="rollback", reason="by hand")  # type: ignore[arg-type]
        await service.command(town.api.status("demo")["run"], back, ANN)
        await town.until_reason("RolledBack")


async def test_deleting_an_object_ends_its_run_and_leaves_the_world_as_it_is(town: Town) -> None:
    town.apply()
    async with town.driven() as service:
        await town.until(lambda: town.api.status("demo").get("percentages") == {"beta": 50.0})
        run = town.api.status("demo")["run"]
        town.api.remove(Kind.ROLLOUT, "demo")
        await _ended(service, run)
        assert (await service.status(run))["outcome"] == "stopped"
        assert (await service.flag("production", "beta"))["percentage"] == 50.0
        (asked,) = (entry for entry in await service.history(run) if entry["type"] == "StopRequested")
        assert (asked["by"], asked["reason"]) == ("kubernetes", "StagedRollout shop/demo was deleted")


async def test_an_object_that_was_deleted_while_no_controller_ran_is_noticed_by_the_next_one(town: Town) -> None:
    town.apply()
    async with town.driven():
        await town.until(lambda: town.api.status("demo").get("leg") == "baking")
        run = town.api.status("demo")["run"]
    town.api.remove(Kind.ROLLOUT, "demo")
    async with town.driven() as service:
        await _ended(service, run)


async def test_an_object_that_goes_while_its_run_is_started_ends_that_run(town: Town) -> None:
    annotations = {**ALICE["annotations"], "stagedrollout.io/bundle": "files"}
    town.api.put(Kind.CONFIG_MAP, {"metadata": {"name": "files"}, "spec": {}, "data": {}})
    town.apply(annotations=annotations)

    def go(kind: Kind, name: str) -> None:
        if kind is Kind.CONFIG_MAP and (Kind.ROLLOUT, "demo") in town.api.stored:
            town.api.remove(Kind.ROLLOUT, "demo")

    town.api.before_read = go
    async with town.driven() as service:
        await town.until(lambda: (Kind.ROLLOUT, "demo") not in town.api.stored)
        (run,) = await _some(town.runs)
        await _ended(service, run)
        assert (await service.status(run))["outcome"] == "stopped"


async def test_a_run_on_its_way_back_is_not_stopped_because_its_object_goes(town: Town) -> None:
    before = [{"wait": "300ms"}]
    town.apply(spec={**SPEC, "rollback": {"after": before}})
    async with town.driven() as service:
        await town.until(lambda: town.api.status("demo").get("percentages") == {"beta": 50.0})
        run = town.api.status("demo")["run"]
        town.ask("c1", "rollback")
        await town.until(lambda: town.api.status("demo").get("phase") == "rolling_back")
        town.api.remove(Kind.ROLLOUT, "demo")
        await _ended(service, run)
        assert (await service.status(run))["outcome"] == "rolled_back"


async def test_in_a_namespace_where_it_never_was_nothing_is_taken_for_deleted(town: Town) -> None:
    """Somebody who points a controller at the wrong cluster must not end the runs of the right one."""
    town.apply()
    async with town.driven():
        await town.until(lambda: town.api.status("demo").get("leg") == "baking")
        run = town.api.status("demo")["run"]
    town.api = FakeApi()
    town.apply("other", QUICK)
    async with town.driven() as service:
        await town.until(lambda: town.ready("other")[0] == "TargetBusy")
        assert (await service.status(run))["phase"] == "running"


async def test_a_plan_that_wants_it_is_rolled_back_before_its_object_goes(town: Town) -> None:
    town.apply(spec=BACK)
    async with town.driven() as service:
        await town.until(lambda: town.api.status("demo").get("percentages") == {"beta": 50.0})
        assert town.api.body(Kind.ROLLOUT, "demo")["metadata"]["finalizers"] == [FINALIZER]
        run = town.api.status("demo")["run"]
        town.api.remove(Kind.ROLLOUT, "demo")
        await town.until(lambda: (Kind.ROLLOUT, "demo") not in town.api.stored)
        assert (await service.status(run))["outcome"] == "rolled_back"
        assert (await service.flag("production", "beta"))["state"] == "disabled"


async def test_an_object_whose_run_has_ended_goes_at_once(town: Town) -> None:
    town.apply(spec={**QUICK, "deletionPolicy": "rollback"}, finalizers=["other.io/x"])
    async with town.driven():
        await town.until_reason("Promoted")
        await town.until(lambda: town.api.body(Kind.ROLLOUT, "demo")["metadata"]["finalizers"] == ["other.io/x"])


async def test_a_run_goes_on_while_the_server_is_away_and_its_object_catches_up(town: Town) -> None:
    town.apply(spec={**SPEC, "stages": [{**STAGE, "bake": "300ms"}]})
    async with town.driven() as service:
        await town.until(lambda: town.api.status("demo").get("leg") == "baking")
        town.api.away = True
        run = town.api.status("demo")["run"]
        await _ended(service, run)
        assert town.api.status("demo")["phase"] == "running"
        town.api.away = False
        await town.until_reason("Promoted")
        assert "Promoted" in events(town)


async def test_a_second_controller_with_a_store_of_its_own_starts_nothing_and_obeys_nobody(town: Town) -> None:
    other = Town(api=town.api)
    town.apply()
    async with town.driven(), other.driven(Holder("host/2", "store-b")):
        await town.until(lambda: town.api.status("demo").get("leg") == "baking")
        town.ask("c1", "pause")
        await town.until_reason("Paused")
        assert await other.runs() == []
        assert town.api.status("c1", Kind.COMMAND)["accepted"]


async def test_a_store_that_was_lost_does_not_promote_the_same_plans_again(town: Town) -> None:
    town.apply(spec=QUICK)
    async with town.driven():
        await town.until_reason("Promoted")
        run = town.api.status("demo")["run"]
    anew = Town(api=town.api)
    anew.apply("next", {**QUICK, "flags": {"other": {}}, "stages": [{**STAGE, "flag": "other", "bake": "0s"}]})
    async with anew.driven(Holder("host/2", "store-b")):
        await anew.until_reason("Promoted", "next")
        assert (town.api.status("demo")["run"], town.ready()[0]) == (run, "Promoted")
        assert len(await anew.runs()) == 1


async def test_nothing_is_written_that_stands_there_already(town: Town) -> None:
    town.apply(spec=QUICK)
    async with town.driven():
        await town.until_reason("Promoted")
    before = [write for write in town.api.writes if write[0] is not Kind.LEASE]
    town.apply("later", QUICK)
    async with town.driven():
        await town.until_reason("Promoted", "later")
    after = [write for write in town.api.writes if write[0] is not Kind.LEASE][len(before) :]
    assert (Kind.ROLLOUT, "demo") not in after


async def test_old_commands_are_collected(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    town.apply()
    old = {**command_body("old", "pause"), "status": {"accepted": True, "at": "2020-03-01T12:00:00Z"}}
    town.api.put(Kind.COMMAND, old)
    async with town.driven():
        await town.until(lambda: town.api.status("demo").get("leg") == "baking")
        town.ask("c1", "pause")
        await town.until(lambda: (Kind.COMMAND, "old") not in town.api.stored)
        assert (Kind.COMMAND, "c1") in town.api.stored


async def _some(look: Callable[[], Awaitable[list[str]]]) -> list[str]:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not (found := await look()):  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.01)
    return found


async def _ended(service: Service, run: str) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while (await service.status(run))["phase"] != "ended":  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.01)
