#!/bin/sh
# Prints where main stands.
set -eu
git fetch --quiet origin main
git rev-parse origin/main
