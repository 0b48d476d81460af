"""What both protocols promise alike."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest

from disaster_tweets_client import (
    DeadlineExceededError,
    DisasterTweetsError,
    InvalidArgumentError,
    ItemError,
    Prediction,
    RequestError,
    ServerUnavailableError,
    UnexpectedAnswerError,
    chunking,
)
from tests.client.conftest import Client
from tests.client.stub_server import MODEL_VERSION, Scripted, StubServer, prediction

FLOOD = "Flood water is over the bridge in Marlow"
FIGURE = "this mixtape is \U0001f525"


def error_body(code: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": "as the server says"}}).encode()


def test_predict_of_a_text_returns_the_answer_of_the_wire(client: Client) -> None:
    wire = prediction(FLOOD)
    assert client.predict(FLOOD) == Prediction(wire["label"], wire["score"], wire["decision"], MODEL_VERSION)


def test_predict_of_a_mapping_brings_its_id_back(client: Client, stub: StubServer) -> None:
    answer = client.predict({"text": FIGURE, "id": 7, "keyword": "fire"})
    assert answer.id == 7
    assert answer.score == prediction(FIGURE)["score"]
    assert json.loads(stub.received[0].body) == {"text": FIGURE, "id": 7, "keyword": "fire"}


def test_predict_of_a_lone_surrogate_sends_it_unharmed(client: Client, stub: StubServer) -> None:
    client.predict("fire \ud83d")
    assert json.loads(stub.received[0].body) == "fire \ud83d"


def test_predict_of_a_long_text_tells_that_it_was_truncated(client: Client) -> None:
    assert client.predict("a very long storm " * 20).truncated
    assert not client.predict(FLOOD).truncated


def test_predict_of_a_list_keeps_the_order(client: Client, stub: StubServer) -> None:
    texts = [f"storm number {number}" for number in range(50)]
    answers = client.predict(texts)
    assert [answer.score for answer in answers] == [prediction(text)["score"] for text in texts]
    assert len(stub.received) == 1


def test_predict_of_a_generator_answers_each_item(client: Client) -> None:
    assert len(client.predict(text for text in (FLOOD, FIGURE))) == 2


def test_predict_of_an_empty_list_asks_nobody(client: Client, stub: StubServer) -> None:
    assert client.predict([]) == []
    assert stub.received == []


def test_predict_of_a_list_with_a_bad_item_raises_the_first(client: Client) -> None:
    with pytest.raises(ItemError, match=r"^item 1: EMPTY_TEXT: nothing to read$") as caught:
        client.predict([FLOOD, {"text": " ", "id": "b"}, ""])
    assert (caught.value.code, caught.value.index, caught.value.id) == ("EMPTY_TEXT", 1, "b")


def test_predict_with_on_error_return_puts_the_error_in_its_place(client: Client) -> None:
    good, bad, last = client.predict([FLOOD, "", FIGURE], on_error="return")
    assert isinstance(good, Prediction)
    assert isinstance(last, Prediction)
    assert isinstance(bad, ItemError)
    assert bad.index == 1


def test_predict_of_a_list_without_a_usable_item_returns_every_error(client: Client) -> None:
    errors = client.predict(["", {"id": 3}], on_error="return")
    assert [(error.code, error.index, error.id) for error in errors] == [("EMPTY_TEXT", 0, None), ("WRONG_TYPE", 1, 3)]


def test_predict_of_a_bad_text_raises_or_returns_its_error(client: Client) -> None:
    with pytest.raises(ItemError, match=r"^EMPTY_TEXT: nothing to read$") as caught:
        client.predict("")
    assert caught.value.index is None
    assert client.predict("", on_error="return").code == "EMPTY_TEXT"


def test_predict_of_what_json_cannot_carry_touches_no_neighbour(client: Client, stub: StubServer) -> None:
    answers = client.predict(
        [float("nan"), FLOOD, {"text": b"bytes"}, {"text": FLOOD, "id": float("inf")}, FIGURE], on_error="return"
    )
    assert [getattr(answer, "code", None) for answer in answers] == [
        "WRONG_TYPE",
        None,
        "WRONG_TYPE",
        "WRONG_TYPE",
        None,
    ]
    assert [answer.index for answer in answers if isinstance(answer, ItemError)] == [0, 2, 3]
    assert json.loads(stub.received[0].body) == [FLOOD, FIGURE]
    with pytest.raises(ItemError, match="WRONG_TYPE"):
        client.predict({"text": b"bytes"})


@pytest.mark.parametrize("wrong", [b"bytes", 5, None])
def test_predict_of_what_is_no_tweet_says_what_is(client: Client, wrong: object) -> None:
    with pytest.raises(TypeError, match="expected a text, a mapping"):
        client.predict(wrong)


def test_predict_with_an_unknown_on_error_is_refused(client: Client) -> None:
    with pytest.raises(ValueError, match='expected "raise" or "return"'):
        client.predict(FLOOD, on_error="ignore")


def test_predict_of_a_long_list_sends_several_requests(
    client: Client, stub: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunking, "MAX_ITEMS", 4)
    texts = [f"storm number {number}" for number in range(10)]
    texts[6] = ""
    answers = client.predict(texts, on_error="return")
    assert [len(json.loads(request.body)) for request in stub.received] == [4, 4, 2]
    assert answers[6].index == 6
    assert [answer.score for answer in answers[7:]] == [prediction(text)["score"] for text in texts[7:]]


def test_predict_when_the_server_is_away_comes_back_with_it(connect: Callable[..., Client], stub: StubServer) -> None:
    client = connect(timeout_s=20, retries=9)
    client.predict(FLOOD)
    stub.stop()
    came_back: list[StubServer] = []

    def come_back() -> None:  # made here, since a server listens as soon as it is made
        later = StubServer(http_port=stub.http_port, grpc_port=stub.grpc_port)
        later.start()
        came_back.append(later)

    timer = threading.Timer(0.5, come_back)
    timer.start()
    try:
        assert isinstance(client.predict(FLOOD), Prediction)
        assert came_back[0].received
    finally:
        timer.join()
        came_back[0].stop()


def test_predict_when_the_deadline_passes_during_an_attempt_raises_in_time(client: Client, stub: StubServer) -> None:
    stub.script = [Scripted(delay_s=1.0)]
    started = time.monotonic()
    with pytest.raises(DeadlineExceededError):
        client.predict(FLOOD, timeout_s=0.2)
    assert time.monotonic() - started < 0.8


def test_predict_when_the_deadline_passes_between_chunks_raises(
    client: Client, stub: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunking, "MAX_ITEMS", 1)
    stub.script = [Scripted(delay_s=0.2) for _ in range(20)]
    with pytest.raises(DeadlineExceededError):
        client.predict([FLOOD] * 20, timeout_s=0.5)
    assert len(stub.received) < 5


@pytest.mark.parametrize(
    "code",
    [
        *("TOO_MANY_ITEMS", "NOT_IMPLEMENTED", "INTERNAL", "BAD_JSON", "BAD_FORM", "BAD_ENCODING", "BODY_TOO_LARGE"),
        *("UNSUPPORTED_MEDIA_TYPE", "UNSUPPORTED_CHARSET", "UNSUPPORTED_ENCODING"),
        *("UNAUTHENTICATED", "KEY_ENDED", "NOT_FOUND"),  # of the gateway
        "A_LATER_ONE",
    ],
)
@pytest.mark.parametrize("tweets", [FLOOD, [FLOOD]])
def test_predict_of_a_refused_request_raises_with_its_code(
    client: Client, stub: StubServer, code: str, tweets: str | list[str]
) -> None:
    stub.script = [Scripted(status=400, body=error_body(code))]
    with pytest.raises(RequestError, match="as the server says") as caught:
        client.predict(tweets, on_error="return")
    assert caught.value.code == code
    assert len(stub.received) == 1


def test_predict_that_the_server_drops_as_too_late_is_not_repeated(client: Client, stub: StubServer) -> None:
    stub.script = [Scripted(status=504, body=error_body("DEADLINE"))]
    with pytest.raises(DeadlineExceededError, match="clocks"):
        client.predict(FLOOD)
    assert len(stub.received) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"Healthy",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"error": "no object"}',
        b'{"label": "cat", "score": 0.5, "decision": "review", "model_version": "1"}',
        b'{"label": "disaster", "score": 1.5, "decision": "review", "model_version": "1"}',
        b'{"label": "disaster", "score": true, "decision": "review", "model_version": "1"}',
        b'{"label": "disaster", "score": 0.5, "decision": "maybe", "model_version": "1"}',
        b'{"label": "disaster", "score": 0.5, "decision": "review"}',
    ],
)
def test_predict_of_another_services_answer_says_so(client: Client, stub: StubServer, body: bytes) -> None:
    stub.script = [Scripted(body=body)]
    with pytest.raises(UnexpectedAnswerError):
        client.predict(FLOOD)


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"predictions": []}', b'{"predictions": [5, 6]}'])
def test_predict_of_a_list_with_too_few_or_strange_answers_says_so(
    client: Client, stub: StubServer, body: bytes
) -> None:
    stub.script = [Scripted(body=body)]
    with pytest.raises(UnexpectedAnswerError):
        client.predict([FLOOD, FIGURE])


def test_predict_of_an_answer_nested_too_deeply_says_so(client: Client, stub: StubServer) -> None:
    stub.script = [Scripted(body=b"[" * 200_000)]
    with pytest.raises(UnexpectedAnswerError):
        client.predict(FLOOD)


@pytest.mark.parametrize("mark", [b"[7]", b"{}"])
def test_predict_of_an_answer_whose_id_is_none_says_so(client: Client, stub: StubServer, mark: bytes) -> None:
    answer = json.dumps(prediction(FLOOD)).encode()
    stub.script = [Scripted(body=answer[:-1] + b', "id": ' + mark + b"}")]
    with pytest.raises(UnexpectedAnswerError, match="an id"):
        client.predict(FLOOD)


def test_predict_when_a_later_request_fails_keeps_the_answers_before_it(
    client: Client, stub: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunking, "MAX_ITEMS", 4)
    texts = [f"storm number {number}" for number in range(12)]
    stub.script = [Scripted(), Scripted(), Scripted(400, error_body("INTERNAL"))]
    with pytest.raises(RequestError, match="INTERNAL") as caught:
        client.predict(texts, on_error="return")
    finished = caught.value.finished
    assert [answer.score for answer in finished] == [prediction(text)["score"] for text in texts[:8]]
    rest = client.predict(texts[len(finished) :])
    assert [answer.score for answer in rest] == [prediction(text)["score"] for text in texts[8:]]


def test_predict_when_a_tweet_is_refused_keeps_the_answers_before_it(client: Client) -> None:
    with pytest.raises(ItemError, match=r"^item 2: EMPTY_TEXT") as caught:
        client.predict([FLOOD, FIGURE, " ", FLOOD])
    assert [answer.score for answer in caught.value.finished] == [prediction(text)["score"] for text in (FLOOD, FIGURE)]
    with pytest.raises(ItemError) as caught:
        client.predict(" ")
    assert caught.value.finished == []


def test_predict_iter_yields_the_answers_of_a_request_before_the_next_is_sent(
    client: Client, stub: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunking, "MAX_ITEMS", 2)
    texts = [FLOOD, float("nan"), FIGURE, FLOOD, FIGURE]
    answers = client.predict_iter((text for text in texts), on_error="return")
    assert next(answers).score == prediction(FLOOD)["score"]
    assert next(answers).code == "WRONG_TYPE"
    assert next(answers).score == prediction(FIGURE)["score"]
    assert len(stub.received) == 1
    assert [answer.score for answer in answers] == [prediction(text)["score"] for text in texts[3:]]
    assert len(stub.received) == 2
    with pytest.raises(ItemError, match="item 1: WRONG_TYPE"):
        list(client.predict_iter(texts))


@pytest.mark.parametrize("tweet", [FLOOD, {"text": FLOOD}])
def test_predict_iter_of_a_single_tweet_is_refused(client: Client, tweet: object) -> None:
    with pytest.raises(InvalidArgumentError, match="single tweet"):
        client.predict_iter(tweet)


def test_is_ready_when_answers_come_is_true(client: Client) -> None:
    assert client.is_ready()


def test_is_ready_when_the_server_only_claims_health_is_false(client: Client, stub: StubServer) -> None:
    stub.script = [Scripted(body=b'{"status": "Healthy"}')]
    assert not client.is_ready()


def test_is_ready_when_the_server_is_slow_is_false_after_one_attempt(client: Client, stub: StubServer) -> None:
    stub.script = [Scripted(delay_s=0.5)]
    assert not client.is_ready(timeout_s=0.1)
    assert len(stub.received) == 1


def test_predict_when_the_client_is_closed_says_so(connect: Callable[..., Client]) -> None:
    with connect() as client:
        assert isinstance(client.predict(FLOOD), Prediction)
    with pytest.raises(DisasterTweetsError, match="closed"):
        client.predict(FLOOD)
    with pytest.raises(DisasterTweetsError, match="closed"):
        client.is_ready()


def test_predict_by_many_threads_of_one_client_gives_each_its_own_answer(client: Client) -> None:
    texts = [f"storm number {number}" for number in range(64)]
    scores: dict[str, float] = {}

    def ask(share: list[str]) -> None:
        for text in share:
            scores[text] = client.predict(text).score

    threads = [threading.Thread(target=ask, args=(texts[start::8],)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert scores == {text: prediction(text)["score"] for text in texts}


def test_a_client_with_an_api_key_sends_it_as_a_bearer_token(connect: Callable[..., Client], stub: StubServer) -> None:
    connect(api_key="secret").predict(FLOOD)
    connect().predict(FLOOD)
    assert stub.received[0].headers["authorization"] == "Bearer secret"
    assert "authorization" not in stub.received[1].headers


def test_a_client_asks_for_the_model_that_it_was_made_for(connect: Callable[..., Client], stub: StubServer) -> None:
    connect(model="other").predict(FLOOD)
    assert stub.received[0].path.rpartition("/")[2] == "other"


@pytest.mark.parametrize("settings", [{"timeout_s": 0}, {"timeout_s": -1}, {"retries": -1}, {"model": ""}])
def test_a_client_with_an_impossible_setting_is_refused(connect: Callable[..., Client], settings: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        connect(**settings)


def test_predict_when_every_attempt_fails_tells_how_many_there_were(
    connect: Callable[..., Client], stub: StubServer
) -> None:
    client = connect(retries=2)
    stub.stop()
    with pytest.raises(ServerUnavailableError, match="after 3 attempts"):
        client.predict(FLOOD)
    assert not client.is_ready()
