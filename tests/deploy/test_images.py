"""Rules of Dockerfile and compose.yaml, read from the files; `disaster-tweets image check` runs the images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.gateway.config import FOLDER
from ops.gateway.settings import GatewaySettings, read_gateway_settings
from ops.gateway.supervisor import GUARD_STOP_S, NGINX_STOP_S
from ops.images.engine import BASE
from ops.serve.supervisor import STOP_TIMEOUT_S
from tests.conftest import ROOT
from tests.support.dockerfile import Stage, assignments, copy_words, read_dockerfile

STAGES = {stage.name: stage for stage in read_dockerfile(ROOT / "Dockerfile")}
FINAL = ("server", "gateway")
PASSED_ON = ("GATEWAY_HOST_NAMES", "GATEWAY_TRUSTED_PROXIES")  # from the machine to the gateway
COMPOSE = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def runs(stage: Stage) -> list[str]:
    return [one.text for one in stage.instructions if one.name == "RUN"]


def settings_of_container() -> GatewaySettings:
    return read_gateway_settings(ROOT / FOLDER / "container.yaml", Path("/srv"))


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)
def test_stage_when_it_builds_then_by_the_rules(stage: Stage) -> None:
    assert stage.base == BASE or stage.base in STAGES
    for text in runs(stage):
        assert "sudo" not in text
        if "apt-get install" in text:
            assert "apt-get update" in text
            assert "--no-install-recommends" in text
            assert "rm -rf /var/lib/apt/lists/*" in text
        for install in re.findall(r"pip install (.*?)(?:&&|$)", text):
            assert "--no-cache-dir" in install
            pinned = ("--require-hashes", "==", "base-encoder", "--no-build-isolation /hardened")
            assert any(words in install for words in pinned), install
    assert not [one for one in stage.instructions if one.name == "ENV" and re.search("KEY|TOKEN|SECRET|PASS", one.text)]


@pytest.mark.parametrize("name", FINAL)
def test_image_when_it_runs_then_unprivileged_under_an_init_with_a_true_health_check(name: str) -> None:
    stage = STAGES[name]
    assert stage.base == BASE  # nothing of the stages that build
    uid, _, gid = stage.last("USER").partition(":")  # numbers: Kubernetes' runAsNonRoot refuses a name
    assert uid == gid == {"server": "10001", "gateway": "10002"}[name]
    assert any(re.search(rf"useradd --uid {uid} --gid {gid} .*nologin {name}\b", text) for text in runs(stage))
    assert stage.words("ENTRYPOINT")[0] == "tini"
    assert stage.words("CMD")
    assert stage.words("HEALTHCHECK")[-1] == "status"
    installed = " ".join(runs(stage))
    assert not re.search(r"\b(gcc|g\+\+|build-essential|pip|curl|wget|git|python3-venv|openssh)\b", installed)


def test_server_when_it_starts_then_under_the_supervisor_which_gets_the_signals_itself() -> None:
    assert STAGES["server"].words("CMD") == [
        "python",
        "-m",
        "ops.serve.supervisor",
    ]  # no shell between it and the init
    assert float(SERVICES["server"]["stop_grace_period"].removesuffix("s")) > STOP_TIMEOUT_S


@pytest.mark.parametrize("name", SERVICES)
def test_service_when_it_runs_then_with_no_right_and_within_limits(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] <= 512
    assert service["mem_limit"]
    assert service["cpus"]
    assert service["pull_policy"] == "never"  # the names are of no registry
    assert service["logging"]["options"].keys() >= {"max-size", "max-file"}
    assert service["restart"] == "unless-stopped"
    assert not {"privileged", "cap_add", "devices", "env_file", "user", "pid"} & set(service)
    assert set(service.get("environment", ())) <= {"GATEWAY_SETTINGS", *PASSED_ON}
    assert all(volume.endswith(":ro") for volume in service.get("volumes", []))


def test_ports_when_published_then_only_the_gateways() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"network": ["${REST_PORT:-8443}:8443", "${GRPC_PORT:-8444}:8444"]}
    settings = settings_of_container()
    assert settings.grpc_address is not None
    assert (settings.rest_address.port, settings.grpc_address.port) == (8443, 8444)
    for name in FINAL:
        assert SERVICES[name]["network_mode"] == "service:network"
    assert settings.server_rest.host == settings.server_management.host == settings.server_grpc.host == "127.0.0.1"


def test_secrets_when_mounted_then_where_the_settings_look() -> None:
    (volume,) = SERVICES["gateway"]["volumes"]
    place = volume.removesuffix(":ro").rpartition(":")[2]
    settings = settings_of_container()
    for path in (settings.certificate, settings.private_key, settings.keys_file):
        assert str(path.parent) == place
    assert "secrets" not in str(STAGES["gateway"].instructions)


def test_variables_of_the_gateway_when_set_on_the_machine_then_passed_on() -> None:
    environment = SERVICES["gateway"]["environment"]
    assert {name: environment[name] for name in PASSED_ON} == dict.fromkeys(PASSED_ON)
    assert {name.removeprefix("GATEWAY_").lower() for name in PASSED_ON} <= set(vars(settings_of_container()))


def test_stop_of_the_gateway_when_it_takes_its_time_then_the_container_waits() -> None:
    assert float(SERVICES["gateway"]["stop_grace_period"].removesuffix("s")) > NGINX_STOP_S + GUARD_STOP_S


def test_settings_of_the_gateway_when_none_are_named_then_those_of_the_image() -> None:
    """Others are a file in the mounted folder, named by a variable."""
    default = assignments(STAGES["gateway"].last("ENV"))["GATEWAY_SETTINGS"]
    variable = SERVICES["gateway"]["environment"]["GATEWAY_SETTINGS"]
    assert variable == f"${{GATEWAY_CONTAINER_SETTINGS:-{default}}}"


@pytest.mark.parametrize("name", FINAL)
def test_image_when_the_checkout_is_closed_to_others_then_its_user_reads_what_was_copied(name: str) -> None:
    """Under umask 077 the files of a checkout have mode 0600, and COPY keeps it."""
    readable = False
    for one in STAGES[name].instructions:
        if one.name == "RUN" and "chmod -R a+rX /srv" in one.text:
            readable = True
        elif one.name == "COPY" and copy_words(one.text)[0] is None:
            readable = False
    assert readable


@pytest.mark.parametrize("name", FINAL)
def test_image_when_it_is_labelled_then_with_version_and_revision(name: str) -> None:
    label = assignments(STAGES[name].last("LABEL"))
    for key in ("version", "revision"):
        assert label[f"org.opencontainers.image.{key}"] == f"${key.upper()}"
    assert label["org.opencontainers.image.title"] == f"disaster-tweets-{name}"


def test_export_when_it_signs_then_no_layer_holds_the_private_key() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "RUN --mount=type=secret,id=signing_key " in text
    (signing,) = [one for one in runs(STAGES["export"]) if "python -m export" in one]
    assert signing.endswith("&& rm .keys/signing.pem")
    copied = [one.text for name in FINAL for one in STAGES[name].instructions if one.name == "COPY"]
    assert [text for text in copied if ".keys" in text] == ["--from=export /source/.keys/trusted/ .keys/trusted/"]


def test_settings_of_the_container_when_compared_then_limits_are_the_defaults() -> None:
    own, default = (yaml.safe_load((ROOT / FOLDER / name).read_text()) for name in ("container.yaml", "gateway.yaml"))
    changed = {"rest_address", "grpc_address", "certificate", "private_key", "keys_file", "run_folder", "access_log"}
    assert {name for name in own if own[name] != default[name]} == changed
