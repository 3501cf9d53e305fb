"""Storage of a sweep's results: Parquet rows, the Optuna study, checkpoints and sample sheets, on any file system."""
