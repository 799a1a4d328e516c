"""How many frames a window answers for is as many as its slice holds."""

from __future__ import annotations

import pytest

from bench import Window


@pytest.mark.parametrize(
    ("window", "expected"),
    [(Window(9), 9), (Window(1), 1), (Window(9, targets="centre"), 1), (Window(8, targets="last", step=3), 1)],
)
def test_a_window_answers_for_all_of_its_frames_or_for_one(window, expected):
    assert window.answers == expected == len(range(*window.answered.indices(window.frames)))
