"""The list of known holes: its form, and whether it speaks of the jar that is installed."""

from __future__ import annotations

import datetime
import hashlib
import re
import warnings
import zipfile
from typing import Any

import pytest
import yaml

from hardened.build_agent import torchserve_jar
from tests.conftest import ROOT

JAR = torchserve_jar()
REACHABLE = {"gateway", "loopback", "no"}


@pytest.fixture(scope="module")
def risks() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docs" / "accepted_risks.yaml").read_text(encoding="utf-8"))


def versions_in_jar() -> dict[str, str]:
    """What the jar tells of itself: properties files, and constants in classes."""
    with zipfile.ZipFile(JAR) as jar:
        netty = jar.read("META-INF/io.netty.versions.properties").decode()
        groovy = jar.read("META-INF/groovy-release-info.properties").decode()
        ant = jar.read("org/apache/tools/ant/version.txt").decode()
        constants = {
            "grpc-java": jar.read("io/grpc/internal/GrpcUtil.class"),
            "gson": jar.read("com/google/gson/internal/GsonBuildConfig.class"),
        }
        names = jar.namelist()
    found = {
        "netty": re.search(r"^netty-codec-http\.version=(.+)$", netty, re.MULTILINE),
        "netty-tcnative": re.search(r"^netty-tcnative\.version=(.+)$", netty, re.MULTILINE),
        "groovy": re.search(r"^ImplementationVersion=(.+)$", groovy, re.MULTILINE),
        "ant": re.search(r"^VERSION=(.+)$", ant, re.MULTILINE),
        "jquery": re.search(r"webjars/jquery/([\d.]+)/jquery\.js", "\n".join(names)),
    }
    found |= {name: re.search(r"(\d+\.\d+\.\d+)", text.decode("latin-1")) for name, text in constants.items()}
    return {name: match[1].strip() for name, match in found.items() if match}


def test_jar_when_compared_with_the_list_then_the_same_file(risks: dict[str, Any]) -> None:
    assert hashlib.sha256(JAR.read_bytes()).hexdigest() == risks["jar_sha256"]
    assert (JAR.parents[1] / "version.txt").read_text().strip() == risks["torchserve"]


def test_versions_when_read_from_the_jar_then_those_of_the_list(risks: dict[str, Any]) -> None:
    listed = {name: facts["version"] for name, facts in risks["libraries"].items() if facts["source"] == "read"}
    assert versions_in_jar() == listed


def test_every_risk_says_what_whether_reachable_why_and_what_stands_in_its_way(risks: dict[str, Any]) -> None:
    for risk in risks["risks"]:
        assert set(risk) == {"id", "library", "what", "reachable", "why", "control"}, risk
        assert all(isinstance(value, str) and value for value in risk.values()), risk
        assert re.fullmatch(r"CVE-\d{4}-\d{4,}|TORCHSERVE-[A-Z]+", risk["id"])
        assert risk["reachable"] in REACHABLE
        assert risk["library"] in {*risks["libraries"], "torchserve"}
        assert risk["reachable"] == "no" or risk["control"] != "none needed", risk["id"]
    ids = [risk["id"] for risk in risks["risks"]]
    assert len(ids) == len(set(ids))


def test_every_risk_of_a_python_package_says_who_bears_it(risks: dict[str, Any]) -> None:
    for entry in risks["python"]:
        assert set(entry) == {"id", "package", "why", "accepted", "control"}


def test_libraries_when_listed_then_a_version_and_its_source(risks: dict[str, Any]) -> None:
    for facts in risks["libraries"].values():
        assert set(facts) == {"version", "source"}
        assert isinstance(facts["version"], str)
        assert facts["source"] in {"read", "stated"}


@pytest.mark.filterwarnings("default:.*look through the advisories")
def test_review_when_its_day_has_passed_then_warns(risks: dict[str, Any]) -> None:
    assert risks["reviewed"] < risks["review_again"]
    if datetime.date.today() > risks["review_again"]:
        warnings.warn("docs/accepted_risks.yaml: look through the advisories again", stacklevel=1)
