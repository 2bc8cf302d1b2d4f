#!/bin/sh
# How many lines the change adds to what is under a path.
set -eu
git diff --numstat "$(git merge-base origin/main phase4)" phase4 -- "$@" | awk '{sum += $1} END {print sum + 0}'
