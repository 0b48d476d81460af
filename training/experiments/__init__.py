"""One-off comparisons behind decisions: sizes, seeds, generalisation, label noise, speed."""
