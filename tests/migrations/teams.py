"""The schema changes of three teams as plain SQL, the plan that applies them, and what is in the database then."""

import contextlib
import random
import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.support.postgres import PostgresServer
from tests.support.process import wait_until

FILES = Path(__file__).parent / "fixtures" / "sql"
KEPT = ("094_unique_standards.sql", "096_enrichment_pattern_types.sql")
UP = (
    *KEPT,
    "20250717000001_create_embedding_metrics_tables.sql",
    "20250717000002_enhance_embedding_queue_system.sql",
    "20250717000003_batch_upload_optimization.sql",
    "p2_add_user_tool_history.sql",
)
DUPLICATES = (
    "SELECT engagement_id, requirement_type, standard_name FROM migration.engagement_architecture_standards"
    " GROUP BY 1, 2, 3 HAVING count(*) > 1"
)
NEW_VALUES = re.findall(r"'(\w+)'", (FILES / KEPT[1]).read_text())
TOOL_INDEXES = "SELECT count(*) FROM pg_indexes WHERE tablename = 'user_tool_history' AND indexname LIKE 'idx_%'"

PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {{name: schema}}
spec:
  database: {{env: DATABASE_URL}}
  stages:
    - name: patterns
      kind: migration
      on_rollback: {on_rollback}
      allow_data_loss: true
      checks: [{{name: no duplicates, sql: "{duplicates}", expect: {{rows: 0}}}}]
      migrations:
        - up: sql/094_unique_standards.sql
          keep: saving a standard relies on it
          verify:
            - name: constraint
              sql: "SELECT 1 FROM pg_constraint WHERE conname = 'uq_engagement_architecture_standards_composite'"
              expect: {{rows: 1}}
        - up: sql/096_enrichment_pattern_types.sql
          irreversible: enum values cannot be removed
          verify:
            - name: enum values
              sql: "SELECT enumlabel FROM pg_enum WHERE enumtypid = 'migration.patterntype'::regtype"
              expect: {{rows: 8}}
    - name: embeddings
      kind: migration
      on_rollback: {on_rollback}
      allow_data_loss: true
      migrations:
        - up: sql/20250717000001_create_embedding_metrics_tables.sql
          down: sql/20250717000001_create_embedding_metrics_tables.down.sql
          verify: [{{sql: "SELECT count(*) FROM embedding_performance_metrics", expect: {{number: "== 0"}}}}]
        - up: sql/20250717000002_enhance_embedding_queue_system.sql
          down: sql/20250717000002_enhance_embedding_queue_system.down.sql
          verify: [{{sql: "SELECT count(*) FROM embedding_queue_workers", expect: {{number: "== 0"}}}}]
        - up: sql/20250717000003_batch_upload_optimization.sql
          down: sql/20250717000003_batch_upload_optimization.down.sql
          verify: [{{sql: "SELECT count(*) FROM batch_upload_sessions", expect: {{number: "== 0"}}}}]
    - name: tools
      kind: migration
      on_rollback: {on_rollback}
      allow_data_loss: true
      migrations:
        - up: sql/p2_add_user_tool_history.sql
          down: sql/p2_add_user_tool_history.down.sql
          verify: [{{sql: "{indexes}", expect: {{number: "== 6"}}}}]
{last}  watch: 0s
"""
# with a probe, so that nobody has to say what became of one that was killed
FAILS = "    - {name: release, kind: steps, steps: [{command: [./fails.sh], probe: [./fails.sh], undo: none}]}\n"
# every change of the catalogue that was committed
LOG = """
CREATE TABLE public.ddl_log (tag text, object text);
CREATE FUNCTION public.log_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.ddl_log SELECT command_tag, object_identity FROM pg_event_trigger_ddl_commands()
    WHERE object_identity NOT LIKE '%rollout_migration%';
