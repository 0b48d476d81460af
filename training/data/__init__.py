"""From raw files to batches: download, checks, duplicates, divisions."""
