"""What a sweep leaves behind: Parquet rows, the Optuna study, checkpoints and sample sheets, on any file system."""
