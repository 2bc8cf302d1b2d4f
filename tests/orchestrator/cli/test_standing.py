"""`status` and `explain` of runs as the core leaves them: every hold and phase says what, why, and what to type.

What is said to end a hold is tried: the line is read by the command line's own parser, and taken by the core.
"""

import shlex
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.api.bodies import RunStatus
from orchestrator.cli import explaining, standing
from orchestrator.cli.acting import to_command
from orchestrator.cli.holding import ending_of
from orchestrator.cli.parser import make_parser
from orchestrator.cli.picture import Scene, Size, picture
from orchestrator.core.commands import Actor, Command, accept
from orchestrator.core.effect import EffectState, Outcome
from orchestrator.core.events import to_json
from orchestrator.core.evidence import note_killed
from orchestrator.core.moment import Moment
from orchestrator.core.offers import offers
from orchestrator.core.phases import Reason
from orchestrator.core.times import iso
from orchestrator.core.view import status
from orchestrator.reading import _offered
from stages.checks import Standing
from tests.orchestrator.core.drive import Drive

Json = dict[str, Any]
AMY = Actor("amy", "admin", ("on-call",))
GATE = {"every": "10s", "criteria": [{"name": "errors", "query": "errors", "pass": "< 5%", "fail": "> 10%"}]}
OPEN: Json = {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [5, 50], "bake": "1m"}
GATED: Json = {**OPEN, "gate": "health"}
FLAG: Json = {"flags": {"beta": {}}, "gates": {"health": GATE}}
UNDONE = {"command": ["./go"], "undo": ["./back"], "target": "app"}
DEPLOY: Json = {"name": "deploy", "kind": "steps", "steps": [UNDONE]}
ONCE: Json = {"name": "mail", "kind": "steps", "steps": [{"command": ["./mail"], "undo": "none"}]}
APP = "command:production/app"
MAIL = "command:production/mail/run ./mail"


def plan(*stages: Json, **more: Any) -> Json:
    return {**FLAG, "stages": list(stages or (OPEN,)), **more}


def paused() -> Drive:
    drive = until_5(Drive(plan()))
    drive.command("pause", reason="lunch")
    return drive


def until_5(drive: Drive) -> Drive:
    drive.run_until(lambda: drive.percentage("beta") == 5)
    return drive


def paused_by_the_plan() -> Drive:
    drive = Drive({"stages": [{**ONCE, "on_fail": "pause"}]})
    drive.outcomes[MAIL] = [Outcome(state=EffectState.REFUSED, detail="exit code 1")]
    drive.advance(30)
    return drive


def failing() -> Drive:
    drive = Drive(plan(checks=[{"name": "healthy", "command": ["./healthy"]}]))
    drive.checks["healthy"] = Standing.NO
    drive.advance(30)
    return drive


def inconclusive() -> Drive:
    drive = until_5(Drive(plan(GATED)))
    drive.metrics["errors"] = 0.07
    drive.advance(60)
    return drive


def approval() -> Drive:
    drive = Drive(plan({**OPEN, "approval": {"any_of": ["on-call"], "timeout": "2h"}}))
    drive.advance(10)
    return drive


def manual() -> Drive:
    drive = Drive(plan(checks=[{"name": "go", "manual": "Is the page up?"}]))
    drive.advance(10)
    return drive


def window() -> Drive:
    drive = Drive(plan({**OPEN, "window": {"deny": [{"from": "2023-11-14T00:00:00Z", "to": "2023-11-14T23:00:00Z"}]}}))
    drive.advance(10)
    return drive


def fired(then: str) -> Drive:
    actions = [{"disable": "beta"}]
    drive = until_5(Drive(plan(triggers=[{"name": "backlog", "by_hand": True, "actions": actions, "then": then}])))
    drive.command("fire", trigger="backlog", reason="I saw it")
    drive.advance(120)
    return drive


def killed() -> Drive:
    drive = until_5(Drive(plan()))
    drive.evidence = note_killed(drive.evidence, frozenset({"production"}))
    drive.advance(10)
    return drive


def changed_elsewhere() -> Drive:
    drive = until_5(Drive(plan()))
    drive.somebody_sets("beta", percentage=20.0)
    drive.advance(30)
    return drive


def effect_failing() -> Drive:
    drive = Drive(plan())
    drive.outcomes["flag:production/beta"] = [Outcome(state=EffectState.TEMPORARY, detail="no answer")] * 99
    drive.advance(30)
    return drive


def unknown_outcome() -> Drive:
    drive = Drive({"stages": [ONCE]})
    drive.outcomes[MAIL] = [Outcome(state=EffectState.UNKNOWN, detail="timed out")]
    drive.advance(30)
    return drive


