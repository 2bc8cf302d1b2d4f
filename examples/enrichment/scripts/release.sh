#!/bin/sh
# The code of one environment: what git and docker-compose do on a server. SITE is its folder; COMMIT the release.
#   deploy, revert                   done twice is done once
#   is-deployed, is-reverted         whether it is so
#   deployed                         prints the commit that serves
set -eu
checkout="$SITE/repository"
export GIT_AUTHOR_NAME=rollout GIT_AUTHOR_EMAIL=rollout@example.org
export GIT_COMMITTER_NAME=rollout GIT_COMMITTER_EMAIL=rollout@example.org

head() {
  git -C "$checkout" rev-parse HEAD
}

serves() {
  read -r process commit < "$SITE/running" && [ "$commit" = "$(head)" ]
}

restart() {
  read -r old _ < "$SITE/running"
  rm -f "$SITE/failed"
  kill -HUP "$(cat "$SITE/compose.pid")"
  until serves; do
    if [ -f "$SITE/failed" ]; then
      echo "the backend does not come up: $(cat "$SITE/failed")" >&2
      exit 1
    fi
    if [ "$process" != "$old" ]; then # it came up before the code was there
      old="$process"
      kill -HUP "$(cat "$SITE/compose.pid")"
    fi
    sleep 0.05
  done
}

tidy() { # what a try left that was killed
  rm -f "$checkout/.git/index.lock" "$checkout/.git/HEAD.lock"
  git -C "$checkout" reset --quiet --hard
}

case "$1" in
  deploy)
    tidy
    if [ "$(head)" != "$COMMIT" ]; then
      head > "$SITE/before.draft"
      mv "$SITE/before.draft" "$SITE/before"
      git -C "$checkout" fetch --quiet
      git -C "$checkout" checkout --quiet --detach "$COMMIT"
    fi
    serves || restart
    ;;
  revert)
    [ -f "$SITE/before" ] || exit 0 # this release was not brought by a run
    tidy
    git -C "$checkout" diff --quiet "$(cat "$SITE/before")" HEAD || git -C "$checkout" revert --no-edit "$COMMIT"
    serves || restart
    rm "$SITE/before"
    ;;
  is-deployed)
    [ "$(head)" = "$COMMIT" ] && serves
    ;;
  is-reverted)
    [ ! -f "$SITE/before" ]
    ;;
  deployed)
    cut -d " " -f 2 "$SITE/running"
    ;;
  *)
    echo "deploy, revert, is-deployed, is-reverted or deployed is expected" >&2
    exit 2
    ;;
esac
