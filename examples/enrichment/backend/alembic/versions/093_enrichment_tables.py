"""what agents find, the standards of an engagement, what LLMs were asked"""

# ruff: noqa: INP001 - run by Alembic, which orders by number
from alembic import op

revision = "093"
down_revision = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA migration")
    op.execute("CREATE TYPE migration.patterntype AS ENUM ('NAMING_CONVENTION', 'TECHNOLOGY_CORRELATION')")
    op.execute(
        "CREATE TABLE migration.agent_discovered_patterns ("
        " client_account_id text NOT NULL, engagement_id text NOT NULL, asset text NOT NULL,"
        " pattern_type migration.patterntype NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),"
        " PRIMARY KEY (client_account_id, engagement_id, asset, pattern_type))"
    )
    op.execute(
        "CREATE TABLE migration.engagement_architecture_standards ("
        " id bigserial PRIMARY KEY, engagement_id text NOT NULL, requirement_type text NOT NULL,"
        " standard_name text NOT NULL)"
    )
    op.execute(
        "CREATE TABLE migration.llm_usage_logs ("
        " agent text NOT NULL, seconds double precision NOT NULL, dollars double precision NOT NULL,"
        " created_at timestamptz NOT NULL DEFAULT now())"
    )


def downgrade() -> None:
    op.execute("DROP SCHEMA migration CASCADE")
