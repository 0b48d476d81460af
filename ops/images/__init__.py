"""Builds and checks the container images."""
