"""``backfill``: fill a table in batches, slowly enough, its gate judged between them. What was filled stays."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from stages.actions.backfill import BackfillAction
from stages.kinds.base import Context, Stage, acts, names, to_bake
from stages.step import Bake, Guard, Step
from stages.values import parse_rate

_UPDATE = re.compile(r"^\s*update\s+(?:only\s+)?([\w.\"]+)", re.IGNORECASE)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


def table_of(text: str) -> str:
    """The table that a backfill's file updates. Raises ``ValueError`` with a sentence that says what is expected."""
    plain = _COMMENT.sub("", text)
    found = _UPDATE.match(plain)
    if found is None:
        raise ValueError("one UPDATE statement is expected")
    missing = [word for word in (":from", ":to") if word not in plain]
    if missing:
        raise ValueError(
            f"it does not say where a batch begins and ends ({' and '.join(missing)} missing): "
            "add WHERE key BETWEEN :from AND :to"
        )
    if plain.rstrip().rstrip(";").count(";"):
        raise ValueError("one statement is expected, not several")
    return found[1]


class BackfillStage(Stage):
    """*update* is the file with one UPDATE over ``key BETWEEN :from AND :to``; *rate* bounds the rows a second."""

    kind: Literal["backfill"]
    update: str
    key: Annotated[str, Field(pattern=r'^([A-Za-z_]\w*|"[^"]+")$')]
    batch: int = Field(default=1000, ge=1)
    rate: str | None = None

    @field_validator("rate")
    @classmethod
    def _a_rate(cls, value: str | None) -> str | None:
        parse_rate(value)
        return value

    def action(self, context: Context) -> BackfillAction:
        return BackfillAction(
            update=self.update,
            table=table_of(context.files[self.update]),
            key=self.key,
            batch=self.batch,
            rows_per_second=parse_rate(self.rate),
            database=self.database,
            undo="none",
        )

    def steps_program(self, context: Context) -> tuple[Step, ...]:
        site = self.site(context)
        bake = to_bake(self.final_bake) or to_bake(self.bake) or Bake(0.0, 0.0)
        return (
            Step(
                name=self.update,
                guard=Guard(f"step:{self.name}/1"),
                acts=acts((self.action(context),), site),
                gate=names(self.gate),
                bake=bake,
                gate_from_start=True,
            ),
        )

    def irreversible(self, context: Context) -> dict[str, str]:
        target = self.action(context).target(self.site(context))
        return {target.id: "rows that were filled stay filled"}
