#!/bin/sh
# Prints how many errors the log has since the installed version is used; with a word, those of that kind.
set -eu
tac "$GIFLAB_HOME/logs/giflab.log" | sed '/ INFO now /q' | grep -c " ERROR .*${1:-}" || true
