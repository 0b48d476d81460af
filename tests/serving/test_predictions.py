"""Every input form of the wire, through the real server and the default model."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests

from disaster_tweets_client.stubs import inference_pb2, inference_pb2_grpc
from tests.conftest import ROOT, SCORE_STEP
from tests.serving.torchserve_process import TorchServeProcess, get_json

pytestmark = pytest.mark.serving

DISASTER = "Wildfire jumps the highway near Redding, families being evacuated"
FIGURE = "this mixtape is fire & I can't even"


def post(server: TorchServeProcess, path: str, data: bytes | str, content_type: str | None = None) -> requests.Response:
    body = data.encode() if isinstance(data, str) else data
    headers = {"Content-Type": content_type} if content_type else {}
    return requests.post(f"{server.rest_url}{path}", data=body, headers=headers, timeout=30)


def answer(server: TorchServeProcess, path: str, data: bytes | str, content_type: str | None = None) -> Any:
    response = post(server, path, data, content_type)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


@pytest.fixture(scope="module")
def expected(server: TorchServeProcess) -> dict[str, Any]:
    return {text: answer(server, "/predictions/tweets", text, "text/plain") for text in (DISASTER, FIGURE)}


def test_predictions_of_a_disaster_and_a_figure_of_speech_are_told_apart(expected: dict[str, Any]) -> None:
    assert expected[DISASTER]["label"] == "disaster"
    assert expected[FIGURE]["label"] == "not_disaster"
    assert expected[DISASTER]["score"] > 0.8 > 0.2 > expected[FIGURE]["score"]
    assert set(expected[DISASTER]) == {"label", "score", "decision", "model_version"}


def test_worker_with_the_int8_engine_has_no_torch_in_its_memory(
    server: TorchServeProcess, expected: dict[str, Any]
) -> None:
    engine = post(server, "/predictions/tweets", DISASTER).headers["x-engine"]
    loaded = ["libtorch" in Path(f"/proc/{pid}/maps").read_text() for pid in server.worker_pids()]
    assert loaded
    assert set(loaded) == {engine == "torchscript"}


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/octet-stream", "application/x-www-form-urlencoded"]
)
@pytest.mark.parametrize("text", [DISASTER, FIGURE])
def test_predictions_of_a_raw_body_do_not_depend_on_its_content_type(
    server: TorchServeProcess, expected: dict[str, Any], text: str, content_type: str | None
) -> None:
    assert answer(server, "/predictions/tweets", text, content_type) == expected[text]


@pytest.mark.parametrize("value", [DISASTER, {"text": DISASTER, "keyword": "wildfire", "location": None}])
def test_predictions_of_json_give_the_same_answer(server: TorchServeProcess, expected: Any, value: object) -> None:
    for content_type in ("application/json", "application/x-www-form-urlencoded"):
        assert answer(server, "/predictions/tweets", json.dumps(value), content_type) == expected[DISASTER]


def test_predictions_of_form_fields_give_the_same_answer(server: TorchServeProcess, expected: Any) -> None:
    url = f"{server.rest_url}/predictions/tweets"
    for field in ("text", "data"):
        assert requests.post(url, data={field: FIGURE}, timeout=30).json() == expected[FIGURE]
        assert requests.post(url, files={field: (None, FIGURE)}, timeout=30).json() == expected[FIGURE]
        assert (
            requests.post(url, files={field: ("tweet.txt", FIGURE, "text/plain")}, timeout=30).json()
            == expected[FIGURE]
        )


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)])
def test_predictions_of_a_packed_body_give_the_same_answer(
    server: TorchServeProcess, expected: Any, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
    body = pack(json.dumps({"text": FIGURE}).encode())
    answered = requests.post(f"{server.rest_url}/predictions/tweets", data=body, headers=headers, timeout=30)
    assert answered.json() == expected[FIGURE]


def test_predictions_of_a_form_with_other_fields_give_the_same_answer(server: TorchServeProcess, expected: Any) -> None:
    fields = {"csrf": "abc", "lang": "en", "text": FIGURE, "submit": "Send", "id": "7"}
    answered = requests.post(f"{server.rest_url}/predictions/tweets", data=fields, timeout=30)
    assert answered.json() == {"id": "7", **expected[FIGURE]}


def test_predictions_over_grpc_give_the_id_back_and_refuse_other_names(
    server: TorchServeProcess, expected: Any
) -> None:
    with grpc.insecure_channel(server.grpc_target) as channel:
        call = inference_pb2_grpc.InferenceAPIsServiceStub(channel).Predictions
        fields = {"text": FIGURE.encode(), "id": b"7", "location": b"Lima"}
        good = call(inference_pb2.PredictionsRequest(model_name="tweets", input=fields), timeout=30)
        bad = call(inference_pb2.PredictionsRequest(model_name="tweets", input={"tweet": FIGURE.encode()}), timeout=30)
    assert json.loads(good.prediction) == {"id": "7", **expected[FIGURE]}
    error = json.loads(bad.prediction)["error"]
    assert (error["code"], "'tweet'" in error["message"]) == ("WRONG_TYPE", True)


def test_predictions_with_a_header_of_torchserves_name_classify(server: TorchServeProcess, expected: Any) -> None:
    headers = {"describe": "True", "Explain": "True"}
    answered = requests.post(f"{server.rest_url}/predictions/tweets", data=FIGURE.encode(), headers=headers, timeout=30)
    assert answered.json() == expected[FIGURE]


def test_predictions_of_a_list_keep_order_ids_and_places_of_errors(server: TorchServeProcess, expected: Any) -> None:
    values = [{"text": FIGURE, "id": "a"}, "http://t.example/x", 7, DISASTER]
    body = answer(server, "/predictions/tweets", json.dumps(values), "application/json")
    first, empty, wrong, last = body["predictions"]
    assert first == {"id": "a", **expected[FIGURE]}
    assert (empty["error"]["code"], empty["error"]["index"]) == ("EMPTY_TEXT", 1)
    assert (wrong["error"]["code"], wrong["error"]["index"]) == ("WRONG_TYPE", 2)
    assert last == expected[DISASTER]


def test_predictions_of_lines_give_one_answer_a_line(server: TorchServeProcess, expected: Any) -> None:
    body = answer(
        server, "/predictions/tweets", f"{DISASTER}\n{json.dumps({'text': FIGURE})}\n", "application/x-ndjson"
    )
    assert body["predictions"] == [expected[DISASTER], expected[FIGURE]]


def test_kserve_v1_gives_the_same_answers(server: TorchServeProcess, expected: Any) -> None:
    body = json.dumps({"instances": [DISASTER, {"text": FIGURE}]})
    assert answer(server, "/v1/models/tweets:predict", body, "application/json") == {
        "predictions": [expected[DISASTER], expected[FIGURE]]
    }


def test_open_inference_v2_gives_the_same_answers(server: TorchServeProcess, expected: Any) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2], "data": [DISASTER, FIGURE]}
    body = json.dumps({"id": "call-7", "inputs": [tensor]})
    result = answer(server, "/v2/models/tweets/infer", body, "application/json")
    assert (result["id"], result["model_name"]) == ("call-7", "tweets")
    outputs = {output["name"]: output["data"] for output in result["outputs"]}
    for name in ("label", "score", "decision"):
        assert outputs[name] == [expected[DISASTER][name], expected[FIGURE][name]]


def test_predictions_under_the_models_own_version_give_the_same_answer(
    server: TorchServeProcess, expected: Any
) -> None:
    version = expected[DISASTER]["model_version"]
    assert answer(server, f"/predictions/tweets/{version}", DISASTER) == expected[DISASTER]


@pytest.mark.parametrize("path", ["/explanations/tweets", "/v1/models/tweets:explain", "/v2/models/tweets/explain"])
def test_explanations_answer_501_with_a_clear_body(server: TorchServeProcess, path: str) -> None:
    response = post(server, path, json.dumps({"instances": [DISASTER]}), "application/json")
    assert response.status_code == 501
    assert response.json()["error"]["code"] == "NOT_IMPLEMENTED"


def test_describe_gives_version_figures_and_hashes(server: TorchServeProcess, expected: Any) -> None:
    (model,) = get_json(f"{server.management_url}/models/tweets?customized=true")
    facts = model["customizedMetadata"]
    training = json.loads((ROOT / "model" / "training.json").read_text())
    assert facts["model_version"] == training["model_version"] == expected[DISASTER]["model_version"]
    assert facts["bundle"]["dev"]["f1"] == training["dev"]["f1"]
    # The tolerances of the engines: int8 rounds, float32 does not.
    assert facts["golden"]["largest_difference"] <= {"openvino": 0.1, "torchscript": 1e-4}[facts["engine"]]
    assert all(len(sha256) == 64 for sha256 in facts["bundle"]["files"].values())
    assert (model["batchSize"], model["maxBatchDelay"]) == (64, 1)
    assert model["jobQueueStatus"]["remainingCapacity"] == 1000


def test_golden_answers_of_the_build_come_back_over_rest(server: TorchServeProcess, real_archive: Any) -> None:
    golden = json.loads(real_archive.with_suffix(".golden.json").read_text())
    body = json.dumps([sample["text"] for sample in golden])
    answers = answer(server, "/predictions/tweets", body, "application/json")["predictions"]
    assert [entry["label"] for entry in answers] == [sample["label"] for sample in golden]
    for entry, sample in zip(answers, golden, strict=True):
        assert entry["score"] == pytest.approx(sample["score"], abs=SCORE_STEP)
