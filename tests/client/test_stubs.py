"""The committed stubs are those of the installed TorchServe."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import grpc_tools
import pytest
from google.protobuf import descriptor_pb2

CLIENT_DIR = Path(__file__).resolve().parents[2] / "client"
PROTO_DIR = CLIENT_DIR / "protos"
PROTO_NAMES = ("inference.proto", "management.proto")
UNUSED = {"open_inference_grpc.proto"}  # the server refuses its calls (docs/adr/0002)


@pytest.fixture(scope="module")
def jar() -> zipfile.ZipFile:
    package = importlib.util.find_spec("ts")  # found, not imported: ts configures things at import
    assert package is not None
    assert package.origin is not None
    return zipfile.ZipFile(Path(package.origin).parent / "frontend" / "model-server.jar")


@pytest.mark.parametrize("name", PROTO_NAMES)
def test_protos_equal_the_ones_in_the_installed_jar(jar: zipfile.ZipFile, name: str) -> None:
    assert (PROTO_DIR / name).read_bytes() == jar.read(name)


def test_protos_are_all_that_the_jar_has_of_torchserve(jar: zipfile.ZipFile) -> None:
    of_jar = {name for name in jar.namelist() if name.endswith(".proto") and "/" not in name}
    assert of_jar - UNUSED == set(PROTO_NAMES) == {path.name for path in PROTO_DIR.glob("*.proto")}


@pytest.mark.parametrize("name", PROTO_NAMES)
def test_stubs_describe_what_todays_compiler_reads_in_the_proto(name: str, tmp_path: Path) -> None:
    """Whatever compiler wrote the stubs, their messages and services are those of the .proto."""
    import google.rpc.status_pb2

    googleapis = Path(google.rpc.status_pb2.__file__).parents[2]
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    output = tmp_path / "set.bin"
    includes = [f"-I{path}" for path in (PROTO_DIR, well_known, googleapis)]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", *includes, f"--descriptor_set_out={output}", name], check=True
    )
    compiled = descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes()).file[0]
    module = importlib.import_module(f"disaster_tweets_client.stubs.{name.removesuffix('.proto')}_pb2")
    committed = descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
    _drop_json_names(compiled.message_type)  # only the compiler's own output spells them out
    assert committed == compiled


def _drop_json_names(messages: object) -> None:
    for message in messages:
        for one in message.field:
            one.ClearField("json_name")
        _drop_json_names(message.nested_type)


@pytest.mark.parametrize("name", PROTO_NAMES)
def test_stubs_hold_no_check_that_refuses_a_newer_protobuf(name: str) -> None:
    stub = CLIENT_DIR / "src" / "disaster_tweets_client" / "stubs" / f"{name.removesuffix('.proto')}_pb2.py"
    assert "ValidateProtobufRuntimeVersion" not in stub.read_text(encoding="utf-8")


def test_generate_stubs_with_another_compiler_says_how_to_get_the_right_one() -> None:
    script = CLIENT_DIR / "generate_stubs.py"
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "expected 1.62.3" in run.stderr
    assert "uv run client/generate_stubs.py" in run.stderr
    help_run = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, check=True)
    assert "--jar" in help_run.stdout


IMPORTED_BESIDE = """
from google.protobuf import descriptor_pb2, descriptor_pool
for package in ("", "org.pytorch.serve.grpc.inference"):
    other = descriptor_pb2.FileDescriptorProto(name="inference.proto", package=package)
    if package:
        other.name = "their_inference.proto"  # somebody else's stubs of TorchServe
    other.message_type.add(name="PredictionsRequest").field.add(name="mine", number=1, type=9, label=1)
    descriptor_pool.Default().AddSerializedFile(other.SerializeToString())
import disaster_tweets_client
from disaster_tweets_client.stubs import inference_pb2, management_pb2
message = inference_pb2.PredictionsRequest(model_name="tweets", input={"data": b"storm"})
assert inference_pb2.PredictionsRequest.FromString(message.SerializeToString()) == message
assert disaster_tweets_client.GrpcClient
"""
IMPORTED_LIGHTLY = """
import sys
import disaster_tweets_client, disaster_tweets_client.cli
with disaster_tweets_client.RestClient():
    pass
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"grpc", "google", "numpy", "pandas"}, loaded
"""


@pytest.mark.parametrize("code", [IMPORTED_BESIDE, IMPORTED_LIGHTLY], ids=["beside-other-stubs", "lightly"])
def test_the_client_is_imported(code: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(CLIENT_DIR / "src")}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr


def test_stubs_are_as_generate_stubs_adapts_them() -> None:
    for name in PROTO_NAMES:
        stub = CLIENT_DIR / "src" / "disaster_tweets_client" / "stubs" / f"{name.removesuffix('.proto')}_pb2.py"
        assert "_descriptor_pool.Default()" not in stub.read_text(encoding="utf-8")
