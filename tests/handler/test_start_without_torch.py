"""A worker whose path holds the archive starts without torch, and has it as soon as something asks."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from threading import Event
from types import ModuleType

import pytest

from tests.conftest import ROOT
from tweetclf.bundle import Bundle

LOADED = "'_C' in vars(sys.modules['torch'])"


def run(code: str, *path: Path) -> str:
    """Run a program whose Python has these folders first on its path; return what it printed."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def archive_dir(tmp_path: Path) -> Path:
    """The code of an unpacked archive."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for name in ("sitecustomize.py", "tweets_handler.py"):
        shutil.copy(ROOT / "handler" / name, folder)
    shutil.copytree(ROOT / "tweetclf", folder / "tweetclf")
    return folder


def test_worker_of_torchserve_and_handler_with_the_int8_engine_answer_without_torch(
    archive_dir: Path, tiny_int8_bundle: Bundle
) -> None:
    shutil.copytree(tiny_int8_bundle.path, archive_dir / "bundle")
    code = f"""
import pathlib, sys
import ts.model_service_worker
from clean_replay import ReplayContext
from ts.protocol.otf_message_handler import create_predict_response
from ts.utils.util import list_classes_from_module
from handler import tweets_handler

list_classes_from_module(tweets_handler)  # as TorchServe looks for the handler's class
context = ReplayContext(pathlib.Path({str(archive_dir)!r}), {{"handler": {{"engine": "openvino", "torch_threads": 1}}}})
handler = tweets_handler.TweetsHandler()
handler.initialize(context)
answers = handler.handle([{{"body": b"fire near the river"}}], context)
message = create_predict_response(answers, {{0: "a"}}, "Prediction success", 200, None)
print(b'"label"' in message, {LOADED})
"""
    assert run(code, archive_dir, ROOT / "export") == "True False"


@pytest.mark.parametrize(
    "use",
    [
        "import torch; torch.tensor([1])",
        "from torch import Tensor; Tensor",
        "import torch.nn.functional as f; import torch; assert f.relu(torch.tensor(-1.0)) == 0",
        "import torch, torch.nn; torch.nn.Linear(2, 3)",
    ],
)
def test_torch_is_whole_as_soon_as_it_is_used(archive_dir: Path, use: str) -> None:
    assert run(f"import sys, torch; print({LOADED}); {use}; print({LOADED}, torch.__name__)", archive_dir).split() == [
        *("False", "True"),
        "torch",
    ]


def test_start_without_the_module_on_the_path_has_torch_at_once(archive_dir: Path) -> None:
    assert run(f"import sys, torch; print({LOADED})", archive_dir / "tweetclf") == "True"


def test_start_runs_the_module_of_that_name_which_ours_stands_before(archive_dir: Path, tmp_path: Path) -> None:
    other = tmp_path / "environment"
    other.mkdir()
    (other / "sitecustomize.py").write_text("print('and the other')\n")
    assert run(f"import sys, torch; print({LOADED})", archive_dir, other).splitlines() == ["and the other", "False"]


def test_start_where_a_package_is_missing_leaves_its_absence_alone(archive_dir: Path) -> None:
    code = "import sys, sitecustomize; sitecustomize.make_lazy('missing_here'); print('missing_here' in sys.modules)"
    assert run(code, archive_dir) == "False"


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The module itself, with an environment of its own to look into."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "whole_package").mkdir()
    (tmp_path / "whole_package" / "__init__.py").write_text("from whole_package import part\nvalue = part.value + 1\n")
    (tmp_path / "whole_package" / "part.py").write_text("value = 1\n")
    spec = spec_from_file_location("start", ROOT / "handler" / "sitecustomize.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in ("whole_package", "whole_package.part", "slow_package", "failing_package"):
        sys.modules.pop(name, None)


def test_make_lazy_runs_a_package_when_something_of_it_is_asked_for(start: ModuleType) -> None:
    start.make_lazy("whole_package")
    lazy = sys.modules["whole_package"]
    assert "value" not in vars(lazy)
    start.make_lazy("whole_package")
    assert sys.modules["whole_package"] is lazy
    assert lazy.value == 2
    assert type(lazy) is ModuleType
    assert lazy.part.value == 1


def test_make_lazy_of_a_package_runs_it_before_its_parts(start: ModuleType) -> None:
    start.make_lazy("whole_package")
    assert importlib.import_module("whole_package.part").value == 1
    assert sys.modules["whole_package"].value == 2


def test_make_lazy_of_a_package_that_fails_raises_its_error_each_time_and_none_when_it_is_repaired(
    start: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "failing_package.py").write_text("first = 1\nimport no_such_library\nvalue = 2\n")
    start.make_lazy("failing_package")
    lazy = sys.modules["failing_package"]
    before = dict(vars(lazy))
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="no_such_library"):
            _ = lazy.value
        assert type(lazy) is start.LazyModule
        assert vars(lazy) == before
        assert sys.modules["failing_package"] is lazy
    (tmp_path / "failing_package.py").write_text("value = 2  # and another length\n")
    assert lazy.value == 2
    assert type(lazy) is ModuleType


def test_make_lazy_of_a_package_without_an_attribute_says_so_in_pythons_words(start: ModuleType) -> None:
    start.make_lazy("whole_package")
    for _ in range(2):
        with pytest.raises(AttributeError, match=r"module 'whole_package' has no attribute 'no_such_thing'"):
            _ = sys.modules["whole_package"].no_such_thing


def test_make_lazy_of_a_package_that_asks_itself_while_it_runs_then_answers_as_python_does(
    start: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "slow_package.py").write_text(
        "import slow_package\nearly = hasattr(slow_package, 'value')\n"
        "def __getattr__(name):\n    if name == 'made': return 5\n    raise AttributeError(name)\n"
        "made_early = slow_package.made\nvalue = 2\n"
    )
    start.make_lazy("slow_package")
    lazy = sys.modules["slow_package"]
    assert (lazy.value, lazy.early, lazy.made, lazy.made_early) == (2, False, 5, 5)


def test_make_lazy_when_several_threads_ask_at_once_then_it_runs_once_and_all_get_it(
    start: ModuleType, tmp_path: Path
) -> None:
    # The first thread is within the module when the others ask.
    (tmp_path / "slow_package.py").write_text(
        "import sys\nruns = sys.slow_package_runs = getattr(sys, 'slow_package_runs', 0) + 1\n"
        "sys.slow_package_started.set()\nsys.slow_package_asked.wait(60)\nimport time\ntime.sleep(0.2)\nvalue = 2\n"
    )
    started, asked = Event(), Event()
    vars(sys).update(slow_package_started=started, slow_package_asked=asked)
    try:
        start.make_lazy("slow_package")
        lazy = sys.modules["slow_package"]

        def ask_later() -> object:
            started.wait(60)
            asked.set()
            return lazy.value

        with ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(ask_later) for _ in range(3)] + [pool.submit(lambda: lazy.value)]
            assert [answer.result(60) for answer in answers] == [2, 2, 2, 2]
        assert vars(sys)["slow_package_runs"] == 1
    finally:
        for name in ("slow_package_started", "slow_package_asked", "slow_package_runs"):
            vars(sys).pop(name, None)
