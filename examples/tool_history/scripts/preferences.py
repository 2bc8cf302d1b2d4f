#!/usr/bin/env python3
"""Prints what the service has learned of a user, by the code of the branch: preferences.py USER. Run it in backend/."""

import importlib
import os
import sys
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path.cwd()))
service = importlib.import_module("app.services.tool_history_service").ToolHistoryService
with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    preferred = service(connection).get_user_preferred_tools(int(sys.argv[1]), limit=5)
for one in preferred:
    print(f"{one.tool_name}: {one.preference_score:.2f}")
sys.exit(not preferred)
