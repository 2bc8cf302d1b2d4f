"""What the controller counts of itself while runs go on, in a world of memory."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.core.commands import Actor, Command
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.core.phases import Phase, Reason
from orchestrator.errors import Permanent, Refused, StoreError
from orchestrator.metrics import now, process
from orchestrator.metrics.families import Counter, Histogram, gauge
from orchestrator.ports import Batch, Recorded, Scene
from orchestrator.service import Service
from stages.criteria.base import Measurement, MeasurementState, SeriesValue
from tests.orchestrator.house import ANN, QUICK, House, eventually, submission
from tests.support.process import DEADLINE_SECONDS

Numbers = Mapping[str, float]
STEPS = {"name": "go", "kind": "steps", "steps": [{"command": ["deploy"], "undo": "none"}]}
GATE = {"every": "1s", "criteria": [{"name": "errors", "query": "errors", "fail": "> 0.1"}]}
STAGE = {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [50, 100], "bake": "1h", "gate": "health"}
GATED: dict[str, Any] = {"gates": {"health": GATE}, "stages": [STAGE]}


async def numbers(service: Service) -> Numbers:
    """Every series by its name and labels, such as ``holds{reason=paused}``."""
    lines = [*now.lines(await service.counts(), await now.seen(service.walked())), *service.meter.lines()]
    families = text_string_to_metric_families("\n".join(lines) + "\n")
    return {_key(sample.name, sample.labels): sample.value for family in families for sample in family.samples}


def _key(name: str, labels: Mapping[str, str]) -> str:
    inside = ",".join(f"{label}={value}" for label, value in labels.items())
    return f"{name.removeprefix('staged_rollout_')}{{{inside}}}" if inside else name.removeprefix("staged_rollout_")


def tell(name: str, **fields: Any) -> Command:
    return Command.model_validate({"command": name, "reason": "a test", **fields})


async def test_runs_are_counted_by_where_they_stand(house: House) -> None:
    service = await house.move_in()
    run, _ = await service.start(submission(), ANN)
    await eventually(service, run, leg="baking")
    found = await numbers(service)
    assert found["runs{phase=running}"] == 1
    assert found["active_runs{phase=running,leg=baking}"] == 1
    assert sum(value for key, value in found.items() if key.startswith("active_runs{")) == 1
    assert {key for key in found if key.startswith("runs{")} == {f"runs{{phase={phase}}}" for phase in Phase}
    assert found["store_duration_seconds_count{call=append}"] > 0


async def test_a_hold_is_counted_with_its_age_until_it_is_gone(house: House) -> None:
    service = await house.move_in()
    run, _ = await service.start(submission(), ANN)
    await eventually(service, run, leg="baking")
    await service.command(run, tell("pause"), ANN)
    await asyncio.sleep(0.02)
    held = await numbers(service)
    assert held["holds{reason=paused}"] == 1
    assert held["hold_oldest_age_seconds{reason=paused}"] >= 0.02
    assert {key for key in held if key.startswith("holds{")} == {f"holds{{reason={reason}}}" for reason in Reason}
    await service.command(run, tell("resume"), ANN)
    await eventually(service, run, holds=[])
    free = await numbers(service)
    assert (free["holds{reason=paused}"], free["hold_oldest_age_seconds{reason=paused}"]) == (0, 0)


async def test_commands_are_counted_by_their_answer(house: House) -> None:
    service = await house.move_in()
    run, _ = await service.start(submission(), ANN)
    await service.command(run, tell("pause"), ANN)
    with pytest.raises(Refused):
        await service.command(run, tell("pause"), ANN)
    found = await numbers(service)
    assert found["commands_total{command=pause,outcome=accepted}"] == 1
    assert found["commands_total{command=pause,outcome=refused}"] == 1
    assert found["commands_total{command=stop,outcome=accepted}"] == 0


async def test_a_rollback_is_counted_by_its_cause_and_a_run_by_its_end(house: House) -> None:
    service = await house.move_in()
    stage = {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [50], "bake": "1h", "settle": "0s"}
    run, _ = await service.start(submission(stages=[stage]), ANN)
    await eventually(service, run, leg="baking")
    await service.command(run, tell("rollback"), Actor("bob", "operator"))
    await eventually(service, run, outcome="rolled_back")
    found = await numbers(service)
    assert found["rollbacks_started_total{cause=command}"] == 1
    assert found["rollbacks_started_total{cause=gate}"] == 0
    assert found["runs_ended_total{outcome=rolled_back}"] == 1
    assert found["effect_tries_total{operation=set_flag,outcome=done}"] == 2
    assert found["effect_retries_total{operation=set_flag}"] == 0
    assert found["effect_duration_seconds_count{operation=set_flag}"] == 2


async def test_what_could_not_be_measured_is_told_from_what_could(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*asked: Any) -> Measurement:
        return Measurement(MeasurementState.ERROR, asked[2], detail="refused")

    service = await house.move_in()
    good, _ = await service.start(submission(**GATED), ANN)
    await eventually(service, good, leg="baking")
    await _until(service, "gates{verdict=pass}")
    monkeypatch.setattr(house.outside, "measure", fails)
    await _until(service, "measurement_duration_seconds_count{state=error}")
    found = await numbers(service)
    assert found["measurement_duration_seconds_count{state=ok}"] >= 1
    assert found["gates{verdict=fail}"] == 0


async def _until(service: Service, key: str) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not (await numbers(service))[key]:  # noqa: ASYNC110 - it is looked at from outside, as Prometheus does
            await asyncio.sleep(0.02)


async def test_a_gate_that_fails_is_counted_with_what_the_plan_wants_then(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def bad(*asked: Any) -> Measurement:
        return Measurement(MeasurementState.OK, asked[2], (SeriesValue("", 0.5, asked[2]),))

    service = await house.move_in()
    run, _ = await service.start(submission(**GATED), ANN)
    await eventually(service, run, leg="baking")
    monkeypatch.setattr(house.outside, "measure", bad)
    await eventually(service, run, outcome="rolled_back")
    found = await numbers(service)
    assert found["gates_failed_total{on_fail=rollback}"] == 1
    assert found["rollbacks_started_total{cause=gate}"] == 1


async def test_an_effect_that_is_tried_again_is_failing_and_grows_old(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_free = False

    async def busy(effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        if is_free:
            return Outcome(state=EffectState.DONE)
        return Outcome(state=EffectState.TEMPORARY, detail="busy", retry_after_seconds=0.05)

    monkeypatch.setattr(house.outside, "perform", busy)
    service = await house.move_in()
    run, _ = await service.start(submission(stages=[STEPS], flags={}, watch="0s"), ANN)
    await _until(service, "effects_failing")
    failing = await numbers(service)
    assert failing["effects_outstanding"] == 1
    assert failing["effect_oldest_age_seconds"] > 0
    is_free = True
    await eventually(service, run, outcome="promoted")
    found = await numbers(service)
    assert (found["effects_outstanding"], found["effects_failing"], found["effect_oldest_age_seconds"]) == (0, 0, 0)
    vain = found["effect_tries_total{operation=run_command,outcome=temporary}"]
    assert vain >= 1
    assert found["effect_tries_total{operation=run_command,outcome=done}"] == 1
    assert found["effect_retries_total{operation=run_command}"] == vain


async def test_a_store_that_takes_nothing_is_seen(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    service = await house.move_in()
    run, _ = await service.start(submission(), ANN)
    await eventually(service, run, leg="baking")
    append = house.store.append

    async def full(batch: Batch) -> list[Recorded]:
        raise StoreError("the disk is full")

    monkeypatch.setattr(house.store, "append", full)
    with pytest.raises(StoreError):
        await service.command(run, tell("pause"), ANN)
    away = await numbers(service)
    assert away["runs_unwritable"] == 1
    assert away["store_errors_total{call=append}"] >= 1
    assert away["commands_total{command=pause,outcome=failed}"] == 1
    monkeypatch.setattr(house.store, "append", append)
    await service.command(run, tell("pause"), ANN)
    assert (await numbers(service))["runs_unwritable"] == 0


async def test_a_notification_that_nobody_takes_is_counted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuses(*_: object) -> None:
        raise Permanent("404")

    monkeypatch.setattr(house.outside, "deliver", refuses)
    service = await house.move_in()
    channels = {"ops": {"webhook": {"url": "http://localhost/x"}}}
    notify = {"channels": channels, "news": [{"when": ["started"], "channels": ["ops"]}]}
    run, _ = await service.start(submission(**QUICK, watch="0s", notify=notify), ANN)
    await eventually(service, run, outcome="promoted")
    await _until(service, "notifications_total{outcome=failed}")
    assert (await numbers(service))["notifications_total{outcome=delivered}"] == 0


# --- the format -------------------------------------------------------------------------------------------------------


def parsed(lines: Sequence[str]) -> Any:
    (family,) = text_string_to_metric_families("\n".join(lines) + "\n")
    return family


def test_a_label_may_have_any_text() -> None:
    text = 'a "quoted" \\ one\nand another'
    family = parsed(gauge("things", "Things.", {text: 2.0}, "thing"))
    assert family.samples[0].labels == {"thing": text}


def test_the_buckets_of_a_histogram_add_up() -> None:
    seconds = Histogram("a_seconds", "A.", (0.1, 1.0), ("what",))
    for one in (0.05, 0.1, 0.5, 7.0):
        seconds.observe(one, "x")
    samples = {sample.labels.get("le", sample.name): sample.value for sample in parsed([*seconds.lines()]).samples}
    assert samples == {"0.1": 2, "1": 3, "+Inf": 4, "a_seconds_count": 4, "a_seconds_sum": pytest.approx(7.65)}


def test_a_counter_shows_what_it_may_come_to_count() -> None:
    counter = Counter("a_total", "A.", ("what",), (("x",), ("y",)))
    counter.add("y")
    counter.add("z")
    assert [(one.labels["what"], one.value) for one in parsed([*counter.lines()]).samples] == [
        ("x", 0),
        ("y", 1),
        ("z", 1),
    ]


def test_the_process_is_shown_as_the_operating_system_sees_it() -> None:
    found = {family.name: family.samples[0].value for family in text_string_to_metric_families(_process())}
    assert found["process_resident_memory_bytes"] > 10_000_000
    assert found["process_virtual_memory_bytes"] > found["process_resident_memory_bytes"]
    assert 2 < found["process_open_fds"] < found["process_max_fds"]
    assert found["process_cpu_seconds"] > 0


def _process() -> str:
    return "\n".join(process.lines()) + "\n"
