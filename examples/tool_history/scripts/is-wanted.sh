#!/bin/sh
# Exits with 0 if the host has been told to run a revision: is-wanted.sh REVISION
set -eu
git fetch --quiet origin main
[ "$(git rev-parse "$1^{commit}")" = "$(cat "$HOST_DIR/wanted/backend")" ]
