"""Lint config.properties: TorchServe passes over what it does not know and reads "yes" as false.

The keys and their types are those of TorchServe 0.12, util/ConfigManager.java, and of its launcher, ts/model_server.py.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from ops.doctor.findings import Finding, error, unknown_key, warning
from ops.settings.properties import Property, read_properties

FILE = "config.properties"
BOOLEANS = (
    *("async_logging", "cpu_launcher_enable", "debug", "decode_input_request", "disable_system_metrics"),
    *("disable_token_authorization", "enable_envvars_config", "enable_grpc_ssl", "enable_metrics_api"),
    *("enable_model_api", "install_py_dep_per_model", "ipex_enable", "ipex_gpu_enable", "limit_max_image_pixels"),
    *("model_metrics_auto_detect", "prefer_direct_buffer", "ts_open_inference_protocol", "use_env_allowed_urls"),
    "use_native_io",
)
INTEGERS = (
    *("default_response_timeout", "default_startup_timeout", "default_workers_per_model", "grpc_inference_port"),
    *("grpc_inference_max_connection_age_ms", "grpc_inference_max_connection_age_grace_ms", "grpc_management_port"),
    *("grpc_management_max_connection_age_ms", "grpc_management_max_connection_age_grace_ms", "initial_worker_port"),
    *("initial_distribution_port", "io_ratio", "job_queue_size", "max_request_size", "max_response_size"),
    *("metric_time_interval", "netty_client_threads", "number_of_gpu", "number_of_netty_threads"),
    "unregister_model_timeout",
)
PATTERNS = ("allowed_urls", "blacklist_env_vars")
WORDS = (
    *("certificate_file", "cors_allowed_headers", "cors_allowed_methods", "cors_allowed_origin", "cpp_log_config"),
    *("cpu_launcher_args", "default_service_handler", "keystore", "keystore_pass", "keystore_type", "load_models"),
    *("metrics_config", "metrics_mode", "model_server_home", "model_snapshot", "model_store", "models", "plugins_path"),
    *(
        "private_key_file",
        "service_envelope",
        "system_metrics_cmd",
        "token_expiration_min",
        "ts_header_key_sequence_end",
    ),
    *("ts_header_key_sequence_id", "ts_header_key_sequence_start", "version", "vmargs", "workflow_store"),
)
REST = {"inference_address": 8080, "management_address": 8081, "metrics_address": 8082}
GRPC = {"grpc_inference_address": "grpc_inference_port", "grpc_management_address": "grpc_management_port"}
GRPC_PORTS = {"grpc_inference_port": "7070", "grpc_management_port": "7071"}
KNOWN = (*BOOLEANS, *INTEGERS, *PATTERNS, *WORDS, *REST, *GRPC)
# Java's regular expressions know more than Python's, the other way round hardly: what Python reads, Java does.
FOREIGN_URLS = ("http://models.example/evil.mar", "https://models.example/evil.mar", "s3://bucket/evil.mar")
# What the archive's yaml decides in their place: the timeouts even where it does not hold them, for its own default of
# 120 s wins. Source: TorchServe 0.12, archive/model/ModelConfig.java; wlm/ModelManager.java, createModel
IGNORED_TIMEOUTS = {"default_response_timeout": "responseTimeout", "default_startup_timeout": "startupTimeout"}
IGNORED_WITH_KEY = {"job_queue_size": "jobQueueSize", "default_workers_per_model": "minWorkers"}


def check_properties(text: str, yaml_keys: frozenset[str]) -> list[Finding]:
    """Return what is wrong with a config.properties.

    Args:
        text: its content.
        yaml_keys: keys of the model-config.yaml that the archive carries; empty where it carries none.
    """
    properties = read_properties(text)
    values = {entry.key: entry.value.strip() for entry in properties}
    return [
        *_unknown_and_double(properties),
        *_types(values),
        *_addresses(values),
        *_doors(values),
        *_certificates_and_models(values),
        *_ignored(values, yaml_keys),
    ]


def is_loopback(host: str) -> bool:
    """Tell whether nobody outside this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _unknown_and_double(properties: list[Property]) -> Iterator[Finding]:
    lines: dict[str, int] = {}
    for entry in properties:
        where = f"{FILE}:{entry.line}"
        if entry.key not in KNOWN:
            yield unknown_key(where, entry.key, KNOWN)
        if entry.key in lines:
            yield warning(
                f"{where}: {entry.key}",
                f"set in line {lines[entry.key]} too",
                "one line; the last counts",
                "remove one",
            )
        lines[entry.key] = entry.line


def _types(values: Mapping[str, str]) -> Iterator[Finding]:
    for key, value in values.items():
        where, found = f"{FILE}: {key}", f"{value!r}"
        if key in BOOLEANS and value.lower() not in ("true", "false"):
            yield error(where, found, "true or false; anything else is read as false", "write true or false")
        if key in INTEGERS and not re.fullmatch(r"-?\d{1,10}", value):
            yield error(where, found, "a whole number; the server would not start", "write a number")
        if key in PATTERNS:
            for pattern in value.split(",") if key == "allowed_urls" else [value]:
                try:
                    re.compile(pattern)
                except re.error as wrong:
                    yield error(where, f"{pattern!r} ({wrong})", "a regular expression", "correct it")
        if key == "metrics_mode" and value not in ("log", "prometheus", "legacy"):
            yield error(where, found, "log, prometheus or legacy; another is read as log", "write prometheus")


