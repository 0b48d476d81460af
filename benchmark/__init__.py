"""Speed: engines against the limits of a core, TorchServe against a baseline, and the settings that a machine needs."""
