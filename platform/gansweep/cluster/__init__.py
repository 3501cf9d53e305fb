"""Submits sweeps to a cluster as Ray jobs, and examines machines and clusters."""
