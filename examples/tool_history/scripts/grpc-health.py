#!/usr/bin/env python3
"""Asks grpc.health.v1.Health whether it serves."""

import os
import sys

import grpc

SERVING = b"\x08\x01"

with grpc.insecure_channel(os.environ["GRPC_ADDRESS"]) as channel:
    check: "grpc.UnaryUnaryMultiCallable[bytes, bytes]" = channel.unary_unary("/grpc.health.v1.Health/Check")
    answer = check(b"", timeout=5)
print("serving" if answer == SERVING else "not serving")
sys.exit(answer != SERVING)
