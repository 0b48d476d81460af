"""From the committed adapter to `model_store/tweets.mar`: merge, trace, bundle, archive, verify."""

import sys

if (
    sys.argv[0] == "-m"
):  # run as a command: what is missing is said in one line (a program that imports this keeps its own hook)
    from scripts import in_environment  # noqa: F401
