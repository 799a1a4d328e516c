"""Raw MPI-INF-3DHP to the community's files: joints, cameras, frames, both kinds of 3D labels, what is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from raw_samples import MPI_INF_3DHP_28, annot, annot_data, coded, write_annot, write_annot_data

from bench import load_dataset
from bench.cli import main
from bench.data import known
from bench.data.files.archive import read_npz
from bench.data.prepare import mpi_inf_3dhp, prepare
from bench.geometry.skeleton import MPI_INF_3DHP_17
from bench.system.errors import BenchError, MissingDataError

RAW = Path(__file__).parents[2] / "golden" / "raw" / "3dhp"
CAMERAS = ["0", "1", "2", "4", "5", "6", "7", "8"]


def raw_3dhp(root: Path, train: dict[str, dict], test: dict[str, dict]) -> Path:
    for name, content in train.items():
        write_annot(root.joinpath(*name.split(), "annot.mat"), content)
    for name, content in test.items():
        write_annot_data(root / "mpi_inf_3dhp_test_set" / name / "annot_data.mat", content)
    return root


def test_raw_files_become_what_the_community_has(tmp_path, golden):
    text = prepare("3dhp", RAW, tmp_path / "3dhp", skeleton="universal", partial=True)
    expected = golden("raw/expected.npz")
    train = read_npz(tmp_path / "3dhp" / "data_train_3dhp.npz")["data"]
    assert train.keys() == {"S1 Seq1"}
    views, fps = train["S1 Seq1"]
    assert (sorted(views), fps) == (CAMERAS, 25)
    for kind in ("data_2d", "data_3d"):
        seen = np.stack([views[camera][kind] for camera in CAMERAS])
        np.testing.assert_allclose(seen, expected[f"3dhp S1 Seq1 {kind}"], rtol=1e-6)
        assert seen.dtype == np.float32
    test = read_npz(tmp_path / "3dhp" / "data_test_3dhp.npz")["data"]["TS1"]
    activities = read_npz(tmp_path / "3dhp" / "activity_test_3dhp.npz")
    assert test.keys() == {"data_2d", "data_3d", "valid"}
    assert activities.keys() == {"TS1"}
    for kind, found in (test | {"activity": activities["TS1"]}).items():
        np.testing.assert_array_equal(found, expected[f"3dhp TS1 {kind}"])
        assert found.dtype == np.float64
    assert "missing: S1 Seq2, S2 Seq1" in text
    dataset = load_dataset("3dhp", tmp_path)
    assert list(dataset.sequences["subject"]) == ["S1"] * 8 + ["TS1"]
    assert len(dataset.counted) == 8 * 12 + int(test["valid"].sum())


@pytest.mark.parametrize(
    ("skeleton", "ending", "train", "test"), [("universal", "", 30, 3), ("camera", "_annot3", 15, 2)]
)
def test_joints_cameras_and_labels_are_the_named_ones(skeleton, ending, train, test, tmp_path):
    raw = raw_3dhp(tmp_path / "raw", {"S4 Seq2": annot(3)}, {"TS6": annot_data(5)})
    prepare("3dhp", raw, tmp_path / "out", skeleton=skeleton, partial=True)
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {f"data_train_3dhp{ending}.npz", f"data_test_3dhp{ending}.npz", "activity_test_3dhp.npz"}
    views, _ = read_npz(tmp_path / "out" / f"data_train_3dhp{ending}.npz")["data"]["S4 Seq2"]
    joints = [MPI_INF_3DHP_28.index(joint) for joint in MPI_INF_3DHP_17.joints]
    for camera in CAMERAS:
        np.testing.assert_array_equal(views[camera]["data_2d"], coded(int(camera), 3, 28, 2)[:, joints])
        np.testing.assert_array_equal(views[camera]["data_3d"], coded(train + int(camera), 3, 28, 3)[:, joints])
    tested = read_npz(tmp_path / "out" / f"data_test_3dhp{ending}.npz")["data"]["TS6"]
    np.testing.assert_array_equal(tested["data_2d"], coded(1, 5, 17, 2))
    np.testing.assert_array_equal(tested["data_3d"], coded(test, 5, 17, 3))
    np.testing.assert_array_equal(tested["valid"], [1, 0, 1, 0, 1])


def test_the_frames_are_those_of_the_table():
    assert sum(frames for frames, _ in known.MPI_INF_3DHP_TRAIN.values()) == 131_592
    assert sorted(fps for _, fps in known.MPI_INF_3DHP_TRAIN.values()) == [25] * 11 + [50] * 5
    assert sum(known.MPI_INF_3DHP_TEST.values()) == 24_888
    assert sum(known.MPI_INF_3DHP_VALID.values()) == 2_875
    assert sum(known.MPI_INF_3DHP_VALID_BEFORE.values()) == 2_929
    names = [known.MPI_INF_3DHP_TEST, known.MPI_INF_3DHP_VALID, known.MPI_INF_3DHP_VALID_BEFORE]
    assert len({tuple(one) for one in names}) == 1


@pytest.fixture
def short(monkeypatch) -> None:
    """Training sequences of which the community uses 4 frames."""
    shorter = {name: (4, fps) for name, (_, fps) in known.MPI_INF_3DHP_TRAIN.items()}
    monkeypatch.setattr(known, "MPI_INF_3DHP_TRAIN", shorter)


def test_a_whole_download_through_the_command(short, tmp_path, capsys):
    """Training sequences are cut to the table's frames; the test set is still in its archive."""
    raw = raw_3dhp(tmp_path / "raw", {name: annot(6) for name in known.MPI_INF_3DHP_TRAIN}, {})
    unpacked = raw_3dhp(tmp_path / "unpacked", {}, {f"TS{number}": annot_data(4) for number in range(1, 8)})
    with zipfile.ZipFile(raw / "mpi_inf_3dhp_test_set.zip", "w") as packed:
        for path in sorted(unpacked.rglob("*.mat")):
            packed.write(path, path.relative_to(unpacked))
    arguments = ["data", "prepare", "3dhp", "--raw", str(raw), "--output", str(tmp_path / "data" / "3dhp")]
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "--skeleton universal takes the skeletons scaled to one height" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--skeleton", "univ"])
    assert "No skeleton of 3dhp 'univ'. Did you mean 'universal'?" in capsys.readouterr().err
    for skeleton, dataset in (("universal", "3dhp"), ("camera", "3dhp-annot3")):
        with pytest.raises(SystemExit, match="0"):
            main([*arguments, "--skeleton", skeleton])
        text = capsys.readouterr().out
        assert text.startswith("3dhp: 22 files below ")
        assert f"next: bench data verify {dataset} --data " in text
    assert "activity_test_3dhp.npz is there already, with the same content" in text
    dataset = load_dataset("3dhp", tmp_path / "data")
    assert (dataset.sequences["frames"] == 4).all()
    assert len(dataset.sequences) == 16 * 8 + 6


