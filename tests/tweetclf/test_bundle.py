"""A bundle is served whole and unchanged, or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tweetclf.bundle import Bundle, Thresholds, load_bundle, read_golden
from tweetclf.errors import BundleError


@pytest.fixture
def copy(tiny_bundle_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle_dir, tmp_path / "bundle"))


def change(folder: Path, **values: Any) -> None:
    path = folder / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_load_bundle_of_an_exported_folder_gives_its_facts(tiny_bundle: Bundle) -> None:
    assert tiny_bundle.labels == ("not_disaster", "disaster")
    assert tiny_bundle.temperature == 1.5
    assert tiny_bundle.thresholds == Thresholds(0.3, 0.7)
    assert len(tiny_bundle.golden) == 4
    assert tiny_bundle.facts["dev"] == {"f1": 0.5}
    assert tiny_bundle.model_path.is_file()
    assert tiny_bundle.tokenizer_path.is_file()


@pytest.mark.parametrize("name", ["model.pt", "tokenizer.json", "golden.jsonl"])
def test_load_bundle_with_one_flipped_bit_names_the_file(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name} has sha256 .* expected .* damaged or was replaced"):
        load_bundle(copy)


@pytest.mark.parametrize("name", ["model.pt", "tokenizer.json", "golden.jsonl", "bundle.json"])
def test_load_bundle_without_a_file_names_it(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        load_bundle(copy)


def test_load_bundle_that_lists_a_file_outside_is_refused(copy: Path) -> None:
    facts = json.loads((copy / "bundle.json").read_text())
    change(copy, files={**facts["files"], "../outside": "0" * 64})
    with pytest.raises(BundleError, match="outside is missing"):
        load_bundle(copy)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"normaliser_version": "0"}, "is for normaliser '0'"),
        ({"format_version": 99}, "has format 99"),
        ({"temperature": 0}, "temperature is 0; expected > 0"),
        ({"labels": "disaster"}, "'labels' is 'disaster'"),
        ({"max_tokens": None}, "'max_tokens' is None"),
        ({"thresholds": {"not_disaster_below": 0.9, "disaster_from": 0.1}}, "expected 0 <= not_disaster_below"),
        ({"files": {}}, "does not list model.pt"),
        (
            {"files": {"model.pt": "", "tokenizer.json": "", "golden.jsonl": "", "model_int8.xml": ""}},
            "lists one of model_int8.xml, model_int8.bin; expected both",
        ),
    ],
)
def test_load_bundle_with_a_wrong_field_says_which(copy: Path, values: dict[str, Any], message: str) -> None:
    change(copy, **values)
    with pytest.raises(BundleError, match=message):
        load_bundle(copy)


@pytest.mark.parametrize(("content", "message"), [("{", "is not JSON"), ("[]", "holds a list")])
def test_load_bundle_of_a_broken_description_says_so(copy: Path, content: str, message: str) -> None:
    (copy / "bundle.json").write_text(content)
    with pytest.raises(BundleError, match=message):
        load_bundle(copy)


@pytest.mark.parametrize(("content", "message"), [("", "is empty"), ('{"text": "a"}\n', "line 1 is no golden sample")])
def test_read_golden_of_a_broken_file_says_where(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "golden.jsonl"
    path.write_text(content)
    with pytest.raises(BundleError, match=message):
        read_golden(path)


def test_int8_path_of_a_bundle_without_int8_is_none(tiny_bundle: Bundle, tiny_int8_bundle: Bundle) -> None:
    assert tiny_bundle.int8_path is None
    assert tiny_int8_bundle.int8_path == tiny_int8_bundle.path / "model_int8.xml"


def test_load_bundle_with_changed_int8_weights_names_the_file(tiny_int8_bundle: Bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_int8_bundle.path, tmp_path / "bundle"))
    (folder / "model_int8.bin").write_bytes((folder / "model_int8.bin").read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"model_int8.bin has sha256"):
        load_bundle(folder)
