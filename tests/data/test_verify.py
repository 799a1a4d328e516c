"""Files of people who walk pass, and every usual mix-up is called by its name, alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from samples import save_3dhp, save_h36m

from bench.data import known, synthetic
from bench.data.known import thinned
from bench.data.mocap.detector import detect
from bench.data.verify import verify
from bench.data.verify.bodies import LAYOUTS, handedness, whole_orders
from bench.geometry.camera import denormalise_screen, h36m_cameras, normalise_screen, project
from bench.geometry.skeleton import COCO_17, H36M_17, H36M_17_OF_32, MPI_INF_3DHP_17, MPI_INF_3DHP_17_OF_28
from bench.system.errors import BenchError, MissingDataError

FRAMES = 70
H36M = {"S1": ("WalkDog",), "S9": ("Photo",), "S11": ("Walking",)}
MIRROR = list(H36M_17.mirror)
WHOLE_H36M = known.H36M_SEQUENCES


@pytest.fixture(scope="module")
def walking() -> dict[tuple[str, str], np.ndarray]:
    """World metres of a walk for each sequence: (frames, 17, 3)."""
    return {(subject, name): synthetic.motion(subject, "walk")[:FRAMES] for subject, (name,) in H36M.items()}


@pytest.fixture(autouse=True)
def few_sequences(monkeypatch):
    """Let these few short sequences be what whole files hold."""
    monkeypatch.setattr(known, "H36M_SEQUENCES", {subject: frozenset(names) for subject, names in H36M.items()})
    monkeypatch.setattr(known, "H36M_FRAMES", {("S1",): 4 * FRAMES, ("S9", "S11"): 8 * FRAMES})
    monkeypatch.setattr(known, "MPI_INF_3DHP_TRAIN", {"S1 Seq1": (FRAMES, 25), "S1 Seq2": (FRAMES, 50)})
    monkeypatch.setattr(known, "MPI_INF_3DHP_TEST", {"TS1": FRAMES, "TS5": FRAMES})
    monkeypatch.setattr(known, "MPI_INF_3DHP_VALID", {"TS1": 64, "TS5": FRAMES})


def findings(report: Any, level: str = "wrong") -> list[str]:
    return [f"{finding.check}: {finding.found}" for finding in report.findings if finding.level == level]


# --- Human3.6M

Files = dict[str, Any]  # "world" and "pixels" by subject and sequence, "metadata"


@pytest.fixture
def h36m(walking, tmp_path) -> Callable[..., Any]:
    """Writes files that somebody has changed, and verifies them."""

    def report(change: Callable[[Files], None] = lambda files: None, keypoints: str = "gt") -> Any:
        world: dict[str, Any] = {subject: {} for subject in H36M}
        pixels: dict[str, Any] = {subject: {} for subject in H36M}
        rng = np.random.default_rng(3)
        for (subject, sequence), motion in walking.items():
            recorded = np.repeat(motion[:, :1], 32, axis=1)
            recorded[:, H36M_17_OF_32] = motion
            world[subject][sequence] = recorded.astype(np.float32)
            pixels[subject][sequence] = []
            for camera in h36m_cameras()[subject]:
                poses = camera.to_camera(motion.astype(np.float32))
                seen = denormalise_screen(camera.project(poses), camera.width, camera.height)
                if keypoints != "gt":
                    seen = detect(seen, H36M_17, 50, rng)
                pixels[subject][sequence].append(seen)
        files = {"world": world, "pixels": pixels, "metadata": {"layout_name": "h36m"}}
        change(files)
        save_h36m(tmp_path, files["world"], files["pixels"], keypoints, **files["metadata"])
        return verify("h36m", tmp_path, keypoints)

    return report


def test_right_files_are_right(h36m):
    for keypoints in ("gt", "cpn_ft_h36m_dbb"):
        report = h36m(keypoints=keypoints)
        assert not findings(report)
        assert not findings(report, "warning")
        assert not report.is_wrong
        checks = {finding.check for finding in report.findings}
        assert checks >= {"subjects", "sequences", "frames", "units", "numbers", "joints", "bones", "left and right"}
        assert checks >= {"alignment", "reprojection", "loading"}
        assert str(report).endswith("0 wrong, 0 warning, 11 ok")


def in_3d(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Files], None]:
    def everywhere(files: Files) -> None:
        for sequences in files["world"].values():
            for name, poses in sequences.items():
                sequences[name] = np.ascontiguousarray(change(poses))

    return everywhere


def in_2d(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Files], None]:
    def everywhere(files: Files) -> None:
        for sequences in files["pixels"].values():
            for name, views in sequences.items():
                sequences[name] = [np.ascontiguousarray(change(view)) for view in views]

    return everywhere


def both(*changes: Callable[[Files], None]) -> Callable[[Files], None]:
    def all_of_them(files: Files) -> None:
        for change in changes:
            change(files)

    return all_of_them


def swap_3d(poses: np.ndarray) -> np.ndarray:
    swapped = poses.copy()
    swapped[:, H36M_17_OF_32] = poses[:, H36M_17_OF_32][:, MIRROR]
    return swapped


def in_order_of(layout: tuple[str, ...]) -> Callable[[np.ndarray], np.ndarray]:
    """Human3.6M's joints in another order; joints that it does not have lie at the head."""
    order = [H36M_17.joints.index(joint if joint in H36M_17.joints else "head") for joint in layout]
    return lambda block: block[:, order]


