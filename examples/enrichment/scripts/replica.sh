#!/bin/sh
# The migration on a copy of the database, which is dropped again; replica.log notes it. Runs in the folder with alembic.ini.
set -eu
replica="${PGDATABASE}_replica"
dropdb --if-exists --force "$replica"
echo "$(date) the migration is tried on a copy" >> "$SITE/replica.log"
trap 'dropdb --if-exists --force "$replica"' EXIT
createdb "$replica"
pg_dump --format custom | pg_restore --dbname "$replica"
DATABASE_URL="postgresql:///$replica" alembic -c alembic.ini upgrade head
psql --no-psqlrc --quiet --tuples-only --no-align --dbname "$replica" --command \
  "SELECT count(*) FROM pg_enum WHERE enumtypid = 'migration.patterntype'::regtype AND enumlabel IN
   ('PRODUCT_MATCHING', 'COMPLIANCE_ANALYSIS', 'LICENSING_ANALYSIS', 'VULNERABILITY_ANALYSIS', 'RESILIENCE_ANALYSIS',
    'DEPENDENCY_ANALYSIS')"
