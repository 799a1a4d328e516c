"""Raw Human3.6M to the community's files: every layout, what is renamed and left out, what is refused, going on."""

from __future__ import annotations

import io
import os
import re
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from raw_samples import (
    H36M_NAMES,
    h36m_millimetres,
    raw_h36m,
    raw_h36m_path,
    write_cdf,
    write_h5,
    write_mat,
)

from bench import load_dataset
from bench.cli import main
from bench.data.files.archive import read_npz
from bench.data.prepare import human36m, prepare
from bench.system.errors import BenchError, MissingDataError

RAW = Path(__file__).parents[2] / "golden" / "raw"
SOME = ["S1 Photo", "S1 Sitting 2", "S9 WalkDog 1", "S11 Phoning 2"]


def made(folder: Path) -> tuple[dict, dict]:
    return (
        read_npz(folder / "data_3d_h36m.npz")["positions_3d"],
        read_npz(folder / "data_2d_h36m_gt.npz")["positions_2d"],
    )


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("layout", ["h36m_cdf", "h36m_mat", "h36m_archive"])
def test_each_layout_becomes_what_the_community_has(layout, tmp_path, golden):
    text = prepare("h36m", RAW / layout, tmp_path / "h36m", partial=True)
    world, pixels = made(tmp_path / "h36m")
    names = [("S1", "Photo 1"), ("S1", "Sitting 2"), ("S9", "Sitting 1"), ("S9", "WalkDog"), ("S11", "Photo 1")]
    assert [(subject, sequence) for subject in world for sequence in world[subject]] == names
    assert [(subject, sequence) for subject in pixels for sequence in pixels[subject]] == names
    expected = golden("raw/expected.npz")
    for subject, sequence in names:
        poses = world[subject][sequence]
        assert poses.dtype == np.float32
        np.testing.assert_allclose(poses, expected[f"h36m {subject} {sequence} poses"], atol=1e-6)
        seen = pixels[subject][sequence]
        assert [view.dtype for view in seen] == [np.float32] * 4
        np.testing.assert_allclose(np.stack(seen), expected[f"h36m {subject} {sequence} pixels"], atol=2e-3)
    about = read_npz(tmp_path / "h36m" / "data_2d_h36m_gt.npz")["metadata"]
    symmetry = [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]]
    assert about == {"num_joints": 17, "keypoints_symmetry": symmetry}
    assert "left out: S11 Directions" in text
    assert "\n  S5 (all)\n" in text
    assert len(load_dataset("h36m", tmp_path).sequences) == 5 * 4


def test_the_recordings_are_those_of_the_release():
    # First and second take of an action as published: "-" has no number. Others are 1/-.
    exceptions = {
        "S1": {"Eating": "2/-", "Sitting": "1/2", "SittingDown": "2/-"},
        "S5": {"Directions": "1/2", "Discussion": "2/3", "Greeting": "1/2", "Photo": "-/2", "Waiting": "1/2"},
        "S6": {
            "Eating": "1/2", "Posing": "2/-", "Sitting": "1/2", "SittingDown": "1/-", "Photo": "-/1", "Waiting": "3/-",
        },
        "S7": {"Phoning": "2/-", "Photo": "-/1", "Waiting": "1/2", "Walking": "1/2"},
        "S8": {"WalkTogether": "1/2"},
        "S9": {"Discussion": "1/2"},
        "S11": {"Discussion": "1/2", "Greeting": "2/-", "Phoning": "3/2", "Smoking": "2/-"},
    }  # fmt: skip
    actions = [
        "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Photo", "Posing", "Purchases", "Sitting",
        "SittingDown", "Smoking", "Waiting", "WalkDog", "Walking", "WalkTogether",
    ]  # fmt: skip
    published = {
        f"{subject} {action} {take}".removesuffix(" -")
        for subject in ("S1", "S5", "S6", "S7", "S8", "S9", "S11")
        for action in actions
        for take in exceptions[subject].get(action, "1/-").split("/")
    }
    assert len(H36M_NAMES) == 210
    assert set(H36M_NAMES) == published


