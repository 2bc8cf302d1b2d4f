"""What the docs show is tried: every block of every page."""
