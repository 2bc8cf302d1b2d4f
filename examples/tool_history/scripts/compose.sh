#!/bin/sh
# What the host has to run beside the backend: compose.sh up|down|shown|is up|is down. (The database runs by itself.)
set -eu
file="$HOST_DIR/wanted/cache"
case "$1" in
    up) touch "$file.new" && echo redis > "$file.new" && mv "$file.new" "$file" ;;
    down) rm -f "$file" ;;
    shown) if [ -e "$file" ]; then echo up; else echo down; fi ;;
    is) [ "$("$0" shown)" = "$2" ] ;;
esac
