"""A TorchServe of one folder: start, watch, stop, ask for golden answers."""
