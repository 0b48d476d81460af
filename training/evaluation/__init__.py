"""Figures of a model, of an archive or of a running server."""