def undo_failing() -> Drive:
    drive = Drive(plan(DEPLOY, OPEN))
    until_5(drive)
    drive.outcomes[APP] = [Outcome(state=EffectState.REFUSED, detail="exit code 1")] * 99
    drive.command("rollback", reason="errors")
    drive.advance(300)
    return drive


def verify_failing() -> Drive:
    drive = Drive(plan(rollback={"verify": [{"name": "answers", "command": ["./answers"]}], "within": "10s"}))
    until_5(drive)
    drive.checks["answers"] = Standing.NO
    drive.command("rollback", reason="errors")
    drive.advance(300)
    return drive


def point_of_no_return() -> Drive:
    drive = until_5(Drive(plan({**DEPLOY, "point_of_no_return": True}, OPEN)))
    drive.command("rollback", reason="errors")
    drive.advance(300)
    return drive


HELD: dict[str, tuple[str, Callable[[], Drive]]] = {
    "a pause": ("paused", paused),
    "a pause by the plan": ("paused", paused_by_the_plan),
    "a check": ("failing", failing),
    "a gate": ("inconclusive", inconclusive),
    "an approval": ("approval", approval),
    "a question": ("manual", manual),
    "a window": ("window", window),
    "a trigger": ("trigger", lambda: fired("hold")),
    "a pin": ("trigger", lambda: fired("continue")),
    "the kill switch": ("killed", killed),
    "an edit": ("changed_elsewhere", changed_elsewhere),
    "an effect": ("effect_failing", effect_failing),
    "an unknown": ("unknown_outcome", unknown_outcome),
    "an undo": ("undo_failing", undo_failing),
    "a verify": ("undo_failing", verify_failing),
    "no return": ("point_of_no_return", point_of_no_return),
}


def status_of(drive: Drive) -> Json:
    found = status(drive.state, drive.evidence, drive.now)
    RunStatus.model_validate(found)
    return found


def history_of(drive: Drive) -> list[Json]:
    found = []
    for seq, event in enumerate(drive.events, 1):
        data = to_json(event)
        by, reason = data.pop("by", "controller"), data.pop("reason", "")
        entry = {"seq": seq, "time": iso(drive.now), "type": data.pop("type"), "by": by, "reason": reason}
        found.append({**entry, "data": data})
    return found


def offered(drive: Drive) -> Json:
    moment = Moment(drive.state, drive.evidence, drive.now)
    return {"actor": {"name": "amy", "role": "admin"}, "commands": [_offered(one) for one in offers(moment, AMY)]}


def explained(drive: Drive) -> Json:
    return explaining.explained(status_of(drive), history_of(drive), offered(drive))


def try_it(drive: Drive, line: str) -> None:
    """Raises what the core refuses."""
    words = shlex.split(line.replace("TEXT", "because"))[1:]
    arguments = make_parser(words[0]).parse_args(words)
    if words[0] not in ("flag", "serve", "unfreeze"):
        command = Command.model_validate(to_command(arguments, "because"))
        accept(Moment(drive.state, drive.evidence, drive.now), command, AMY)


@pytest.fixture(scope="module")
def drives() -> dict[str, Drive]:
    return {name: made() for name, (_, made) in HELD.items()}


@pytest.mark.parametrize("what", HELD)
def test_every_hold_says_why_and_what_would_end_it_in_twelve_lines(drives: dict[str, Drive], what: str) -> None:
    found = status_of(drives[what])
    reason = HELD[what][0]
    assert reason in {str(hold["reason"]) for hold in found["holds"]}, drives[what].where()
    lines = standing.status(found).splitlines()
    assert len(lines) <= standing.MOST_LINES
    assert any(line.startswith(f"  holds       {reason}") for line in lines)
    assert any(line.startswith("  ends        ") for line in lines)


@pytest.mark.parametrize("what", HELD)
def test_what_is_said_to_end_a_hold_is_taken_by_the_core(drives: dict[str, Drive], what: str) -> None:
    found = status_of(drives[what])
    for hold in found["holds"]:
        ending = ending_of(hold, found)
        assert bool(ending.who) == bool(ending.commands)
        for line in ending.commands:
            try_it(drives[what], line)


@pytest.mark.parametrize("what", HELD)
def test_what_somebody_may_do_is_typed_as_it_is_taken(drives: dict[str, Drive], what: str) -> None:
    for one in explained(drives[what])["commands"]:
        if one["refused"] is None:
            try_it(drives[what], one["line"])


