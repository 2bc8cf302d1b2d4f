"""What `python -m benchmarks decisions` is made of: traffic, the rules of others, ours, and the picture."""
