"""openapi.yaml says what is true: its examples, its codes, and thousands of requests made from it.

`GATEWAY_SCHEMA_EXAMPLES` is how many requests are drawn for each operation (`make fuzz` takes more).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012
from schemathesis.checks import CHECKS

from ops.gateway.config import GUARDED, OPENAPI, OPENAPI_PATH, PREDICTING, REST_ERRORS
from tests.ops.gateway.fake_server import FakeServer
from tests.ops.gateway.gateway_process import REPOSITORY, GatewayProcess
from tests.serving.torchserve_process import TorchServeProcess
from tweetclf.errors import InvalidRequestError

FILE = REPOSITORY / OPENAPI
DOCUMENT = yaml.safe_load(FILE.read_text(encoding="utf-8"))
REGISTRY = Registry().with_resource("urn:api", DRAFT202012.create_resource(DOCUMENT))
EXAMPLES = int(os.environ.get("GATEWAY_SCHEMA_EXAMPLES", "10"))
# A list with one bad item is answered 200 with that item's error, so "bad data gets 4xx" is no rule of this interface.
# A moment in the past as X-Deadline-Ms is answered 504, which is no fault; the test looks at every 5xx itself.
# A schema cannot say that a tensor's shape agrees with its data, or that a line is not a JSON number: those get 400.
UNUSED_CHECKS = ("negative_data_rejection", "positive_data_acceptance", "not_a_server_error")


@schemathesis.serializer("application/x-ndjson")
def lines(ctx: schemathesis.SerializationContext, value: Any) -> bytes:
    """Send a drawn text as it is: a line break in it parts two tweets."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


def media(node: Any, pointer: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every media type object: where it is, and it."""
    if isinstance(node, dict):
        for name, value in node.items():
            below = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
            if name == "content":
                for kind, content in value.items():
                    yield f"{below}/{kind.replace('/', '~1')}", content
            yield from media(value, below)


MEDIA = dict(media(DOCUMENT))


@pytest.mark.parametrize("pointer", [pointer for pointer, content in MEDIA.items() if "examples" in content])
def test_example_when_validated_then_fits_its_schema(pointer: str) -> None:
    validator = Draft202012Validator({"$ref": f"urn:api#{pointer}/schema"}, registry=REGISTRY)
    for example in MEDIA[pointer]["examples"].values():
        value = example
        if "$ref" in example:
            value = DOCUMENT["components"]["examples"][example["$ref"].rpartition("/")[2]]
        validator.validate(value["value"])


def test_schemas_when_read_then_are_schemas_and_refuse_something() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        validator = Draft202012Validator({"$ref": f"urn:api#/components/schemas/{name}"}, registry=REGISTRY)
        assert not validator.is_valid([[object]]), name


def test_codes_when_listed_then_those_of_gateway_and_classifier() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert set(schemas["HandlerCode"]["enum"]) == set(InvalidRequestError.STATUS_BY_CODE)
    of_readiness = {"NO_SERVER", "NO_MODEL", "NO_WORKER", "CRASH_LOOP", "WRONG_ANSWERS", "NO_ANSWERS", "QUEUE_FULL"}
    assert set(schemas["GatewayCode"]["enum"]) == {error.code for error in REST_ERRORS} | of_readiness


def test_paths_when_listed_then_exactly_what_is_published() -> None:
    assert set(DOCUMENT["paths"]) | {OPENAPI_PATH} == {*PREDICTING, *GUARDED, OPENAPI_PATH}


def test_document_when_asked_for_then_served_as_it_is(fake_gateway: GatewayProcess, fake: FakeServer) -> None:
    answer = fake_gateway.ask("GET", OPENAPI_PATH, key=None)
    assert answer.status == 200
    assert answer.body == FILE.read_bytes()
    assert answer.headers["content-type"] == "application/yaml"


# Explanations are answered 501 so far, by every model.
schema = schemathesis.openapi.from_path(FILE).exclude(path_regex="explain|explanations")


@pytest.mark.serving
@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_request_when_drawn_from_the_schema_then_answered_as_described(
    case: schemathesis.Case, gateway: GatewayProcess, server: TorchServeProcess
) -> None:
    excluded = [CHECKS.get_one(name) for name in UNUSED_CHECKS]
    headers = {"Authorization": f"Bearer {gateway.key}"}
    certificate = str(gateway.settings.certificate)
    response = case.call_and_validate(
        gateway.rest_url, headers=headers, excluded_checks=excluded, timeout=60, verify=certificate
    )
    if response.status_code >= 500:
        error = response.json()["error"]  # one string where the protocol has such errors
        code = error.partition(":")[0] if isinstance(error, str) else error["code"]
        assert (response.status_code, code) == (504, "DEADLINE")
        assert "X-Deadline-Ms" in (case.headers or {})
    assert server.restart_count == 0