@pytest.mark.parametrize("what", HELD)
def test_an_explanation_names_the_event_that_each_hold_is_from(drives: dict[str, Drive], what: str) -> None:
    drive = drives[what]
    found = explained(drive)
    assert [one["reason"] for one in found["holds"]].count(HELD[what][0]) >= 1
    for hold in found["holds"]:
        origin = drive.events[hold["event"]["seq"] - 1]
        assert origin.type_name in ("HoldSet", "Paused", "OnFailPaused", "RollbackStarted")
    text = explaining.as_text(found)
    assert f"It holds: {HELD[what][0].replace('_', ' ')}" in text
    assert "amy (admin) may now:" in text
    assert all(len(line) <= explaining.WIDEST for line in text.splitlines() if "rollout " not in line)


@pytest.mark.parametrize("what", HELD)
def test_every_hold_is_drawn_above_all_else(drives: dict[str, Drive], what: str) -> None:
    found = status_of(drives[what])
    lines = picture(Scene(found, drives[what].now), Size(80, 24))
    assert any(text.startswith("HOLDS ") and colour == "bold red" for text, colour in lines[1])


def test_every_reason_of_the_core_is_known_and_no_other_one_is_an_error() -> None:
    from orchestrator.cli.holding import _ENDINGS

    assert set(_ENDINGS) == {str(reason) for reason in Reason}
    found = ending_of({"reason": "of a later version"}, {"run": "x"})
    assert (found.who, found.commands) == ("", ())


@pytest.mark.parametrize(("item", "words"), (("freeze:*", []), ("freeze:staging", ["--environment", "staging"])))
def test_a_freeze_is_ended_by_unfreezing_where_it_is(item: str, words: list[str]) -> None:
    ending = ending_of({"reason": "window", "item": item}, {"run": "x"})
    (line,) = ending.commands
    assert shlex.split(line) == ["rollout", "unfreeze", *words, "--reason", "TEXT"]
    make_parser("unfreeze").parse_args(shlex.split(line)[1:])


def test_all_holds_at_once_still_fit_and_the_first_is_told_whole() -> None:
    found = status_of(inconclusive())
    held = [{"reason": str(reason), "item": "x", "since": None, "by": "x", "detail": "d"} for reason in Reason]
    lines = standing.status({**found, "holds": held}).splitlines()
    assert len(lines) == standing.MOST_LINES
    assert lines[1].startswith("  holds       no_controller")
    assert lines[2].endswith(": rollout serve")
    assert lines[-1].endswith(f"more lines: rollout explain {found['run']}")


def test_of_an_approval_those_who_are_missing_and_those_who_gave_it_are_named() -> None:
    drive = Drive(plan({**OPEN, "approval": {"all_of": ["on-call", "dba"]}}))
    drive.advance(10)
    drive.command("approve", Actor("olga", "operator", ("dba",)))
    (hold,) = status_of(drive)["holds"]
    ending = ending_of(hold, status_of(drive))
    assert (ending.ends, ending.who) == ("on-call says yes (olga did already)", "on-call")


def test_an_explanation_says_who_is_told_next_and_when_until_somebody_acknowledges() -> None:
    channels = {"team": {"webhook": {"url": "http://localhost/hook"}}}
    escalation = [{"after": "0m", "channels": ["team"]}, {"after": "15m", "channels": ["team"]}]
    drive = Drive(
        plan(checks=[{"name": "go", "manual": "Go?"}], notify={"channels": channels, "escalation": escalation})
    )
    drive.advance(60)
    text = explaining.as_text(explained(drive))
    assert "It escalates to team at 2023-11-14 22:28:20 UTC, unless somebody acknowledges." in text
    drive.command("ack", reason="on it")
    assert "bob has acknowledged it, so nobody else is told." in explaining.as_text(explained(drive))


def test_of_many_flags_those_on_their_way_come_first() -> None:
    shares = {**{f"f{number}": 0.0 for number in range(9)}, "full": 100.0, "half": 50.0}
    found = {**status_of(paused()), "percentages": shares}
    (line,) = [line for line in standing.status(found).splitlines() if line.startswith("  flags")]
    assert line == "  flags       half 50 %, full 100 %, f0 0 %, f1 0 %, f2 0 %, f3 0 % and 5 more"


def watched() -> Drive:
    drive = Drive(plan(watch="10m"))
    drive.run_until(lambda: drive.state.phase == "watching")
    drive.advance(60)
    return drive


def ended(command: str) -> Drive:
    drive = watched()
    if command:
        drive.command(command, reason="because")
    drive.run_until(lambda: drive.state.ended)
    return drive


