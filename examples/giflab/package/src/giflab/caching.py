"""Resized frames are kept: an experiment, imported only where it is switched on."""

from functools import lru_cache

from .frames import resize

resize_frame = lru_cache(256)(resize)
