"""The audit in parts: rules that leave frames out or lift anew, and which rules go with which data set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import toy_dataset

from bench import Window
from bench.data.windows import block_rows, scored_windows
from bench.evaluation import Predictions, score
from bench.geometry.skeleton import MPI_INF_3DHP_17
from bench.runs.audit import OF_3DHP, OF_HUMAN36M, _by_rule, _lines, _valid_alone


def off_by(dataset, millimetres: dict[str, float]) -> Predictions:
    """Predictions whose joints are off by so much in each sequence, the root too."""
    window = Window(9)
    table = scored_windows(dataset, window)
    poses = dataset.poses_3d.numpy()[block_rows(dataset, table, window)]
    errors = dataset.sequences["sequence"].map(millimetres).to_numpy(np.float32)[table[:, 0]] / 1000
    poses[..., 2] += errors[:, None, None]
    return Predictions(window, table, poses)


def test_sequences_of_human36m_with_drifting_labels_are_left_out():
    videos = [("S9", "Waiting", "Waiting", "a", 20), ("S9", "Waiting", "Waiting 1", "a", 30)]
    videos += [("S11", "Waiting", "Waiting 1", "a", 20)]
    dataset = replace(toy_dataset(videos), name="h36m")
    predictions = off_by(dataset, {"Waiting": 17.0, "Waiting 1": 34.0})
    (dropped,) = [scores for rule, scores in _by_rule(predictions, dataset, "actions") if rule.number == "A18"]
    assert len(dropped.errors) == 40
    assert dropped.summary["mpjpe"] == pytest.approx((16 + 32) / 2, rel=1e-4)
    elsewhere = replace(dataset, name="cmu")
    assert "A18" not in {rule.number for rule, _ in _by_rule(predictions, elsewhere, "actions")}


@pytest.mark.parametrize("name", ["3dhp", "3dhp-annot3"])
def test_rules_go_with_the_data_set_and_change_one_thing_each(name):
    videos = [(test, test, test, "0", 12) for test in ("TS1", "TS2", "TS3", "TS4", "TS5", "TS6")]
    dataset = toy_dataset(videos)
    centred = dataset.poses_3d - dataset.poses_3d[:, MPI_INF_3DHP_17.root, None]
    dataset = replace(dataset, name=name, skeleton=MPI_INF_3DHP_17, poses_3d=centred)
    predictions = off_by(dataset, {"TS1": 17.0} | {f"TS{number}": 0.0 for number in range(2, 7)})
    found = {rule.number: scores.summary for rule, scores in _by_rule(predictions, dataset, "frames")}
    assert list(found) == list(dict.fromkeys(rule.number for rule in OF_3DHP))
    assert found["A21"]["mpjpe"] == pytest.approx(16 * 603 / 2929, rel=1e-4)
    assert found["A22"]["mpjpe"] == pytest.approx(16 / 6, rel=1e-4)
    assert found["A23"]["mpjpe"] == score(predictions, dataset, "frames").summary["mpjpe"]
    for rule in (*OF_HUMAN36M, *OF_3DHP):
        assert len(rule.changes.keys() - {"average"}) <= 1, rule


def test_metrics_undefined_on_the_scored_joints_are_left_out():
    """Trained on Human3.6M, tested on MPI-INF-3DHP: there is no PCK and no AUC to compare."""
    videos = [(test, test, test, "0", 12) for test in ("TS1", "TS2", "TS3", "TS4", "TS5", "TS6")]
    dataset = replace(toy_dataset(videos), name="3dhp")
    predictions = off_by(dataset, {f"TS{number}": 17.0 for number in range(1, 7)})
    shared = score(predictions, dataset, "frames")
    lines = [
        (line["number"], line["metric"])
        for rule, changed in _by_rule(predictions, dataset, "frames")
        for line in _lines(rule, shared, changed)
    ]
    assert ("A21", "mpjpe") in lines
    assert not {metric for _, metric in lines} & {"pck", "auc"}


def test_valid_frames_alone_lie_end_to_end():
    dataset = toy_dataset([("S1", "sit", "sit", "a", 6), ("S1", "walk", "walk", "a", 4), ("S1", "run", "run", "a", 3)])
    valid = torch.tensor([0, 1, 0, 0, 1, 1, 1, 0, 0, 1, 0, 0, 0], dtype=torch.bool)
    doing = torch.arange(13, dtype=torch.uint8) % 8
    alone = _valid_alone(replace(dataset, valid=valid, activities=doing))
    assert torch.equal(alone.activities, doing[valid])
    assert alone.valid is None
    assert alone.lengths.tolist() == [3, 2]
    assert alone.starts.tolist() == [0, 3]
    assert torch.equal(alone.keypoints_2d, dataset.keypoints_2d[valid])
    assert torch.equal(alone.poses_3d, dataset.poses_3d[valid])