def _addresses(values: Mapping[str, str]) -> Iterator[Finding]:
    no_token = values.get("disable_token_authorization", "false").lower() == "true"
    ports: dict[int, str] = {}
    for key, host, port, is_tls in _listeners(values):
        where = f"{FILE}: {key}"
        if host is None or port is None or not 0 < port < 65536:
            yield error(where, repr(values.get(key)), "an address with a port from 1 to 65535", "correct it")
            continue
        if port in ports:
            yield error(where, f"port {port}, which {ports[port]} has too", "five different ports", "change one")
        ports[port] = key
        if is_loopback(host):
            continue
        if no_token:
            yield error(
                where,
                f"{host} is open to the network with token authorisation off",
                "a loopback address, or disable_token_authorization=false",
                "set it to 127.0.0.1 and put the gateway in front",
            )
        elif not is_tls:
            yield warning(
                where, f"{host} is open to the network without TLS", "a loopback address", "put the gateway in front"
            )


def _listeners(values: Mapping[str, str]) -> Iterator[tuple[str, str | None, int | None, bool]]:
    for key, default in REST.items():
        url = urlsplit(values.get(key, f"http://127.0.0.1:{default}"))
        try:
            port = url.port or {"http": 80, "https": 443}.get(url.scheme)
        except ValueError:
            port = None
        yield key, url.hostname if url.scheme in ("http", "https") else None, port, url.scheme == "https"
    tls = values.get("enable_grpc_ssl", "false").lower() == "true"
    for key, port_key in GRPC.items():
        number = values.get(port_key, GRPC_PORTS[port_key])
        # An unreadable number is told of by its own type.
        yield key, values.get(key, "127.0.0.1"), int(number) if number.isdecimal() else None, tls


def _doors(values: Mapping[str, str]) -> Iterator[Finding]:
    """Ways in: code and settings from elsewhere."""

    def is_on(key: str) -> bool:
        return values.get(key, "false").lower() == "true"

    if is_on("enable_model_api"):
        found = "models may be registered over the wire"
        fix = "set it to false; disaster-tweets rollout changes models without it"
        if is_on("disable_token_authorization"):
            yield error(f"{FILE}: enable_model_api", f"{found} by every program, without a token", "false", fix)
        else:
            yield warning(f"{FILE}: enable_model_api", f"{found} by whoever holds the token", "false", fix)
    patterns = values.get("allowed_urls", "file://.*|http(s)?://.*").split(",")
    if any(_matches(pattern, url) for pattern in patterns for url in FOREIGN_URLS):
        found = "archives, which are code, are fetched from everywhere"
        yield error(f"{FILE}: allowed_urls", found, "no pattern that matches a foreign address", "set it to ^$")
    for key in ("install_py_dep_per_model", "use_env_allowed_urls", "enable_envvars_config"):
        if is_on(key):
            found = "an archive or the machine's variables decide what is installed, fetched or set"
            yield warning(f"{FILE}: {key}", found, "false", "set it to false")


def _certificates_and_models(values: Mapping[str, str]) -> Iterator[Finding]:
    """Settings that make TorchServe do in silence what nobody asked for."""
    has_certificate = "keystore" in values or {"private_key_file", "certificate_file"} <= values.keys()
    if any(values.get(key, "").startswith("https:") for key in REST) and not has_certificate:
        yield error(
            f"{FILE}: certificate_file",
            "https without a certificate, for which TorchServe makes one of its own in silence",
            "private_key_file and certificate_file",
            "name both, or put the gateway in front",
        )
    if "keystore" in values and values.get("keystore_pass", "changeit") == "changeit":
        yield error(f"{FILE}: keystore_pass", "the default that everybody knows", "a password of its own", "change it")
    if values.get("ts_open_inference_protocol", "false").lower() == "true":
        found = "TorchServe would hand texts on as base64: wrong answers, and workers that die"
        expected = "false: the handler answers Open Inference v2 without it"
        yield error(f"{FILE}: ts_open_inference_protocol", found, expected, "remove it")
    if values.get("service_envelope"):
        found = "an envelope that reads the first request of a batch only"
        yield error(f"{FILE}: service_envelope", found, "none: the handler knows each protocol", "remove it")
    if "model_snapshot" in values:
        found = "a snapshot that wins over --models"
        yield error(f"{FILE}: model_snapshot", found, "none", "remove it")


def _matches(pattern: str, url: str) -> bool:
    try:
        return re.fullmatch(pattern, url, re.IGNORECASE) is not None
    except re.error:
        return False


def _ignored(values: Mapping[str, str], yaml_keys: frozenset[str]) -> Iterator[Finding]:
    decided = {key: winner for key, winner in IGNORED_WITH_KEY.items() if winner in yaml_keys}
    if yaml_keys:
        decided |= IGNORED_TIMEOUTS
    for key, winner in decided.items():
        if key in values:
            yield warning(
                f"{FILE}: {key}",
                f"{values[key]} is ignored: the archive carries a model-config.yaml",
                f"{winner} in handler/model-config.yaml",
                f"set {winner} there and remove this line",
            )
