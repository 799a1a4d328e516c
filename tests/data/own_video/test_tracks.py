"""One person through a video: who is followed, and what stands in the gaps."""

from __future__ import annotations

import numpy as np
import pytest

from bench.data.own_video.keypoint_files import Detections, Person
from bench.data.own_video.tracks import follow
from bench.geometry.skeleton import COCO_17, H36M_17
from bench.system.errors import BenchError

SHAPE = np.random.default_rng(1).uniform(0, 1, (17, 2))
SHAPE[:2] = [[0, 0], [1, 1]]  # a box of its own


def person(x: float, y: float = 0.0, size: float = 100.0, score: float = 0.9, track: str | None = None) -> Person:
    return Person(np.column_stack([SHAPE * size + [x, y], np.full(17, score)]), track)


def unseen(one: Person, *joints: str, score: float = 0.1, layout=COCO_17) -> Person:
    keypoints = one.keypoints.copy()
    keypoints[[layout.joints.index(joint) for joint in joints], 2] = score
    return Person(keypoints, one.track)


def track(frames, layout=COCO_17, fps=10.0, **options):
    frames = frames if isinstance(frames, dict) else dict(enumerate(frames))
    return follow("k.json", Detections(frames), layout, fps, **options)


def lefts(found) -> list[float]:
    return found.keypoints_2d[:, 0, 0].tolist()


def test_the_largest_person_is_followed_both_ways_in_whatever_order_people_stand():
    mine = [person(10 * frame) for frame in range(8)]
    other = [person(200 - 3 * frame, 20, size=80) for frame in range(8)]
    mine[4] = person(40, size=120)  # the largest of all: the start
    found = track([[a, b] if frame % 2 else [b, a] for frame, (a, b) in enumerate(zip(mine, other, strict=True))])
    assert lefts(found) == [0, 10, 20, 30, 40, 50, 60, 70]
    assert found.who == ("the largest, followed by overlap, seen in 8 of 8 frames; up to 1 other in a frame left out")
    assert not found.interpolated.any()
    assert found.longest_gap == 0


def test_somebody_else_where_the_person_is_missing_is_not_taken_for_them():
    frames = [[person(10 * frame), person(500, size=50)] for frame in range(6)]
    frames[2] = frames[2][1:]
    found = track(frames)
    assert lefts(found) == pytest.approx([0, 10, 20, 30, 40, 50])
    assert found.interpolated.all(axis=1).tolist() == [False, False, True, False, False, False]


def test_a_track_of_the_file_is_followed_however_people_move():
    frames = [[person(0, track="7"), person(300 * (frame % 2), track="2")] for frame in range(5)]
    frames[4] = frames[4][1:]
    found = track(frames)
    assert lefts(found) == [0, 300, 0, 300, 0]
    assert found.who == "track 2, seen in 5 of 5 frames; 1 other left out: 7"
    chosen = track(frames, person="7")
    assert chosen.who == "track 7, seen in 4 of 5 frames; 1 other left out: 2"
    assert chosen.interpolated[:, 0].tolist() == [False] * 4 + [True]
    with pytest.raises(BenchError, match=r"No person in k\.json '3'\. Known: 2, 7"):
        track(frames, person="3")