def test_archives_as_downloaded_make_a_whole_data_set_that_loads(tmp_path, capsys):
    """Seven archives of 30 recordings, through the command; nothing of them is unpacked beside the output."""
    raw = raw_h36m(tmp_path / "unpacked", ".cdf.mat")
    write_mat(raw / "S6" / "MyPoseFeatures" / "D3_Positions" / "_ALL 1.cdf.mat", h36m_millimetres("calibration"))
    (tmp_path / "downloads").mkdir()
    for subject in sorted(raw.iterdir()):
        archive = tmp_path / "downloads" / f"Poses_D3_Positions_{subject.name}.tgz"
        with tarfile.open(archive, "w:gz") as packed:
            packed.add(subject, subject.name)
    with pytest.raises(SystemExit, match="0"):
        main(["data", "prepare", "h36m", "--raw", str(tmp_path / "downloads"), "--output", str(tmp_path / "h36m")])
    text, log = capsys.readouterr()
    assert "looking into" in log
    assert text.startswith("h36m: 209 files *.cdf.mat below ")
    assert "all                 209         209       627     525,774" in text
    assert "missing" not in text.replace("one video is missing", "")
    assert "are not those that users of the community's files count" in text
    assert f"next: bench data verify h36m --data {tmp_path / 'h36m'}" in text
    assert files(tmp_path / "h36m") == ["data_2d_h36m_gt.npz", "data_3d_h36m.npz"]
    world, _ = made(tmp_path / "h36m")
    np.testing.assert_array_equal(world["S1"]["Photo 1"], h36m_millimetres("S1 Photo 1") / np.float32(1000))
    dataset = load_dataset("h36m", tmp_path)
    assert len(dataset.sequences) == 836
    assert len(dataset.subset(["S9", "S11"]).sequences) == 236
    names = {f"{row.subject} {row.sequence}" for row in dataset.sequences.itertuples()}
    assert names == set(H36M_NAMES) - {"S11 Directions"}


@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_no_path_of_an_archive_is_written_to(kind, tmp_path):
    write_h5(tmp_path / "one.h5", h36m_millimetres("S1 Sitting 2"))
    content = (tmp_path / "one.h5").read_bytes()
    (tmp_path / "a" / "raw").mkdir(parents=True)
    name = "../../away/h36m/S1/MyPoses/3D_positions/Sitting 2.h5"
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "a" / "raw" / "h36m.zip", "w") as packed:
            packed.writestr(name, content)
    else:
        with tarfile.open(tmp_path / "a" / "raw" / "D3_Positions.tgz", "w:gz") as packed:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
            link = tarfile.TarInfo("h36m/S1/MyPoses/3D_positions/Eating.h5")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            packed.addfile(link)
    before = files(tmp_path)
    prepare("h36m", tmp_path / "a" / "raw", tmp_path / "out", partial=True)
    assert files(tmp_path) == sorted([*before, "out/data_2d_h36m_gt.npz", "out/data_3d_h36m.npz"])
    assert made(tmp_path / "out")[0].keys() == {"S1"}


def test_what_is_unpacked_is_taken_rather_than_its_archive(tmp_path):
    raw = raw_h36m(tmp_path / "raw", ".h5", ["S1 Sitting 2"])
    with zipfile.ZipFile(raw / "h36m.zip", "w") as packed:
        packed.writestr("h36m/S1/MyPoses/3D_positions/Sitting 2.h5", b"not HDF5")
    prepare("h36m", raw, tmp_path / "out", partial=True)
    np.testing.assert_allclose(made(tmp_path / "out")[0]["S1"]["Sitting 2"] * 1000, h36m_millimetres("S1 Sitting 2"))


@pytest.mark.parametrize("shape", [(96, 3), (32, 3, 3), (1, 96, 3), (288,)])
def test_the_h5_files_are_read_by_the_order_of_their_numbers(shape, tmp_path):
    path = raw_h36m_path(tmp_path / "raw", "S1 Sitting 2", ".h5")
    path.parent.mkdir(parents=True)
    poses = h36m_millimetres("S1 Sitting 2")
    with h5py.File(path, "w") as file:
        file["3D_positions"] = poses.transpose(1, 2, 0).reshape(shape)
    prepare("h36m", tmp_path / "raw", tmp_path / "out", partial=True)
    np.testing.assert_allclose(made(tmp_path / "out")[0]["S1"]["Sitting 2"] * 1000, poses, rtol=1e-6)


# --- what is refused


