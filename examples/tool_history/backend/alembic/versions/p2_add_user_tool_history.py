"""The history of tools, append-only, with its six indexes."""  # noqa: INP001

import sqlalchemy as sa
from alembic import op

revision = "p2_add_user_tool_history"
down_revision = "p1_messages"

TABLE = "user_tool_history"
INDEXES = {
    "idx_user_tool_history_user_id": ["user_id"],
    "idx_user_tool_history_tool_name": ["tool_name"],
    "idx_user_tool_history_success": ["success"],
    "idx_user_tool_history_created_at": ["created_at"],
    "idx_user_tool_history_user_created": ["user_id", "created_at"],
    "idx_user_tool_history_metrics": ["user_id", "tool_name", "success"],
}


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        sa.Column("tool_name", sa.Text, nullable=False),
        sa.Column("success", sa.Boolean, nullable=False),
        sa.Column("execution_time_ms", sa.Integer, nullable=False),
        sa.Column("context_snapshot", sa.Text, nullable=False, server_default=""),
        sa.Column("user_satisfaction", sa.SmallInteger),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    for name, columns in INDEXES.items():
        op.create_index(name, TABLE, columns)


def downgrade() -> None:
    op.drop_table(TABLE)
