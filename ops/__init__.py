"""Runs the service: settings, server, gateway, rollout, doctor, images; its command is `disaster-tweets`."""
