#!/bin/sh
# Prints how many of these commands work; without any, how many of the release's tell of themselves.
set -u
if [ $# -eq 0 ]; then
  set -- cache deps metrics organize-directories run select-pipelines tag validate view-failures
  about=--help
fi
work=0
for command; do
  # shellcheck disable=SC2086 # a command is words
  if poetry run python -m giflab $command ${about:-} > /dev/null; then
    work=$((work + 1))
  else
    echo "$command does not work" >&2
  fi
done
echo "$work"
