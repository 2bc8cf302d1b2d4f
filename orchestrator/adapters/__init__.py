"""One file for each kind of outside system; each implements a port of :mod:`orchestrator.ports`."""
