"""Search spaces around published experiments; the first trial of each has the published configuration."""
