"""Tokens that are made and revoked while controllers run, and the log of that and of who was refused."""

from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = """
CREATE TABLE tokens (
    id             text             PRIMARY KEY,
    name           text             NOT NULL,
    role           text             NOT NULL,
    groups         text             NOT NULL,
    environment    text,
    sha256         text             NOT NULL UNIQUE,
    created        double precision NOT NULL,
    created_by     text             NOT NULL,
    expires        double precision,
    revoked        double precision,
    revoked_by     text,
    revoked_reason text
);
CREATE INDEX tokens_not_revoked ON tokens (expires) WHERE revoked IS NULL;

CREATE TABLE owner_tokens (
    controller text PRIMARY KEY,
    person     text NOT NULL,
    role       text NOT NULL,
    sha256     text NOT NULL
);

CREATE TABLE audit (
    seq     bigint           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id      text             NOT NULL UNIQUE,
    at      double precision NOT NULL,
    what    text             NOT NULL,
    by_whom text             NOT NULL,
    detail  text             NOT NULL,
    refusal boolean          NOT NULL
);
CREATE INDEX audit_refusals ON audit (seq) WHERE refusal;

CREATE TABLE sessions (
    sha256   text             PRIMARY KEY,
    identity text             NOT NULL,
    expires  double precision NOT NULL
);
CREATE INDEX sessions_by_end ON sessions (expires);
"""


def upgrade() -> None:
    op.execute(TABLES)
