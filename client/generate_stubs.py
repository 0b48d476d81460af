# /// script
# requires-python = ">=3.10,<3.13"
# dependencies = ["grpcio-tools==1.62.3", "googleapis-common-protos>=1.63,<2", "setuptools<81"]
# ///
"""Generate the gRPC stubs of the client from TorchServe's .proto files.

The compiler's release is fixed (why: `disaster_tweets_client.stubs`); its packages are named in the head of
this file, so that `uv run` brings them along and the project's own environment keeps its newer ones.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import sys
import tempfile
import zipfile
from pathlib import Path

CLIENT_DIR = Path(__file__).resolve().parent
PROTO_DIR = CLIENT_DIR / "protos"
STUB_DIR = CLIENT_DIR / "src" / "disaster_tweets_client" / "stubs"
PROTO_NAMES = ("inference.proto", "management.proto")
COMPILER_VERSION = "1.62.3"

HEADER = "# ruff: noqa\n# fmt: off\n# mypy: ignore-errors\n"
# protoc writes imports between its files as top-level ones; inside a package they must name it.
_SIBLING_IMPORT = re.compile(r"^import (\w+_pb2) as ", re.MULTILINE)
# protoc puts messages into the one pool of the process, where names of other programs are as well.
_DEFAULT_POOL = "_descriptor_pool.Default()"
_POOL_IMPORT = "from google.protobuf import descriptor_pool as _descriptor_pool\n"
_OWN_POOL_IMPORT = "from disaster_tweets_client.stubs.private_pool import POOL as _POOL\n"

EXAMPLE = """\
examples:
  uv run client/generate_stubs.py
  uv run client/generate_stubs.py --jar .venv/lib/python3.11/site-packages/ts/frontend/model-server.jar
"""


def extract_protos(jar: Path, target: Path) -> None:
    """Copy TorchServe's .proto files out of its jar, byte for byte."""
    with zipfile.ZipFile(jar) as archive:
        for name in PROTO_NAMES:
            (target / name).write_bytes(archive.read(name))


def generate(proto_dir: Path, stub_dir: Path) -> list[Path]:
    """Compile the .proto files into a package.

    Args:
        proto_dir: holds the files of `PROTO_NAMES`.
        stub_dir: folder of the package `disaster_tweets_client.stubs`; files there are overwritten.

    Returns:
        The files written, sorted.

    Raises:
        SystemExit: the compiler is absent, of another release, or fails.
    """
    _check_compiler()
    import grpc_tools
    from grpc_tools import protoc

    includes = [proto_dir, Path(grpc_tools.__file__).parent / "_proto", _googleapis_dir()]
    written = []
    with tempfile.TemporaryDirectory() as folder:
        outputs = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
        status = protoc.main(["protoc", *[f"-I{path}" for path in includes], *outputs, *PROTO_NAMES])
        if status != 0:
            raise SystemExit(f"protoc ended with status {status}; its own message is above")
        for path in sorted(Path(folder).iterdir()):
            target = stub_dir / path.name
            target.write_text(HEADER + adapt(path.read_text("utf-8")), encoding="utf-8")
            written.append(target)
    return written


def adapt(code: str) -> str:
    """Return generated code as part of this package: it imports its neighbours from here, and has its own pool."""
    code = _SIBLING_IMPORT.sub(r"from disaster_tweets_client.stubs import \1 as ", code)
    return code.replace(_POOL_IMPORT, _OWN_POOL_IMPORT).replace(_DEFAULT_POOL, "_POOL")


def _check_compiler() -> None:
    try:
        found = importlib.metadata.version("grpcio-tools")
    except importlib.metadata.PackageNotFoundError:
        found = "none"
    if found != COMPILER_VERSION:
        raise SystemExit(
            f"grpcio-tools here is {found}; expected {COMPILER_VERSION}, whose code runs on every newer protobuf; "
            "run `uv run client/generate_stubs.py`, which brings it along"
        )


def _googleapis_dir() -> Path:
    """Return the folder that holds google/rpc/status.proto, which inference.proto imports."""
    files = importlib.metadata.files("googleapis-common-protos") or []
    for file in files:
        if file.as_posix() == "google/rpc/status.proto":
            return Path(str(file.locate())).parents[2]
    raise SystemExit("googleapis-common-protos lacks google/rpc/status.proto; install it again")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--jar", type=Path, help="take the .proto files from this model-server.jar first")
    options = parser.parse_args(arguments)
    if options.jar is not None:
        extract_protos(options.jar, PROTO_DIR)
    for path in generate(PROTO_DIR, STUB_DIR):
        print(path.relative_to(CLIENT_DIR))
    return 0


if __name__ == "__main__":
    sys.exit(main())
