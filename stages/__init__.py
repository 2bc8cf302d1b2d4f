"""The language of plans: what a stage, a step, a gate and a criterion mean. Pure: no I/O, no clock, no randomness."""