def test_what_is_missing_or_too_short_is_named(short, tmp_path):
    train = {name: annot(3 if name == "S5 Seq1" else 4) for name in known.MPI_INF_3DHP_TRAIN}
    raw = raw_3dhp(tmp_path / "raw", train, {f"TS{number}": annot_data(4) for number in range(1, 6)})
    with pytest.raises(BenchError, match=r"raw lacks TS6\. Copy what is missing"):
        prepare("3dhp", raw, tmp_path / "out", skeleton="camera")
    write_annot_data(raw / "TS6" / "annot_data.mat", annot_data(4))
    message = r"S5/Seq1/annot.mat, annot2, camera 0: 3 frames, S5 Seq1 has 4 at least"
    with pytest.raises(BenchError, match=message):
        prepare("3dhp", raw, tmp_path / "out", skeleton="camera")
    assert not (tmp_path / "out").exists()
    prepare("3dhp", raw, tmp_path / "out", skeleton="camera", partial=True)
    with pytest.raises(BenchError, match=message):  # what was made of part of the data is not taken for the whole
        prepare("3dhp", raw, tmp_path / "out", skeleton="camera")
    with pytest.raises(MissingDataError, match=r"holds no annotations of MPI-INF-3DHP: looked for S\*/Seq\*/annot.mat"):
        prepare("3dhp", tmp_path / "out", tmp_path / "other", skeleton="camera")


def cells(camera: int, content: np.ndarray) -> np.ndarray:
    changed = annot(3)["univ_annot3"]
    changed[camera, 0] = content
    return changed


