"""Migrations held against the rules of ``stages.lint`` before anything is started. Reads texts; asks no database."""

from orchestrator.adapters.lint.findings import LintFinding, data_loss, lint_sql
from orchestrator.adapters.lint.plan import Generated, Linted, lint_plan

__all__ = ["Generated", "LintFinding", "Linted", "data_loss", "lint_plan", "lint_sql"]
