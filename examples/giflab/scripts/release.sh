#!/bin/sh
# What is done to an installation, in whose checkout this runs. GIFLAB_HOME has data and settings, TAG is the name of
# the way back. What is done twice is done once.
#   install REVISION [--no-dev], is-installed REVISION, revision     (REVISION `release`: that of the variable RELEASE)
#   tag, untag, is-tagged, is-untagged
#   backup, restore
set -eu

named() {
  if [ "$1" = release ]; then echo "$RELEASE"; else echo "$1"; fi
}

commit() {
  git rev-parse "$(named "$1")^{commit}"
}

copy() { # whole, though others write meanwhile
  python -c 'import sqlite3, sys
from contextlib import closing
one, other = (sqlite3.connect(name, timeout=10) for name in sys.argv[1:])
with closing(one), closing(other):
    one.backup(other)' "$1" "$2"
}

case "$1" in
  revision) commit HEAD ;;
  install)
    rm -f .git/index.lock .git/HEAD.lock # what a try left that was killed
    git fetch --quiet origin
    git checkout --quiet --force --detach "$(named "$2")"
    poetry install ${3:+"$3"}
    ;;
  is-installed) [ "$(commit HEAD)" = "$(commit "$2")" ] && grep -q " $(commit "$2") " .venv/lib/installed ;;
  tag) git tag --force -a "$TAG" -m "Before the upgrade" ;;
  untag) ! git rev-parse --quiet --verify "refs/tags/$TAG" > /dev/null || git tag --delete "$TAG" ;;
  is-tagged) git rev-parse --quiet --verify "refs/tags/$TAG" > /dev/null ;;
  is-untagged) ! git rev-parse --quiet --verify "refs/tags/$TAG" > /dev/null ;;
  backup)
    mkdir -p "$GIFLAB_HOME/backup"
    poetry show > "$GIFLAB_HOME/backup/environment.txt"
    cp "$GIFLAB_HOME/config.json" "$GIFLAB_HOME/backup/config.json"
    copy "$GIFLAB_HOME/results.db" "$GIFLAB_HOME/backup/results.db"
    ;;
  restore)
    cp "$GIFLAB_HOME/backup/config.json" "$GIFLAB_HOME/config.json"
    copy "$GIFLAB_HOME/backup/results.db" "$GIFLAB_HOME/results.db"
    ;;
  *)
    echo "there is no $1; the head of this file has what there is" >&2
    exit 2
    ;;
esac
