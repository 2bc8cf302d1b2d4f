"""each standard once in an engagement, so that ON CONFLICT has something to meet"""

# ruff: noqa: INP001 - run by Alembic, which orders by number
from alembic import op

revision = "094"
down_revision = "093"

TABLE = "migration.engagement_architecture_standards"
NAME = "uq_engagement_architecture_standards_composite"


def upgrade() -> None:
    op.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT IF EXISTS {NAME}")
    op.execute(f"ALTER TABLE {TABLE} ADD CONSTRAINT {NAME} UNIQUE (engagement_id, requirement_type, standard_name)")


def downgrade() -> None:
    op.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT IF EXISTS {NAME}")
