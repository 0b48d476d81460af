"""Look at the environment variables that change what is run, or what a worker may read."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ops.doctor.findings import Finding, error, warning
from ops.settings.server import OPEN_INFERENCE

# Names that a worker imports; another of that name earlier on the path would be run in its place.
SHADOWED = ("tweetclf", "tweets_handler.py", "ts", "torch", "numpy", "tokenizers")
SERVER_HOME = "TS_MODEL_SERVER_HOME"
WORKER = Path("ts/model_service_worker.py")
# Every Java reads these, whatever its command line says. Source: OpenJDK, the `java` command, JDK_JAVA_OPTIONS; JVMTI
JAVA_OPTIONS = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL", re.IGNORECASE)
TOKENIZER_SWITCH = "TOKENIZERS_PARALLELISM"  # a switch of the tokenizer, which workers need
SHOWN = 3


def check_variables(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Check the variables that change what is run."""
    for entry in filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)):
        for name in SHADOWED:
            if Path(entry, name).exists():
                found = f"{entry} holds {name}, which a worker would import in the archive's place"
                yield error("PYTHONPATH", found, "no such name", "unset PYTHONPATH")
    if "TS_CONFIG_FILE" in environment:
        found = f"{environment['TS_CONFIG_FILE']}, which wins over --ts-config in a start by hand"
        yield warning("TS_CONFIG_FILE", found, "unset", "unset TS_CONFIG_FILE")
    protocol = environment.get(OPEN_INFERENCE, "").strip()
    if protocol:  # any value, as a start does
        found = f"{protocol!r}; oip makes TorchServe hand texts on as base64: wrong answers, and workers that die"
        expected = "unset: the handler answers Open Inference v2 without it"
        yield error(OPEN_INFERENCE, found, expected, f"unset {OPEN_INFERENCE}")
    home = environment.get(SERVER_HOME)
    if home is not None and not _is_this_torchserve(home):
        found = f"{home!r}: the workers would run the code of another TorchServe, or none"
        yield error(SERVER_HOME, found, "unset", f"unset {SERVER_HOME}")
    for name in JAVA_OPTIONS:
        if environment.get(name):
            found = f"{environment[name]!r}, which Java takes with every start"
            yield warning(name, found, "unset; flags of the JVM go into vmargs of config.properties", f"unset {name}")


def check_secrets(environment: Mapping[str, str], hidden: str) -> Iterator[Finding]:
    """Check that no worker inherits a variable that looks like a secret.

    Args:
        environment: the variables with which the server would be started.
        hidden: blacklist_env_vars of config.properties. Source: TorchServe 0.12, util/messages/EnvironmentUtils.java
    """
    try:
        pattern = re.compile(hidden)
    except re.error:  # told of with its line
        return
    looks_secret = {name for name in environment if SECRET.search(name) and name.upper() != TOKENIZER_SWITCH}
    seen = sorted(name for name in looks_secret if not pattern.fullmatch(name))
    if seen:
        more = f" and {len(seen) - SHOWN} more" if len(seen) > SHOWN else ""
        yield warning(
            "config.properties: blacklist_env_vars",
            f"the workers inherit {', '.join(seen[:SHOWN])}{more}",
            "no variable that looks like a secret",
            f"set it to (?i)(?!{TOKENIZER_SWITCH}$).*(KEY|TOKEN|SECRET|PASS|CREDENTIAL).*",
        )


def _is_this_torchserve(home: str) -> bool:
    spec = importlib.util.find_spec("ts")
    own = Path(spec.origin).parent.parent if spec is not None and spec.origin else None
    try:
        return own is not None and (own / WORKER).samefile(Path(home, WORKER))
    except OSError:
        return False
