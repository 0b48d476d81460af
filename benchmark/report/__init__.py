"""From the figures of a run to JSON, page, plots and the README's table."""
