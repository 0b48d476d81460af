"""One line about the tests that were skipped: what they test, what is missing, and the one command that installs it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

MAX_UNKNOWN_CHARS = 80


@dataclass(frozen=True)
class Missing:
    """Something that tests need and a machine may lack.

    Args:
        reason: pattern of the reason that such a test is skipped with.
        tests: what they test.
        lacking: what is missing.
        package: of Debian and Ubuntu, "" when none helps.
        remedy: what to do where no package helps; "" when nothing helps on this machine.
    """

    reason: str
    tests: str
    lacking: str
    package: str = ""
    remedy: str = ""


KNOWN = (
    Missing("nginx", "of the gateway", "no nginx", package="nginx"),
    Missing("no systemd-analyze", "of the systemd units", "no systemd", package="systemd"),
    Missing("no openssl", "of signatures", "no openssl", package="openssl"),
    Missing("javac|JDK", "of the Java classes", "no JDK", package="openjdk-17-jdk-headless"),
    Missing("no real tweets", "on real tweets", "none here", remedy="DISASTER_TWEETS_DATA=folder make test"),
    Missing("a small disk|tmpfs", "of a full disk", "needs root to mount one"),
    Missing("GPU|CUDA", "of the GPU", "none here"),
    Missing("a GPU is there|there is a GPU", "of a machine without a GPU", "one is here"),
    Missing("atheris", "of the parser's fuzzer", "atheris has no release for this Python"),
    Missing("made by make", "of the environment", "it was not made by make"),
    Missing("git checkout", "of the committed files", "this is no git checkout"),
    Missing("glibc", "of the allocator", "the settings are glibc's"),
    Missing("oneDNN|/proc/cpuinfo|AVX|VNNI|bf16|instruction", "of this processor", "it lacks the instructions"),
)


def not_tested(reasons: Sequence[str]) -> str:
    """Return the line for the reasons of all skipped tests; "" when none was skipped."""
    counts = Counter(_missing(reason) for reason in reasons)
    if not counts:
        return ""
    parts = [f"{number} {missing.tests} ({missing.lacking})" for missing, number in counts.most_common()]
    remedies = [missing.remedy for missing in counts if missing.remedy]
    if packages := sorted({missing.package for missing in counts if missing.package}):
        remedies.insert(0, f"apt-get install {' '.join(packages)}")
    line = f"not tested here: {', '.join(parts)}"
    return f"{line}; to test more: {' && '.join(remedies)}" if remedies else line


def _missing(reason: str) -> Missing:
    reason = reason.removeprefix("Skipped: ")
    # From the last: a later entry may be a special case of an earlier one.
    for missing in reversed(KNOWN):
        if re.search(missing.reason, reason):
            return missing
    short = " ".join(reason.split())
    return Missing("", "more", short if len(short) <= MAX_UNKNOWN_CHARS else f"{short[:MAX_UNKNOWN_CHARS]}...")
