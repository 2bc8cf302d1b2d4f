#!/bin/sh
# What is done to the app by hand on a desktop. TASKERINO_HOME is the user's folder, REPOSITORY the checkout, TAG the
# name of the point to which one goes back. What is done twice is done once.
#   tag, untag, is-tagged, is-untagged        the point
#   backup, is-backed-up, restore-data        data and config.json
#   deploy, is-deployed                       the newest main, built
#   is-migrated, is-unmigrated                whether the release's migration is in the data
#   restart, is-restarted                     quit, and open what is built
#   restore, is-restored                      the tag, built and opened
set -eu
cd "$REPOSITORY"
npm="python -m examples.taskerino.npm"
home="$TASKERINO_HOME"

built() {
  python -c 'import json; print(json.load(open("dist/release.json"))["commit"])'
}

head() {
  git rev-parse "${1:-HEAD}"
}

tidy() { # what a try left that was killed
  rm -f .git/index.lock .git/HEAD.lock .git/refs/heads/main.lock
  git reset --quiet --hard
}

serves() {
  read -r process commit < "$home/running" && [ "$commit" = "$(built)" ] && kill -0 "$process" 2> /dev/null
}

restart() {
  read -r old _ < "$home/running"
  kill -HUP "$(cat "$home/launcher.pid")"
  tries=0
  until serves && [ "$process" != "$old" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 400 ]; then
      echo "the app does not start; output.log has what it said" >&2
      exit 1
    fi
    sleep 0.05
  done
}

case "$1" in
  tag) git tag --force -a "$TAG" -m "Before the enrichment release" ;;
  is-tagged) git rev-parse --quiet --verify "refs/tags/$TAG" > /dev/null ;;
  untag) ! git rev-parse --quiet --verify "refs/tags/$TAG" > /dev/null || git tag --delete "$TAG" ;;
  is-untagged) ! git rev-parse --quiet --verify "refs/tags/$TAG" > /dev/null ;;
  backup)
    python -m examples.taskerino.data backup
    cp "$home/config.json" "$home/config.json.backup"
    ;;
  restore-data) python -m examples.taskerino.data restore ;;
  deploy)
    tidy
    git checkout --quiet main
    git pull --quiet --ff-only origin main
    $npm install
    $npm build
    ;;
  is-deployed) [ "$(head)" = "$(head origin/main)" ] && [ "$(built)" = "$(head)" ] ;;
  is-migrated) [ "$($npm version)" = 5 ] ;;
  is-unmigrated) [ "$($npm version)" = 4 ] ;;
  restart) restart ;;
  is-restarted) serves ;;
  restore)
    tidy
    git checkout --quiet --detach "$TAG"
    $npm install
    $npm build
    restart
    ;;
  is-restored) [ "$(head)" = "$(head "$TAG^{commit}")" ] && [ "$(built)" = "$(head)" ] && serves ;;
  *)
    echo "there is no $1; the head of this file has what there is" >&2
    exit 2
    ;;
esac
