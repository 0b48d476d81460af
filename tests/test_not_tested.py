"""The line at the end of `make test` about what was skipped."""

from __future__ import annotations

import pytest

from tests.not_tested import KNOWN, not_tested


def test_not_tested_when_nothing_was_skipped_says_nothing() -> None:
    assert not_tested([]) == ""


def test_not_tested_when_programs_are_missing_names_one_command_for_all() -> None:
    reasons = ["Skipped: nginx is missing: apt-get install nginx"] * 3
    reasons += ["Skipped: no javac; the committed classes stay unproven here", "Skipped: torch finds no GPU here"]
    line = not_tested(reasons)
    assert line == (
        "not tested here: 3 of the gateway (no nginx), 1 of the Java classes (no JDK), 1 of the GPU (none here); "
        "to test more: apt-get install nginx openjdk-17-jdk-headless"
    )


def test_not_tested_when_real_tweets_are_missing_names_the_variable() -> None:
    line = not_tested(["Skipped: no real tweets in data; set DISASTER_TWEETS_DATA to a folder with train.csv"])
    assert "1 on real tweets (none here)" in line
    assert line.endswith("to test more: DISASTER_TWEETS_DATA=folder make test")


def test_not_tested_when_a_reason_is_unknown_gives_it_in_one_line() -> None:
    assert not_tested(["Skipped: moon\nphase"]) == "not tested here: 1 more (moon phase)"
    assert len(not_tested(["Skipped: " + "x" * 1_000])) < 150


@pytest.mark.parametrize(
    ("reason", "tests"), [("a GPU is there", "of a machine without a GPU"), ("needs a GPU", "of the GPU")]
)
def test_not_tested_tells_a_gpu_from_none(reason: str, tests: str) -> None:
    assert tests in not_tested([reason])


def test_every_kind_says_what_to_do_or_why_nothing_helps() -> None:
    assert all(missing.lacking for missing in KNOWN)
