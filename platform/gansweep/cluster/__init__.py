"""Sweeps as Ray jobs on a cluster, and what a machine or a cluster has to offer."""
