"""The client against a real TorchServe: four ways to ask, one answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from disaster_tweets_client import GrpcClient, ItemError, Prediction, RequestError, RestClient
from tests.conftest import ROOT, SCORE_STEP
from tests.serving.torchserve_process import TorchServeProcess

pytestmark = pytest.mark.serving

Client = RestClient | GrpcClient
TWEETS = (ROOT / "scripts" / "loadtest_tweets.txt").read_text(encoding="utf-8").splitlines()[-100:]


def rest_client(server: TorchServeProcess, model: str = "tweets") -> RestClient:
    return RestClient(server.rest_url, model)


def grpc_client(server: TorchServeProcess, model: str = "tweets") -> GrpcClient:
    return GrpcClient(server.grpc_target, model)


@pytest.fixture(params=[rest_client, grpc_client])
def make_client(request: pytest.FixtureRequest) -> Callable[..., Client]:
    return request.param


@pytest.fixture
def client(make_client: Callable[..., Client], server: TorchServeProcess) -> Iterator[Client]:
    with make_client(server) as client:
        yield client


def assert_same(found: Sequence[Prediction], expected: Sequence[Prediction]) -> None:
    """Compare answers of other batches: exactly, but for what float32 sums owe to the shape of their batch."""
    assert [replace(answer, score=0) for answer in found] == [replace(answer, score=0) for answer in expected]
    assert [answer.score for answer in found] == pytest.approx([answer.score for answer in expected], abs=SCORE_STEP)


def test_predict_of_100_tweets_four_ways_gives_the_same_answers(server: TorchServeProcess) -> None:
    with rest_client(server) as rest, grpc_client(server) as grpc:
        expected = [rest.predict(text) for text in TWEETS]
        assert [grpc.predict(text) for text in TWEETS] == expected  # alone in their batches both times
        assert_same(rest.predict(TWEETS), expected)
        assert_same(grpc.predict(TWEETS), expected)
    assert len(expected) == 100
    assert len({answer.score for answer in expected}) > 50


def test_predict_of_mappings_brings_their_ids_back(client: Client) -> None:
    answers = client.predict([{"text": text, "id": index} for index, text in enumerate(TWEETS[:5])])
    assert [answer.id for answer in answers] == [0, 1, 2, 3, 4]


def test_predict_of_bad_items_touches_no_neighbour(client: Client) -> None:
    good = client.predict(TWEETS[:2])
    answers = client.predict([TWEETS[0], " ", {"id": 7}, "x" * 10_001, 5, TWEETS[1]], on_error="return")
    first, *errors, last = answers
    assert isinstance(first, Prediction)
    assert isinstance(last, Prediction)
    assert_same([first, last], good)
    assert [(error.code, error.index) for error in errors if isinstance(error, ItemError)] == [
        ("EMPTY_TEXT", 1),
        ("WRONG_TYPE", 2),
        ("TEXT_TOO_LONG", 3),
        ("WRONG_TYPE", 4),
    ]
    with pytest.raises(ItemError, match="item 1: EMPTY_TEXT"):
        client.predict([TWEETS[0], " ", {"id": 7}])


def test_predict_of_only_bad_items_returns_every_error(client: Client) -> None:
    errors = client.predict([" ", "x" * 10_001], on_error="return")
    assert [error.code for error in errors if isinstance(error, ItemError)] == ["EMPTY_TEXT", "TEXT_TOO_LONG"]
    with pytest.raises(ItemError, match=r"^EMPTY_TEXT"):
        client.predict(" ")


def test_predict_of_a_lone_surrogate_answers(client: Client) -> None:
    assert isinstance(client.predict("the river broke its banks \ud83c"), Prediction)


def test_predict_of_an_unknown_model_is_refused_with_the_same_code_in_both_protocols(
    make_client: Callable[..., Client], server: TorchServeProcess
) -> None:
    with make_client(server, "cats") as client:
        with pytest.raises(RequestError, match="Model not found: cats") as caught:
            client.predict(TWEETS[0])
        assert caught.value.code == "ModelNotFoundException"
        assert not client.is_ready()


def test_predict_of_more_than_a_request_holds_answers_all(client: Client) -> None:
    texts = [TWEETS[index % len(TWEETS)] for index in range(10_050)]
    answers = client.predict(texts, timeout_s=60)
    assert len(answers) == len(texts)
    assert_same(answers[10_000:], answers[:50])


def test_is_ready_of_the_served_model_is_true(client: Client) -> None:
    assert client.is_ready(timeout_s=10)
