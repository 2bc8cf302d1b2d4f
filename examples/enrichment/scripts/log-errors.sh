#!/bin/sh
# How many errors the backend has logged since it was started last.
set -eu
awk '/ INFO started, at / { errors = 0 } / (ERROR|CRITICAL) / { errors++ } END { print errors + 0 }' "$SITE/backend.log"
