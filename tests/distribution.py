"""How the tests are divided between the processes of pytest-xdist (`--dist loadfile --no-loadscope-reorder`).

The tests of a file stay in one process, in the order of the file, so that a fixture of a module is made once. The
files that share one server stay together too. pytest-xdist 3.8 has marks for that (`xdist_group`); with pytest 9.2 they
have no effect, since they change an attribute that pytest no longer reads.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from xdist.scheduler import LoadFileScheduling

# Group -> files or folders that use one server: the session's, and that of a package.
TOGETHER = {
    "server": (
        *("tests/ops/gateway/test_real_server.py", "tests/ops/gateway/test_schema.py", "tests/test_readme.py"),
        *("tests/serving/test_bad_input.py", "tests/serving/test_benchmark.py", "tests/serving/test_client.py"),
        *("tests/serving/test_grpc_calls.py", "tests/serving/test_predictions.py"),
        *("tests/serving/test_short_soak.py", "tests/serving/test_streaming_calls.py"),
    ),
    "guarded": ("tests/chaos/test_attacks_through_gateway.py", "tests/chaos/test_faults_through_gateway.py"),
    "fuzz": ("tests/fuzz",),
}
# What takes minutes begins first; the rest fills the gaps at the end.
FIRST = ("server", "guarded", "fuzz")
FOLDERS_FIRST = ("serving", "chaos", "training", "export", "ops", "scripts")


def group_of(nodeid: str) -> str:
    """Return the group of a test: a key of TOGETHER, or its file."""
    file = nodeid.partition("::")[0]
    parents = {file, *map(str, PurePosixPath(file).parents)}
    return next((group for group, members in TOGETHER.items() if parents & set(members)), file)


def turn_of(nodeid: str) -> int:
    """Return when a test's group begins; tests of equal turns keep their order."""
    group = group_of(nodeid)
    if group in FIRST:
        return FIRST.index(group)
    folder = PurePosixPath(group).parts[1:2]
    place = FOLDERS_FIRST.index(folder[0]) if folder and folder[0] in FOLDERS_FIRST else len(FOLDERS_FIRST)
    return len(FIRST) + place


class GroupScheduling(LoadFileScheduling):
    """Give each group of tests to one process."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
