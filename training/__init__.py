"""Data preparation and fine-tuning of the classifier; nothing here travels to a server."""

import sys

# Run as a command. A program that imports this package keeps its own way to report what is missing.
if sys.argv[0] == "-m":
    from ops import in_environment  # noqa: F401
