"""nginx in front of TorchServe: TLS, API keys, limits, readiness."""
