"""The enrichment pipeline's walk: who takes part, what goes wrong, what stays."""

import json
from typing import Any

from tests.teams.enrichment_world import KEPT, STANDARDS, Enrichment, world
from tests.teams.team import Answer, Incident, Json, Person, Team

WATCHED = ("agents fail", "batches are slow", "batches are very slow", "memory", "new types of patterns")


def twice(world: Enrichment) -> None:
    world.production.sql(f"INSERT INTO {STANDARDS} SELECT 'e', 'r', 's' FROM generate_series(1, 2)")


def once(world: Enrichment) -> None:
    world.production.sql(f"DELETE FROM {STANDARDS.split(maxsplit=1)[0]} WHERE engagement_id = 'e'")


def hides_the_type(world: Enrichment) -> None:
    world.staging.sql("ALTER TYPE migration.patterntype RENAME TO patterntype_moved")


def shows_the_type(world: Enrichment) -> None:
    world.staging.sql("ALTER TYPE migration.patterntype_moved RENAME TO patterntype")


LONG_WATCH = "environments.staging.watch=30s"  # what goes wrong in it takes its time to show
LONG_DAY = "environments.production.watch.first day.to=30s"


def knob(name: str, what: str, site: str, at: str, **more: Any) -> Incident[Enrichment]:
    """An incident by the knobs of a site: *what* is ``knob=value``."""
    key, _, value = what.partition("=")
    return Incident(
        name=name,
        at=at,
        breaks=lambda world: world.sites[site].turns(**{key: json.loads(value)}),
        mends=lambda world: world.sites[site].turns(),
        **{"sets": (LONG_WATCH,), **more},
    )


def fired(trigger: str) -> Json:
    return {"TriggerFired": {"trigger": trigger}}


INCIDENTS: tuple[Incident[Enrichment], ...] = (
    Incident(
        "a standard is there twice",
        at="staging/backend",
        breaks=twice,
        mends=once,
        shows=(
            {"CheckAnswered": {"name": "the migration works on a copy of production", "standing": "no"}},
            {"CheckAnswered": {"name": "no standard is there twice", "standing": "no"}},
            {"HoldSet": {"hold": "failing"}},
        ),
    ),
    Incident(
        "the migration fails",
        at="staging/schema",
        breaks=hides_the_type,
        mends=shows_the_type,
        shows=({"EffectFinished": {"state": "refused", "detail": "*patterntype*"}}, {"OnFailPaused": {}}),
        resumes=(
            {"Resumed": {}},
            {"EffectFinished": {"state": "done", "detail": "*to revision 096"}},
            {"StageEnded": {"environment": "staging", "stage": "schema", "how": "done"}},
        ),
    ),
    knob(
        "agents fail",
        "fail_share=0.4",
        "staging",
        "staging/watch",
        shows=(
            fired("agents fail"),
            {"WaitingAnswered": {"answer": "approve", "item": "trigger:*"}},
            {"RollbackStarted": {}},
        ),
        fires=("agents fail",),
        ends="rolled_back",
    ),
    knob(
        "patterns are not stored",
        "storage_fails=true",
        "staging",
        "staging/watch",
        shows=({"GateFailed": {"gate": "enrichment", "on_fail": "rollback"}}, {"RollbackStarted": {"cause": "gate"}}),
        ends="rolled_back",
    ),
    knob(
        "batches are slow",
        "seconds_per_asset=3.5",
        "staging",
        "staging/watch",
        shows=(fired("batches are slow"), {"EffectFinished": {"target": "*five assets a batch", "state": "done"}}),
        fires=("batches are slow",),
    ),
    knob(
        "batches are very slow",
        "seconds_per_asset=10",
        "staging",
        "staging/watch",
        shows=(
            fired("batches are very slow"),
            {"NoticeDelivered": {"key": "trigger:staging/batches are very slow*@engineering"}},
            {"GateFailed": {"gate": "enrichment", "evidence": {"criteria": {"name": "batch time", "verdict": "fail"}}}},
        ),
        fires=("batches are very slow",),
        ends="rolled_back",
    ),
    knob(
        "a hundred assets take too long",
        "seconds_per_asset=10",
        "staging",
        "staging/backend",
        shows=(
            {"CheckAnswered": {"name": "a hundred took less than ten minutes", "standing": "no"}},
            {"RollbackStarted": {"cause": "on_fail"}},
        ),
        ends="rolled_back",
    ),
    knob(
        "memory runs out",
        "ballast_megabytes=100",
        "staging",
        "staging/watch",
        shows=(fired("memory"),),
        fires=("memory",),
    ),
    Incident(
        "new types of patterns",
        at="staging/backend",
        breaks=lambda _: None,
        mends=lambda _: None,
        shows=(fired("new types of patterns"),),
        fires=("new types of patterns",),
    ),
    Incident(
        "outside of the hours",
        at="staging/enrichment",
        breaks=lambda _: None,
        mends=lambda _: None,
        sets=("environments.production.window.deny=[{from: 2000-01-01, to: 2999-12-31, reason: closed}]",),
        shows=({"HoldSet": {"hold": "window"}},),
    ),
    knob(
        "errors in the log of production",
        "fail_share=0.04",
        "production",
        "production/watch",
        sets=(LONG_DAY,),
        shows=({"CheckAnswered": {"name": "no errors in the log", "standing": "no"}}, {"OnFailPaused": {}}),
    ),
    Incident(
        "all else fails",
        at="production/watch",
        breaks=lambda _: None,
        mends=lambda _: None,
        by_hand="emergency",
        sets=(LONG_DAY,),
        shows=(fired("emergency"), {"RollbackStarted": {"cause": "trigger"}}),
        fires=("emergency",),
        ends="rolled_back",
    ),
)