END $$;
CREATE EVENT TRIGGER log_ddl ON ddl_command_end EXECUTE FUNCTION public.log_ddl();
"""
CATALOGUE = """
SELECT 'column ' || format('%s.%s %s %s', attrelid::regclass, attname, atttypid::regtype, attnotnull)
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
WHERE attnum > 0 AND NOT attisdropped AND relkind = 'r' AND {ours}
UNION ALL SELECT 'index ' || pg_get_indexdef(indexrelid) || ' ' || indisvalid
FROM pg_index JOIN pg_class c ON c.oid = indrelid WHERE {ours}
UNION ALL SELECT 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(pg_constraint.oid)
FROM pg_constraint JOIN pg_class c ON c.oid = conrelid WHERE {ours}
UNION ALL SELECT 'enum ' || enumtypid::regtype || ' ' || enumlabel FROM pg_enum
""".format(ours="c.relnamespace::regnamespace::text IN ('public', 'migration') AND c.relname !~ '^(rollout_|ddl_log)'")


def prepare(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute((FILES / "base.sql").read_bytes())
        connection.execute(LOG.encode())


def rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


def catalogue(dsn: str) -> set[str]:
    """Tables, indexes, constraints and enum values, but for our own bookkeeping."""
    return {str(row[0]) for row in rows(dsn, CATALOGUE)}


def changes(dsn: str) -> Counter[str]:
    """How often each change of the catalogue was committed."""
    return Counter(f"{tag} {name}" for tag, name in rows(dsn, "SELECT tag, object FROM ddl_log"))


def by_psql(dsn: str, files: Sequence[str]) -> None:
    """As people do it by hand."""
    psql = shutil.which("psql")
    assert psql is not None, "psql is needed for the comparison"
    for name in files:
        done = subprocess.run(
            [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-f", FILES / name],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def by_hand(dsn: str, files: Sequence[str]) -> None:
    """The same without psql: each statement on its own, no limits."""
    from orchestrator.adapters.sql.text import Dialect, split

    with psycopg.connect(dsn, autocommit=True) as connection:
        for name in files:
            for statement in split((FILES / name).read_text(), Dialect.POSTGRESQL):
                connection.execute(statement.text.encode())


def by_hand_on(server: PostgresServer, files: Sequence[str]) -> tuple[set[str], Counter[str]]:
    """The catalogue of a fresh database after somebody applied *files* by hand, and each change on the way."""
    with server.database() as dsn:
        prepare(dsn)
        by_hand(dsn, files)
        return catalogue(dsn), changes(dsn)


def write_plan(folder: Path, *, on_rollback: str = "keep", last: str = "") -> Path:
    target = folder / "sql"
    target.mkdir(exist_ok=True)
    for file in FILES.glob("*.sql"):
        shutil.copy(file, target / file.name)
    fails = folder / "fails.sh"
    fails.write_text("#!/bin/sh\nexit 1\n")
    fails.chmod(0o755)
    plan = folder / "plan.yaml"
    plan.write_text(PLAN.format(on_rollback=on_rollback, duplicates=DUPLICATES, indexes=TOOL_INDEXES, last=last))
    return plan


# --- traffic ----------------------------------------------------------------------------------------------------------

STATEMENTS = (
    "INSERT INTO embedding_queue (document_id) VALUES (%(n)s)",
    "UPDATE embedding_queue SET status = 'done' WHERE id = %(n)s",
    "SELECT status FROM embedding_queue WHERE id = %(n)s",
    "SELECT body FROM documents WHERE id = %(n)s",
    "UPDATE documents SET body = body WHERE id = %(n)s",
    "SELECT name FROM users WHERE id = %(n)s %% 1000 + 1",
    "INSERT INTO migration.agent_discovered_patterns (pattern_type) VALUES ('COST_OPTIMIZATION')",
    "SELECT standard_name FROM migration.engagement_architecture_standards WHERE id = %(n)s %% 20000",
)
WORKERS = 4
REPORTS = 2
REPORT_SECONDS, PAUSE_SECONDS = (1.0, 3.0), (0.5, 2.0)


@dataclass
class Traffic:
    """An application: so many statements a second on the tables that are migrated, and reports now and then whose
    transactions hold locks and snapshots for seconds.
    """

    dsn: str
    per_second: float = 200.0
    seed: int = 0
    waits_seconds: list[float] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    problems: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def going_on(self) -> Iterator["Traffic"]:
        threads = [threading.Thread(target=self._guarded, args=(self._work, n)) for n in range(WORKERS)]
        threads += [threading.Thread(target=self._guarded, args=(self._report, n)) for n in range(REPORTS)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(self.waits_seconds) > 10 or self.problems, what="the traffic to begin")
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(30)

    def _guarded(self, work: Any, number: int) -> None:
        try:
            with psycopg.connect(self.dsn, autocommit=True, application_name="traffic") as connection:
                work(connection, number)
        except psycopg.Error as error:
            self.problems.append(str(error))

    def _work(self, connection: psycopg.Connection[Any], number: int) -> None:
        dice = random.Random(number)
        due = time.monotonic()
        while not self._stop.wait(max(due - time.monotonic(), 0.0)):
            due = max(due + WORKERS / self.per_second, time.monotonic() - 1.0)
            statement = dice.choice(STATEMENTS)
            began = time.monotonic()
            connection.execute(statement, {"n": dice.randrange(1, 50000)})
            waited = time.monotonic() - began
            self.waits_seconds.append(waited)
            self.slowest = max(self.slowest, (waited, statement))

    def _report(self, connection: psycopg.Connection[Any], number: int) -> None:
        """The first keeps locks of the tables that are changed, the second a snapshot that builds of an index await."""
        dice = random.Random(f"{self.seed}/{number}")
        if number:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        while not self._stop.is_set():
            with connection.transaction():
                for table in ("users",) if number else ("embedding_queue", "documents"):
                    connection.execute(f"SELECT count(*) FROM {table}".encode())
                self._stop.wait(dice.uniform(*REPORT_SECONDS))
            self._stop.wait(dice.uniform(*PAUSE_SECONDS))
