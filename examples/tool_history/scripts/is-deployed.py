#!/usr/bin/env python3
"""Exits with 0 if the backend that answers is the release that the host has to run."""

import http.client
import json
import os
import sys
from pathlib import Path

wanted = Path(os.environ["HOST_DIR"], "wanted", "backend").read_text().strip()
connection = http.client.HTTPConnection(os.environ["ADDRESS"], timeout=5)
connection.request("GET", "/health")
release = json.load(connection.getresponse())["release"]
print(f"release {release} answers")
sys.exit(release != wanted)
