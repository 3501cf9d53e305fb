"""Converts scans to arrays: readers, intensity, patient-level split, manifest, and the phantom."""
