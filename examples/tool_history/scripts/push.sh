#!/bin/sh
# Puts the change onto main, as one commit; nothing, if it is there.
set -eu
git fetch --quiet origin main
wanted=$(git rev-parse 'phase4^{tree}')
[ "$wanted" = "$(git rev-parse 'origin/main^{tree}')" ] && exit 0
commit=$(git commit-tree "$wanted" -p origin/main -m "Remember which tools helped whom" -m "Change: tool-history")
git push --quiet origin "$commit:refs/heads/main"