STAYS = "revision 09? of * in {} stays: *"

TEAM: Team[Enrichment] = Team(
    name="enrichment",
    people=(
        Person("dana", ("engineering",)),
        Person("eli", ("engineering", "engineering-lead", "senior-engineers")),
        Person("omar", ("devops", "devops-lead")),
        Person("priya", ("product", "product-owner")),
        Person("quinn", ("qa",)),
        Person("sam", ("security",)),
    ),
    world=world,
    renew=Enrichment.renew,
    quick=(
        "environments.staging.watch=2s",
        "environments.production.watch.first day.to=3s",
        "environments.production.watch.first day.every=1s",
        "stages.enrichment.bake=1s",
        "gates.enrichment.every=500ms",
        "gates.enrichment.criteria.batch time.for=5s",
        "gates.enrichment.criteria.agents succeed.for=10s",
        "gates.enrichment.criteria.patterns are stored.for=1s",
        *(f"triggers.{name}.every=500ms" for name in WATCHED),
        *(f"triggers.{name}.for=500ms" for name in WATCHED),
        *(
            f"success.{name}=1s"
            for name in ("a hundred assets.window", "a hundred assets as fast as in the tests.window")
        ),
        *(f"success.{name}.after=1s" for name in ("no errors for a day", "usage of LLMs is visible")),
    ),
    answers={
        "*security*": Answer("not_applicable", "nothing of it meets the world outside"),
    },
    incidents=INCIDENTS,
    stays={
        "staging/schema": (
            STAYS.format("staging").replace("09?", "094"),
            STAYS.format("staging").replace("09?", "096"),
        ),
        "production/schema": (
            STAYS.format("production").replace("09?", "094"),
            STAYS.format("production").replace("09?", "096"),
        ),
        "production/watch": (
            "* stays: staging had passed its watch",
        ),  # known, but not so of a run that went back whole
    },
    changes={
        **{f"* {what}": "the database keeps 094 and 096; only code is reverted" for what in KEPT},
        "staging *": "staging has passed its watch when production begins, and keeps the release; see Enrichment.renew",
    },
)
