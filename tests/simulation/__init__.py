"""The controller in a world that is drawn from a seed, under a clock that jumps. ``docs/simulation.md`` explains it."""
