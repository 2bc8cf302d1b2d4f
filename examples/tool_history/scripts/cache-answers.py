#!/usr/bin/env python3
"""Exits with 0 if the cache says PONG."""

import os
import socket
import sys

with socket.create_connection(("127.0.0.1", int(os.environ["CACHE_PORT"])), timeout=5) as connection:
    connection.sendall(b"PING\r\n")
    sys.exit(connection.recv(16) != b"+PONG\r\n")
