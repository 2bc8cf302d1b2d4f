#!/bin/sh
# Prints the commit that the host has to run.
exec cat "$HOST_DIR/wanted/backend"
