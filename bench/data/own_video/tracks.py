"""Follow one person through a video: choose among the detected people, and fill gaps in the detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.own_video import coco
from bench.data.own_video.keypoint_files import Detections, Person
from bench.geometry.skeleton import COCO_17, H36M_17, Skeleton
from bench.system.errors import BenchError, unknown

Array = NDArray[Any]

LEAST_OVERLAP = 0.1  # intersection over union with the person's last box; with less it is another person


@dataclass(frozen=True)
class Track:
    """One person in every frame of a video.

    frames: (frames,) their numbers in the file. keypoints_2d: (frames, joints, 2) pixels. interpolated: (frames,
    joints), true where the detector found no keypoint. who: how the person was chosen, as text.
    """

    skeleton: Skeleton
    frames: NDArray[np.int64]
    keypoints_2d: NDArray[np.float64]
    interpolated: NDArray[np.bool_]
    who: str

    @property
    def longest_gap(self) -> int:
        """The longest run of frames in which a joint was interpolated."""
        return max(int(_gaps(column)[:, 1].max(initial=0)) for column in self.interpolated.T)

    def as_h36m(self) -> Track:
        """The same person in Human3.6M's joints; one that depends on an interpolated keypoint is interpolated."""
        if self.skeleton == H36M_17:
            return self
        keypoints_2d, interpolated = coco.to_h36m(self.keypoints_2d), coco.touched(self.interpolated)
        return replace(self, skeleton=H36M_17, keypoints_2d=keypoints_2d, interpolated=interpolated)


def follow(
    where: str,
    detections: Detections,
    layout: Skeleton,
    fps: float,
    *,
    person: str | None = None,
    min_score: float = 0.3,
    max_gap: float = 2.0,
) -> Track:
    """One person's keypoints in every frame, gaps filled: interpolated linearly in time, ends held.

    person: a track of the file; default: the track seen in most frames; without tracks, the largest person of the
    video, followed by overlap from frame to frame. min_score: a keypoint below it is not used. max_gap: longest gap
    that is filled, in seconds; eyes and ears alone may be missing for longer. where: the file, for messages. Raises
    BenchError if there is no person or no such track, or if a gap is too long.
    """
    frames = {
        number: [one for one in people if _seen(one, min_score).any()]
        for number, people in sorted(detections.frames.items())
    }
    if not any(frames.values()):
        raise BenchError(f"{where}: no person found: no keypoint has a score of {min_score:g} or more (--min-score)")
    chosen, who = _choose(where, frames, person)
    limit = int(max_gap * fps + 1e-9)
    first, last = min(frames), max(frames)
    _refuse_absence(where, [first - 1, *chosen, last + 1], limit, fps)

    keypoints_2d = np.full((last - first + 1, len(layout), 2), np.nan)
    for number, one in chosen.items():
        seen = _seen(one, min_score)
        keypoints_2d[number - first, seen] = one.keypoints[seen, :2]
    interpolated = np.isnan(keypoints_2d).any(axis=-1)
    if layout == COCO_17:
        _lend_faces(keypoints_2d)
    _refuse_long_gaps(where, np.isnan(keypoints_2d).any(axis=-1), layout, first, limit, fps)
    _interpolate(keypoints_2d)
    return Track(layout, np.arange(first, last + 1), keypoints_2d, interpolated, who)


# --- choosing the person


def _choose(where: str, frames: dict[int, list[Person]], person: str | None) -> tuple[dict[int, Person], str]:
    """The chosen person in each frame in which they are seen, and how they were chosen, as text."""
    everybody = [one for people in frames.values() for one in people]
    tracks: dict[str, dict[int, Person]] = {}
    for number, people in frames.items():
        for one in people:
            if one.track is not None:
                tracks.setdefault(one.track, {})[number] = one
    # The same track twice in a frame: a detector that does not track writes one number for all.
    if sum(map(len, tracks.values())) != len(everybody):
        tracks = {}
    if person is not None:
        if not tracks:
            raise BenchError(f"{where} does not number its people: leave --person out, or let the detector track")
        if person not in tracks:
            raise unknown(f"person in {where}", person, tracks)
        name = person
    elif tracks:
        name = max(tracks, key=lambda track: (len(tracks[track]), sum(map(_area, tracks[track].values()))))
    elif (most := max(map(len, frames.values()))) == 1:
        alone = {number: people[0] for number, people in frames.items() if people}
        return alone, f"the only one, {_seen_in(alone, frames)}"
    else:
        chosen = _largest_followed(frames)
        others = f"up to {_others(most - 1)} in a frame left out"
        return chosen, f"the largest, followed by overlap, {_seen_in(chosen, frames)}; {others}"
    rest = sorted(tracks.keys() - {name})
    some = ", ".join([*rest[:8], *(["..."] if len(rest) > 8 else [])])
    left_out = f"; {_others(len(rest))} left out: {some}" if rest else ""
    return tracks[name], f"track {name}, {_seen_in(tracks[name], frames)}{left_out}"