def test_what_is_missing_is_named_and_nothing_is_written(tmp_path):
    gone = {"S5 Photo 2", "S9 Eating 1", "S11 Directions", *(name for name in H36M_NAMES if name.startswith("S7 "))}
    raw = raw_h36m(tmp_path / "raw", ".h5", [name for name in H36M_NAMES if name not in gone])
    with pytest.raises(BenchError, match=r"raw lacks\n  S5 Photo 2\n  S7 \(all\)\n  S9 Eating 1\nCopy .*--partial"):
        prepare("h36m", raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_recordings_that_do_not_exist_or_exist_twice_are_refused(tmp_path):
    raw = raw_h36m(tmp_path / "raw", ".cdf.mat", ["S1 Photo"])
    write_mat(raw / "S1" / "MyPoseFeatures" / "D3_Positions" / "Photo.cdf.mat", h36m_millimetres("S1 Photo"))
    with pytest.raises(BenchError, match=r"'S1 Photo' is there twice: .*Photo.cdf.mat and .*TakingPhoto.cdf.mat"):
        prepare("h36m", raw, tmp_path / "out", partial=True)
    raw = raw_h36m(tmp_path / "other", ".cdf.mat", ["S1 Photo"])
    write_mat(raw / "S1" / "MyPoseFeatures" / "D3_Positions" / "Photo 2.cdf.mat", h36m_millimetres("S1 Photo"))
    with pytest.raises(BenchError, match=r"Photo 2.cdf.mat: 'S1 Photo 2' is no recording of Human3.6M, where S1 has"):
        prepare("h36m", raw, tmp_path / "out", partial=True)


def test_a_folder_without_recordings_is_refused(tmp_path):
    with pytest.raises(MissingDataError, match="nowhere not found; --raw names"):
        prepare("h36m", tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "S1" / "MyPoseFeatures" / "D3_Positions_mono").mkdir(parents=True)
    with pytest.raises(MissingDataError, match=r"holds no 3D positions of Human3.6M: looked for S\*/MyPoseFeatures"):
        prepare("h36m", tmp_path, tmp_path / "out", partial=True)
    with pytest.raises(MissingDataError, match="nothing but S11 Directions"):
        prepare("h36m", raw_h36m(tmp_path / "raw", ".h5", ["S11 Directions"]), tmp_path / "out", partial=True)
    with pytest.raises(BenchError, match="--skeleton is for 3dhp"):
        prepare("h36m", tmp_path, tmp_path / "out", skeleton="camera")
    with pytest.raises(BenchError, match=r"No raw data set 'h36n'. Did you mean 'h36m'"):
        prepare("h36n", tmp_path)
    assert not (tmp_path / "out").exists()


def spoilt(write, path: Path, what: str) -> None:
    poses = h36m_millimetres("S1 Sitting 2", frames=40)
    if what == "nan":
        poses[7, 3, 1] = np.nan
    if what == "metres":
        poses /= 1000
    if what == "shape":
        poses = poses[:, :31]
    if what == "variable":
        write(path, poses, "something_else")
    else:
        write(path, poses)
    if what == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if what == "text":
        path.write_text("<html>please log in</html>" * 99)


@pytest.mark.parametrize("kind", [".cdf", ".cdf.mat", ".h5", "flat.cdf"])
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("cut", "cannot be read"),
        ("text", "cannot be read"),
        ("variable", "expected a variable '(Pose|data|3D_positions)', found something_else"),
        ("shape", r"expected \((frames, 96|96, frames)\) numbers, found \("),
        ("nan", "frame 7 holds numbers that are not finite"),
        ("metres", "the largest coordinate is .*; is the 3D in millimetres"),
    ],
)
def test_a_damaged_file_is_named(kind, what, message, tmp_path):
    write = {
        ".cdf": write_cdf,
        ".cdf.mat": write_mat,
        ".h5": write_h5,
        "flat.cdf": lambda *given: write_cdf(*given, compress=0),
    }[kind]
    path = raw_h36m_path(tmp_path / "raw", "S1 Sitting 2", kind.removeprefix("flat"))
    spoilt(write, path, what)
    with pytest.raises(BenchError, match=rf"{re.escape(path.name)}.*{message}"):
        prepare("h36m", tmp_path / "raw", tmp_path / "out", partial=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["h36m.zip", "D3_Positions_S1.tgz"])
def test_a_damaged_archive_is_named(name, tmp_path):
    rng = np.random.default_rng(0)
    if name.endswith("zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as packed:
            packed.writestr("h36m/S1/MyPoses/3D_positions/Sitting 2.h5", rng.bytes(5000))
    else:
        with tarfile.open(tmp_path / name, "w:gz") as packed:
            member = tarfile.TarInfo("h36m/S1/MyPoses/3D_positions/Sitting 2.h5")
            member.size = 5000
            packed.addfile(member, io.BytesIO(rng.bytes(5000)))
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:2500])
    with pytest.raises(BenchError, match=rf"{name} cannot be read"):
        prepare("h36m", tmp_path, tmp_path / "out", partial=True)


