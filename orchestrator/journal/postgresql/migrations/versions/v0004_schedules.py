"""Scheduled checks, and the turns of their rounds."""

from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = """
CREATE TABLE schedules (
    name      text             PRIMARY KEY,
    digest    text             NOT NULL,
    document  text             NOT NULL,
    files     text             NOT NULL,
    directory text,
    by_whom   text             NOT NULL,
    at        double precision NOT NULL,
    is_owners integer          NOT NULL
);
CREATE TABLE turns (
    schedule text             NOT NULL,
    round    text             NOT NULL,
    due      double precision NOT NULL,
    by_whom  text             NOT NULL,
    claimed  double precision NOT NULL,
    result   text,
    PRIMARY KEY (schedule, round, due)
);
CREATE INDEX turns_by_age ON turns (schedule, due);
"""


def upgrade() -> None:
    op.execute(TABLES)
