"""The virtual time of the simulation: the loop is the one in which plans are rehearsed."""

from orchestrator.rehearse.loop import (
    LIFE,
    START,
    Deadlock,
    Life,
    Livelock,
    OutOfTime,
    VirtualLoop,
    simulate,
)


class StandsStill(Exception):
    """A run goes nowhere though nothing holds it."""


__all__ = ["LIFE", "START", "Deadlock", "Life", "Livelock", "OutOfTime", "StandsStill", "VirtualLoop", "simulate"]
