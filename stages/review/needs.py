"""What has to be there for a part to work: a Prometheus for queries, a database for SQL, PromQL that can be parsed."""

import math
from collections.abc import Iterator
from typing import Any

from stages.actions import SqlAction
from stages.checks import Source
from stages.gates import Gate
from stages.kinds.base import Stage
from stages.kinds.exposure import DrainSection, Replicas
from stages.kinds.migration import Alembic, MigrationStage
from stages.promql import InvalidQuery, lookback_seconds
from stages.review.view import Finding, View
from stages.success import SuccessCriterion
from stages.walk import Place

_MEASURED = (Source, DrainSection, Replicas, SuccessCriterion)


def review_needs(view: View) -> Iterator[Finding]:
    for place in view.places:
        if not view.concerns(place):
            continue
        yield from _needs_prometheus(view, place)
        yield from _needs_database(view, place)
        yield from _needs_no_image(view, place)


def _needs_prometheus(view: View, place: Place) -> Iterator[Finding]:
    part: Any = place.part
    if not isinstance(part, _MEASURED) or part.query is None:
        return
    spec, section = view.document.spec, view.section
    if part.source is not None:
        source = spec.sources.get(part.source)
        if source is not None and source.prometheus is None:
            yield (*place.path, "source"), f"the source {part.source!r} has no prometheus, which a query needs"
        return
    if spec.prometheus is None and (section is None or section.prometheus is None):
        message = "a query needs a Prometheus: name its url under spec.prometheus, of the environment, or as a source"
        yield (*place.path, "query"), message


def _needs_no_image(view: View, place: Place) -> Iterator[Finding]:
    if isinstance(place.part, Alembic) and view.document.spec.commands.image is not None:
        message = (
            "Alembic is run where the controller is, and not in an image; leave commands.image out, or call it as a "
            "command: migrations: [{command: [alembic, upgrade, head], probe: [...], irreversible: ...}]"
        )
        yield place.path, message


def _needs_database(view: View, place: Place) -> Iterator[Finding]:
    part: Any = place.part
    if isinstance(part, SqlAction) or (isinstance(part, MigrationStage) and any(one.up for one in part.migrations)):
        field = "sql" if isinstance(part, SqlAction) else "migrations"
    elif isinstance(part, Source | SuccessCriterion) and part.sql is not None:
        field = "sql"
    elif isinstance(part, Source) and part.health is not None:
        field = "health"
    else:
        return
    stage = part if isinstance(part, Stage) else place.inside(Stage)
    owners = [part, stage, view.section, view.document.spec]
    if all(owner is None or owner.database is None for owner in owners):
        message = (
            "SQL needs a database, such as database: {env: DATABASE_URL}; here, at the stage, the environment or spec"
        )
        yield (*place.path, field), message
    nearest = next((owner.database for owner in owners if owner is not None and owner.database is not None), None)
    if field == "health" and part.source is None and str(nearest).startswith("sqlite:"):
        yield (
            (*place.path, field),
            "health is PostgreSQL's to tell: SQLite has no sessions, locks or standbys to look at",
        )


def review_queries(view: View) -> Iterator[Finding]:
    for place in view.places:
        part: Any = place.part
        if not isinstance(part, _MEASURED) or part.query is None:
            continue
        path = (*place.path, "query")
        try:
            back_seconds = lookback_seconds(part.query)
        except InvalidQuery as error:
            yield path, f"the query is not PromQL: {error}"
            continue
        if math.isinf(back_seconds) and place.inside(Gate) is not None:
            yield path, "the query is fixed to a time with '@', so it never sees the change"
