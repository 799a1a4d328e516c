"""A sheet of frames goes round the subjects, and shows 2D beside its own 3D."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from samples import toy_dataset

from bench.show.draw import sheet
from bench.show.draw.sheet import _spread, picture


def test_subjects_take_turns_with_actions_and_cameras_that_were_seldom_chosen():
    videos = toy_dataset().sequences
    assert _spread(videos, 3) == [0, 4, 5]  # S1 sits before camera a, S2 walks, S3 sits
    assert _spread(videos, 4) == [0, 4, 5, 2]
    assert sorted(_spread(videos, 100)) == list(range(len(videos)))
    assert {videos["subject"][row] for row in _spread(videos, 2)} == {"S1", "S3"}


@pytest.mark.parametrize("count", [2, 5])
def test_frames_that_are_shown_are_those_that_the_label_says(tmp_path, monkeypatch, count):
    dataset = toy_dataset()
    shown = []
    monkeypatch.setattr(sheet, "load_dataset", lambda *about: dataset)
    monkeypatch.setattr(sheet, "input_sheet", lambda path, samples, **options: shown.extend(samples))
    picture(tmp_path / "sheet.png", "toy", count=count)
    assert len(shown) == count
    for sample in shown:
        subject, rest = sample.label.split(" ", 1)
        sequence, camera, frame = (part.split(" ", 1 - part.startswith(" ")) for part in rest.split(", "))
        table = dataset.sequences
        row = table[
            (table["subject"] == subject)
            & (table["sequence"] == " ".join(sequence))
            & (table["camera"] == camera[-1].split()[-1])
        ]
        at = int(row["start"].iloc[0]) + int(frame[-1].split()[-1])
        np.testing.assert_array_equal(sample.keypoints_2d, dataset.keypoints_2d[at])
        np.testing.assert_array_equal(sample.pose, dataset.poses_3d[at])


def test_the_sheet_is_a_picture(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sheet, "load_dataset", lambda *about: toy_dataset())
    picture(tmp_path / "sheet.png", "toy", count=5)
    picture(tmp_path / "row.png", "toy", count=4)
    sizes = [imread(tmp_path / name).shape for name in ("sheet.png", "row.png")]
    assert sizes[0][1] == sizes[1][1]  # four pairs a row
    assert sizes[0][0] > 1.7 * sizes[1][0]
