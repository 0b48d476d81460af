from __future__ import annotations

import pytest

from training.data.language_guess import looks_english


@pytest.mark.parametrize(
    "text",
    [
        "Flood water is over the bridge and people are on roofs",
        "Wildfire evacuation orders near Harbor Point http://example.org/x",
        "caf\u00e9 on the corner burned down with my bike",
        "",
        "12 34 #\u5927\u96e8 @user",
    ],
)
def test_looks_english_when_english_or_without_any_words(text: str) -> None:
    assert looks_english(text)


@pytest.mark.parametrize(
    "text",
    [
        "El r\u00edo subi\u00f3 y las familias est\u00e1n en los techos",
        "inundaciones en la costa, the end",
        "Terremoto di magnitudo 4 nella notte, gente per strada",
        "Os bombeiros foram para a escola com uma bomba",
        "\u0412\u0437\u0440\u044b\u0432 \u043d\u0430 \u0437\u0430\u0432\u043e\u0434\u0435, the city",
        "Tulong po sa mga nasalanta ng bagyo",
        "\u00a1evacuaci\u00f3n inmediata!",
    ],
)
def test_looks_english_when_other_language_is_false(text: str) -> None:
    assert not looks_english(text)
