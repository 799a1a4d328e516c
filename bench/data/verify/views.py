"""Checks of how 2D fits 3D: projected through the known camera, or through a fitted pinhole camera.

If they do not fit, all common mix-ups are tried; the one under which they fit is the diagnosis.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.config.accounting import is_3dhp
from bench.data.known import H36M_DRIFTING
from bench.data.verify.bodies import LAYOUTS, SURE
from bench.data.verify.findings import Report
from bench.data.verify.recordings import Take
from bench.geometry.camera import Camera, View, denormalise_screen, project

Array = NDArray[Any]

EXACT = 0.01  # pixels: error of a projection in float32, with a margin
REACH = 25  # frames: largest shift between 2D and 3D that is tried
EXPLAINED = 0.8  # share of the plain residual: a mix-up must leave less
FEWEST = 6  # frames needed for a diagnosis
NEARLY_ALL = 0.9  # share of videos whose knees must agree before left and right count as exchanged in the file

# Usual median residual of a whole file, in pixels: less is too good for a detector, more is another detector.
USUAL = {"cpn_ft_h36m_dbb": (1.0, 12.0), "det": (1.0, 12.0)}
FLAT = 0.02  # smallest scale of an axis: with less, the 2D does not show the body
ROUNDED = 0.5  # pixels (95 %): error of storage in half precision
UNFIT = 30.0  # pixels (median): 2D and 3D that do not belong together
UNIVERSAL = 3.0  # pixels (95 %): MPI-INF-3DHP's measured skeletons reproject within it, the universal ones do not


Cause = tuple[str, str, str]  # check, found, advice
_SWAPPED: Cause = ("left and right", "", "")
_MIRRORED: Cause = ("image", "the image is mirrored: x runs from right to left", "count x from the left border")
_MIRRORED_3D: Cause = ("left and right", "the 3D is mirrored: its x runs from right to left", "negate x of the 3D")


@dataclass(frozen=True)
class Guess:
    """A way for 2D and 3D to correspond, and what is mixed up if it fits.

    poses: (n, joints, 3). keypoints: (n, joints, 2).
    """

    poses: Array
    keypoints: Array
    camera: View
    cause: Cause | None = None
    distorted: bool = True


@dataclass(frozen=True)
class Fit:
    """The residual between 2D and projected 3D, (n * joints,) pixels: plain, and with each axis fitted.

    scale, moved: (2,) fitted scale of each axis, and offset of the 2D's middle. Without a known camera there is only
    the fit, and the scale is the focal length.
    """

    guess: Guess
    as_it_is: Array
    fitted: Array
    scale: Array
    moved: Array

    @property
    def median(self) -> float:
        return float(np.median(self.fitted))


class Views:
    """Checks the views of every take, and collects their residuals."""

    def __init__(self, report: Report, dataset: str, keypoints: str) -> None:
        self.report, self.dataset, self.keypoints = report, dataset, keypoints
        self.residuals: defaultdict[str, list[Array]] = defaultdict(list)  # camera: pixels
        self.longer = 0
        self.handedness: dict[str, float] = {}  # of takes whose 2D agrees with the 3D

    def look(self, take: Take, handedness: float) -> None:
        """Compare 2D with 3D, and diagnose. handedness: how clearly left is left in the 3D, from `bodies`."""
        swapped = mirrored = False
        for index, keypoints in enumerate(take.keypoints):
            if keypoints is None:
                continue
            where = f"{take.name}, camera {take.cameras[index].name}"
            self.longer += len(keypoints) > take.length
            if len(keypoints) < take.length:
                short = f"{where}: {len(keypoints):,} of {take.length:,}"
                self.report.wrong("frames", "the 2D has fewer frames than the 3D", "prepare the 2D again", short)
            plain = _guess(take, index, take.frames)
            residual = np.full(1, np.inf) if plain is None else _fit(plain).as_it_is
            self.residuals[take.cameras[index].name].append(residual)
            drifting = self.inexact and (take.subject, take.sequence) in H36M_DRIFTING
            if drifting or (not self.inexact and np.quantile(residual, 0.95) < EXACT):
                continue
            causes = self._diagnose(take, index, float(np.median(residual)))
            if _MIRRORED in causes and handedness < -SURE:
                causes = causes - {_MIRRORED} | {_MIRRORED_3D}
                mirrored = True
            swapped = swapped or _SWAPPED in causes
            for check, found, advice in causes - {_SWAPPED}:
                self.report.wrong(check, found, advice, where)
            if not causes:
                self._unexplained(residual, where)
        if not mirrored:
            self._sides(take, handedness, swapped)

    def _diagnose(self, take: Take, index: int, residual: float) -> set[Cause]:
        """What makes 2D and 3D fit far better: nothing, a mix-up, something about the image, or both."""
        fits = [_fit(guess) for guess in _guesses(take, index, exact=not self.inexact)]
        if not fits:
            return set()
        best: Fit | None = min(fits, key=lambda fit: fit.median)
        if best is not None and best.median > EXPLAINED * residual - EXACT:
            best = next((fit for fit in fits if fit.guess.cause is None), None)
        if best is None or (np.abs(best.scale) < FLAT).any():  # all of the 2D lies in one place
            return set()
        calibrated = isinstance(best.guess.camera, Camera)
        image = set() if calibrated and best.median > EXPLAINED * np.median(best.as_it_is) else {*_image(best)}
        pairing = None if _MIRRORED in image and best.guess.cause == _SWAPPED else best.guess.cause
        return image | ({pairing} if pairing else set())

    def _unexplained(self, residual: Array, where: str) -> None:
        median, most = np.quantile(residual, (0.5, 0.95))
        where = f"{where}: median {_px(median)} px, 95 % {_px(most)} px"
        if median > UNFIT:
            what = "2D and 3D do not belong together, and no usual mix-up explains it"
            self.report.wrong("reprojection", what, "take both from one preparation", where)
        elif not self.inexact:
            what = "the 2D is not the exact projection: other camera numbers, another lens, or rounded?"
            self.report.add("wrong" if most > ROUNDED else "warning", "reprojection", what, _AGAIN, where)

    @property
    def inexact(self) -> bool:
        return is_3dhp(self.dataset) or self.keypoints != "gt"

    def _sides(self, take: Take, handedness: float, swapped: bool) -> None:
        if not swapped:
            self.handedness[take.name] = handedness
            return
        which = "3D" if handedness < -SURE else "2D" if handedness > SURE else "2D or in the 3D"
        what = f"left and right are exchanged in the {which} only"
        self.report.wrong("left and right", what, _SIDES, take.name)

    def sum_up(self) -> None:
        """Conclusions about the file as a whole."""
        turned = [name for name, sure in self.handedness.items() if sure < -SURE]
        for name in turned:
            if len(turned) >= NEARLY_ALL * len(self.handedness):
                what = "left and right are exchanged in both 2D and 3D: knees bend backwards, or people are mirrored"
                self.report.wrong("left and right", what, _SIDES, name)
            else:
                what = "knees seem to bend backwards: are left and right exchanged in both 2D and 3D?"
                self.report.warning("left and right", what, "look at it: bench data describe ... --picture", name)
        self.report.ok("left and right", "left is left, as far as knees and projections tell")
        if self.longer:
            self.report.ok("alignment", f"2D is longer than 3D in {self.longer:,} videos; the end is cut when reading")
        else:
            self.report.ok("alignment", "2D and 3D run side by side")
        if not self.residuals:
            return
        pixels = np.concatenate([values for videos in self.residuals.values() for values in videos])
        median, most = np.quantile(pixels, (0.5, 0.95))
        text = f"median {_px(median)} px, 95 % {_px(most)} px"
        cameras = {camera: np.concatenate(videos) for camera, videos in self.residuals.items()}
        each = (f"{camera} {_px(np.median(v))}, {_px(np.quantile(v, 0.95))}" for camera, v in cameras.items())
        text = f"{text}; by camera, median and 95 %: {'; '.join(each)}" if len(cameras) > 1 else text
        low, high = USUAL.get(self.keypoints, (0.0, np.inf))
        if median < low:
            what = f"{text}: too good for a detector; these are projections of the 3D, or nearly so"
            self.report.wrong("reprojection", what, "get the file of detections")
        elif median > high and not self.report.is_wrong:
            what = f"{text}: more than the {low:g} to {high:g} px that are usual: another detector or fine-tuning?"
            self.report.warning("reprojection", what, "compare where the file comes from")
        elif self.dataset == "3dhp" and most < UNIVERSAL:
            what = f"{text}: so close that these look like the measured skeletons (annot3)"
            self.report.warning("reprojection", what, "this data set has univ_annot3, scaled to one height")
        elif self.dataset == "3dhp-annot3" and most >= UNIVERSAL:
            what = f"{text}: so far off that these look like skeletons scaled to one height (univ_annot3)"
            self.report.warning("reprojection", what, "this data set has annot3, the skeletons as measured")
        else:
            self.report.ok("reprojection", text)


def _px(pixels: float) -> str:
    return "<0.001" if pixels < 0.001 else f"{pixels:.3g}"


# --- hypotheses


def _guess(take: Take, index: int, frames: Array, cause: Cause | None = None, other: int | None = None) -> Guess | None:
    """2D of camera `index` at `frames` beside the sampled 3D, seen by camera `other`. None if nothing overlaps."""
    keypoints = take.keypoints[index]
    if keypoints is None:
        return None
    inside = (frames >= 0) & (frames < len(keypoints))
    shown = keypoints[frames[inside]]
    finite = np.isfinite(shown).all(axis=(1, 2))
    camera = index if other is None else other
    poses = take.poses[camera][inside][finite]
    return Guess(poses, shown[finite], take.cameras[camera], cause) if len(poses) else None


def _guesses(take: Take, index: int, exact: bool) -> Iterator[Guess]:
    """The plain correspondence, then every mix-up. Those that leave too few frames are left out."""
    enough = min(FEWEST, len(take.frames))
    for guess in (*_other_joints(take, index, exact), *_other_frames(take, index)):
        if guess is not None and len(guess.poses) >= enough:
            yield guess


def _other_joints(take: Take, index: int, exact: bool) -> Iterator[Guess | None]:
    plain = _guess(take, index, take.frames)
    yield plain
    if plain is None:
        return
    yield replace(plain, keypoints=plain.keypoints[:, list(take.skeleton.mirror)], cause=_SWAPPED)
    if exact and isinstance(plain.camera, Camera):
        yield replace(plain, cause=("lens", "the 2D is projected without lens distortion", _AGAIN), distorted=False)
    ours = LAYOUTS[take.skeleton.name]
    for name, theirs in LAYOUTS.items():
        if name != take.skeleton.name:
            here, there = np.array([(ours.index(joint), theirs.index(joint)) for joint in ours if joint in theirs]).T
            what = f"the 2D is in the order of {name}, not of {take.skeleton.name}"
            cause = ("joints", what, "get the file in the right order")
            yield Guess(plain.poses[:, here], plain.keypoints[:, there], plain.camera, cause)


def _other_frames(take: Take, index: int) -> Iterator[Guess | None]:
    """The 2D of another camera, of frames before or after, of another frame rate."""
    frames, keypoints = take.frames, take.keypoints[index]
    surplus = 0 if keypoints is None else len(keypoints) - take.length
    for other in range(len(take.cameras)):
        if other != index:
            what = "cameras are in another order: the 2D of one stands where another's should"
            yield _guess(take, index, frames, ("cameras", what, _CAMERAS), other)
    for shift in {*range(-REACH, REACH + 1), surplus} - {0}:
        where, advice = ("before", "cut them off") if shift > 0 else ("missing before", "prepare the 2D again")
        what = f"2D and 3D are shifted: {abs(shift)} frames of 2D {where} the first of 3D"
        yield _guess(take, index, frames + shift, ("alignment", what, advice))
    for step, word in ((2, "second"), (5, "fifth")):
        what = f"the 3D has only every {word} frame, the 2D has all"
        yield _guess(take, index, frames * step, ("frame rate", what, _RATE))
        what = f"the 2D has only every {word} frame, the 3D has all"
        thin = np.where(frames % step == 0, frames // step, -1)
        yield _guess(take, index, thin, ("frame rate", what, _RATE))


_SIDES = "exchange the joints there, and not x"
_AGAIN = "project the 3D again, with the camera's radial and tangential terms"
_CAMERAS = "the order is 54138969, 55011271, 58860488, 60457274 (h36m); keys are the cameras' numbers (3dhp)"
_RATE = "use both at the recorded rate"


# --- fits


def _fit(guess: Guess) -> Fit:
    """Fit the projected 3D to the 2D."""
    camera, seen = guess.camera, guess.keypoints.reshape(-1, 2)
    if isinstance(camera, Camera):
        screen = project(guess.poses, camera.intrinsics, distort=guess.distorted)
        projected = denormalise_screen(screen, camera.width, camera.height).reshape(-1, 2)
    else:  # slopes of rays: focal length and centre are fitted
        projected = (guess.poses[..., :2] / guess.poses[..., 2:]).reshape(-1, 2)
    middle, centre = projected.mean(axis=0), seen.mean(axis=0)
    scale = ((projected - middle) * (seen - centre)).sum(axis=0) / ((projected - middle) ** 2).sum(axis=0).clip(1e-12)
    fitted = np.linalg.norm((projected - middle) * scale + centre - seen, axis=-1)
    as_it_is = np.linalg.norm(projected - seen, axis=-1) if isinstance(camera, Camera) else fitted
    return Fit(guess, as_it_is, fitted, scale, centre - middle)


def _image(fit: Fit) -> Iterator[Cause]:
    """What the fit says about the image: mirrored, upside down, of another size, cut."""
    camera, size = fit.guess.camera, np.abs(fit.scale)
    if fit.scale[0] < 0:
        yield _MIRRORED
    if fit.scale[1] < 0:
        yield "image", "the image is upside down: y runs upwards", "count y from the upper border"
    advice = f"pixels must be those of the original images, {camera.width} x {camera.height}"
    if not isinstance(camera, Camera):
        if (size < 0.4 * camera.width).any() or (size > 1.6 * camera.width).any():
            found = f"a focal length of {size[0]:.0f} px does not suit images {camera.width} px wide: of another size?"
            yield "image", found, advice
    elif (np.abs(size - 1) > 0.05).any():
        found = f"the image is of another size: x is scaled by {size[0]:.2f} and y by {size[1]:.2f}"
        yield "image", found, advice
    elif (fit.scale > 0).all() and np.abs(fit.moved).max() > 5:
        yield "image", "the 2D is shifted by some pixels: are the images cut?", advice
