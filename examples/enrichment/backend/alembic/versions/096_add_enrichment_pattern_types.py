"""what the six agents find has types of its own"""

# ruff: noqa: INP001 - run by Alembic, which orders by number
from alembic import op

revision = "096"
down_revision = "095"

TYPES = (
    "PRODUCT_MATCHING",
    "COMPLIANCE_ANALYSIS",
    "LICENSING_ANALYSIS",
    "VULNERABILITY_ANALYSIS",
    "RESILIENCE_ANALYSIS",
    "DEPENDENCY_ANALYSIS",
)


def upgrade() -> None:
    for name in TYPES:
        op.execute(f"ALTER TYPE migration.patterntype ADD VALUE IF NOT EXISTS '{name}'")


def downgrade() -> None:
    raise RuntimeError("PostgreSQL removes no value of an enum: the type would have to be made anew")
