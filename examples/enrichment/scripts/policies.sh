#!/bin/sh
# What linters do not know of: one policy, by name, over the Python files of the folder it runs in.
set -eu
case "$1" in
  length) # no file has more than 400 lines
    find . -name "*.py" -exec awk 'FNR == 401 { print FILENAME " has more than 400 lines"; found = 1 } END { exit found }' {} +
    ;;
  secrets)
    ! grep -rnEi "(api_?key|password|secret|token) *= *['\"][^'\"]" --include "*.py" .
    ;;
  tracking) # agents ask questions; who speaks to an LLM by himself is not tracked
    ! grep -rnE "import +(openai|anthropic|litellm|httpx|requests|urllib)|from +(openai|anthropic|litellm|httpx|requests|urllib)" --include "*.py" app
    ;;
  architecture) # six agents, whose types are capitals; none opens a database by itself
    [ "$(grep -rlE '^PATTERN_TYPE = "[A-Z_]+"$' app/services/enrichment/agents | wc -l)" -eq 6 ]
    ! grep -rnE "psycopg|sqlalchemy" --include "*.py" app
    ;;
  migrations) # numbered by three digits; 094 and 096 may be applied twice; why 096 has no way back is said
    if ls alembic/versions | grep -vE "^([0-9]{3}_[a-z_]+\.py|__pycache__)$"; then
      exit 1
    fi
    grep -q "IF EXISTS" alembic/versions/094_*.py
    grep -q "IF NOT EXISTS" alembic/versions/096_*.py
    grep -q "raise RuntimeError" alembic/versions/096_*.py
    grep -q "migration.patterntype" alembic/versions/096_*.py
    ;;
  *)
    echo "length, secrets, tracking, architecture or migrations is expected" >&2
    exit 2
    ;;
esac
