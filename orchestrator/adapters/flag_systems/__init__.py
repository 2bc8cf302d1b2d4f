"""Flags in the systems that teams already have: one file for each system, and one loop that brings about what is wanted
in any of them.
"""
