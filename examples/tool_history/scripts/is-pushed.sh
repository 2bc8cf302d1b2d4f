#!/bin/sh
# Exits with 0 if main is what the branch is.
set -eu
git fetch --quiet origin main
git diff --quiet phase4 origin/main
