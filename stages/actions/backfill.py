"""The act of a ``backfill`` stage: one UPDATE in batches of keys, until none are left. Not written by itself."""

from stages.actions.base import Action, Site
from stages.actions.sql import checksum
from stages.effects import ObserveBackfill, Operation, RunBackfill, Target, TargetKind
from stages.values import Json, TextOrSecret


class BackfillAction(Action):
    update: str
    table: str
    key: str
    batch: int
    rows_per_second: float | None = None
    database: TextOrSecret | None = None

    @property
    def has_undo(self) -> bool:
        return True

    def describe(self) -> str:
        return f"fill {self.table} by {self.update}"

    def target(self, site: Site) -> Target:
        database = self._database(site)
        return Target(
            f"schema:{site.environment}/{self.update}",
            TargetKind.SCHEMA,
            f"{self.update} in {site.environment}",
            claim=f"database:{site.environment}/{database}",
        )

    def observation(self, site: Site) -> ObserveBackfill:
        text = site.files[self.update]
        return ObserveBackfill(
            database=self._database(site), name=self.update, table=self.table, key=self.key, checksum=checksum(text)
        )

    def is_done(self, site: Site, current: Json) -> bool:
        return isinstance(current, dict) and bool(current.get("done"))

    def forward(self, site: Site, current: Json) -> Operation:
        text = site.files[self.update]
        return RunBackfill(
            database=self._database(site),
            name=self.update,
            table=self.table,
            key=self.key,
            sql=text,
            checksum=checksum(text),
            batch=self.batch,
            rows_per_second=self.rows_per_second,
        )

    def backward(self, site: Site, before: Json) -> Operation | None:
        return None  # what was written since lies in the same rows: there is nothing to go back to

    def _database(self, site: Site) -> TextOrSecret:
        database = self.database or site.database
        assert database is not None, "a plan without a database for its SQL is refused when it is read"
        return database
