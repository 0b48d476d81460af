"""The archive of the default model: reproducible contents, verified in a clean process, refused when changed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from export.__main__ import main
from export.archive import content_hashes, inputs_hash, is_current, manifest_path, write_archive, write_manifest
from export.bundle_writer import ExportError, write_bundle
from export.verify import VerifyError, verify
from tests.conftest import ROOT


@pytest.fixture
def archive(real_archive: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    for path in real_archive.parent.glob("tweets.*"):
        shutil.copyfile(path, tmp_path / path.name)
    return tmp_path / real_archive.name


def rewrite(archive: Path, name: str, change: object) -> None:
    """Replace one file of an archive; None leaves it out."""
    changed = archive.with_suffix(".changed")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(changed, "w") as new:
        for entry in old.namelist():
            if entry != name:
                new.writestr(entry, old.read(entry))
            elif callable(change):
                changed_content = change(old.read(entry))
                assert changed_content != old.read(entry)
                new.writestr(entry, changed_content)
    changed.replace(archive)


def renew_manifest(archive: Path) -> None:
    write_manifest(archive, "changed", "unknown")


def test_content_hashes_of_two_builds_of_the_same_model_are_equal(real_archive: Path, tmp_path: Path) -> None:
    # Each in a process of its own, as a person builds: torch numbers the modules it traces through a process's life.
    options = ["--archive", str(tmp_path / "tweets.mar"), "--bundle", str(tmp_path / "bundle")]
    options += ["--keys", str(tmp_path / "keys")]
    subprocess.run([sys.executable, "-m", "export", *options], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    assert content_hashes(tmp_path / "tweets.mar") == content_hashes(real_archive)


def test_archive_tells_nothing_of_the_machine_that_built_it(real_bundle_dir: Path) -> None:
    with zipfile.ZipFile(real_bundle_dir / "model.pt") as file:
        content = b"".join(file.read(name) for name in file.namelist() if "/code/" in name)
    assert content
    assert str(ROOT).encode() not in content
    assert b"site-packages" not in content


def test_archive_holds_bundle_code_and_handler_and_nothing_else(real_archive: Path) -> None:
    names = set(content_hashes(real_archive))
    assert {
        "tweets_handler.py",
        "sitecustomize.py",
        "model-config.yaml",
        "bundle/model.pt",
        "bundle/bundle.json",
    } <= names
    assert {name.partition("/")[0] for name in names} == {
        "tweets_handler.py",
        "sitecustomize.py",
        "model-config.yaml",
        "bundle",
        "tweetclf",
    }
    assert not [name for name in names if "__pycache__" in name]


def test_verify_of_the_default_model_gives_its_served_scores(real_archive: Path) -> None:
    served = json.loads(real_archive.with_suffix(".golden.json").read_text())
    assert verify(real_archive) == served
    assert {sample["label"] for sample in served} == {"disaster", "not_disaster"}


def test_verify_of_an_archive_with_swapped_content_names_it(archive: Path) -> None:
    rewrite(archive, "tweetclf/text.py", lambda content: content + b"\n# changed")
    with pytest.raises(VerifyError, match=r"\['tweetclf/text.py'\] differ from the manifest"):
        verify(archive)


def test_verify_of_an_archive_without_a_file_names_it(archive: Path) -> None:
    rewrite(archive, "tweetclf/text.py", None)
    with pytest.raises(VerifyError, match=r"tweetclf/text.py"):
        verify(archive)


def test_verify_of_a_model_swapped_together_with_its_manifest_is_refused_by_the_handler(archive: Path) -> None:
    rewrite(archive, "bundle/golden.jsonl", lambda content: content.replace(b"e", b"a"))
    renew_manifest(archive)
    with pytest.raises(VerifyError, match=r"golden.jsonl has sha256"):
        verify(archive)


def test_verify_of_a_handler_that_imports_transformers_is_refused(archive: Path) -> None:
    rewrite(
        archive, "tweets_handler.py", lambda content: content.replace(b"import tweetclf\n", b"import peft, tweetclf\n")
    )
    renew_manifest(archive)
    with pytest.raises(VerifyError, match=r"imported .*'transformers'"):
        verify(archive)


def test_is_current_after_a_build_and_not_after_a_change(archive: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(ROOT / "model", tmp_path / "model"))
    assert is_current(archive, model)
    (model / "training.json").write_text("{}")
    assert not is_current(archive, model)
    assert inputs_hash(model) != inputs_hash(ROOT / "model")


def test_is_current_of_a_damaged_archive_is_false(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-1])
    assert not is_current(archive, ROOT / "model")


def test_is_current_without_a_manifest_is_false(archive: Path) -> None:
    manifest_path(archive).unlink()
    assert not is_current(archive, ROOT / "model")


def test_main_with_a_current_archive_does_nothing(
    archive: Path, real_build: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = archive.stat().st_mtime_ns
    options = ["--archive", str(archive), "--model", str(ROOT / "model"), "--keys", str(real_build / "keys")]
    assert main([*options, "--if-stale"]) == 0
    assert capsys.readouterr().out == f"{archive} is current\n"
    assert archive.stat().st_mtime_ns == before


def test_write_bundle_with_golden_samples_of_another_model_is_refused(tmp_path: Path) -> None:
    model = Path(shutil.copytree(ROOT / "model", tmp_path / "model"))
    lines = (model / "golden.jsonl").read_text().splitlines()
    sample = json.loads(lines[2])
    sample["probabilities"] = sample["probabilities"][::-1]
    (model / "golden.jsonl").write_text("\n".join([*lines[:2], json.dumps(sample)]) + "\n")
    with pytest.raises(ExportError, match=r"golden.jsonl line 3: the merged model differs"):
        write_bundle(model, tmp_path / "bundle")


def test_main_without_a_model_refuses_with_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--archive",
        str(tmp_path / "a.mar"),
        "--model",
        str(tmp_path / "none"),
        "--bundle",
        str(tmp_path / "b"),
    ]
    assert main(arguments) == 1
    assert "export refused:" in capsys.readouterr().err
    assert not (tmp_path / "a.mar").exists()


def test_main_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "python -m export --if-stale" in capsys.readouterr().out


def test_archive_of_a_relative_path_when_written_and_verified_from_another_folder_then_as_any(
    archive: Path, tiny_bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert verify(Path(archive.name)) == json.loads(archive.with_suffix(".golden.json").read_text())
    write_archive(tiny_bundle_dir, Path("store") / "tiny.mar", "1")
    assert content_hashes(tmp_path / "store" / "tiny.mar")["bundle/model.pt"]
