"""The store's own tables, by Alembic: one revision for each released version that changed them, numbered from 0001.

The rule for a new one: a controller of the version before goes on with the newer schema, for a rolling upgrade runs
both. So a revision adds (tables, columns with a default, indexes) and leaves what is there as it is; what is then no
longer used is dropped one version later. ``usable_from`` in the table ``store`` says which revision a program must at
least know to use the schema; a revision that breaks with older ones raises it. Never changed once released.
"""
