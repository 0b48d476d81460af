"""TorchServe 0.12.0 with its known vulnerabilities closed, for any archive and any working directory."""
