"""What was there before: messages."""  # noqa: INP001

from alembic import op

revision = "p1_messages"
down_revision = None


def upgrade() -> None:
    op.execute("CREATE TABLE messages (id bigserial PRIMARY KEY, user_id bigint NOT NULL, said text NOT NULL)")


def downgrade() -> None:
    op.execute("DROP TABLE messages")
