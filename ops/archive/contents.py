"""Read a .mar strictly: one zip layout, safe names, bounded sizes, and no byte that a reader could see differently.

TorchServe unpacks an archive as a stream, from local header to local header; Python's zipfile reads the table at the
end. A file hidden between two entries is seen by the one and not by the other, so both must tell the same here.
Source: TorchServe 0.12, archive/utils/ZipUtils.java, unzip; the format: PKWARE APPNOTE 6.3.3, sections 4.3.7 to 4.3.16.
"""

from __future__ import annotations

import hashlib
import json
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

ARCHIVER_MANIFEST = "MAR-INF/MANIFEST.json"
MAX_ENTRIES = 500
MAX_TOTAL_BYTES = 1 << 30  # unpacked; the default model's archive holds 91 MB
MAX_NAME_CHARS = 200
MAX_MANIFEST_BYTES = 1 << 16
LOCAL_HEADER = struct.Struct("<4s5H3I2H")
END_BYTES = 22  # of an end record without a comment
BLOCK_BYTES = 1 << 20
ENCRYPTED, SIZES_LATER = 0x1, 0x8  # bits of the general purpose flag
FILE_KEYS = ("handler", "configFile", "serializedFile", "modelFile", "requirementsFile")


class ArchiveRefusedError(RuntimeError):
    """The archive must not be served; the message says what was found and what to do."""


def entries(archive: Path) -> list[zipfile.ZipInfo]:
    """Return what an archive holds, in file order, when every rule of the layout is kept.

    Raises:
        ArchiveRefusedError: not a zip, cut short, a name that leads out of the folder, a link, a name twice, more than
            `MAX_TOTAL_BYTES` unpacked, or bytes that belong to no entry.
    """
    try:
        with zipfile.ZipFile(archive) as opened, archive.open("rb") as file:
            found = sorted(opened.infolist(), key=lambda entry: entry.header_offset)
            _check_amount(archive, found)
            for entry in found:
                _check_name(archive, entry)
            _check_names_once(archive, found)
            _check_layout(archive, file, found, opened.start_dir)
    except (zipfile.BadZipFile, OSError, struct.error, NotImplementedError, UnicodeError, ValueError) as error:
        raise ArchiveRefusedError(f"{archive.name} is no whole zip ({error}); build or copy it again") from error
    return found


def content_hashes(archive: Path, found: list[zipfile.ZipInfo]) -> dict[str, str]:
    """Return name -> sha256 of the content, unpacking no more than the headers declare.

    Args:
        archive: the file.
        found: what `entries` returned for it.

    Raises:
        ArchiveRefusedError: a content that is longer or shorter than declared, or damaged.
    """
    with archive.open("rb") as file:
        return {entry.filename: _content_hash(archive, file, entry) for entry in found if not entry.is_dir()}


def check_archiver_manifest(archive: Path, found: list[zipfile.ZipInfo]) -> None:
    """Refuse a MANIFEST.json that makes TorchServe read, run or install something outside the archive.

    TorchServe joins `configFile` and `requirementsFile` to its folder without a look at `..`.
    Source: TorchServe 0.12, archive/model/ModelArchive.java, getModelConfig; wlm/ModelManager.java.

    Raises:
        ArchiveRefusedError: says which field, what it holds and what was expected.
    """
    names = {entry.filename: entry for entry in found}
    if ARCHIVER_MANIFEST not in names or names[ARCHIVER_MANIFEST].file_size > MAX_MANIFEST_BYTES:
        raise ArchiveRefusedError(
            f"{archive.name} holds no {ARCHIVER_MANIFEST} below {MAX_MANIFEST_BYTES} bytes; build it: make archive"
        )
    try:
        with zipfile.ZipFile(archive) as opened:
            manifest = json.loads(opened.read(ARCHIVER_MANIFEST))
        model, runtime = manifest["model"], manifest["runtime"]
        named = {key: model[key] for key in FILE_KEYS if model.get(key) is not None}
    except (ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ArchiveRefusedError(f"{ARCHIVER_MANIFEST} of {archive.name} is not as expected ({error!r})") from error
    if runtime != "python":
        raise ArchiveRefusedError(f"{ARCHIVER_MANIFEST}: runtime is {runtime!r}; expected 'python'")
    if "requirementsFile" in named:
        raise ArchiveRefusedError(
            f"{ARCHIVER_MANIFEST}: requirementsFile is {named['requirementsFile']!r}; expected none: an archive "
            "installs nothing, its packages are locked in requirements/"
        )
    for key, value in named.items():
        if not isinstance(value, str) or value not in names:
            raise ArchiveRefusedError(
                f"{ARCHIVER_MANIFEST}: {key} is {value!r}; expected the name of a file in the archive"
            )


def _check_amount(archive: Path, found: list[zipfile.ZipInfo]) -> None:
    total = sum(entry.file_size for entry in found)
    if not found or len(found) > MAX_ENTRIES or total > MAX_TOTAL_BYTES:
        raise ArchiveRefusedError(
            f"{archive.name} holds {len(found)} entries of {total} bytes unpacked; expected 1 to {MAX_ENTRIES} entries "
            f"of at most {MAX_TOTAL_BYTES} bytes"
        )


def _check_name(archive: Path, entry: zipfile.ZipInfo) -> None:
    # `orig_filename`: zipfile cuts a name at a NUL, Java does not.
    name = entry.orig_filename
    parts = name.rstrip("/").split("/")
    if (
        not name.isascii()
        or not name.isprintable()
        or len(name) > MAX_NAME_CHARS
        or "\\" in name
        or ":" in name
        or PurePosixPath(name).is_absolute()
        or any(part in ("", ".", "..") for part in parts)
    ):
        raise ArchiveRefusedError(
            f"{archive.name} holds an entry {name[:MAX_NAME_CHARS]!r}; expected a plain path below the archive's folder"
        )
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFDIR if entry.is_dir() else stat.S_IFREG):
        raise ArchiveRefusedError(f"{archive.name}: {name} is a link or a device; expected a plain file")
    if entry.is_dir() and entry.file_size:
        raise ArchiveRefusedError(f"{archive.name}: the folder {name} holds {entry.file_size} bytes; expected none")


