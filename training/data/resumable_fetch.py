"""Fetch one file over HTTP, going on from where an earlier call was interrupted."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from training.data.whole_files import partial_of, write_error
from training.errors import DatasetError
from tweetclf.bundle import sha256_of

TIMEOUT_S = 60
CHUNK_BYTES = 1 << 16
READ_ONLY = 0o444
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_STRONG_ETAG = re.compile(r'"[^"]*"')


def fetch(url: str, path: Path, sha256: str = "") -> None:
    """Fetch a file, read-only, unless it is there; keep what came of it in `<name>.partial` until it is whole.

    An interrupted file goes on where the server can prove that it is still the same one, by its strong ETag, or where
    `sha256` will prove it; otherwise it starts anew.

    Args:
        url: http or https.
        path: in a folder that is there.
        sha256: that the file must have; "" where none is known.

    Raises:
        DatasetError: the server does not answer or stops early, the file has another hash, or the disk is full.

    Source: RFC 9110, sections 13.1.5 (If-Range) and 14 (range requests).
    """
    if path.is_file():
        return
    partial = partial_of(path)
    total = _receive(url, path, partial, resumable=bool(sha256))
    found_bytes = partial.stat().st_size
    if total is not None and found_bytes != total:
        raise DatasetError(f"{url}: {found_bytes} of {total} bytes came; {_GO_ON}")
    found = sha256_of(partial)
    _etag_file(partial).unlink(missing_ok=True)
    if sha256 and found != sha256:
        partial.unlink()
        raise DatasetError(
            f"{url} has sha256 {found}; expected {sha256}: the file has changed upstream, or broke on its way; nothing "
            "was kept; call again, and if it stays so, find out why before you train on it"
        )
    partial.chmod(READ_ONLY)
    partial.replace(path)


_GO_ON = "call again to go on from there, or use --from FOLDER"


def _receive(url: str, path: Path, partial: Path, resumable: bool) -> int | None:
    """Append what is missing to `partial`; return how long the whole file is, None if the server does not say."""
    etag_file = _etag_file(partial)
    etag = etag_file.read_text(encoding="utf-8") if etag_file.is_file() else ""
    start = partial.stat().st_size if partial.is_file() and (etag or resumable) else 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    if start and etag:
        headers["If-Range"] = etag
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S) as answer:  # noqa: S310
            start, total = _place(answer, start)
            if start == 0:
                found = answer.headers.get("ETag", "")
                etag_file.write_text(found if _STRONG_ETAG.fullmatch(found) else "", encoding="utf-8")
            _append(answer, partial, start)
            return total
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            # What is here is as long as the file or longer: it came whole and was not renamed, or is another file.
            partial.unlink()
            return _receive(url, path, partial, resumable)
        raise DatasetError(f"{url} cannot be fetched ({error}); check the address and call again") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        here = partial.stat().st_size if partial.is_file() else 0
        raise DatasetError(
            f"{url} cannot be fetched ({error}); {here} bytes of it are here; check the network; {_GO_ON}"
        ) from error
    except OSError as error:  # what is left is the disk's
        raise write_error(path, error) from error


def _place(answer: Any, start: int) -> tuple[int, int | None]:
    """Return from which byte on the answer is, and how long the whole file is."""
    if answer.status == http.client.PARTIAL_CONTENT:
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if match and int(match[1]) == start:
            return start, int(match[2])
        raise http.client.HTTPException(f"the answer is another part of the file than the one from byte {start} on")
    length = answer.headers.get("Content-Length")
    return 0, int(length) if length else None


def _append(answer: Any, partial: Path, start: int) -> None:
    with partial.open("r+b" if start else "wb") as file:
        file.seek(start)
        while chunk := answer.read(CHUNK_BYTES):
            file.write(chunk)


def _etag_file(partial: Path) -> Path:
    return partial.with_name(partial.name + ".etag")
