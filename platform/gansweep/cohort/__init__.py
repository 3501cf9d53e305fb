"""Scans in, arrays out: readers, intensity, patient-level split, manifest, and the phantom."""
