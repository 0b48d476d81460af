"""Search over settings with Optuna."""
