"""Every way to change an archive that we could think of, and the refusal of each."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from export.signing import sign
from ops.archive import contents as archive_zip
from ops.archive import verify_archive as command
from ops.archive.contents import ArchiveRefusedError
from ops.archive.signature import verify_archive
from tests.conftest import ROOT
from tests.support.signed_archive import FILES, MANIFEST, MAR_MANIFEST, public_key, seal, write_zip

Spoil = Callable[[zipfile.ZipFile], None]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_zip(tmp_path / "store" / "tweets.mar")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def refusal(archive: Path, trusted: Path) -> str:
    with pytest.raises(ArchiveRefusedError) as caught:
        verify_archive(archive, trusted)
    return str(caught.value)


def test_verify_when_nothing_was_changed_then_says_model_and_key(archive: Path, keys: Path) -> None:
    verified = verify_archive(archive, seal(archive, keys))
    assert (verified.model_version, verified.key_name) == ("1", "this-machine")
    assert verified.num_files == len(FILES) + 1


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "change",
    [
        flipped,
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: content + b"\0",
        lambda content: b"#!/bin/sh\n" + content,
    ],
    ids=["bit flipped", "last byte cut", "half", "empty", "byte appended", "prefixed"],
)
def test_verify_when_the_bytes_differ_from_the_signed_ones_then_refused(
    archive: Path, keys: Path, change: Callable[[bytes], bytes]
) -> None:
    trusted = seal(archive, keys)
    archive.write_bytes(change(archive.read_bytes()))
    assert "its signed manifest says" in refusal(archive, trusted)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({**FILES, "bundle/model.pt": b"other weights"}, r"changed ['bundle/model.pt']"),
        ({**FILES, "bundle/evil.py": b"import os"}, r"not in the manifest ['bundle/evil.py']"),
        ({name: FILES[name] for name in list(FILES)[:-1]}, r"missing ['bundle/bundle.json']"),
        ({**FILES, "../evil.py": b"x"}, "plain path below"),
    ],
    ids=["swapped weights", "extra file", "missing file", "traversal"],
)
def test_verify_when_the_content_differs_then_refused_with_the_files_name(
    archive: Path, keys: Path, files: dict[str, bytes], said: str
) -> None:
    trusted = seal(archive, keys)
    write_zip(archive, files)
    assert said in refusal(archive, trusted)


def test_verify_when_the_manifest_was_edited_to_fit_then_refused(archive: Path, keys: Path) -> None:
    trusted = seal(archive, keys)
    signature = archive.with_suffix(".manifest.sig").read_bytes()
    evil = {**FILES, "bundle/model.pt": b"other weights"}
    write_zip(archive, evil)
    seal(archive, keys.with_name("foreign"), evil)
    archive.with_suffix(".manifest.sig").write_bytes(signature)
    assert "of none of the trusted keys (this-machine)" in refusal(archive, trusted)


def test_verify_when_another_key_signed_then_refused_until_its_public_half_is_trusted(
    archive: Path, keys: Path
) -> None:
    trusted = seal(archive, keys)
    foreign = keys.with_name("foreign")
    seal(archive, foreign)
    assert "of none of the trusted keys" in refusal(archive, trusted)
    (trusted / "builder.pem").write_bytes(public_key(foreign).read_bytes())
    assert verify_archive(archive, trusted).key_name == "builder"


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"x" * 65, b"x" * 100_000])
def test_verify_when_the_signature_is_none_then_refused(archive: Path, keys: Path, content: bytes) -> None:
    trusted = seal(archive, keys)
    archive.with_suffix(".manifest.sig").write_bytes(content)
    refusal(archive, trusted)


@pytest.mark.parametrize("suffix", [".manifest.json", ".manifest.sig", ".mar"])
def test_verify_when_a_part_is_missing_then_refused_and_says_how_to_build(
    archive: Path, keys: Path, suffix: str
) -> None:
    trusted = seal(archive, keys)
    archive.with_suffix(suffix).unlink()
    assert "make archive" in refusal(archive, trusted)


def test_verify_when_no_key_or_a_broken_key_is_trusted_then_refused(archive: Path, keys: Path, tmp_path: Path) -> None:
    trusted = seal(archive, keys)
    assert "no trusted key in" in refusal(archive, tmp_path / "nothing")
    (trusted / "broken.pem").write_text("-----BEGIN PUBLIC KEY-----\nnonsense\n-----END PUBLIC KEY-----\n")
    assert "broken.pem is no public key" in refusal(archive, trusted)


def test_verify_when_the_served_golden_answers_were_changed_then_refused(archive: Path, keys: Path) -> None:
    golden = archive.with_suffix(".golden.json")
    golden.write_text("[]")
    assert "golden.json differs" in refusal(archive, seal(archive, keys, golden_sha256="0" * 64))
    golden.unlink()
    assert "golden.json is missing" in refusal(archive, seal(archive, keys, golden_sha256="0" * 64))


@pytest.mark.parametrize(
    "manifest",
    [b"[]", b"not JSON", b"{}", b'{"model_version": "1", "files": [], "archive_sha256": "", "archive_bytes": 1}'],
)
def test_verify_when_a_signed_manifest_is_none_then_refused(archive: Path, keys: Path, manifest: bytes) -> None:
    trusted = seal(archive, keys)
    path = archive.with_suffix(".manifest.json")
    path.write_bytes(manifest)
    sign(path, keys)
    refusal(archive, trusted)


def link(opened: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("bundle/link")
    info.external_attr = 0o120777 << 16
    opened.writestr(info, "/etc/passwd")


def hide(opened: zipfile.ZipFile) -> None:
    """Leave one entry out of the table: zipfile does not see it, TorchServe unpacks it."""
    opened.writestr("tweetclf/__init__.py", b"import os")
    opened.writestr("bundle/last.json", b"{}")
    hidden = opened.filelist.pop(-2)
    del opened.NameToInfo[hidden.filename]


def rename_in_table(opened: zipfile.ZipFile) -> None:
    """One name in the stream, another in the table."""
    opened.getinfo("bundle/model.pt").filename = "bundle/innocent.pt"


def encrypt_flag(opened: zipfile.ZipFile) -> None:
    opened.getinfo("bundle/model.pt").flag_bits |= 1


def comment(opened: zipfile.ZipFile) -> None:
    opened.comment = b"PK\x03\x04 hidden in a comment"


@pytest.mark.parametrize(
    "spoil",
    [link, hide, rename_in_table, encrypt_flag, comment],
    ids=["link", "entry not in the table", "two names", "encrypted", "comment"],
)
def test_verify_when_a_signed_zip_can_be_read_in_two_ways_then_refused(
    tmp_path: Path, keys: Path, spoil: Spoil
) -> None:
    archive = write_zip(tmp_path / "tweets.mar", spoil=spoil)
    with zipfile.ZipFile(archive) as opened:
        files = {name: b"" for name in opened.namelist() if name != MAR_MANIFEST}
    trusted = seal(archive, keys, files)
    with pytest.raises(ArchiveRefusedError):
        verify_archive(archive, trusted, contents=False)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../evil.py",
            "bundle/../../evil.py",
            "/etc/cron.d/evil",
            "//evil",
            "C:/evil",
            "C:evil",
            "a\\..\\evil",
            "./evil",
        ),
        *("bundle//evil", "..", "evil\n.py", "evil\x1b.py", "caf\u00e9.py", "x" * 300),
    ],
)
def test_verify_when_a_signed_name_leads_elsewhere_then_refused(tmp_path: Path, keys: Path, name: str) -> None:
    files = {**FILES, name: b"x"}
    archive = write_zip(tmp_path / "tweets.mar", files)
    assert "plain path below" in refusal(archive, seal(archive, keys, files))


@pytest.mark.parametrize("name", ["bundle/model.pt", "Bundle/MODEL.pt"])
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_verify_when_a_signed_name_comes_twice_then_refused(tmp_path: Path, keys: Path, name: str) -> None:
    archive = write_zip(tmp_path / "tweets.mar", spoil=lambda opened: opened.writestr(name, b"second"))
    assert "twice" in refusal(archive, seal(archive, keys))


def lie_about_size(archive: Path, name: str, size: int) -> None:
    """Write another unpacked size into both headers of an entry."""
    with zipfile.ZipFile(archive) as opened:
        entry = opened.getinfo(name)
    sizes = struct.pack("<II", entry.compress_size, entry.file_size)
    archive.write_bytes(archive.read_bytes().replace(sizes, struct.pack("<II", entry.compress_size, size)))


@pytest.mark.parametrize("size", [10, 10_000_000])
def test_verify_when_an_entry_unpacks_to_another_size_than_it_says_then_refused(
    tmp_path: Path, keys: Path, size: int
) -> None:
    files = {**FILES, "bundle/bomb": b"\0" * 5_000_000}
    archive = write_zip(tmp_path / "tweets.mar", files)
    lie_about_size(archive, "bundle/bomb", size)
    assert "bundle/bomb unpacks to" in refusal(archive, seal(archive, keys, files))


def test_verify_when_it_says_that_it_unpacks_to_more_than_the_limit_then_refused_unread(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_zip(tmp_path / "tweets.mar")
    lie_about_size(archive, "bundle/model.pt", archive_zip.MAX_TOTAL_BYTES)
    monkeypatch.setattr(archive_zip, "_content_hash", lambda *_: pytest.fail("it was unpacked"))
    assert f"of at most {archive_zip.MAX_TOTAL_BYTES} bytes" in refusal(archive, seal(archive, keys))


def test_verify_when_it_holds_too_many_files_then_refused(tmp_path: Path, keys: Path) -> None:
    files = {f"f/{number}": b"" for number in range(archive_zip.MAX_ENTRIES + 1)}
    archive = write_zip(tmp_path / "tweets.mar", files)
    assert "holds 502 entries" in refusal(archive, seal(archive, keys, files))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"configFile": "../../etc/passwd"}, "configFile is '../../etc/passwd'"),
        ({"configFile": "/etc/passwd"}, "configFile is '/etc/passwd'"),
        ({"configFile": ["model-config.yaml"]}, "configFile is ["),
        ({"handler": "../evil.py"}, "handler is '../evil.py'"),
        ({"handler": "os:system"}, "handler is 'os:system'"),
        ({"requirementsFile": "../../tmp/evil.txt"}, "expected none"),
        ({"requirementsFile": "model-config.yaml"}, "expected none"),
    ],
)
def test_verify_when_the_archivers_manifest_names_a_file_outside_then_refused(
    tmp_path: Path, keys: Path, model: dict[str, object], said: str
) -> None:
    manifest = {**MANIFEST, "model": {**MANIFEST["model"], **model}}  # type: ignore[dict-item]
    archive = write_zip(tmp_path / "tweets.mar", manifest=manifest)
    assert said in refusal(archive, seal(archive, keys))


@pytest.mark.parametrize("manifest", [None, [], {"runtime": "python"}, {**MANIFEST, "runtime": "LSP"}, "x" * 70_000])
def test_verify_when_the_archivers_manifest_is_none_then_refused(tmp_path: Path, keys: Path, manifest: object) -> None:
    archive = write_zip(tmp_path / "tweets.mar", manifest=manifest)
    assert "MANIFEST.json" in refusal(archive, seal(archive, keys))


def test_main_when_run_as_a_program_then_verifies_without_torch(archive: Path, keys: Path) -> None:
    trusted = seal(archive, keys)
    program = "import runpy, sys; sys.argv = sys.argv[1:]\ntry: runpy.run_module(sys.argv[0], run_name='__main__')\n"
    program += "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    environment = {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", program, "ops.archive.verify_archive", str(archive), "--trusted-keys", str(trusted)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert result.stdout.splitlines()[-1] == "0 False"
    assert "5 files as signed by this-machine" in result.stdout


def test_main_when_refused_then_status_1_and_a_reason(
    archive: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trusted = seal(archive, keys)
    manifest = archive.with_suffix(".manifest.json")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "model_version": "2"}))
    assert command.main([str(archive), "--trusted-keys", str(trusted)]) == 1
    assert capsys.readouterr().err.startswith("refused: the signature of tweets.manifest.json")