def _check_names_once(archive: Path, found: list[zipfile.ZipInfo]) -> None:
    seen: set[str] = set()
    for entry in found:
        name = entry.filename.rstrip("/").casefold()  # one file on a disk that ignores case
        if name in seen:
            raise ArchiveRefusedError(f"{archive.name} holds {entry.filename} twice; expected every name once")
        seen.add(name)


def _check_layout(archive: Path, file: BinaryIO, found: list[zipfile.ZipInfo], table: int) -> None:
    """Walk from local header to local header, as TorchServe does, and compare with the table at the end."""
    position = 0
    for entry in found:
        file.seek(position)
        header = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
        signature, _, flags, method, _, _, crc, packed, unpacked, name_bytes, extra_bytes = header
        name = file.read(name_bytes)
        if (
            entry.header_offset != position
            or signature != b"PK\x03\x04"
            or name != entry.orig_filename.encode("ascii")
            or (flags, method, crc) != (entry.flag_bits, entry.compress_type, entry.CRC)
            or (packed, unpacked) != (entry.compress_size, entry.file_size)
        ):
            raise ArchiveRefusedError(
                f"{archive.name}: at byte {position} the stream and the table at the end tell different things of "
                f"{entry.filename}; expected the same; build it again: make archive"
            )
        if flags & (ENCRYPTED | SIZES_LATER) or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ArchiveRefusedError(
                f"{archive.name}: {entry.filename} has flags {flags:#x}, method {method}; expected a plain or deflated "
                "entry with its size in front"
            )
        position += LOCAL_HEADER.size + name_bytes + extra_bytes + packed
    file.seek(0, 2)
    end = table + sum(46 + len(e.orig_filename) + len(e.extra) + len(e.comment) for e in found) + END_BYTES
    if position != table or end != file.tell():
        raise ArchiveRefusedError(
            f"{archive.name} holds bytes that belong to no entry (entries end at {position}, the table begins at "
            f"{table}, the file ends at {file.tell()}, expected {end}); build it again: make archive"
        )


def _content_hash(archive: Path, file: BinaryIO, entry: zipfile.ZipInfo) -> str:
    file.seek(entry.header_offset)
    header = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    file.seek(header[-2] + header[-1], 1)
    digest, crc, length, left = hashlib.sha256(), 0, 0, entry.compress_size
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if entry.compress_type == zipfile.ZIP_DEFLATED else None
    try:
        while left:
            block = file.read(min(BLOCK_BYTES, left))
            left -= len(block) or left
            while block:
                piece = inflate.decompress(block, BLOCK_BYTES) if inflate else block
                block = inflate.unconsumed_tail if inflate else b""
                length += len(piece)
                if length > entry.file_size:
                    break
                digest.update(piece)
                crc = zlib.crc32(piece, crc)
            if length > entry.file_size:
                break
    except zlib.error as error:
        raise ArchiveRefusedError(f"{archive.name}: {entry.filename} is damaged ({error}); copy it again") from error
    whole = inflate is None or (inflate.eof and not inflate.unused_data)
    if not whole or (length, crc) != (entry.file_size, entry.CRC):
        raise ArchiveRefusedError(
            f"{archive.name}: {entry.filename} unpacks to {length} bytes or more; expected {entry.file_size} with the "
            "checksum in its header; copy it again"
        )
    return digest.hexdigest()
