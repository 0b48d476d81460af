"""Where the Java agent is, whether it is whole, and the variables that make Java load it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

JAR = Path(__file__).with_name("agent.jar")
# Of agent.jar; hardened/build_agent.py writes it.
SHA256 = "9313bbd2c9df9a8994bc7a3312d1605042034a80e49ec57ebf4171d6b5ebf9c1"
JAVA_OPTIONS = "JDK_JAVA_OPTIONS"  # read by every `java` from 9 on
ACTIVE = "TORCHSERVE_HARDENED"  # workers inherit it; set by the launcher alone


class AgentError(RuntimeError):
    """The agent cannot be used; the message is one line that says what to do."""


def require_agent(jar: Path = JAR) -> None:
    """Check that the agent is there and unchanged.

    Raises:
        AgentError: it is missing or another one.
    """
    try:
        found = hashlib.sha256(jar.read_bytes()).hexdigest()
    except OSError as error:
        raise AgentError(f"{jar} cannot be read ({error.strerror}); install torchserve-hardened again") from None
    if found != SHA256:
        raise AgentError(f"{jar} has sha256 {found}; expected {SHA256}; install torchserve-hardened again")


def protected_environment(environment: Mapping[str, str], jar: Path = JAR) -> dict[str, str]:
    """Return the variables under which Java loads the agent; options of the caller's own stay."""
    quote = "'" if '"' in str(jar) else '"'  # the path may have a blank; Java knows no escapes there
    option = f"{quote}-javaagent:{jar}{quote}"
    options = environment.get(JAVA_OPTIONS, "").strip()
    if option not in options:
        options = f"{options} {option}".strip()
    changed = {**environment, JAVA_OPTIONS: options, ACTIVE: "1"}
    if not str(jar).isascii() and not _is_utf8(environment):
        changed["LC_ALL"] = "C.UTF-8"  # in another locale Java does not find a path with a non-ASCII letter
    return changed


def _is_utf8(environment: Mapping[str, str]) -> bool:
    locale = next((environment[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(name)), "C")
    return "utf8" in locale.lower().replace("-", "")


def protect_this_process() -> None:
    """Let whatever this process starts be protected.

    Raises:
        AgentError: the agent is missing or another one; nothing may be started then.
    """
    require_agent()
    os.environ.update(protected_environment(os.environ))
