"""Freezes: the newest of each place."""

from alembic import op

revision = "0003"
down_revision = "0002"

TABLES = """
CREATE TABLE freezes (
    environment   text             PRIMARY KEY,
    revision      bigint           NOT NULL,
    by_whom       text             NOT NULL,
    reason        text             NOT NULL,
    at            double precision NOT NULL,
    until         double precision,
    lifted        double precision,
    lifted_by     text,
    lifted_reason text
);
"""


def upgrade() -> None:
    op.execute(TABLES)
