from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from training.evaluation import baselines
from training.evaluation.baselines import NAMES, KeywordRule, TfIdf, make_baseline, sentence_vectors


def rows(*entries: tuple[str, str, int]) -> pd.DataFrame:
    return pd.DataFrame(entries, columns=["normalised", "keyword", "target"])


TRAIN = rows(
    *[(f"flood in marlow street {number}", "flood", 1) for number in range(8)],
    *[(f"my mixtape is fire {number}", "fire", 0) for number in range(6)],
    *[(f"tea and a book {number}", "", 0) for number in range(6)],
)
TEST = rows(("another flood in marlow", "", 1), ("that book is fire", "", 0))


@pytest.mark.parametrize("name", NAMES)
def test_baseline_gives_probabilities_and_all_but_majority_learn_the_training_rows(
    name: str, tiny_base: Path, tmp_path: Path
) -> None:
    found = make_baseline(name, tiny_base, tmp_path).fit(TRAIN).scores(TRAIN)
    assert ((found >= 0) & (found <= 1)).all()
    if name == "majority":
        assert found.tolist() == [0.4] * len(TRAIN)
    else:
        # The tiny encoder is random: it tells apart what it was fitted on, and nothing else.
        assert roc_auc_score(TRAIN["target"], found) > 0.95


def test_tf_idf_ranks_an_unseen_flood_above_an_unseen_book() -> None:
    found = TfIdf().fit(TRAIN).scores(TEST)
    assert found[0] > 0.5 > found[1]


def test_keyword_rule_gives_the_smoothed_share_of_the_best_word_or_of_rows_without() -> None:
    rule = KeywordRule().fit(TRAIN)
    found = rule.scores(rows(("flood after fire", "", 1), ("FIRE", "", 0), ("tea", "", 0)))
    prior = 8 / 20
    expected = [(8 + 2 * prior) / 10, (0 + 2 * prior) / 8, (0 + 2 * prior) / 8]
    assert found == pytest.approx(expected)


def test_keyword_rule_when_no_row_has_a_keyword_says_the_share_of_disasters() -> None:
    plain = TRAIN.assign(keyword="")
    assert KeywordRule().fit(plain).scores(TEST) == pytest.approx([0.4, 0.4])


def test_sentence_vectors_do_not_depend_on_neighbours_or_order(tiny_base: Path) -> None:
    texts = ["flood", "the river is over the bridge and the road", "fire on the hill"]
    together = sentence_vectors(texts, tiny_base)
    assert together[::-1] == pytest.approx(sentence_vectors(texts[::-1], tiny_base), abs=1e-5)
    assert together[0] == pytest.approx(sentence_vectors(texts[:1], tiny_base)[0], abs=1e-5)
    assert not np.allclose(together[0], together[2])


def test_frozen_encoder_when_asked_again_takes_vectors_from_its_cache(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_baseline(NAMES[3], tiny_base, tmp_path).fit(TRAIN).scores(TEST)
    monkeypatch.setattr(baselines, "sentence_vectors", lambda *_: pytest.fail("computed again"))
    again = make_baseline(NAMES[3], tiny_base, tmp_path).fit(TRAIN).scores(TEST)
    assert again.tolist() == first.tolist()
