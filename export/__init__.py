"""From the committed adapter to `model_store/tweets.mar`: merge, trace, bundle, archive, verify."""

import sys

# Run as a command. A program that imports this package keeps its own way to report what is missing.
if sys.argv[0] == "-m":
    from scripts import in_environment  # noqa: F401