def test_of_many_others_some_are_named():
    frames = {frame: [person(0, track=str(frame // 2))] for frame in range(19)}
    assert track(frames, max_gap=2.0).who.endswith("; 9 others left out: 1, 2, 3, 4, 5, 6, 7, 8, ...")


def test_numbers_that_do_not_tell_people_apart_are_no_tracks():
    frames = [[person(5 * frame, track="0"), person(500, size=50, track="0")] for frame in range(3)]
    assert track(frames).who.startswith("the largest")
    with pytest.raises(BenchError, match="does not number its people: leave --person out"):
        track(frames, person="0")


def test_gaps_are_filled_in_a_straight_line_and_ends_are_held():
    frames = [[person(10.0 * frame**2)] for frame in range(7)]
    frames[3] = []
    frames[0] = [unseen(frames[0][0], "left wrist")]
    frames[5] = [unseen(frames[5][0], "left wrist", "nose")]
    frames[6] = [unseen(frames[6][0], "left wrist", score=np.nan)]
    found = track(frames)
    assert lefts(found) == pytest.approx([0, 10, 40, 100, 160, (160 + 360) / 2, 360])  # the nose
    wrist = COCO_17.joints.index("left wrist")
    offset = 100 * SHAPE[wrist, 0]
    np.testing.assert_allclose(found.keypoints_2d[:, wrist, 0] - offset, [10, 10, 40, 100, 160, 160, 160])
    assert found.interpolated[:, wrist].tolist() == [True, False, False, True, False, True, True]
    assert found.interpolated[:, 0].tolist() == [False, False, False, True, False, True, False]
    assert found.longest_gap == 2
    as_h36m = found.as_h36m()
    neck = H36M_17.joints.index("neck")
    assert as_h36m.skeleton == H36M_17
    assert as_h36m.interpolated[:, neck].tolist() == found.interpolated[:, 0].tolist()


def test_frames_keep_their_numbers_and_those_not_listed_are_gaps():
    found = track({frame: [person(frame)] for frame in (12, 10, 16)})
    assert found.frames.tolist() == [10, 11, 12, 13, 14, 15, 16]
    assert lefts(found) == pytest.approx([10, 11, 12, 13, 14, 15, 16])
    assert found.interpolated[:, 0].tolist() == [False, True, False, True, True, True, False]


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ({}, "no person found"),
        ({0: []}, "no person found"),
        ({0: [person(0, score=0.2)]}, r"no person found: no keypoint has a score of 0\.3 or more \(--min-score\)"),
        ({0: [person(0)], 12: [person(0)]}, r"missing for 11 frames \(1\.1 s\) from frame 1 on; more than 10 are not"),
        ({0: [], 11: [person(0)]}, r"missing for 11 frames \(1\.1 s\) from frame 0 on"),
        ({139: [person(0)], 10**15: [person(0)]}, "missing for 99999999999986"),
        (
            {frame: [unseen(person(0), *(["left knee"] if 3 <= frame < 14 else []))] for frame in range(20)},
            r"left knee is not seen for 11 frames \(1\.1 s\) from frame 3 on; more than 10",
        ),
        ({frame: [unseen(person(0), "right hip")] for frame in range(3)}, "the right hip is never seen"),
        ({0: [unseen(person(0), "nose", "left eye", "right eye", "left ear", "right ear")]}, "nose is never seen"),
    ],
)
def test_nobody_and_too_much_to_make_up_are_refused(frames, message):
    with pytest.raises(BenchError, match=message):
        track(frames, max_gap=1.0)


def test_gaps_of_just_the_limit_are_filled():
    assert track({0: [person(0)], 11: [person(11)]}, max_gap=1.0).longest_gap == 10


def test_a_profile_and_a_back_have_a_face_too():
    """An eye and an ear of the far side are never seen, or no nose: those that are seen stand in for them."""
    profile = track([[unseen(person(frame), "right eye", "right ear")] for frame in range(3)])
    eye, ear, far = (COCO_17.joints.index(joint) for joint in ("left eye", "left ear", "right ear"))
    middle = profile.keypoints_2d[:, [0, eye, ear]].mean(axis=1)
    np.testing.assert_allclose(profile.keypoints_2d[:, far], middle)
    assert profile.interpolated[:, far].all()
    back = track([[unseen(person(0), "nose", "left eye", "right eye")]] * 3)
    np.testing.assert_allclose(back.keypoints_2d[:, 0], back.keypoints_2d[:, [3, 4]].mean(axis=1))
    many = [[unseen(person(frame), *(["left ear"] if frame else []))] for frame in range(30)]
    assert track(many, max_gap=1.0).longest_gap == 29, "an ear alone may be missing for longer"
