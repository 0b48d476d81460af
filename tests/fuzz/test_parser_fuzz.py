"""Coverage-guided fuzzing of request, form and normaliser; FUZZ_PARSER_RUNS says how many inputs are tried."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fuzz.drawn_requests import GOOD_BODIES, RAW_VALUES, SCRAPS
from tests.run_record import write_record

NUM_RUNS = int(os.environ.get("FUZZ_PARSER_RUNS", "15000"))
MAX_BYTES = 4096
SLOWEST_INPUT_S = 25  # libFuzzer calls more than that a hang; milliseconds are usual, and machines are busy
FORM = b'--xyz\r\nContent-Disposition: form-data; name="text"\r\n\r\nDam breaks\r\n--xyz--\r\n'
TOKENS = (
    *('"text"', '"id"', '"inputs"', '"instances"', '"data"', '"datatype"', '"BYTES"', '"keyword"', "text=", "&text="),
    *("NaN", "Infinity", "null", "1e999", "&amp;", "&#", "&lt;", "http://", "t.co/", "@", "#", "%25", "--xyz", "name="),
)


def write_seeds(folder: Path) -> int:
    """Write the own-written seeds, each once under every content type; return how many."""
    bodies = [*GOOD_BODIES, FORM, *(value.encode() for value in RAW_VALUES)]
    bodies += [scrap.encode("utf-8", "surrogatepass") for scrap in SCRAPS]
    folder.mkdir()
    for number, body in enumerate(bodies):
        for first in range(7):
            (folder / f"{number:03}-{first}").write_bytes(bytes([first]) + body[: MAX_BYTES - 1])
    return 7 * len(bodies)


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no release for this Python")
def test_reading_a_request_breaks_no_promise_whatever_the_bytes(tmp_path: Path) -> None:
    seeds = write_seeds(tmp_path / "corpus")
    (tmp_path / "tokens").write_text("".join(f'"{token.replace(chr(34), chr(92) + chr(34))}"\n' for token in TOKENS))
    command = [
        sys.executable,
        "-m",
        "tests.fuzz.parser_target",
        f"-atheris_runs={NUM_RUNS}",
        f"-max_len={MAX_BYTES}",
        "-seed=1",
        "-len_control=0",
    ]
    command += [f"-timeout={SLOWEST_INPUT_S}", f"-dict={tmp_path / 'tokens'}", f"-artifact_prefix={tmp_path}/found-"]
    done = subprocess.run(
        [*command, str(tmp_path / "corpus")], cwd=ROOT, capture_output=True, text=True, timeout=3600, errors="replace"
    )
    found = [path.read_bytes() for path in tmp_path.glob("found-*")]
    assert done.returncode == 0, f"{done.stderr[-3000:]}\ninput: {found}"
    runs = re.search(r"Done (\d+) (?:runs )?in (\d+) second", done.stderr)
    coverage = re.findall(r"cov: (\d+) ft: (\d+)", done.stderr)
    assert runs, done.stderr[-2000:]
    assert coverage
    write_record(
        "fuzz_parser",
        {
            "archive": "no model",
            "runs": int(runs[1]),
            "seconds": int(runs[2]),
            "seeds": seeds,
            "covered_edges": {"seeds": int(coverage[0][0]), "end": int(coverage[-1][0])},
            "found": len(found),
        },
    )
    assert int(runs[1]) >= NUM_RUNS
