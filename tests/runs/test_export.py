"""What others read of us: the file for MPI-INF-3DHP's script holds what our scores say, in its own layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io
from samples import (
    MPI_INF_3DHP_ACTIVITIES,
    MPI_INF_3DHP_VALID,
    mpi_inf_3dhp,
    save_3dhp,
    save_3dhp_activities,
)

from bench.cli import main
from bench.results.records import load

TINY = """
title: Tiny people
protocol:
  dataset: 3dhp
  keypoints: gt
  frames: 9
  train_subjects: [S1, S2, S8]
  test_subjects: [TS1, TS2, TS3, TS4, TS5, TS6]
  averaging: frames
methods:
  mean_pose: {}
"""
EXPORT = ("export", "3dhp-mat", "tiny.yaml", "--method", "mean_pose", "-o", "mat", "--data", "data")


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs a command in a folder with `tiny.yaml` and the data set's files; returns what it printed."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    save_3dhp(tmp_path / "data", *mpi_inf_3dhp())
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str, status: int = 0) -> str:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        out, err = capsys.readouterr()
        assert caught.value.code == status, err
        return out if status == 0 else err

    return command


def read_as_the_script_does(path: Path) -> dict[str, np.ndarray]:
    """Errors (valid frames, 17) in mm of each sequence, by the rules of the official script, from the file alone."""
    mat, (_, test) = scipy.io.loadmat(path), mpi_inf_3dhp()
    found = {}
    for name, view in test.items():
        valid = view["data_3d"][view["valid"] == 1]
        target = valid - valid[:, 14:15]
        predicted = np.stack([mat[name][:, :, 0, frame].T for frame in range(len(valid))])
        found[name] = np.sqrt(((predicted - target) ** 2).sum(axis=-1))
    return found


def test_the_matlab_file_gives_the_numbers_of_the_record(call):
    save_3dhp_activities(Path("data"))
    call("run", "tiny.yaml", "--data", "data", "--no-track")
    text = call(*EXPORT)
    names = ["inference_data.mat", "expected_sequence_wise.csv", "expected_activity_wise.csv"]
    assert text.splitlines() == [f"written  mat/{name}" for name in names]
    assert sorted(path.name for path in Path("mat").iterdir()) == sorted(names)
    mat = scipy.io.loadmat("mat/inference_data.mat")
    for name, valid in MPI_INF_3DHP_VALID.items():
        assert mat[name].shape == (3, 17, 1, sum(valid))
        assert mat[name].dtype == np.float64
        assert not mat[name][:, 14].any()
    assert {name for name in mat if not name.startswith("__")} == set(MPI_INF_3DHP_VALID)

    errors = read_as_the_script_does(Path("mat/inference_data.mat"))
    pooled = np.concatenate(list(errors.values()))
    pck = 100 * (pooled[:, :14] < 150).mean()
    auc = 100 * np.mean([(pooled[:, :14] < limit).mean() for limit in range(0, 151, 5)])
    (record,) = load("tiny")
    metrics = {name: metric.value for name, metric in record.metrics.items()}
    assert [metrics[name] for name in ("mpjpe", "pck", "auc")] == pytest.approx([pooled.mean(), pck, auc], rel=1e-5)
    assert 0 < pck < 100

    by_sequence = pd.read_csv("mat/expected_sequence_wise.csv", index_col="sequence")
    for name, one in errors.items():
        assert by_sequence.loc[name, "PCK Knee"] == pytest.approx(100 * (one[:, [9, 12]] < 150).mean())
        assert by_sequence.loc[name, "PCK Total"] == pytest.approx(100 * (one[:, :14] < 150).mean())
        assert by_sequence.loc[name, "MPJPE Average"] == pytest.approx(one.mean(), rel=1e-5)
        assert record.groups["sequence"][name]["mpjpe"] == pytest.approx(one.mean(), rel=1e-5)
    doing = np.concatenate(
        [np.array(MPI_INF_3DHP_ACTIVITIES[name])[np.array(valid) == 1] for name, valid in MPI_INF_3DHP_VALID.items()]
    )
    by_activity = pd.read_csv("mat/expected_activity_wise.csv", index_col="activity")
    assert by_activity.loc["Sitting", "PCK Total"] == pytest.approx(100 * (pooled[doing == 3, :14] < 150).mean())
    assert by_activity.loc["All", "PCK Total"] == pytest.approx(pck)
    assert by_activity.loc[["Exercising", "Sports"]].isna().all(axis=None)
    assert record.groups["activity"]["Sitting"]["frames"] == (doing == 3).sum()
    assert "Sports" not in record.groups["activity"]


def test_without_activities_there_is_no_table_of_them(call):
    call("run", "tiny.yaml", "--data", "data", "--no-track")
    assert "no activity_test_3dhp.npz beside the data" in call(*EXPORT)
    assert sorted(path.name for path in Path("mat").iterdir()) == ["expected_sequence_wise.csv", "inference_data.mat"]


def test_what_cannot_be_exported_is_refused_and_nothing_is_written(call):
    err = call(*EXPORT, status=2)
    assert "mean_pose-s0-" in err
    assert "has no predictions in" in err
    assert "bench run tiny --methods mean_pose\n" in err
    assert "No method of tiny 'mixste'" in call(*EXPORT[:4], "mixste", *EXPORT[5:], status=2)
    Path("people.yaml").write_text(TINY.replace("dataset: 3dhp", "dataset: h36m"))
    message = call("export", "3dhp-mat", "people.yaml", "--method", "mean_pose", "-o", "mat", status=2)
    assert "people is measured on h36m; this is for MPI-INF-3DHP" in message
    Path("own.yaml").write_text(TINY.replace("S2, S8]", "S2]").replace("[TS1,", "[S8, TS1,"))
    call("run", "own.yaml", "--data", "data", "--no-track")
    message = call("export", "3dhp-mat", "own.yaml", *EXPORT[3:], status=2)
    assert "knows TS1 to TS6, not S8" in message
    assert not Path("mat").exists()
