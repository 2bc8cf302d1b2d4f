"""What `python -m benchmarks rollouts` needs around it: service, load, Prometheus, controller, and one rollout."""
