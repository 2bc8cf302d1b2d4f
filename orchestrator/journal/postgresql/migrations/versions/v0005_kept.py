"""Finished runs of which only the report is kept, and which run refers to which."""

from alembic import op

revision = "0005"
down_revision = "0004"

TABLES = """
ALTER TABLE runs ADD COLUMN kept double precision;
ALTER TABLE runs ADD COLUMN refers_to text;
UPDATE runs SET refers_to = first.refers_to FROM (
    SELECT run, coalesce(data::json ->> 'reverses', data::json ->> 'supersedes') AS refers_to FROM events WHERE seq = 1
) AS first
WHERE runs.run = first.run AND first.refers_to IS NOT NULL;
CREATE INDEX runs_whole ON runs (created, run COLLATE "C") WHERE NOT active AND kept IS NULL;
CREATE INDEX runs_by_reference ON runs (refers_to) WHERE refers_to IS NOT NULL;
CREATE TABLE kept (
    run      text  PRIMARY KEY,
    document bytea NOT NULL,
    hashes   bytea NOT NULL
);
"""


def upgrade() -> None:
    op.execute(TABLES)
