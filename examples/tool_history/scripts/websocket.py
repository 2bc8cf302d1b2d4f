#!/usr/bin/env python3
"""Opens a WebSocket, says something, and wants to hear it again."""

import base64
import hashlib
import os
import socket
import sys

KEY = base64.b64encode(os.urandom(16))
SAID = b"are you there?"

host, port = os.environ["ADDRESS"].split(":")
with socket.create_connection((host, int(port)), timeout=5) as connection, connection.makefile("rb") as answer:
    connection.sendall(
        b"GET /ws HTTP/1.1\r\nHost: " + os.environ["ADDRESS"].encode() + b"\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
    )
    status = answer.readline().split()[1]
    headers = dict(line.strip().lower().split(b": ", 1) for line in iter(answer.readline, b"\r\n"))
    accepted = base64.b64encode(
        hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
    )
    if status != b"101" or headers.get(b"sec-websocket-accept") != accepted.lower():
        sys.exit(f"no WebSocket: status {status.decode()}")
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(SAID))
    connection.sendall(bytes((0x81, 0x80 | len(SAID))) + mask + masked)
    if answer.read(2 + len(SAID)) != bytes((0x81, len(SAID))) + SAID:
        sys.exit("it does not say what it was told")
print("it says what it was told")
