"""Measures what compression does to animated GIFs."""

__version__ = "0.2.0"