@pytest.mark.parametrize(
    ("made", "first", "why", "line"),
    (
        (watched, "watching, production", "the watch goes on: ", "  next        end of the watch (about "),
        (lambda: ended(""), "promoted", "The run went all the way", "rollback change-1 --reason TEXT takes it back"),
        (lambda: ended("rollback"), "rolled_back", "was rolled back by bob: because", "  because     because by bob"),
        (lambda: ended("stop"), "stopped", "by bob (because)", "  next        nothing by itself"),
    ),
)
def test_every_phase_and_end_says_why_and_what_is_next(
    made: Callable[[], Drive], first: str, why: str, line: str
) -> None:
    drive = made()
    lines = standing.status(status_of(drive)).splitlines()
    assert len(lines) <= standing.MOST_LINES
    assert lines[0] == f"change-1  {first}"
    assert any(line in one for one in lines)
    assert why in "\n".join(explained(drive)["because"])


# --- without a hold ---------------------------------------------------------------------------------------------------


def test_while_it_bakes_it_says_how_much_more_and_what_would_fail_it() -> None:
    drive = until_5(Drive(plan(GATED)))
    drive.metrics["errors"] = 0.01
    drive.advance(40)
    said = "\n".join(explained(drive)["because"])
    assert "Step 5% of stage open bakes: " in said
    assert " of 1m have passed" in said
    assert "- errors is 0.01, < 5% holds (fails at > 0.1)" in said
    assert "If it fails, everything would go back." in said


def test_of_a_test_the_evidence_and_where_it_fails_is_said() -> None:
    gate = {"name": "g", "verdict": "pass", "on_fail": "pause", "criteria": [
        {"name": "errors", "verdict": "pass", "sentence": "no difference",
         "evidence": {"against": 0.5, "fails_at": 100.0}}]}  # fmt: skip
    said = list(explaining.gate_sentences(gate))
    assert said[1] == "- no difference (evidence against it 0.5 to 1; fails at 100 to 1)"
    assert said[2] == "If it fails, the run would hold for a person."


def test_on_the_way_back_it_says_what_is_back_and_what_is_left() -> None:
    drive = undo_failing()
    said = explained(drive)["because"]
    assert said[0].startswith("It was rolled back by bob: errors (event ")
    back, left = said.index("Back:"), said.index("Left to do:")
    assert any("flag:production/beta" in one for one in said[back:left])
    assert any(APP in one for one in said[left:])


def test_what_people_answered_on_the_way_back_is_not_said_to_differ() -> None:
    question = {"question": "Clear the caches?", "by": ["dba"], "actions": [{"wait": "1s"}]}
    drive = until_5(Drive(plan(DEPLOY, OPEN, rollback={"ask": [question]})))
    drive.command("rollback", reason="errors")
    drive.run_until(lambda: "manual" in drive.holds())
    drive.command("approve", reason="they are corrupted")
    drive.run_until(lambda: drive.state.ended)
    said = explained(drive)["because"]
    assert said[said.index("Answered:") + 1] == "- question question:production/plan/1: yes, they are corrupted"
    assert "Not as it was:" not in said


def test_on_the_way_back_it_says_what_waits_for_what() -> None:
    second = {**DEPLOY, "name": "more", "steps": [{**UNDONE, "target": "more"}]}
    drive = until_5(Drive(plan(DEPLOY, second, {**OPEN, "settle": "5m"}, rollback={"after": [{"wait": "1s"}]})))
    drive.command("rollback", reason="errors")
    drive.advance(30)
    said = explained(drive)["because"]
    waiting = [one for one in said[said.index("Left to do:") :] if "which waits for settle:" in one]
    assert any(one.startswith(f"- undo {APP}, ") for one in waiting), said


def test_what_is_refused_now_is_there_with_why() -> None:
    drive = until_5(Drive(plan(GATED)))
    text = explaining.as_text(explained(drive))
    allowed, refused = text.split("Not now:\n")
    assert "  rollout pause change-1" in allowed
    assert "  resume: change-1 is not paused; nothing holds it, so it goes on by itself" in refused


def test_an_ended_run_says_why_and_by_whom() -> None:
    drive = until_5(Drive(plan()))
    drive.command("stop", reason="wrong day")
    drive.run_until(lambda: drive.state.ended)
    said, *exceptions = explained(drive)["because"]
    assert said.startswith("The run was stopped: the world stays as it was then, by bob (wrong day) (event ")
    assert exceptions == ["With exceptions:", *(f"- {one}" for one in drive.state.exceptions)]
    lines = standing.status(status_of(drive)).splitlines()
    assert lines[0] == "change-1  stopped"
    assert "rollout rollback change-1 --reason TEXT takes it back" in "\n".join(lines)


def test_without_a_controller_it_says_how_to_get_one() -> None:
    found = status(paused().state, paused().evidence, paused().now, has_controller=False)
    said = explaining.as_text(explaining.explained(found, [], None))
    assert "It holds: no controller" in said
    assert "Nobody can command it now: no controller runs: `rollout serve` starts one" in said
