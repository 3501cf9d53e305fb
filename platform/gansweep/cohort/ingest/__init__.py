"""Makes a cohort from scans: selects and groups slices, splits by patient, and writes the result."""
