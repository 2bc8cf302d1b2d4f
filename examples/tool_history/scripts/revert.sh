#!/bin/sh
# Reverts what was pushed since COMMIT for this change, and nothing that others pushed: revert.sh COMMIT
set -eu
git fetch --quiet origin main
commits=$(git rev-list --grep='^Change: tool-history' "$1..origin/main")
reverted=$(git log --format=%b --grep='^This reverts commit' "$1..origin/main")
folder=$(mktemp -d)
trap 'git worktree remove --force "$folder/main"; rm -rf "$folder"' EXIT
git worktree prune
git worktree add --quiet --detach "$folder/main" origin/main
for commit in $commits; do
    case "$reverted" in *"$commit"*) continue ;; esac
    git -C "$folder/main" revert --no-edit "$commit" > /dev/null
done
git -C "$folder/main" push --quiet origin HEAD:main