def reorder_cameras(files: Files) -> None:
    for sequences in files["pixels"].values():
        for name, views in sequences.items():
            sequences[name] = [views[1], views[0], *views[2:]]


def flip(axis: int, size: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda view: size * np.eye(2, dtype=np.float32)[axis] + view * (1 - 2 * np.eye(2, dtype=np.float32)[axis])


def undistorted(files: Files) -> None:
    for subject, sequences in files["pixels"].items():
        for name in sequences:
            sequences[name] = [
                denormalise_screen(
                    project(
                        camera.to_camera(files["world"][subject][name][:, H36M_17_OF_32]),
                        camera.intrinsics,
                        distort=False,
                    ),
                    camera.width,
                    camera.height,
                )
                for camera in h36m_cameras()[subject]
            ]


def normalise(files: Files) -> None:
    for subject, sequences in files["pixels"].items():
        for name, views in sequences.items():
            rig = zip(h36m_cameras()[subject], views, strict=True)
            sequences[name] = [normalise_screen(view, camera.width, camera.height) for camera, view in rig]


def set_item(part: str, *keys: Any, value: Any) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        place = files[part]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value(place.get(keys[-1]) if isinstance(place, dict) else place[keys[-1]])

    return change


def delete(*keys: Any) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        place: Any = files
        for key in keys[:-1]:
            place = place[key]
        del place[keys[-1]]

    return change


def add_directions(files: Files) -> None:
    for part in ("world", "pixels"):
        files[part]["S11"]["Directions"] = files[part]["S11"]["Walking"]


def rename(old: str, new: str) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        for part in ("world", "pixels"):
            files[part]["S9"][new] = files[part]["S9"].pop(old)

    return change


def nan(block: np.ndarray) -> np.ndarray:
    spoilt = block.copy()
    spoilt[7, 3, 0] = np.nan
    return spoilt


GT = [
    (in_3d(lambda poses: poses * 1000), ["units: positions_3d is in millimetres, not in metres"]),
    (in_3d(swap_3d), ["left and right: left and right are exchanged in the 3D only"]),
    (in_2d(lambda view: view[:, MIRROR]), ["left and right: left and right are exchanged in the 2D only"]),
    (
        both(in_3d(swap_3d), in_2d(lambda view: view[:, MIRROR])),
        ["left and right: left and right are exchanged in both 2D and 3D"],
    ),
    (in_2d(flip(0, 1000)), ["image: the image is mirrored"]),
    (in_2d(lambda view: flip(0, 1000)(view)[:, MIRROR]), ["image: the image is mirrored"]),
    (in_2d(flip(1, 1000)), ["image: the image is upside down"]),
    (in_2d(lambda view: view / 2), ["image: the image is of another size: x is scaled by 0.50 and y by 0.50"]),
    (in_2d(lambda view: view - np.float32([60, 20])), ["image: the 2D is shifted by some pixels"]),
    (normalise, ["pixels: the 2D is normalised already"]),
    (in_2d(in_order_of(COCO_17.joints)), ["joints: the 2D is in the order of COCO-17"]),
    (in_2d(in_order_of(LAYOUTS[MPI_INF_3DHP_17.name])), ["joints: the 2D is in the order of MPI-INF-3DHP-17"]),
    (in_2d(lambda view: view[:, :16]), ["joints: the 2D is (frames, 16, 2)"]),
    (reorder_cameras, ["cameras: cameras are in another order"]),
    (undistorted, ["lens: the 2D is projected without lens distortion"]),
    (
        in_2d(lambda view: np.concatenate([view[:1].repeat(4, axis=0), view])),
        ["alignment: 2D and 3D are shifted: 4 frames of 2D before"],
    ),
    (
        in_2d(lambda view: np.concatenate([view[:1].repeat(40, axis=0), view])),
        ["alignment: 2D and 3D are shifted: 40 frames of 2D before"],
    ),
    (
        in_2d(lambda view: np.concatenate([view[3:], view[-3:]])),
        ["alignment: 2D and 3D are shifted: 3 frames of 2D missing before"],
    ),
    (in_2d(lambda view: view[::2]), ["frame rate: the 2D has only every second frame", "frames: the 2D has fewer"]),
    (in_3d(lambda poses: poses[::5]), ["frames: only every fifth frame is there", "frame rate: the 3D has only every"]),
    (
        both(in_3d(lambda poses: poses[::2]), in_2d(lambda view: view[::2])),
        ["frames: only every second frame is there: 25 per second"],
    ),
    (in_2d(lambda view: view[:-1]), ["frames: the 2D has fewer frames than the 3D"]),
    (in_3d(nan), ["numbers: the 3D holds NaN"]),
    (in_2d(nan), ["numbers: the 2D holds NaN"]),
    (add_directions, ["sequences: S11 'Directions' is there"]),
    (rename("Photo", "TakingPhoto"), ["sequences: 'TakingPhoto' has not been renamed to 'Photo'"]),
    (delete("pixels", "S9", "Photo"), ["2D: data_2d_h36m_gt.npz lacks sequences"]),
    (delete("pixels", "S1", "WalkDog", 3), ["cameras: 3 views, not 4"]),
    (delete("pixels", "S1", "WalkDog", 0), ["cameras: 3 views, not 4", "cameras: cameras are in another order"]),
    (in_3d(lambda poses: poses[:, H36M_17_OF_32]), ["joints: the 3D has 17 joints"]),
    (
        set_item("pixels", "S1", "WalkDog", 1, value=lambda view: view * 0 + 5),
        ["reprojection: 2D and 3D do not belong together"],
    ),
    (
        set_item("metadata", "keypoints_symmetry", value=lambda _: [[1, 3, 5, 7], [2, 4, 6, 8]]),
        ["joints: its metadata say another joint set"],
    ),
    (
        set_item("metadata", "keypoints_symmetry", value=lambda _: [[1, 2, 3, 14, 15, 16], [4, 5, 6, 11, 12, 13]]),
        ["joints: its metadata name left right"],
    ),
    (
        set_item("metadata", "keypoints_symmetry", value=lambda _: [[*range(1, 16, 2)], [*range(2, 17, 2)]]),
        ["joints: its metadata say COCO's layout"],
    ),
]


@pytest.mark.parametrize(("change", "expected"), GT, ids=[expected[-1] for _, expected in GT])
def test_a_mix_up_of_human36m_is_called_by_its_name_and_nothing_else_is(h36m, change, expected):
    report = h36m(change)
    found = findings(report)
    assert [text for text in found if not any(text.startswith(start) for start in expected)] == []
    assert [start for start in expected if not any(text.startswith(start) for text in found)] == []
    assert report.is_wrong


CPN = [
    (in_2d(lambda view: view[:, MIRROR]), ["left and right: left and right are exchanged in the 2D only"]),
    (in_2d(flip(0, 1000)), ["image: the image is mirrored"]),
    (in_2d(in_order_of(COCO_17.joints)), ["joints: the 2D is in the order of COCO-17"]),
    (reorder_cameras, ["cameras: cameras are in another order"]),
    (
        in_2d(lambda view: np.concatenate([view[:1].repeat(9, axis=0), view])),
        ["alignment: 2D and 3D are shifted: 9 frames of 2D before"],
    ),
]


@pytest.mark.parametrize(("change", "expected"), CPN, ids=[expected[-1] for _, expected in CPN])
def test_a_mix_up_is_recognised_under_the_noise_of_a_detector(h36m, change, expected):
    found = findings(h36m(change, "cpn_ft_h36m_dbb"))
    assert [text for text in found if not any(text.startswith(start) for start in expected)] == []
    assert len(found) == len(expected)


def test_projections_under_a_detectors_name_are_no_detections(h36m, tmp_path):
    h36m()
    (tmp_path / "data_2d_h36m_gt.npz").rename(tmp_path / "data_2d_h36m_cpn_ft_h36m_dbb.npz")
    (found,) = findings(verify("h36m", tmp_path, "cpn"))
    assert found.startswith("reprojection: median <0.001 px")
    assert "too good for a detector" in found


def test_another_detector_is_a_warning(h36m):
    rng = np.random.default_rng(0)
    noise = in_2d(lambda view: (view + rng.normal(0, 14, view.shape)).astype(np.float32))
    report = h36m(noise, "cpn_ft_h36m_dbb")
    assert not report.is_wrong
    (found,) = findings(report, "warning")
    assert "more than the 1 to 12 px that are usual: another detector or fine-tuning?" in found


def test_numbers_in_half_precision_are_a_warning(h36m):
    report = h36m(in_2d(lambda view: view.astype(np.float16)))
    assert not report.is_wrong
    assert [text[:55] for text in findings(report, "warning")] == [
        "reprojection: the 2D is not the exact projection: other"
    ]


def test_drifting_labels_of_s9_are_not_held_against_detections(h36m, monkeypatch):
    monkeypatch.setattr("bench.data.verify.views.H36M_DRIFTING", {("S9", "Photo")})
    drift = in_2d(lambda view: np.concatenate([view[5:], view[-5:]]))

    def only_s9(files: Files) -> None:
        drift({"pixels": {"S9": files["pixels"]["S9"]}})

    assert not findings(h36m(only_s9, "cpn_ft_h36m_dbb"))
    assert findings(h36m(only_s9))


def test_files_cut_from_the_videos_are_recognised_by_their_frames(h36m, monkeypatch):
    monkeypatch.setattr(known, "H36M_FRAMES", {("S9", "S11"): 400})
    monkeypatch.setattr(known, "H36M_TEST_FRAMES_OF_VIDEOS", 8 * FRAMES)
    report = h36m()
    assert findings(report) == ["frames: these are the files cut from the videos, as in MotionBERT and its followers"]
    assert report.findings[0].where == ["S9 and S11: 560 frames, not 400"]


def test_one_mistake_everywhere_is_one_finding_that_says_where(h36m):
    text = str(h36m(in_2d(lambda view: view[:, MIRROR])))
    assert re.search(r"^wrong +left and right +left and right are exchanged in the 2D only$", text, re.MULTILINE)
    assert re.search(r"^ +where: S1 'WalkDog'; S9 'Photo'; S11 'Walking'$", text, re.MULTILINE)
    assert re.search(r"^ +do: exchange the joints there", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 120


def test_files_that_cannot_be_read_are_a_finding_and_missing_ones_an_error(h36m, tmp_path):
    h36m()
    with pytest.raises(MissingDataError, match="data_2d_h36m_cpn"):
        verify("h36m", tmp_path, "cpn")
    with pytest.raises(BenchError, match="No h36m keypoints 'det'"):
        verify("h36m", tmp_path, "det")
    (tmp_path / "data_3d_h36m.npz").write_bytes(b"PK")
    assert "not a whole .npz file" in findings(verify("h36m", tmp_path))[0]


def test_the_known_sequences_are_those_of_the_release():
    whole = WHOLE_H36M
    assert {subject: len(names) for subject, names in whole.items()} == {
        "S1": 30, "S5": 30, "S6": 30, "S7": 30, "S8": 30, "S9": 30, "S11": 29,
    }  # fmt: skip
    assert {"Eating", "Eating 2", "Sitting 1", "Sitting 2", "Photo", "Photo 1"} <= whole["S1"]
    assert {"Discussion 2", "Discussion 3"} <= whole["S5"]
    assert "Directions" not in whole["S11"]
    assert {"Directions 1", "Phoning 3", "Phoning 2"} <= whole["S11"]


@pytest.mark.parametrize(("found", "step"), [(500, None), (251, 2), (249, 2), (100, 5), (101, 5), (300, None)])
def test_thinned_files_are_told_from_their_frames(found, step):
    assert thinned(found, 500, slack=1) == step


# --- MPI-INF-3DHP


@pytest.fixture
def hp(walking, tmp_path) -> Callable[..., Any]:
    """Writes MPI-INF-3DHP's files of the same people after somebody has changed every view, and verifies them."""
    order = whole_orders(MPI_INF_3DHP_17)[H36M_17.name]

    def filmed(subject: str, sequence: str, rig: int, camera: int, focal: float, centre: Any) -> dict[str, Any]:
        poses = list(h36m_cameras().values())[rig][camera].to_camera(walking[subject, sequence])[:, order] * 1000
        root = poses[:, MPI_INF_3DHP_17.root][:, None]
        pixels = focal * poses[..., :2] / poses[..., 2:] + centre
        return {"data_2d": pixels, "data_3d": root + 1.05 * (poses - root)}  # everybody scaled to one height

    def report(view: Callable[[dict[str, Any]], Any] = lambda view: None, files: Any = lambda train, test: None) -> Any:
        train = {
            f"S1 Seq{number}": [
                {
                    name: filmed(*source, index % 3, index % 4, 1500, (1017, 1043))
                    for index, name in enumerate("01245678")
                },
                25 * number,
            ]
            for number, source in ((1, ("S1", "WalkDog")), (2, ("S9", "Photo")))
        }
        test = {
            "TS1": filmed("S11", "Walking", 0, 0, 1500, (1017, 1043)) | {"valid": 1.0 * (np.arange(FRAMES) > 5)},
            "TS5": filmed("S11", "Walking", 0, 1, 1684, (940, 560)) | {"valid": np.ones(FRAMES)},
        }
        for seen in [*(seen for views, _ in train.values() for seen in views.values()), *test.values()]:
            view(seen)
        files(train, test)
        save_3dhp(tmp_path, train, test)
        return verify("3dhp", tmp_path)

    return report


def change_3d(change: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
    return {"view": lambda view: view.update(data_3d=change(view["data_3d"]))}


def change_2d(change: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
    return {"view": lambda view: view.update(data_2d=change(view["data_2d"]))}


def change_both(change: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
    return {"view": lambda view: view.update({key: change(view[key]) for key in ("data_2d", "data_3d")})}


def thin(view: dict[str, Any]) -> None:
    view.update({key: block[::2] for key, block in view.items()})


def exchange_cameras(train: Any, test: Any) -> None:
    for views, _ in train.values():
        views["0"]["data_2d"], views["1"]["data_2d"] = views["1"]["data_2d"], views["0"]["data_2d"]


MIRROR_3DHP = list(MPI_INF_3DHP_17.mirror)
TO_H36M = np.argsort(whole_orders(MPI_INF_3DHP_17)[H36M_17.name])
TO_RAW = np.argsort(whole_orders(MPI_INF_3DHP_17)["the raw 28 joints'"])

HP = [
    (change_3d(lambda poses: poses / 1000), ["units: data_3d is in metres, not in millimetres"]),
    (
        change_both(lambda block: block[:, TO_H36M]),
        ["joints: the 3D is in the order of H36M-17", "joints: the 2D is in the order of H36M-17"],
    ),
    (
        change_both(lambda block: block[:, TO_RAW]),
        ["joints: the 3D is in the order of the raw 28 joints'", "joints: the 2D is in the order of the raw 28"],
    ),
    (change_2d(lambda view: view[:, TO_RAW]), ["joints: the 2D is in the order of the raw 28"]),
    (change_3d(lambda poses: poses[:, MIRROR_3DHP]), ["left and right: left and right are exchanged in the 3D only"]),
    (change_2d(lambda view: view[:, MIRROR_3DHP]), ["left and right: left and right are exchanged in the 2D only"]),
    (
        change_both(lambda block: block[:, MIRROR_3DHP]),
        ["left and right: left and right are exchanged in both 2D and 3D"],
    ),
    (change_2d(lambda view: [2048, 0] - view * [1, -1]), ["image: the image is mirrored"]),
    (change_3d(lambda poses: poses * [-1, 1, 1]), ["left and right: the 3D is mirrored"]),
    (change_2d(lambda view: [0, 2048] + view * [1, -1]), ["image: the image is upside down"]),
    (change_2d(lambda view: view / 4), ["image: a focal length of"]),
    (change_2d(lambda view: normalise_screen(view, 2048, 2048)), ["pixels: the 2D is normalised already"]),
    (
        change_2d(lambda view: np.concatenate([view[:1].repeat(6, axis=0), view])),
        ["alignment: 2D and 3D are shifted: 6 frames of 2D before"],
    ),
    ({"view": thin}, ["frames: only every second frame is there"]),
    (change_3d(nan), ["numbers: the 3D holds NaN"]),
    ({"files": exchange_cameras}, ["cameras: cameras are in another order"]),
    ({"files": lambda train, test: train["S1 Seq2"][0].pop("4")}, ["cameras: camera 4 is missing"]),
]


@pytest.mark.parametrize(("changes", "expected"), HP, ids=[expected[-1] for _, expected in HP])
def test_a_mix_up_of_3dhp_is_called_by_its_name_and_nothing_else_is(hp, changes, expected):
    found = findings(hp(**changes))
    assert [text for text in found if not any(text.startswith(start) for start in expected)] == []
    assert [start for start in expected if not any(text.startswith(start) for text in found)] == []


def test_a_part_of_the_data_is_a_warning(h36m, hp):
    for report, expected in (
        (h36m(delete("world", "S9")), "subjects: missing: S9"),
        (h36m(rename("Photo", "Photo 1")), "sequences: sequences are missing"),
        (hp(files=lambda train, test: train.pop("S1 Seq2")), "sequences: sequences are missing"),
        (hp(files=lambda train, test: test.pop("TS5")), "sequences: sequences are missing"),
    ):
        assert not report.is_wrong
        assert expected in "; ".join(findings(report, "warning"))


def test_right_files_of_3dhp_are_right(hp):
    report = hp()
    assert findings(report) == findings(report, "warning") == []
    assert "18 videos" in str(report)


def test_measured_skeletons_are_told_from_universal_ones(hp):
    def unscale(view: dict[str, Any]) -> None:
        root = view["data_3d"][:, MPI_INF_3DHP_17.root][:, None]
        view["data_3d"] = root + (view["data_3d"] - root) / 1.05

    report = hp(unscale)
    assert not report.is_wrong
    assert ["annot3" in text for text in findings(report, "warning")] == [True]


def test_labels_of_an_older_release_are_recognised(hp, monkeypatch):
    monkeypatch.setattr(known, "MPI_INF_3DHP_VALID", {"TS1": 3, "TS5": 5})
    monkeypatch.setattr(known, "MPI_INF_3DHP_VALID_BEFORE", {"TS1": 64, "TS5": FRAMES})
    assert findings(hp()) == ["valid frames: the labels of the test set are of an older release: 2,929 valid frames, "
                              "not 2,875"]  # fmt: skip


def test_all_28_joints_are_said_to_be_there(hp):
    def widen(view: dict[str, Any]) -> None:
        wide = np.zeros((FRAMES, 28, 3))
        wide[:, MPI_INF_3DHP_17_OF_28] = view["data_3d"]
        view["data_3d"] = wide

    assert findings(hp(widen)) == ["joints: the 3D has all 28 joints"]


# --- bodies


def stretch(joint: str, factor: float) -> Callable[[np.ndarray], np.ndarray]:
    """A limb that grows over the video; the joints below it stay where they are."""
    index = H36M_17.joints.index(joint)
    end, start = H36M_17_OF_32[index], H36M_17_OF_32[H36M_17.parents[index]]

    def change(poses: np.ndarray) -> np.ndarray:
        grown = poses.copy()
        grown[:, end] += (poses[:, end] - poses[:, start]) * np.linspace(0, factor, len(poses))[:, None]
        return grown

    return change


def test_a_limb_that_grows_is_told(h36m):
    report = h36m(in_3d(stretch("left wrist", 0.5)))
    (where,) = (f.where for f in report.findings if f.found == "a limb changes its length within a video")
    assert where == [
        f"{name}: left elbow to left wrist by 36%" for name in ("S1 'WalkDog'", "S9 'Photo'", "S11 'Walking'")
    ]
    assert "bones: a left limb and its right one differ in length" in findings(report, "warning")
    assert ["not the exact projection" in text for text in findings(report)] == [True]
    assert not findings(h36m(in_3d(stretch("left wrist", 0.1))), "warning")


@pytest.mark.parametrize("action", ["walk", "sit", "floor", "reach"])
def test_knees_tell_left_from_right_whatever_the_axes(action):
    poses = synthetic.motion("S6", action)
    turned = poses @ np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]]) + 3
    assert handedness(poses, H36M_17) == pytest.approx(handedness(turned, H36M_17))
    assert handedness(poses, H36M_17) > 0.5
    assert handedness(poses[:, MIRROR], H36M_17) == pytest.approx(-handedness(poses, H36M_17))
    assert handedness(poses * [-1, 1, 1], H36M_17) == pytest.approx(-handedness(poses, H36M_17))
    assert handedness((poses * [-1, 1, 1])[:, MIRROR], H36M_17) == pytest.approx(handedness(poses, H36M_17))


def test_simulated_data_are_verified_too(monkeypatch):
    monkeypatch.setattr(synthetic, "SUBJECTS", ("S1",))
    monkeypatch.setattr(synthetic, "ACTIONS", {name: synthetic.ACTIONS[name] for name in ("walk", "sit")})
    for keypoints in ("gt", "det"):
        report = verify("synthetic", keypoints=keypoints)
        assert findings(report) == findings(report, "warning") == []
        assert "12 videos" in str(report)
