"""Animations: what moves is where it should be, the video behind it is of the same frame, sizes suit the codec."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from bench.geometry.camera import normalise_screen
from bench.geometry.skeleton import COCO_17, H36M_17
from bench.show.draw import LEFT, RIGHT, TRUNK, upright
from bench.show.draw.animation import Span, animate, animate_denoising
from bench.show.draw.canvas import BAR, GAP, Canvas, Panel, Space
from bench.show.draw.figure import chosen_states, draw_figure, pose_error
from bench.show.draw.scene import Scene
from bench.show.draw.trace import Trace
from bench.show.draw.video import Footage, written
from bench.system.errors import BenchError

FRAMES, LEVEL = 8, 25
POSE = np.random.default_rng(3).normal(0, 0.25, (17, 3))


def scene(**changes) -> Scene:
    """A person who does not move: in an image of 60 x 40 all keypoints lie on one pixel, (45, 10)."""
    poses = np.tile(POSE - POSE[0], (FRAMES, 1, 1))
    known = {
        "title": "toy",
        "fps": 50.0,
        "skeleton": H36M_17,
        "skeleton_2d": H36M_17,
        "keypoints_2d": np.tile(normalise_screen(np.array([45.0, 10.0]), 60, 40), (FRAMES, 17, 1)),
        "predictions": {"first": poses + 0.01, "second": poses},
        "truth": poses,
        "errors": {"first": np.full(FRAMES, 17.3), "second": np.full(FRAMES, np.nan)},
    }
    return Scene(**{**known, **changes})


def read(path: Path) -> list[np.ndarray]:
    """The frames of a video, (height, width, 3) from 0 to 1."""
    frames = imageio_ffmpeg.read_frames(str(path))
    width, height = next(frames)["size"]
    return [np.frombuffer(frame, np.uint8).reshape(height, width, 3) / 255 for frame in frames]


@pytest.fixture
def footage(tmp_path) -> Path:
    """Twelve frames of 60 x 40 that tell their numbers by how bright they are."""
    path = tmp_path / "footage.mp4"
    with written(path, (60, 40), 50) as write:
        for number in range(12):
            write(Image.new("RGB", (60, 40), (min(number * LEVEL, 255), 0, 0)))
    return path


def test_input_truth_and_every_method_stand_side_by_side(tmp_path):
    assert animate(tmp_path / "a.mp4", scene(), panel=100) == FRAMES
    frames = read(tmp_path / "a.mp4")
    assert len(frames) == FRAMES
    assert frames[0].shape == (2 * BAR + 100 + GAP, GAP + 4 * (100 + GAP), 3)
    without = scene(truth=None, errors={}, skeleton_2d=COCO_17)
    animate(tmp_path / "b.mp4", without, panel=100)
    assert read(tmp_path / "b.mp4")[0].shape[1] == GAP + 3 * (100 + GAP)


@pytest.mark.parametrize(
    ("span", "numbers"), [(Span(), range(8)), (Span(2, 6), range(2, 6)), (Span(1, None, 3), (1, 4, 7))]
)
def test_the_video_behind_is_of_the_same_frame(tmp_path, footage, span, numbers):
    crop = (10, 0, 20, 40)  # without the person
    assert animate(tmp_path / "a.mp4", scene(first=1), span=span, footage=Footage(footage, 2, crop), panel=100) == len(
        numbers
    )
    reds = [
        frame[2 * BAR + 20 : 2 * BAR + 80, GAP + 10 : GAP + 40, 0].mean() * 255 / LEVEL
        for frame in read(tmp_path / "a.mp4")
    ]
    np.testing.assert_allclose(reds, [number + 1 + 2 for number in numbers], atol=0.3)


@pytest.mark.parametrize("crop", [None, (31, 3, 29, 17)])
def test_keypoints_lie_on_the_video_where_they_were_seen(tmp_path, footage, crop):
    hand = np.full((FRAMES, 17, 2), (45.0, 10.0))
    hand[:, list(H36M_17.left)] = (50.0, 15.0)
    seen = scene(keypoints_2d=normalise_screen(hand, 60, 40))
    animate(tmp_path / "a.mp4", seen, footage=Footage(footage, crop=crop), panel=200)
    left, top, _, height = crop or (0, 0, 60, 40)
    x, y = GAP + (50 - left) * 200 / height, 2 * BAR + (15 - top) * 200 / height
    frame = read(tmp_path / "a.mp4")[0]  # its footage is black
    assert frame[round(y), round(x)][2] > 0.5 > frame[round(y), round(x)][0] + 0.05
    assert frame[round(y), round(x) + 12].max() < 0.1


@pytest.mark.parametrize("panel", [100, 101, 133])
def test_sizes_are_even_as_codecs_want_them(tmp_path, footage, panel):
    animate(tmp_path / "a.mp4", scene(), footage=Footage(footage, crop=(0, 0, 31, 40)), panel=panel)
    height, width, _ = read(tmp_path / "a.mp4")[0].shape
    assert (height % 2, width % 2) == (0, 0)


def test_frames_that_are_not_there_are_refused_and_nothing_is_left(tmp_path, footage):
    before = sorted(tmp_path.iterdir())
    for span in (Span(0, 9), Span(8, None), Span(5, 5)):
        with pytest.raises(BenchError, match="of a video that has 8, numbered from 0"):
            animate(tmp_path / "a.mp4", scene(), span=span)
    for name in ("a.mp4", "a.gif"):
        with pytest.raises(
            BenchError, match=r"footage\.mp4 ends before frame 7: with 5 skipped it must have 13 frames"
        ):
            animate(tmp_path / name, scene(), footage=Footage(footage, 5), panel=100)
    assert sorted(tmp_path.iterdir()) == before


def test_a_prediction_is_not_drawn_where_there_is_none(tmp_path):
    unscored = np.tile(POSE - POSE[0], (FRAMES, 1, 1))
    unscored[2] = np.nan
    animate(tmp_path / "a.mp4", scene(predictions={"m": unscored}), panel=120)
    panel = np.s_[2 * BAR + 5 : 2 * BAR + 115, GAP + 2 * (120 + GAP) + 5 : -GAP - 5]
    darkest = [frame[panel].min() for frame in read(tmp_path / "a.mp4")[:4]]
    assert darkest[2] > 0.7 > max(darkest[0], darkest[1], darkest[3])


def test_left_is_blue_right_is_orange_the_head_is_up_and_near_covers_far():
    pose = np.zeros((17, 3))
    pose[list(H36M_17.left)], pose[list(H36M_17.right)] = (0.4, 0.3, 0), (-0.4, 0.3, 0)  # facing the camera
    pose[H36M_17.joints.index("head")] = (0, -0.7, 0)
    space = Space(Panel(0, 0, 300, 300))
    canvas = Canvas((300, 300))
    points = space.project(upright(pose))
    canvas.skeleton(points, H36M_17, 6)
    image = np.asarray(canvas.finished()) / 255
    rows, columns = {}, {}
    for name, shade in {"left": LEFT, "right": RIGHT, "trunk": TRUNK}.items():
        rows[name], columns[name] = (
            axis.mean() for axis in np.nonzero(np.abs(image - to_rgb(shade)).max(axis=-1) < 0.02)
        )
    assert columns["right"] < columns["trunk"] < columns["left"]
    assert rows["trunk"] < min(rows["left"], rows["right"])
    away = space.project(upright(np.array([[0, 0, 1.0], [0, 0, -1.0]])))
    assert away[0, 2] < away[1, 2]  # what is farther from the camera is farther from the eye


def a_trace(steps: int = 3) -> Trace:
    states = np.linspace(2 * POSE, POSE - POSE[0], steps + 1).astype(np.float32)
    return Trace(states, states[1:])


def test_denoising_counts_down_and_holds_the_result(tmp_path):
    assert animate_denoising(tmp_path / "a.mp4", scene(), 2, {"m": a_trace()}, panel=100) == 7
    frames = read(tmp_path / "a.mp4")
    assert imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "a.mp4")) == (7, 3.5)
    moved = [float(np.abs(one - other).max()) > 0.3 for one, other in pairwise(frames)]
    assert moved == [True, True, True, False, False, False]
    with pytest.raises(BenchError, match="different numbers of steps"):
        animate_denoising(tmp_path / "b.mp4", scene(), 2, {"m": a_trace(), "n": a_trace(4)})


def test_a_figure_shows_what_there_is(tmp_path):
    errors = {"first": np.full(FRAMES, 17.3), "second": np.zeros(FRAMES)}
    draw_figure(tmp_path / "a.svg", scene(errors=errors), 2, {"first": a_trace(9)})
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")  # which holds every string as a comment
    expected = ["2D input", "ground truth", "first: 17.3 mm", "over ground truth (grey)", "result: 0 mm", "noise: "]
    expected += ["5 steps left", "first, mean 17.3 mm", "toy, frame 2", "MPJPE (mm)"]
    assert [one for one in expected if f"<!-- {one}" not in text] == []


def test_states_are_chosen_evenly_with_both_ends():
    assert chosen_states(5, 4) == [0, 2, 3, 5]
    assert chosen_states(9, 4) == [0, 3, 6, 9]
    assert chosen_states(2, 6) == [0, 1, 2]
    assert chosen_states(1, 4) == [0, 1]


def test_the_error_of_a_state_counts_its_root_as_zero():
    shifted = scene().truth[0] + np.array([0.1, 0, 0])
    assert pose_error(shifted, scene(), 0) == pytest.approx(100 * 16 / 17)
    assert pose_error(shifted, scene(scored=(0, 1)), 0) == pytest.approx(50)
    assert np.isnan(pose_error(shifted, scene(truth=None), 0))
