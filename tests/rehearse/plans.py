"""Plans that are rehearsed here: one with every kind of stage, action, criterion and answer, and the small ones."""

from collections.abc import Callable, Sequence

from orchestrator.rehearse import Asked, Result, rehearse
from orchestrator.rehearse.result import Row
from stages.load import LoadedPlan, load_plan

SMALL = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: shop}
spec:
  prometheus: {url: "http://prometheus:9090"}
  notify: {channels: {team: {webhook: {url: "https://chat.example/team"}}}}
  flags: {checkout: {}}
  gates: {health: {every: 15s, criteria: [{name: errors, query: errors, pass: "< 1%", fail: "> 5%", for: 30s}]}}
  stages:
    - {name: open, kind: monitoring, flag: checkout, percentages: [10, 100], gate: health, bake: 30m}
  watch: 48h
"""

EVERYTHING = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: everything}
spec:
  prometheus: {url: "http://prometheus:9090"}
  database: "postgresql://db/app"
  environments:
    - {name: staging, watch: 1m, sign_off: none, bake: 1m, kubernetes: {namespace: staging}}
    - {name: production, approval: {all_of: [dba, ops]}, kubernetes: {namespace: shop}}
  flags: {checkout: {}, search: {}, old: {}}
  checks: [{name: healthy, http: {url: "http://app/health"}}]
  triggers:
    - {name: burning, query: burning, fail: "> 5", for: 30s, action: rollback}
    - {name: noisy, query: noisy, fail: "> 5", actions: [{disable: old}], then: continue}
    - {name: by hand, by_hand: true, then: rollback, ask: {question: "Roll back?", by: [ops]}}
  gates:
    health:
      every: 15s
      criteria:
        - {name: errors, query: errors, pass: "< 1%", fail: "> 5%"}
        - {name: locks, health: longest_lock_wait, fail: "> 5"}
    counted:
      criteria:
        - {name: worse, compare: {}}
        - {name: slower, latency: {}}
        - {name: share, ratio: {bad: 'requests_total{code="500"}', total: requests_total, at_most: 2%}}
        - {name: budget, slo: {bad: 'requests_total{code="500"}', total: requests_total, objective: 99.9%}}
    before: {criteria: [{name: changed, change: {query: cost, window: 10m, max_increase: 10%, fails: true}}]}
  stages:
    - name: schema
      kind: migration
      on_rollback: down
      allow_data_loss: true
      backup: {command: [./backup.sh], restore: [{command: [./restore.sh]}], by: [dba]}
      migrations: [{up: up.sql, down: down.sql}]
    - name: revisions
      kind: migration
      alembic: {dir: backend, command: [alembic], target: head, revisions: {"096": {irreversible: "enum values stay"}}}
    - name: migrator
      kind: migration
      migrations: [{command: [./migrate.sh], probe: [./migrated.sh]}]
    - {name: fill, kind: backfill, update: fill.sql, key: id, batch: 1000, gate: health}
    - name: workers
      kind: queue
      flag: checkout
      workload: deployment/workers
      replicas: {start: 3, max: 8, query: load, per_replica: 10}
      drain: {query: depth, timeout: 2m}
      percentages: [5, 100]
      gate: counted
      bake: {min: 5m, max: 30m}
    - name: version
      kind: version
      workload: deployment/api
      image: "api:v2"
      percentages: [50, 100]
      gate: before
      bake: 20m
    - name: rest
      kind: steps
      steps:
        - {apply: limits.yaml}
        - {image: deployment/index, to: "index:v2"}
        - {restart: deployment/index, undo: none}
        - {job: job.yaml, undo: none}
        - {command: [./set.sh, new], observe: [./show.sh], undo: [./set.sh, "{before}"], target: switch}
        - {command: [./once.sh], undo: [./unonce.sh]}
        - {http: {url: "http://app/warm", method: POST}, undo: none}
        - {wait: 5m}
        - {manual: "Look at the page", by: [ops]}
        - {flag: old, percentage: 50}
    - name: open
      kind: monitoring
      flag: search
      on_fail: pause
      gate: health
      steps: [{percentage: 10}, {percentage: 100, approval: {any_of: [ops], timeout: 4h}}]
  watch: 2h
  sign_off: {any_of: [ops]}
  rollback:
    before: [{command: [./announce.sh]}]
    verify: [{name: healthy again, http: {url: "http://app/health"}}]
    ask: [{question: "Empty the cache?", by: [ops], actions: [{command: [./empty.sh]}]}]
    within: 10m
  notify:
    channels: {team: {webhook: {url: "https://chat.example/team"}}, boss: {webhook: {url: "https://chat.example/boss"}}}
    escalation: [{after: 0m, channels: [team]}, {after: 15m, channels: [boss]}]
"""

JOB = """\
apiVersion: batch/v1
kind: Job
metadata: {name: reindex}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: reindex, image: "index:v2"}]}}}
"""
FILES = {
    "up.sql": "CREATE TABLE seen (id integer PRIMARY KEY);",
    "down.sql": "DROP TABLE seen;",
    "fill.sql": "UPDATE seen SET id = id WHERE id BETWEEN :from AND :to;",
    "limits.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: limits}\ndata: {most: '9'}\n",
    "job.yaml": JOB,
}


def read(text: str, *sets: str) -> LoadedPlan:
    def file(name: str) -> bytes:
        return FILES.get(name, "#!/bin/sh\n").encode()

    return load_plan(text, "plan.yaml", {}, sets, read_file=file)


def rehearsed(plan: LoadedPlan, scenarios: Sequence[str] = (), **asked: object) -> Result:
    given = {"scenarios": tuple(scenarios), **asked}
    return rehearse(plan, Asked(**given), lambda done, total, words: None)  # type: ignore[arg-type]


def rows(result: Result, scenario: str, wanted: Callable[[Row], bool] = lambda _: True) -> list[Row]:
    return [row for row in result.rows if row.scenario == scenario and wanted(row)]


def without_untold(result: Result) -> list[tuple[str, str, str]]:
    """Everything that is not as promised, but that nobody is told."""
    return [
        (row.scenario, f"{row.place} {row.at}", problem)
        for row in result.all_rows
        for problem in row.problems
        if "nobody is told" not in problem
    ]
