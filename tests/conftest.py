"""What all tests share: the tiny model, the exported default model, one server of it, and how a run is divided.

torch takes seconds to import. It is imported inside the fixtures that need it, so that a test of keys, settings or
files runs without it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests.built_once import WORKER_VARIABLE, built_once
from tests.distribution import GroupScheduling, turn_of
from tests.not_tested import not_tested
from tests.serving.torchserve_process import Ports, TorchServeProcess, make_root

if TYPE_CHECKING:
    from tests.tiny_model import TinyClassifier
    from tweetclf.bundle import Bundle

ROOT = Path(__file__).resolve().parent.parent
MAX_TOKENS = 32
SCORE_STEP = 1.01e-4  # one step of the last decimal of a score, and the rounding of its difference

# A busy machine is slow, not wrong: no property test has a deadline. `ci` draws the same examples in each run, so that
# a red run is red again; `thorough` is for a night.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))

if WORKER_VARIABLE in os.environ:
    # Each process of pytest-xdist takes its share of the cores: threads that outnumber them wait for each other.
    share = len(os.sched_getaffinity(0)) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the groups that take long; the order within a group stays."""
    items.sort(key=lambda item: turn_of(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling | None:
    """Keep tests that share a server in one process."""
    return GroupScheduling(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True, tryfirst=True)  # after every other summary: pytest's closing line alone follows
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Say in one line what was not tested here, and how to test it."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    if line := not_tested([str(report.longrepr[2]) for report in skipped]):
        terminalreporter.write_line(line, yellow=True)


@pytest.fixture(scope="session")
def tiny_classifier() -> TinyClassifier:
    from tests.tiny_model import TinyClassifier, tiny_tokenizer

    return TinyClassifier(tiny_tokenizer().get_vocab_size()).eval()


@pytest.fixture(scope="session")
def tiny_bundle_dir(tmp_path_factory: pytest.TempPathFactory, tiny_classifier: TinyClassifier) -> Path:
    """Read-only: copy it before changing it."""
    from tests.tiny_model import write_tiny_bundle

    return built_once(tmp_path_factory, "tiny-bundle", lambda folder: write_tiny_bundle(folder, tiny_classifier))


@pytest.fixture(scope="session")
def tiny_bundle(tiny_bundle_dir: Path) -> Bundle:
    from tweetclf.bundle import load_bundle

    return load_bundle(tiny_bundle_dir)


@pytest.fixture(scope="session")
def tiny_archive(tiny_bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real handler and classifier around the tiny model: everything but its size is as in production; read-only."""
    from export.archive import write_archive

    def build(folder: Path) -> None:
        folder.mkdir()
        write_archive(tiny_bundle_dir, folder / "tweets.mar", "2026.01.01-tiny")

    return built_once(tmp_path_factory, "tiny-archive", build) / "tweets.mar"


@pytest.fixture(scope="session")
def tried_archive(tiny_archive: Path) -> Path:
    """The archive put under fire: `TRIED_ARCHIVE` (`make fuzz`, `make chaos`: the real one), else the tiny one."""
    return Path(os.environ.get("TRIED_ARCHIVE", tiny_archive))


@pytest.fixture(scope="session")
def tiny_int8_bundle(
    tmp_path_factory: pytest.TempPathFactory, tiny_bundle_dir: Path, tiny_classifier: TinyClassifier
) -> Bundle:
    """The tiny bundle with its int8 network, made once a run, since nncf needs seconds; read-only."""
    from tweetclf.bundle import load_bundle, sha256_of

    def build(folder: Path) -> None:
        from export.quantize import quantize

        shutil.copytree(tiny_bundle_dir, folder)
        samples = [list(sample.input_ids) for sample in load_bundle(folder).golden]
        quantize(tiny_classifier, samples, folder / "model_int8.xml")
        facts = json.loads((folder / "bundle.json").read_text())
        facts["files"] |= {name: sha256_of(folder / name) for name in ("model_int8.xml", "model_int8.bin")}
        (folder / "bundle.json").write_text(json.dumps(facts))

    return load_bundle(built_once(tmp_path_factory, "tiny-int8", build))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real tweets, which are never part of the project."""
    folder = Path(os.environ.get("DISASTER_TWEETS_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "test.csv").is_file():
        pytest.skip(f"no real tweets in {folder}; set DISASTER_TWEETS_DATA to a folder with train.csv and test.csv")
    return folder


@pytest.fixture(scope="session")
def real_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model, exported once a run: `bundle/`, `store/tweets.mar` with what belongs to it, `keys/`."""

    def build(folder: Path) -> None:
        options = ["--bundle", str(folder / "bundle"), "--archive", str(folder / "store" / "tweets.mar")]
        options += ["--keys", str(folder / "keys")]
        subprocess.run([sys.executable, "-m", "export", *options], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    return built_once(tmp_path_factory, "real", build)


@pytest.fixture(scope="session")
def real_archive(real_build: Path) -> Path:
    """Read-only."""
    return real_build / "store" / "tweets.mar"


@pytest.fixture(scope="session")
def real_bundle_dir(real_build: Path) -> Path:
    """Read-only."""
    return real_build / "bundle"


@pytest.fixture(scope="session")
def server(real_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeProcess]:
    """Started by the user's bare command; do not stop or reconfigure it."""
    ports = Ports.free()
    root = make_root(tmp_path_factory.mktemp("server") / "root", ports)
    shutil.copyfile(real_archive, root / "model_store" / "tweets.mar")
    with TorchServeProcess.start(root, ports, Path("model_store")) as process:
        process.wait_ready(timeout_s=120)
        yield process
