"""A small shop with two new features, for docs/tutorial.md."""
