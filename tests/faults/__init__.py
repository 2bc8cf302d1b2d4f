"""What becomes of real controllers that are killed, frozen and starved while real plans run; see docs/faults.md."""
