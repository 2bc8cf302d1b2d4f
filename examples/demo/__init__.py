"""`make demo`: one rollout that goes through and one that comes back by itself, on real parts."""
