"""The tables of version 0.1."""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE store (
    one         boolean     PRIMARY KEY DEFAULT true CHECK (one),
    created     timestamptz NOT NULL DEFAULT now(),
    usable_from integer     NOT NULL,
    generation  bigint      NOT NULL,
    flag_number bigint      NOT NULL,
    origin      text        NOT NULL,
    kill_switch text
);
INSERT INTO store (usable_from, generation, flag_number, origin) VALUES (1, 1, 0, '');

CREATE TABLE controllers (
    name        text        PRIMARY KEY,
    address     text        NOT NULL,
    lease_until timestamptz NOT NULL
);

CREATE TABLE runs (
    id        bigint           GENERATED ALWAYS AS IDENTITY,
    run       text             PRIMARY KEY,
    plan      text             NOT NULL,
    digest    text             NOT NULL,
    rev       bigint           NOT NULL,
    epoch     bigint           NOT NULL,
    active    boolean          NOT NULL,
    unsettled boolean          NOT NULL,
    created   double precision NOT NULL,
    head      text             NOT NULL,
    summary   text             NOT NULL,
    owner     text
) WITH (fillfactor = 70);
CREATE INDEX runs_by_age ON runs (created, id);
CREATE INDEX runs_by_activity ON runs (active, created, id);
CREATE INDEX runs_to_claim ON runs (created, id) WHERE active OR unsettled;
CREATE INDEX runs_by_owner ON runs (owner) WHERE owner IS NOT NULL;

CREATE TABLE events (
    run            text             NOT NULL,
    seq            bigint           NOT NULL,
    at             double precision NOT NULL,
    data           text             NOT NULL,
    hash           text             NOT NULL,
    schema_version integer          NOT NULL,
    PRIMARY KEY (run, seq)
);
CREATE VIEW event_log AS
    SELECT run, seq, to_timestamp(at) AS at, data::json ->> 'type' AS type,
           coalesce(data::json ->> 'by', 'controller') AS "by", coalesce(data::json ->> 'reason', '') AS reason, data
    FROM events;

CREATE TABLE claims (
    claim text PRIMARY KEY,
    run   text NOT NULL,
    words text NOT NULL
);
CREATE INDEX claims_by_run ON claims (run);
CREATE TABLE evidence (
    run  text PRIMARY KEY,
    text text NOT NULL
);
CREATE TABLE answers (
    run  text NOT NULL,
    key  text NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (run, key)
);

CREATE TABLE flags (
    environment text             NOT NULL,
    key         text             NOT NULL,
    generation  bigint           NOT NULL,
    number      bigint           NOT NULL,
    document    text             NOT NULL,
    "by"        text             NOT NULL,
    reason      text             NOT NULL,
    at          double precision NOT NULL,
    run         text,
    effect      text,
    PRIMARY KEY (environment, key)
);
CREATE TABLE flag_history (
    environment text             NOT NULL,
    key         text             NOT NULL,
    generation  bigint           NOT NULL,
    number      bigint           NOT NULL,
    document    text             NOT NULL,
    "by"        text             NOT NULL,
    reason      text             NOT NULL,
    at          double precision NOT NULL,
    run         text,
    effect      text,
    PRIMARY KEY (environment, key, generation, number)
);
"""


def upgrade() -> None:
    op.execute(TABLES)
