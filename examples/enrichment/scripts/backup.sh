#!/bin/sh
# A dump in PostgreSQL's own format, named by the time; latest.dump is the newest whole one. PGHOST and so on say of what.
set -eu
mkdir -p "$SITE/backups"
dump="$SITE/backups/${PGDATABASE}_backup_$(date +%Y%m%d_%H%M%S).dump"
pg_dump --format custom --file "$dump"
ln -sfn "$dump" "$SITE/backups/latest.dump"
