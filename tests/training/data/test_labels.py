"""Labels map to targets in one table."""

from __future__ import annotations

from training.data.labels import KAGGLE, LABEL_MAP, T6, T26


def test_label_map_answers_whether_a_tweet_is_about_a_disaster() -> None:
    assert LABEL_MAP[KAGGLE] == {"1": 1, "0": 0}
    assert LABEL_MAP[T6] == {"on-topic": 1, "off-topic": 0}
    assert [LABEL_MAP[T26][label] for label in ("Related - but not informative", "Not related")] == [1, 0]
    assert LABEL_MAP[T26]["Not applicable"] is None
