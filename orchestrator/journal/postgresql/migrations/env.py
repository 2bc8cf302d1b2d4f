"""Run by Alembic: brings the schema on the connection that it is given up to the revision that was asked for."""

from alembic import context

settings = context.config.attributes
context.configure(
    connection=settings["connection"],
    version_table=settings["version_table"],
    version_table_schema=settings["schema"],
    transaction_per_migration=False,
)
context.run_migrations()