# --- going on


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The raw files that are read, as they are; the third one never ends well while `reads.stop` is set."""

    class Reads(list):
        stop = False

    counted = Reads()

    def counting(read):
        def wrapped(source, path):
            if counted.stop and len(counted) == 2:
                raise KeyboardInterrupt
            counted.append(path.name)
            return read(source, path)

        return wrapped

    for layout, read in human36m.LAYOUTS.items():
        monkeypatch.setitem(human36m.LAYOUTS, layout, counting(read))
    return counted


def test_a_stopped_preparation_goes_on_where_it_was(tmp_path, results_folder, reads, capsys):
    raw = raw_h36m(tmp_path / "raw", ".cdf.mat", SOME)
    reads.stop = True
    with pytest.raises(KeyboardInterrupt):
        prepare("h36m", raw, tmp_path / "out", partial=True)
    assert len(reads) == 2
    assert not (tmp_path / "out").exists()
    reads.stop = False
    prepare("h36m", raw, tmp_path / "out", partial=True)
    assert sorted(reads) == sorted(raw_h36m_path(raw, name, ".cdf.mat").name for name in SOME), "each is read once"
    assert "2 of 4 files were converted before; going on" in capsys.readouterr().err
    assert files(results_folder / "cache") == [], "what was kept to go on is gone"
    prepare("h36m", raw, tmp_path / "at_once", partial=True)
    for name in ("data_3d_h36m.npz", "data_2d_h36m_gt.npz"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "at_once" / name).read_bytes()


def test_a_raw_file_that_changes_meanwhile_is_read_again(tmp_path, reads):
    raw = raw_h36m(tmp_path / "raw", ".h5", SOME)
    reads.stop = True
    with pytest.raises(KeyboardInterrupt):
        prepare("h36m", raw, tmp_path / "out", partial=True)
    reads.stop = False
    changed = h36m_millimetres("another", frames=5)
    for name in SOME:
        path = raw_h36m_path(raw, name, ".h5")
        write_h5(path, changed)
        os.utime(path, ns=(0, 10**18))
    prepare("h36m", raw, tmp_path / "out", partial=True)
    assert len(reads) == 2 + len(SOME)
    assert {len(poses) for videos in made(tmp_path / "out")[0].values() for poses in videos.values()} == {5}


def test_a_full_disk_leaves_no_file_and_loses_no_work(tmp_path, reads, monkeypatch):
    def full(file, **content):
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    raw = raw_h36m(tmp_path / "raw", ".h5", SOME)
    save = np.savez_compressed
    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(BenchError, match=r"written: No space left on device; --output"):
        prepare("h36m", raw, tmp_path / "out", partial=True)
    assert files(tmp_path / "out") == []
    monkeypatch.setattr(np, "savez_compressed", save)
    prepare("h36m", raw, tmp_path / "elsewhere", partial=True)
    assert len(reads) == len(SOME)


def test_a_cache_that_cannot_be_written_is_named(tmp_path, results_folder):
    raw = raw_h36m(tmp_path / "raw", ".h5", SOME)
    (results_folder / "cache").write_text("a file where a folder belongs")
    with pytest.raises(BenchError, match=r"cannot be written: .*\$BENCH_RESULTS changes the folder"):
        prepare("h36m", raw, tmp_path / "out", partial=True)
    assert files(tmp_path / "out") == []


def test_a_file_that_is_there_is_kept_unless_forced(tmp_path):
    raw, out = raw_h36m(tmp_path / "raw", ".h5", SOME), tmp_path / "out"
    prepare("h36m", raw, out, partial=True)
    stamps = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    text = prepare("h36m", raw, out, partial=True)
    assert text.count("is there already, with the same content") == 2
    write_h5(raw_h36m_path(raw, "S9 WalkDog 1", ".h5"), h36m_millimetres("another"))
    with pytest.raises(
        BenchError, match=r"3d_h36m.npz .*\(first difference: 'positions_3d' 'S9' 'WalkDog 1'\).*--force"
    ):
        prepare("h36m", raw, out, partial=True)
    write_h5(raw_h36m_path(raw, "S9 Walking", ".h5"), h36m_millimetres("S9 Walking"))
    with pytest.raises(BenchError, match=r"\(first difference: 'positions_3d' 'S9'\)"):
        prepare("h36m", raw, out, partial=True)
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == stamps
    assert prepare("h36m", raw, out, partial=True, force=True).count(" written") == 2
    assert "Walking" in made(out)[0]["S9"]
    (out / "data_3d_h36m.npz").write_bytes(b"PK")
    with pytest.raises(BenchError, match=r"not a whole .npz file .*To replace it: --force"):
        prepare("h36m", raw, out, partial=True)
