"""Checks are answered yes, no or unknown, with what was found; criteria measure the same sources."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.adapters.check import CheckAsker
from orchestrator.adapters.expectations import CannotTell, Found, hold_against, value_at
from orchestrator.adapters.http_client import HttpClient
from orchestrator.adapters.measure import SourceMeasurer
from orchestrator.adapters.process import CommandResult, NotStartable
from orchestrator.adapters.prometheus import PrometheusClient
from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.sources import SourceReader
from orchestrator.adapters.sql.health import Reading
from orchestrator.allowance import Allowance
from orchestrator.errors import RolloutError, Temporary
from orchestrator.ports import CheckAnswer, Scene
from stages.checks import Check, Expect, Health, Standing
from stages.criteria.base import Measurement, MeasurementState, Memory, Verdict
from stages.criteria.threshold import Threshold, judge
from stages.values import TextOrSecret
from tests.support.http_server import ScriptedServer, answer, answer_json, dead_url, hang

NOW = 1_700_000_000.0
YES, NO, UNKNOWN = Standing.YES, Standing.NO, Standing.UNKNOWN
STATE = MeasurementState


class StillClock:
    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps here")


@dataclass
class ScriptedRunner:
    """Answers every command with the next result, or raises it."""

    result: CommandResult | RolloutError = field(default_factory=lambda: CommandResult(0, "", "", 0.5, False))
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    async def run(
        self,
        argv: Sequence[str],
        scene: Scene,
        dir: str | None,  # noqa: A002 -- the plan's word
        vars: Mapping[str, TextOrSecret],  # noqa: A002 -- the plan's word
        timeout_seconds: float,
        script: str | None = None,
    ) -> CommandResult:
        self.asked.append((tuple(argv), dir, dict(vars), timeout_seconds, script))
        if isinstance(self.result, RolloutError):
            raise self.result
        return self.result


@dataclass
class ScriptedSql:
    rows: Sequence[Sequence[Any]] | RolloutError = ()
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    async def fetch(
        self, database: TextOrSecret, sql: str, timeout_seconds: float, directory: str | None = None
    ) -> Sequence[Sequence[Any]]:
        self.asked.append((database, sql, timeout_seconds, directory))
        if isinstance(self.rows, RolloutError):
            raise self.rows
        return self.rows

    async def health(
        self, database: TextOrSecret, health: Health, timeout_seconds: float, directory: str | None = None
    ) -> Sequence[Reading]:
        rows = await self.fetch(database, health, timeout_seconds, directory)
        return [Reading(str(labels), float(value)) for labels, value in rows]


def done(stdout: str = "", code: int = 0, stderr: str = "", seconds: float = 0.5, late: bool = False) -> CommandResult:
    return CommandResult(code, stdout, stderr, seconds, late)


@dataclass
class Desk:
    """Everything that a check can ask, scripted, and the server that HTTP and queries go to."""

    reader: SourceReader
    runner: ScriptedRunner
    sql: ScriptedSql
    server: ScriptedServer
    scene: Scene

    async def ask(self, **fields: Any) -> CheckAnswer:
        return await CheckAsker(self.reader).ask(Check.model_validate(fields), self.scene)

    async def measure(self, **fields: Any) -> Measurement:
        fields = {"name": "number", **({} if "expect" in fields else {"pass": ">= 0"}), **fields}
        return await SourceMeasurer(self.reader).measure(Threshold.model_validate(fields), self.scene, NOW)


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    secrets = Secrets(
        Allowance(variables=("APP_*",), folders=(tmp_path,)), environ={"APP_ENV": "prod", "APP_EMPTY": ""}
    )
    http = HttpClient(secrets)
    prometheus, runner, sql = PrometheusClient(http), ScriptedRunner(), ScriptedSql()
    async with ScriptedServer() as server:
        settings = {"url": server.url, "timeout": "2s", "scrape_interval": "15s"}
        scene = Scene(
            "run",
            "production",
            directory=str(tmp_path),
            database="sqlite:///x",
            prometheus={"": settings, "eu": settings},
        )
        yield Desk(SourceReader(http, prometheus, runner, sql, StillClock()), runner, sql, server, scene)
    await prometheus.close()


def vector(*values: str) -> Any:
    series = [{"metric": {"pod": str(n)}, "value": [NOW, value]} for n, value in enumerate(values)]
    return answer_json({"status": "success", "data": {"resultType": "vector", "result": series}})


# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "expect", "standing", "words"),
    (
        (done(), {}, YES, "expected exit code 0, found 0"),
        (done(code=2, stderr="a\nno backup\n"), {}, NO, "expected exit code 0, found 2: no backup"),
        (done(code=2), {"exit": 2}, YES, "found 2"),
        (done(code=0), {"exit": 2}, NO, "expected exit code 2, found 0"),
        (done(code=-9), {"exit": "any"}, YES, "exit code -9"),
        (done("23\n"), {"number": "< 24"}, YES, "expected < 24, found 23"),
        (done("25"), {"number": "< 24"}, NO, "expected < 24, found 25"),
        (done("many"), {"number": "< 24"}, NO, "expected a number, found 'many'"),
        (done(""), {"number": "< 24"}, NO, "expected a number, found nothing"),
        (done("nan"), {"number": "!= 24"}, NO, "expected a number, found 'nan'"),
        (done("1_0"), {"number": "> 1"}, NO, "expected a number"),
        (done("23", code=1), {"number": "< 24"}, NO, "expected exit code 0, found 1"),
        (done("23", code=1), {"number": "< 24", "exit": "any"}, YES, "found 23"),
        (done("ok\n"), {"stdout": "ok"}, YES, "found 'ok'"),
        (done("okay"), {"stdout": "ok"}, NO, "expected the output 'ok', found 'okay'"),
        (done("all is well"), {"contains": "well"}, YES, ""),
        (done("all is well"), {"contains": ["well", "good"]}, NO, "to contain 'good'"),
        (done("all is well"), {"lacks": "bad"}, YES, ""),
        (done("all is well"), {"lacks": ["bad", "well"]}, NO, "to lack 'well'"),
        (done(seconds=3), {"duration": "< 5"}, YES, "expected a duration of < 5 s, found 3 s"),
        (done(seconds=7), {"duration": "< 5"}, NO, "found 7 s"),
        (done('{"a": [{"b": 2}]}'), {"json": {"a.0.b": 2, "a[0].b": {"number": "> 1"}}}, YES, ""),
        (done('{"a": true}'), {"json": {"a": 1}}, NO, "expected a to be 1, found true"),
        (done('{"a": "x"}'), {"json": {"a": {"number": "> 1"}}}, NO, 'expected a to be > 1, found "x"'),
        (done('{"a": "x"}'), {"json": {"b": "x"}}, NO, 'expected b to be "x", found nothing there'),
        (done("x"), {"json": {"a": 1}}, NO, "expected JSON, found 'x'"),
        (done(late=True), {}, UNKNOWN, "the command took longer than 5m"),
        (NotStartable("./probe is not there"), {}, UNKNOWN, "./probe is not there"),
    ),
)
async def test_a_command_is_held_against_what_is_expected(
    desk: Desk, result: CommandResult | RolloutError, expect: dict[str, Any], standing: Standing, words: str
) -> None:
    desk.runner.result = result
    answered = await desk.ask(command=["./probe"], expect=expect)
    assert answered.standing is standing, answered.detail
    assert words in answered.detail


async def test_a_command_gets_its_folder_variables_and_time(desk: Desk) -> None:
    await desk.ask(command=["./probe", "x"], dir="tools", vars={"A": "b"}, timeout="7s")
    await desk.ask(script="exit 0")
    assert desk.runner.asked == [
        (("./probe", "x"), "tools", {"A": "b"}, 7.0, None),
        ((), None, {}, 300.0, "exit 0"),
    ]


async def test_long_output_is_cut_and_secrets_in_it_are_not(desk: Desk) -> None:
    secret = "s3cret-" * 10
    desk.reader.http.secrets.redactor.add(secret)
    desk.runner.result = done("x" * 180 + secret + "y" * 100_000)
    answered = await desk.ask(command=["./probe"], expect={"stdout": "ok"})
    assert len(answered.detail) < 1000
    assert "s3cret" not in answered.detail


# --- HTTP -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "http", "expect", "standing", "words"),
    (
        (answer("fine"), {}, {}, YES, "the answer is there"),
        (answer("", 204), {}, {}, YES, ""),
        (answer("out of order", 503), {}, {}, NO, "answered with status 503, expected 2xx: out of order"),
        (answer("", 404), {"status": 404}, {}, YES, ""),
        (answer("", 200), {"status": [201, 202]}, {}, NO, "status 200, expected 201 or 202"),
        (answer_json({"status": "healthy", "checks": {"queue": 3}}), {},
         {"json": {"status": "healthy", "checks.queue": {"number": ">= 2"}}}, YES, "found 3"),
        (answer_json({"status": "ill"}), {}, {"json": {"status": "healthy"}}, NO,
         'expected status to be "healthy", found "ill"'),
        (answer("hello"), {}, {"contains": "hello", "duration": "< 1"}, YES, ""),
        (answer_json({"depth": 7}), {"value": "depth"}, {"number": "< 5"}, NO, "expected < 5, found 7"),
        (answer("12"), {}, {"number": "> 5"}, YES, "found 12"),
        (answer_json({}), {"value": "depth"}, {"number": "< 5"}, UNKNOWN, "there is nothing at depth in the JSON"),
        (answer("no"), {"value": "depth"}, {}, UNKNOWN, "the answer is not JSON"),
        (hang, {"timeout": "200ms"}, {}, UNKNOWN, "did not answer within 0.2 s"),
    ),
)  # fmt: skip
async def test_http_is_held_against_what_is_expected(
    desk: Desk, behaviour: Any, http: dict[str, Any], expect: dict[str, Any], standing: Standing, words: str
) -> None:
    desk.server.behave(behaviour)
    answered = await desk.ask(http={"url": desk.server.url, **http}, expect=expect)
    assert answered.standing is standing, answered.detail
    assert words in answered.detail


async def test_a_refused_connection_is_no_answer(desk: Desk) -> None:
    answered = await desk.ask(http={"url": dead_url()})
    assert (answered.standing, "Connection refused" in answered.detail) == (UNKNOWN, True)


# --- SQL and queries --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "expect", "standing", "words"),
    (
        ([(0,)], {"number": "== 0"}, YES, "expected == 0, found 0"),
        ([(Decimal("1.5"),)], {"number": "== 0"}, NO, "found 1.5"),
        ([(None,)], {"number": "== 0"}, NO, "expected a number, found 'NULL'"),
        ([(1, 2)], {"number": "== 1"}, NO, "expected a number"),
        ([(1,), (2,)], {"rows": 2}, YES, "expected 2 rows, found 2"),
        ([], {"rows": "> 0"}, NO, "expected > 0 rows, found 0"),
        ([], {"rows": 0}, YES, ""),
        ([("a", True)], {"contains": "a\ttrue"}, YES, ""),
        ([(True,)], {}, YES, ""),
        ([("x", None)], {}, YES, ""),
        ([(False,)], {}, NO, "the result is false, and without expect"),
        ([(0,)], {}, NO, "the result is 0"),
        ([(None,)], {}, NO, "the result is NULL"),
        ([], {}, NO, "the result is empty"),
        (Temporary("the database is away"), {}, UNKNOWN, "the database is away"),
    ),
)  # fmt: skip
async def test_sql_is_held_against_what_is_expected(
    desk: Desk, rows: Any, expect: dict[str, Any], standing: Standing, words: str
) -> None:
    desk.sql.rows = rows
    answered = await desk.ask(sql="SELECT x", expect=expect, database={"env": "APP_DB"})
    assert answered.standing is standing, answered.detail
    assert words in answered.detail


async def test_sql_asks_its_own_database_or_the_environment_s(desk: Desk) -> None:
    await desk.ask(sql="SELECT 1")
    await desk.ask(sql="SELECT 2", database="sqlite:///y", timeout="1s")
    here = desk.scene.directory
    assert desk.sql.asked == [("sqlite:///x", "SELECT 1", 30.0, here), ("sqlite:///y", "SELECT 2", 1.0, here)]
    desk.scene = Scene("run", "production")
    assert "names no database" in (await desk.ask(sql="SELECT 1")).detail


@pytest.mark.parametrize(
    ("behaviour", "expect", "standing", "words"),
    (
        (vector("3", "9"), {"number": "< 10"}, YES, 'expected < 10, found 9 at {pod="1"}'),
        (vector("3", "19", "11"), {"number": "< 10"}, NO, 'expected < 10, found 19 at {pod="1"}'),
        (vector("NaN"), {"number": "!= 1"}, UNKNOWN, "is NaN"),
        (vector("+Inf"), {"number": "< 10"}, NO, "found inf"),
        (vector(), {"number": "< 10"}, UNKNOWN, "has no series"),
        (vector(), {"rows": 0}, YES, ""),
        (vector("1", "2"), {}, YES, ""),
        (vector("0"), {}, NO, "without expect it must be neither 0 nor false"),
        (vector("NaN"), {}, UNKNOWN, "neither yes nor no"),
        (vector(), {}, NO, "the query is empty"),
        (answer("", 500), {"number": "< 10"}, UNKNOWN, "is failing (500)"),
    ),
)
async def test_a_query_is_held_against_what_is_expected(
    desk: Desk, behaviour: Any, expect: dict[str, Any], standing: Standing, words: str
) -> None:
    desk.server.behave(behaviour)
    answered = await desk.ask(query="sum by (pod) (x)", expect=expect)
    assert answered.standing is standing, answered.detail
    assert words in answered.detail


async def test_a_query_goes_to_the_source_that_it_names(desk: Desk) -> None:
    desk.server.behave(vector("1"))
    assert (await desk.ask(query="sum(x)", source="eu")).standing is YES
    assert "no source us" in (await desk.ask(query="sum(x)", source="us")).detail
    desk.scene = Scene("run", "production")
    assert "names no prometheus" in (await desk.ask(query="sum(x)")).detail


# --- files and variables ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expect", "standing", "words"),
    (
        ("there", {}, YES, "the file there is there"),
        ("absent", {}, NO, "the file absent does not exist"),
        ("there/absent", {}, NO, "does not exist"),
        ("there", {"contains": "hidden", "lacks": "other", "size": "> 5"}, YES, "expected a size of > 5 bytes"),
        ("there", {"contains": "other"}, NO, "to contain 'other', what is there is not shown"),
        ("there", {"age": "< 24h"}, YES, "expected an age of < 24h, found 1h"),
        ("there", {"age": "< 30m"}, NO, "expected an age of < 30m, found 1h"),
        ("there", {"age": ">= 1h"}, YES, ""),
        (".", {}, YES, ""),
        (".", {"contains": "x"}, UNKNOWN, "has no text"),
        ("../other", {}, UNKNOWN, "plans may not read the file ../other"),
    ),
)
async def test_a_file_is_held_against_what_is_expected(
    desk: Desk, tmp_path: Path, name: str, expect: dict[str, Any], standing: Standing, words: str
) -> None:
    (tmp_path / "there").write_text("hidden word")
    os.utime(tmp_path / "there", (NOW - 3600, NOW - 3600))
    answered = await desk.ask(file=name, expect=expect)
    assert answered.standing is standing, answered.detail
    assert words in answered.detail


@pytest.mark.parametrize(
    ("name", "expect", "standing", "words"),
    (
        ("APP_ENV", {}, YES, "the variable APP_ENV is there"),
        ("APP_EMPTY", {}, YES, ""),
        ("APP_ABSENT", {}, NO, "APP_ABSENT is not set"),
        ("APP_ENV", {"contains": "staging"}, NO, "to contain 'staging', what is there is not shown"),
        ("HOME", {}, UNKNOWN, "plans may not use the environment variable HOME"),
    ),
)
async def test_a_variable_is_held_against_what_is_expected_and_never_shown(
    desk: Desk, name: str, expect: dict[str, Any], standing: Standing, words: str
) -> None:
    answered = await desk.ask(env=name, expect=expect)
    assert answered.standing is standing, answered.detail
    assert words in answered.detail
    assert standing is YES or "prod" not in answered.detail


async def test_a_person_s_question_is_not_asked_here(desk: Desk) -> None:
    assert (await desk.ask(manual="Is it good?")).standing is UNKNOWN


# --- measurements -----------------------------------------------------------------------------------------------------


async def test_a_command_that_prints_a_number_is_measured(desk: Desk) -> None:
    desk.runner.result = done("0.25\n")
    measured = await desk.measure(command=["./rate"])
    assert (measured.state, measured.series[0].value, measured.series[0].labels) == (STATE.OK, 0.25, "")
    assert measured.at == measured.series[0].sampled_at == NOW


@pytest.mark.parametrize(
    ("result", "words"),
    (
        (done("0.25", code=1, stderr="half of it"), "the command ended with exit code 1: half of it"),
        (done("much"), "expected a number, found 'much'"),
        (done("1 2"), "expected a number, found '1 2'"),
        (done(late=True), "took longer than 5m"),
        (NotStartable("./rate is not there"), "./rate is not there"),
    ),
)
async def test_a_command_that_does_not_is_an_error(desk: Desk, result: Any, words: str) -> None:
    desk.runner.result = result
    measured = await desk.measure(command=["./rate"])
    assert measured.state is STATE.ERROR
    assert words in measured.detail


@pytest.mark.parametrize(
    ("rows", "state", "value"),
    (
        ([(3,)], STATE.OK, 3),
        ([(Decimal("0.5"),)], STATE.OK, 0.5),
        ([], STATE.MISSING, None),
        ([(None,)], STATE.MISSING, None),
        ([(1,), (2,)], STATE.ERROR, None),
        ([(True,)], STATE.ERROR, None),
        (Temporary("away"), STATE.ERROR, None),
    ),
)  # fmt: skip
async def test_sql_measures_a_single_cell(desk: Desk, rows: Any, state: STATE, value: float | None) -> None:
    desk.sql.rows = rows
    measured = await desk.measure(sql="SELECT avg(x) FROM y")
    assert measured.state is state, measured.detail
    assert [one.value for one in measured.series] == ([value] if value is not None else [])


@pytest.mark.parametrize(
    ("behaviour", "state"),
    (
        (answer_json({"queue": [{"depth": 4}]}), STATE.OK),
        (answer_json({"queue": [{"depth": "4"}]}), STATE.OK),
        (answer_json({"queue": [{"depth": None}]}), STATE.ERROR),
        (answer_json({"queue": [{"depth": True}]}), STATE.ERROR),
        (answer_json({"queue": []}), STATE.ERROR),
        (answer_json({"queue": [{"depth": 4}]}, 503), STATE.ERROR),
        (answer("4"), STATE.ERROR),
    ),
)
async def test_http_measures_the_value_at_its_path(desk: Desk, behaviour: Any, state: MeasurementState) -> None:
    desk.server.behave(behaviour)
    measured = await desk.measure(http={"url": desk.server.url, "value": "queue.0.depth"})
    assert measured.state is state, measured.detail
    assert [one.value for one in measured.series] == ([4] if state is STATE.OK else [])


async def test_a_query_measures_all_its_series_and_how_far_back_they_reach(desk: Desk) -> None:
    desk.server.behave(vector("1", "NaN"))
    measured = await desk.measure(query="sum by (pod) (rate(x[5m]))")
    assert [one.labels for one in measured.series] == ['{pod="0"}', '{pod="1"}']
    assert measured.lookback_seconds == 330


async def test_a_question_measures_one_for_yes_and_zero_for_no(desk: Desk) -> None:
    assert (await desk.measure(command=["./probe"], expect={})).series[0].value == 1
    desk.runner.result = done(code=3)
    no = await desk.measure(command=["./probe"], expect={})
    assert (no.state, no.series[0].value) == (STATE.OK, 0)
    criterion = Threshold.model_validate({"name": "probe", "command": ["./probe"], "expect": {}})
    judged = judge(criterion, no, Memory())
    assert (judged.verdict, judged.sentence) == (
        Verdict.FAIL,
        "probe is not as expected: expected exit code 0, found 3",
    )


async def test_a_question_that_can_t_be_asked_is_an_error(desk: Desk) -> None:
    desk.runner.result = done(late=True)
    assert (await desk.measure(command=["./probe"], expect={})).state is STATE.ERROR
    assert (await desk.measure(http={"url": dead_url()}, expect={})).state is STATE.ERROR


async def test_a_question_to_prometheus_reaches_as_far_back_as_its_query(desk: Desk) -> None:
    desk.server.behave(vector("1"))
    measured = await desk.measure(query="sum(rate(x[5m]))", expect={"number": "> 0"})
    assert (measured.series[0].value, measured.lookback_seconds) == (1, 330)


# --- a database's health ----------------------------------------------------------------------------------------------


async def test_the_health_of_a_database_is_a_number_for_a_check(desk: Desk) -> None:
    desk.sql.rows = [('{pid="7"}', 3.5)]
    answer = await desk.ask(health="longest_lock_wait", expect={"number": "< 1"})
    assert (answer.standing, answer.detail) == (NO, 'expected < 1, found 3.5 at {pid="7"}')
    assert desk.sql.asked == [("sqlite:///x", Health.LONGEST_LOCK_WAIT, 30.0, desk.scene.directory)]


async def test_the_health_of_a_database_names_what_is_worst(desk: Desk) -> None:
    desk.sql.rows = [('{pid="7"}', 3.5)]
    measured = await desk.measure(health="longest_transaction")
    assert [(series.labels, series.value) for series in measured.series] == [('{pid="7"}', 3.5)]


async def test_a_replication_lag_without_a_standby_is_missing_and_not_zero(desk: Desk) -> None:
    measured = await desk.measure(health="replication_lag")
    assert measured.state is MeasurementState.MISSING
    assert "no standby is connected" in measured.detail


# --- expectations alone -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expect", ({"exit": 1}, {"rows": 1}, {"duration": "< 1"}, {"size": "< 1"}, {"age": "< 1h"}, {"contains": "x"})
)
def test_what_an_answer_does_not_have_can_t_be_told(expect: dict[str, Any]) -> None:
    with pytest.raises(CannotTell, match="the thing"):
        hold_against(Expect.model_validate(expect), Found("the thing"))


# --- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value"),
    (
        ("a", {"b.c": 1, "b": {"c": 2, "d": [3, [4]]}}),
        ("a.b.c", 2),
        ("a.b.d.0", 3),
        ("a.b.d[1][0]", 4),
        ("x.y", 5),
        ("", None),
    ),
)
def test_a_path_leads_through_keys_and_lists(path: str, value: Any) -> None:
    document = {"a": {"b.c": 1, "b": {"c": 2, "d": [3, [4]]}}, "x.y": 5}
    assert value_at(document, path) == (document if path == "" else value)


@pytest.mark.parametrize("path", ("b", "a.x", "a.9", "a.-1", "a.0.b"))
def test_a_path_to_nothing_is_said(path: str) -> None:
    with pytest.raises(CannotTell, match="there is nothing at"):
        value_at({"a": [1]}, path)
