"""Plans that run, with the applications they need."""
