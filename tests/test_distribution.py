"""Tests that share a server run in one process."""

from __future__ import annotations

import pytest

from tests.conftest import ROOT
from tests.distribution import TOGETHER, group_of, turn_of


def test_every_test_of_a_shared_server_is_in_the_group_of_that_server(request: pytest.FixtureRequest) -> None:
    wrong = set()
    for item in request.session.items:
        found = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009  # pytest has no public way
        scopes = {name: definitions[-1].scope for name, definitions in found.items()}
        shared = scopes.get("server") == "session" or "package" in scopes.values()
        if shared and group_of(item.nodeid) not in TOGETHER:
            wrong.add(item.nodeid.partition("::")[0])
    assert not wrong, "add these files to tests/distribution.py"


def test_every_file_named_is_there() -> None:
    assert all((ROOT / name).exists() for names in TOGETHER.values() for name in names)


@pytest.mark.parametrize(
    ("nodeid", "group"),
    [
        ("tests/fuzz/test_grpc_fuzz.py::test_a[tests/x::y]", "fuzz"),
        ("tests/test_readme.py::test_a", "server"),
        ("tests/tweetclf/test_text.py::test_a", "tests/tweetclf/test_text.py"),
    ],
)
def test_group_of_a_test_is_its_file_unless_files_share_a_server(nodeid: str, group: str) -> None:
    assert group_of(nodeid) == group


def test_turn_of_the_shared_server_comes_first_and_that_of_small_files_last() -> None:
    assert (
        turn_of("tests/test_readme.py::a") < turn_of("tests/training/test_tune.py::a") < turn_of("tests/client/a.py::a")
    )
    assert turn_of("tests/client/a.py::a") == turn_of("tests/test_repository.py::a")
