"""Kubernetes: workloads, objects and Jobs that runs change, and what validation asks of a cluster.

The library takes most of a second to import and is imported when the first cluster is opened (``session.py`` alone
does so).
"""
