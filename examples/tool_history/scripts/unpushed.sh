#!/bin/sh
# Prints how many of these files are not on main as the change has them.
set -eu
git fetch --quiet origin main
git diff --name-only phase4 origin/main -- "$@" | wc -l
