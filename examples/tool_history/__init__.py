"""A learning assistant that is to remember which tools helped whom: its plan, and a small one that stands in for it."""
