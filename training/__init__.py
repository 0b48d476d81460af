"""Data preparation and fine-tuning of the classifier; nothing here travels to a server."""

import sys

if (
    sys.argv[0] == "-m"
):  # run as a command: what is missing is said in one line (a program that imports this keeps its own hook)
    from scripts import in_environment  # noqa: F401
