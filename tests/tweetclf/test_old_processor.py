"""What a processor with AVX2 and nothing newer does, shown on any machine: each test is a process of its own.

`OLD_PROCESSOR=1 make test` runs the whole suite as on such a processor.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from tests.support import old_processor
from tweetclf.bundle import Bundle
from tweetclf.classifier import Classifier
from tweetclf.engines import processor
from tweetclf.engines.torchscript import TorchScriptEngine

pytestmark = pytest.mark.skipif(
    "avx2" not in processor.instructions.__wrapped__(), reason="this is no x86 processor with AVX2"
)


def run(code: str, *arguments: Path) -> str:
    """Run a program on the old processor; return what it printed."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, **old_processor.ENVIRONMENT}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_old_processor_when_asked_then_torch_openvino_and_our_choice_see_no_newer_instructions() -> None:
    code = """
import torch
from tweetclf.engines.openvino import import_openvino
from tweetclf.engines.processor import fast_in_int8, instructions, length_step
capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
print(torch.backends.cpu.get_cpu_capability(), torch.ops.mkldnn._is_mkldnn_bf16_supported(), "BF16" in capabilities)
print(fast_in_int8(), length_step(), any(name.startswith("avx512") for name in instructions()))
"""
    assert run(code).split() == ["AVX2", "False", "False", "False", "8", "False"]


def test_float32_when_run_on_an_old_processor_then_answers_as_on_this_one(tiny_bundle: Bundle) -> None:
    code = """
import sys
from pathlib import Path
from tweetclf.bundle import load_bundle
from tweetclf.classifier import Classifier
from tweetclf.engines.choice import open_engine
bundle = load_bundle(Path(sys.argv[1]))
engine, why = open_engine("auto", bundle, "cpu", 1)
classifier = Classifier(bundle, engine)
classifier.replay_golden()
print([round(prediction.score, 3) for prediction in classifier.predict([sample.text for sample in bundle.golden])])
"""
    here = Classifier(tiny_bundle, TorchScriptEngine(tiny_bundle.model_path))
    expected = [round(found.score, 3) for found in here.predict([sample.text for sample in tiny_bundle.golden])]
    assert run(code, tiny_bundle.path) == str(expected)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_bfloat16_when_set_on_an_old_processor_then_is_refused_by_name(tiny_bundle: Bundle) -> None:
    code = """
import sys
from pathlib import Path
from tweetclf.bundle import load_bundle
from tweetclf.engines.choice import open_engine
from tweetclf.errors import BundleError
try:
    open_engine("auto", load_bundle(Path(sys.argv[1])), "cpu", 1, "bfloat16")
except BundleError as error:
    print(error)
"""
    said = run(code, tiny_bundle.path)
    assert said.startswith("precision is bfloat16 and this CPU has no instructions for it; expected avx512bw")
    assert said.endswith("set handler.precision to auto or float32 in model-config.yaml")


def test_engine_auto_when_the_bundle_has_int8_then_an_old_processor_takes_torchscript(
    tiny_int8_bundle: Bundle,
) -> None:
    code = """
import sys
from pathlib import Path
from tweetclf.bundle import load_bundle
from tweetclf.engines.choice import open_engine
engine, why = open_engine("auto", load_bundle(Path(sys.argv[1])), "cpu", 1)
print(engine.name, why, sep=": ")
"""
    assert run(code, tiny_int8_bundle.path).startswith("torchscript: this CPU has none of avx512_vnni")


@pytest.mark.slow
def test_export_when_run_on_an_old_processor_then_its_archive_is_verified(tmp_path: Path) -> None:
    environment = {**os.environ, **old_processor.ENVIRONMENT}
    environment.pop("DISASTER_TWEETS_DATA", None)
    command = [sys.executable, "-m", "export", "--archive", str(tmp_path / "tweets.mar")]
    command += ["--bundle", str(tmp_path / "bundle"), "--keys", str(tmp_path / "keys")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "this machine serves float32)" in done.stdout or "this machine would not serve" in done.stdout
    assert (tmp_path / "tweets.manifest.sig").is_file()
