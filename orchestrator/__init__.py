"""Walks a plan: a pure core, and around it what makes its decisions happen."""