def with_nan(frames: int, *shape: int) -> np.ndarray:
    array = np.ones((frames, *shape))
    array[2].flat[7 * 3] = np.nan  # the head, which is kept
    return array


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"univ_annot3": None}, "expected a variable 'univ_annot3', found annot2, annot3, cameras, frames"),
        ({"univ_annot3": np.zeros((3, 84))}, r"univ_annot3: expected 14 cells, found \(3, 84\)"),
        ({"univ_annot3": cells(5, np.ones((3, 51)))}, r"camera 5: expected \(frames, 84\) numbers, found \(3, 51\)"),
        ({"univ_annot3": cells(8, np.ones((2, 84)))}, "frames differ: .*2 of 8_data_3d"),
        ({"univ_annot3": cells(8, with_nan(3, 84))}, "camera 8: frame 2 holds numbers that are not finite"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:40],
)
def test_a_damaged_training_file_is_named(changed, message, tmp_path):
    raw = raw_3dhp(tmp_path / "raw", {"S2 Seq1": annot(3, **changed)}, {})
    with pytest.raises(BenchError, match=f"S2/Seq1/annot.mat.*{message}"):
        prepare("3dhp", raw, tmp_path / "out", skeleton="universal", partial=True)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"univ_annot3": None}, "expected a variable 'univ_annot3', found activity_annotation, annot2"),
        ({"annot2": np.zeros((4, 17, 2))}, r"annot2: expected \('frames', 1, 17, 2\) numbers, found \(4, 17, 2\)"),
        ({"univ_annot3": np.ones((3, 1, 17, 3))}, "frames differ: 4 of data_2d, 3 of data_3d"),
        ({"univ_annot3": with_nan(4, 1, 17, 3)}, "univ_annot3: frame 2 holds numbers that are not finite"),
        ({"valid_frame": np.full((4, 1), 2.0)}, "valid_frame: expected 0 to 1, found 2"),
        (
            {"activity_annotation": np.arange(6, 10.0)[:, None]},
            "activity_annotation: expected 1 to 7, found 6, 7, 8, 9",
        ),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:40],
)
def test_a_damaged_test_file_is_named(changed, message, tmp_path):
    raw = raw_3dhp(tmp_path / "raw", {}, {"TS3": annot_data(4, **changed)})
    with pytest.raises(BenchError, match=f"TS3/annot_data.mat.*{message}"):
        prepare("3dhp", raw, tmp_path / "out", skeleton="universal", partial=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["S2/Seq1/annot.mat", "mpi_inf_3dhp_test_set/TS3/annot_data.mat"])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
def test_a_file_that_was_not_copied_whole_is_named(name, share, tmp_path):
    raw = raw_3dhp(tmp_path / "raw", {"S2 Seq1": annot(20)}, {"TS3": annot_data(20)})
    whole = (raw / name).read_bytes()
    (raw / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(BenchError, match=f"{name}.*(cannot be read|was the file copied whole)"):
        prepare("3dhp", raw, tmp_path / "out", skeleton="universal", partial=True)


def test_a_stopped_preparation_goes_on_and_keeps_the_labels_apart(tmp_path, monkeypatch):
    reads: list[str] = []
    stops = ["S3 Seq1 annot3"]
    whole = mpi_inf_3dhp._read_train

    def counting(source, path, labels, name, partial):
        reads.append(f"{name} {labels}")
        if reads[-1] in stops:
            raise KeyboardInterrupt
        return whole(source, path, labels, name, partial)

    raw = raw_3dhp(tmp_path / "raw", {f"S{number} Seq1": annot(3) for number in (1, 2, 3)}, {})
    monkeypatch.setattr(mpi_inf_3dhp, "_read_train", counting)
    with pytest.raises(KeyboardInterrupt):
        prepare("3dhp", raw, tmp_path / "out", skeleton="camera", partial=True)
    prepare("3dhp", raw, tmp_path / "out", skeleton="universal", partial=True)
    stops.clear()
    prepare("3dhp", raw, tmp_path / "out", skeleton="camera", partial=True)
    assert reads == [
        *("S1 Seq1 annot3", "S2 Seq1 annot3", "S3 Seq1 annot3"),
        *("S1 Seq1 univ_annot3", "S2 Seq1 univ_annot3", "S3 Seq1 univ_annot3"),
        "S3 Seq1 annot3",
    ]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"data_train_3dhp.npz", "data_train_3dhp_annot3.npz"}
