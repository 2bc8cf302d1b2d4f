"""What tests need of the real world: a Prometheus, a PostgreSQL, an exporter, the `rollout` process."""
