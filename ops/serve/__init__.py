"""Starts the TorchServe of this folder, for a session or under a supervisor, after the doctor has looked at it."""
