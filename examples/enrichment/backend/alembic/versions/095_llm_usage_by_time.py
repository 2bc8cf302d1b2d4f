"""usage of LLMs is found by time"""

# ruff: noqa: INP001 - run by Alembic, which orders by number
from alembic import op

revision = "095"
down_revision = "094"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_llm_usage_logs_created_at"
            " ON migration.llm_usage_logs (created_at)"
        )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS migration.ix_llm_usage_logs_created_at")
