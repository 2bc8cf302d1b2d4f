"""Speed and scale, ours and the peers' alternately in one run: `python -m benchmarks NAME [--quick] [--json]`."""
