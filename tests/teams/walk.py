"""Walks a team's plan through its world, and says what came of it.

Each walk is a run of its own in the same world, so that whatever one left behind shows in the next.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Generic

from tests.support.ports import free_port
from tests.teams.control import Control, url_at
from tests.teams.evidence import Evidence, missing, of_journal
from tests.teams.team import Answer, Incident, Json, Outcome, Pattern, Person, Team, Tools, W

END_SECONDS = 240.0
LOOK_SECONDS = 0.1
A_NEW_FLAG = "flag * was not there before; it stays, disabled at 0 %"  # which is as good as none


class Amiss(AssertionError):
    """Something is not as the example promises."""


class Walker(Generic[W]):
    """*told* is called with a sentence whenever something has been seen to be so."""

    def __init__(self, team: Team[W], world: W, control: Control, told: Callable[[str], None]) -> None:
        self.team, self.world, self.control = team, world, control
        self.evidence = Evidence()
        self.fired: set[str] = set()
        self._told = told

    # --- the walks --------------------------------------------------------------------------------------------------

    def back_from_every_stage(self) -> None:
        stages = self._stages()
        for number, stage in enumerate(stages):
            self._back_from(stage, stages[: number + 1])

    def _stages(self) -> list[str]:
        """``environment/stage`` of each, in order."""
        status = self._once("a look at the stages")
        return [f"{one['environment']}/{one['name']}" for one in status["stages"]]

    def _once(self, about: str) -> Json:
        """A run that is taken back as soon as it has begun: what it had in mind."""
        with self._taking(about) as run:
            return self._rolled_back(run, by_hand=True)

    def _back_from(self, stage: str, passed: Sequence[str]) -> None:
        with self._as_before(f"back from {stage}"), self._taking(f"back from {stage}") as run:
            self._tend(run, lambda: stage in self._ended_stages(run), f"the end of {stage}")
            status = self._rolled_back(run, by_hand=True)
            self._stays_are_named(status["exceptions"], passed)

    def meets(self, incident: Incident[W]) -> None:
        """The world is broken, the plan answers, the world is mended."""
        with self._as_before(incident.name), self._taking(incident.name, incident.sets) as run:
            self._tend(run, lambda: self._has_entered(run, incident.at), incident.at, incident.answers)
            before = len(self.control.history(run))
            incident.breaks(self.world)
            try:
                if incident.by_hand is not None:
                    self.control.command(run, "fire", trigger=incident.by_hand)
                self._shows(run, before, incident, incident.shows)
            finally:
                incident.mends(self.world)
            if incident.resumes:
                before = len(self.control.history(run))
                self.control.command(run, "resume")
                self._shows(run, before, incident, incident.resumes)
            self._rolled_back(
                run, by_hand=incident.ends is None, outcome=incident.ends or "rolled_back", answers=incident.answers
            )
        self.fired.update(incident.fires)

    def forward(self, *, kills: int = 0, seed: int = 0) -> Json:
        """Promoted, and what stands then. It is taken back afterwards, by a run of its own."""
        about = f"forward, killed {kills} times" if kills else "forward"
        with self._as_before(about):
            with self._taking(about) as run:
                self._tend(run, self._killing(run, kills, seed, self._is_settled), "its end")
                self._has_ended(run, "promoted")
                standing = self.standing()
                self._rounds()
            self._reversed(run, about)
        return standing

    def killed_back(self, kills: int, seed: int) -> None:
        """Forward into the last watch and back by hand, while the controller dies on the way."""
        about = f"back from the watch, killed {kills} times"
        with self._as_before(about), self._taking(about) as run:
            watching = f"{self.control.status(run)['stages'][-1]['environment']}/watch"
            asked: list[bool] = []

            def back(name: str) -> bool:
                if not asked and self._has_entered(name, watching):
                    self.control.command(name, "rollback")
                    asked.append(True)
                return self._is_settled(name)

            self._tend(run, self._killing(run, kills, seed, back), "its end")
            self._has_ended(run, "rolled_back")

    def standing(self) -> Json:
        return {**self.control.flags(), **self.world.standing()}

    # --- parts of walks ---------------------------------------------------------------------------------------------

    @contextmanager
    def _taking(self, about: str, sets: Sequence[str] = ()) -> Iterator[str]:
        """A run, whose journal is kept as evidence and looked at when it has ended."""
        run = self.control.begin(self.team.folder / self.team.plan, (*self.team.quick, *sets))
        try:
            yield run
        except BaseException as error:
            error.add_note(f"{about}: {run}\n{self.control.rollout('explain', run).output}")
            raise
        self.evidence.take_journal(about, self.control.history(run))
        self.evidence.take_report(about, self.control.report(run))
        if broken := self.control.broken(run):
            raise Amiss(f"{about}: {broken}")

    @contextmanager
    def _as_before(self, about: str) -> Iterator[None]:
        """What stands in the end is what stood before, but for what the team says."""
        self.team.renew(self.world)
        began, before = time.monotonic(), self.standing()
        yield
        after = self.standing()
        differs = {
            name: (before.get(name), after.get(name))
            for name in {*before, *after}
            if before.get(name) != after.get(name) and not _matches(name, self.team.changes)
        }
        if differs:
            raise Amiss(f"{about}: not as it was before: {differs}")
        self._told(f"{about}: everything is as it was ({time.monotonic() - began:.0f} s)")

    def _rolled_back(
        self,
        run: str,
        *,
        by_hand: bool,
        outcome: Outcome = "rolled_back",
        answers: Mapping[str, Answer] | None = None,
    ) -> Json:
        if by_hand:
            self.control.command(run, "rollback")
        self._tend(run, lambda: self._is_settled(run), "the end of its way back", answers)
        return self._has_ended(run, outcome)

    def _reversed(self, run: str, about: str) -> None:
        """A run that has ended is taken back by another one."""
        done = self.control.rollout("rollback", run, "--yes", "--reason", "the example is over")
        if done.code != 0:
            raise Amiss(f"{about}: rollout rollback of the ended run: {done.errors or done.output}")
        name = next(one["run"] for one in self.control.ask("GET", "/api/v1/runs") if one["reverses"] == run)
        self._tend(name, lambda: self._is_settled(name), "the end of its way back")
        status = self._has_ended(name, "rolled_back")
        self._stays_are_named(status["exceptions"], [f"{one['environment']}/{one['name']}" for one in status["stages"]])
        self.evidence.take_journal(f"{about}, taken back", self.control.history(name))

    def _shows(self, run: str, before: int, incident: Incident[W], patterns: Sequence[Pattern]) -> None:
        """All of *patterns* come into the journal behind the entry *before*."""

        def lacking() -> list[Pattern]:
            shown = of_journal(incident.name, self.control.history(run)[before:])
            return list(missing(shown, patterns))

        try:
            self._tend(run, lambda: not lacking(), "what the plan has to do", incident.answers, incident.within_seconds)
        except Amiss as error:
            error.add_note(f"missing: {lacking()}")
            raise

    def _rounds(self) -> None:
        if self.team.schedule is not None:
            asked = self.control.rollout("check", self.team.folder / self.team.schedule, "--output", "json")
            if asked.code != 0:
                raise Amiss(f"rollout check {self.team.schedule}: {asked.errors or asked.output}")
            for one in asked.json():
                self.evidence.take_round(one)

    def _killing(self, run: str, kills: int, seed: int, until: Callable[[str], bool]) -> Callable[[], bool]:
        """*until*, with the controller killed at *kills* places, spread at random over the entries of its journal."""
        chance = random.Random(seed)
        places = sorted(chance.randrange(2, self._entries) for _ in range(kills))

        def look() -> bool:
            if places and self.control.status(run)["seq"] >= places[0]:
                del places[0]
                time.sleep(chance.random() * 0.3)
                self.control.life.kill()
                self.control.start()
            return until(run)

        return look

    @property
    def _entries(self) -> int:
        """How many a journal has, up to where both the way on and the way back still go."""
        longest = Counter(one.run for one in self.evidence.shown if one.type != "Report").most_common(1)
        return max(longest[0][1] * 3 // 4, 10) if longest else 100

    # --- what people do -----------------------------------------------------------------------------------------------

    def _tend(
        self,
        run: str,
        until: Callable[[], bool],
        what: str,
        answers: Mapping[str, Answer] | None = None,
        seconds: float = END_SECONDS,
    ) -> None:
        """Answers what waits for people until it is so."""
        deadline = time.monotonic() + seconds
        while not until():
            status = self.control.status(run)
            if time.monotonic() > deadline:
                raise Amiss(f"waited {seconds:g} s in vain for {what}")
            for item in status["waiting"]:
                self._answer(run, status, item, _first_of(answers or {}, self.team.answers))
            for hold in status["holds"]:
                self._end(run, hold)
            time.sleep(LOOK_SECONDS)

    def _answer(self, run: str, status: Json, item: Json, answers: Mapping[str, Answer]) -> None:
        answer = next(
            (one for pattern, one in answers.items() if _fits(item["item"], pattern) or _fits(item["text"], pattern)),
            Answer(),
        )
        person = self._person(answer.by) if answer.by else self._who_may(status, item)
        if person is None or person.name in item["approved_by"]:
            return
        given: Json = {"item": item["item"], "reason": answer.note}
        if answer.how == "not_applicable":
            given["not_applicable"] = True
        self.control.command(run, "reject" if answer.how == "reject" else "approve", by=person, **given)

    def _who_may(self, status: Json, item: Json) -> Person | None:
        """Somebody whose yes is missing still; the author only where nobody else may."""
        if item["approvals"] and not item["missing"]:
            return None  # all that it asks for is there, and the controller is about to say so
        wanted = set(item["missing"] or item["by"])
        able = [
            one
            for one in self.control.people
            if one.name not in item["approved_by"] and (not wanted or wanted & {one.name, *one.groups})
        ]
        return next((one for one in able if one.name != status["author"]), able[0] if able else None)

    def _person(self, name: str) -> Person:
        return next(one for one in self.control.people if one.name == name)

    def _end(self, run: str, hold: Json) -> None:
        """What only a person can end: a look at what nobody knows, and the wall behind which nothing comes back."""
        if hold["reason"] == "unknown_outcome":
            looks = (look for pattern, look in self.team.looks.items() if _fits(hold["item"], pattern))
            look = next(looks, None)
            if look is None:
                raise Amiss(f"nobody knows what became of {hold['item']}: {hold['detail']}")
            taken = "done" if look(self.world) else "not_done"
            self.control.command(run, "resolve", target=hold["item"], taken_as=taken)
        elif hold["reason"] == "point_of_no_return":
            self.control.command(run, "resolve", target=hold["item"])

    # --- what is so ---------------------------------------------------------------------------------------------------

    def _ended_stages(self, run: str) -> set[str]:
        ended = (one["data"] for one in self.control.history(run) if one["type"] == "StageEnded")
        return {f"{data['environment']}/{data['stage']}" for data in ended}

    def _has_entered(self, run: str, place: str) -> bool:
        """*place*: ``environment/stage`` or ``environment/watch``."""
        environment, _, stage = place.partition("/")
        status = self.control.status(run)
        if stage == "watch":
            return bool(status["phase"] == "watching" and status["environment"] == environment)
        return bool(status["phase"] == "running" and (status["environment"], status["stage"]) == (environment, stage))

    def _is_settled(self, run: str) -> bool:
        """It has ended, and so has what comes after: follow-ups, success, notices."""
        status = self.control.status(run)
        if status["outcome"] is None or status["waiting"]:
            return False
        history = self.control.history(run)
        count = Counter(entry["type"] for entry in history)
        return count["NoticeRequested"] == count["NoticeDelivered"] and self._is_judged(status, history)

    def _is_judged(self, status: Json, history: Sequence[Json]) -> bool:
        if status["outcome"] != "promoted":
            return True
        wanted = {one["name"] for one in self.team.document["spec"].get("success") or ()}
        return wanted <= {one["data"]["name"] for one in history if one["type"] == "SuccessJudged"}

    def _has_ended(self, run: str, outcome: Outcome) -> Json:
        status = self.control.status(run)
        if status["outcome"] != outcome:
            raise Amiss(f"{run} is {status['outcome']}, not {outcome}: {status['exceptions']}")
        return status

    def _stays_are_named(self, exceptions: Sequence[str], passed: Sequence[str]) -> None:
        """What must stay once *passed* are done is named by the run; and it names nothing of which we do not know."""
        for pattern in (one for stage in passed for one in self.team.stays.get(stage, ())):
            if not any(_fits(one, pattern) for one in exceptions):
                raise Amiss(f"the run does not say that {pattern!r} stays: {exceptions}")
        known = [A_NEW_FLAG, *(pattern for patterns in self.team.stays.values() for pattern in patterns)]
        for one in exceptions:
            if not any(_fits(one, pattern) for pattern in known):
                raise Amiss(f"this did not come back, and the example does not say so: {one!r}")


def _first_of(ours: Mapping[str, Answer], theirs: Mapping[str, Answer]) -> dict[str, Answer]:
    """Both, those of *ours* first, and alone where both have one."""
    return {**ours, **{pattern: answer for pattern, answer in theirs.items() if pattern not in ours}}


def _fits(text: str, pattern: str) -> bool:
    return fnmatchcase(text, pattern)


def _matches(name: str, patterns: Mapping[str, Any]) -> bool:
    return any(_fits(name, pattern) for pattern in patterns)


@contextmanager
def walker_for(
    team: Team[W], folder: Path, tools: Callable[[str], Tools], told: Callable[[str], None]
) -> Iterator[Walker[W]]:
    """The team's world and a controller beside it, running. *tools* are made for the controller's URL."""
    port = free_port()
    with team.world(folder / "world", tools(url_at(port))) as world:
        control = Control(folder / "control", world.environment, team.people, port)
        control.start()
        try:
            yield Walker(team, world, control, told)
        finally:
            control.end()