def _others(number: int) -> str:
    return f"{number} other{'s' if number > 1 else ''}"


def _seen_in(chosen: dict[int, Person], frames: dict[int, list[Person]]) -> str:
    return f"seen in {len(chosen)} of {max(frames) - min(frames) + 1} frames"


def _largest_followed(frames: dict[int, list[Person]]) -> dict[int, Person]:
    """Follow the largest person of the video forwards and backwards, each time to the box with the largest overlap."""
    start, largest = max(
        ((number, one) for number, people in frames.items() for one in people), key=lambda found: _weight(found[1])
    )
    chosen = {start: largest}
    for direction in (
        [number for number in frames if number > start],
        [number for number in reversed(frames) if number < start],
    ):
        last = largest
        for number in direction:
            overlaps = [_overlap(last, one) for one in frames[number]]
            if max(overlaps, default=0.0) >= LEAST_OVERLAP:
                chosen[number] = last = frames[number][int(np.argmax(overlaps))]
    return dict(sorted(chosen.items()))


def _seen(person: Person, min_score: float) -> NDArray[np.bool_]:
    return np.asarray(person.keypoints[:, 2] >= min_score) & np.isfinite(person.keypoints).all(axis=1)


def _box(person: Person) -> Array:
    """(4,) left, top, right, bottom. It is taken of all keypoints, since each format defines its box differently."""
    points = person.keypoints[:, :2]
    return np.concatenate([np.nanmin(points, axis=0), np.nanmax(points, axis=0)])


def _area(person: Person) -> float:
    left, top, right, bottom = _box(person)
    return float((right - left) * (bottom - top))


def _weight(person: Person) -> float:
    """Area times mean score, so that a large false detection is not taken for the main person."""
    return _area(person) * float(person.keypoints[:, 2].mean())


def _overlap(one: Person, other: Person) -> float:
    """Intersection over union of two boxes."""
    here, there = _box(one), _box(other)
    sides = np.minimum(here[2:], there[2:]) - np.maximum(here[:2], there[:2])
    common = float(np.prod(sides.clip(0)))
    union = _area(one) + _area(other) - common
    return common / union if union > 0 else 0.0


# --- gaps


def _gaps(missing: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(gaps, 2): where each run of true values starts, and how long it is."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]).astype(np.int8)))
    return np.column_stack([edges[::2], edges[1::2] - edges[::2]])


def _refuse_absence(where: str, numbers: Sequence[int], limit: int, fps: float) -> None:
    for before, after in pairwise(numbers):
        absent = after - before - 1
        if absent > limit:
            raise BenchError(
                f"{where}: the person is missing for {absent} frames ({absent / fps:.1f} s) from frame {before + 1} "
                f"on; more than {limit} are not filled. Cut the video there, or choose another --max-gap or --person"
            )


def _lend_faces(keypoints_2d: Array) -> None:
    """Put an eye or ear that is never seen, like the far one in profile, where the visible ones are; in place.

    The same for the nose of a person seen from behind.
    """
    face = [COCO_17.joints.index(joint) for joint in coco.FACE]
    unseen = [joint for joint in face if np.isnan(keypoints_2d[:, joint]).all()]
    if 0 < len(unseen) < len(face):
        others = keypoints_2d[:, [joint for joint in face if joint not in unseen]]
        known = np.isfinite(others[..., 0]).any(axis=1)
        middle = np.nanmean(others[known], axis=1)
        for joint in unseen:
            keypoints_2d[known, joint] = middle


def _refuse_long_gaps(
    where: str, missing: NDArray[np.bool_], layout: Skeleton, first: int, limit: int, fps: float
) -> None:
    for joint, column in zip(layout.joints, missing.T, strict=True):
        if column.all():
            raise BenchError(f"{where}: the {joint} is never seen; a lower --min-score uses less certain keypoints")
        start, longest = max(_gaps(column).tolist(), key=lambda gap: gap[1], default=(0, 0))
        if longest > limit and joint not in coco.HEAD:
            raise BenchError(
                f"{where}: the {joint} is not seen for {longest} frames ({longest / fps:.1f} s) from frame "
                f"{first + start} on; more than {limit} are not filled. A lower --min-score uses less certain "
                "keypoints, a longer --max-gap fills more"
            )


def _interpolate(keypoints_2d: Array) -> None:
    """Fill each coordinate over time, ends held; in place."""
    frames = np.arange(len(keypoints_2d))
    for column in keypoints_2d.reshape(len(frames), -1).T:
        seen = np.isfinite(column)
        column[:] = np.interp(frames, frames[seen], column[seen])
