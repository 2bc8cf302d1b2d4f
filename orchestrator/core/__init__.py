"""The pure core: what a run is, what comes next, and what everybody is shown. No I/O, no clock, no randomness."""
