"""Verifies a signed archive before it is served."""
