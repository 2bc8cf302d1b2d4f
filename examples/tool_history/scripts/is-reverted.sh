#!/bin/sh
# Exits with 0 if nothing of what was pushed since COMMIT for this change is on main: is-reverted.sh COMMIT
set -eu
git fetch --quiet origin main
reverted=$(git log --format=%b --grep='^This reverts commit' "$1..origin/main")
for commit in $(git rev-list --grep='^Change: tool-history' "$1..origin/main"); do
    case "$reverted" in *"$commit"*) ;; *) exit 1 ;; esac
done
