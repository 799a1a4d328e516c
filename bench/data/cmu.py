"""The CMU Graphics Lab motion capture database: real motion, filmed by the cameras of `bench.data.mocap.studio`.

Files: `cmu/<subject>/<subject>.asf`, `cmu/<subject>/<subject>_<trial>.amc` (or .amc.gz) below the data folder, and a
`cmu/trials.csv` if there is one, whose columns trial, action_group and rate_hz name actions and sampling rates.
The data used in this project was obtained from mocap.cs.cmu.edu. The database was created with funding from NSF
EIA-0196217.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.data.dataset import Dataset, Origin
from bench.data.mocap import studio
from bench.data.mocap.acclaim import bone_ends, read_figure, read_motion
from bench.data.mocap.detector import Detector
from bench.data.pose_dataset import Video
from bench.geometry.skeleton import H36M_17
from bench.system.errors import BenchError, MissingDataError
from bench.system.paths import shown

Array = NDArray[Any]

FPS = 50.0  # as Human3.6M
SEED = 0  # of cameras, headings and detector noise; part of the fingerprint
READER = "cmu, reader 1"  # change it when an edit here, in the studio or in the detector changes numbers

# AMC files do not state their sampling rate: it is 120 Hz, except for these subjects.
RATE_HZ = 120.0
RATES_HZ = {"60": 60.0, "61": 60.0}

# Human3.6M joint -> CMU bone whose far end it is. The pelvis is the middle of the hips: CMU's root lies at the belt.
BONES = {
    "right hip": "rhipjoint", "right knee": "rfemur", "right ankle": "rtibia",
    "left hip": "lhipjoint", "left knee": "lfemur", "left ankle": "ltibia",
    "spine": "lowerback", "thorax": "lowerneck", "neck": "upperneck", "head": "head",
    "left shoulder": "lclavicle", "left elbow": "lhumerus", "left wrist": "lwrist",
    "right shoulder": "rclavicle", "right elbow": "rhumerus", "right wrist": "rwrist",
}  # fmt: skip


class CMU(Dataset):
    """Every trial below the data folder, at 50 Hz, seen by four cameras; 2D is projected, or detected in simulation."""

    name = "cmu"
    skeleton = H36M_17
    fps = FPS
    keypoints = {"gt": "gt", "det": "det"}
    cameras = studio.LENSES  # their positions differ between sequences

    def describe(self, root: Path, keypoints: str) -> Origin:
        """The reader's version, the detector, and all files. Raises MissingDataError if files are missing."""
        trials = find_trials(root)
        files = {trial.asf: None for trial in trials} | {trial.amc: None for trial in trials}
        listed = _folder(root) / "trials.csv"
        detector = [repr(Detector())] if keypoints == "det" else []
        return Origin([READER, keypoints, *detector], [*files, *([listed] if listed.is_file() else [])])

    def read(self, root: Path, keypoints: str) -> Iterator[Video]:
        """Raises MissingDataError if files are missing, BenchError, with file and line, if one is damaged."""
        for trial in find_trials(root):
            yield from studio.film(
                self.skeleton,
                self.fps,
                subject=trial.subject,
                action=trial.action,
                sequence=f"{trial.action} {trial.number}",
                motion=resample(z_up(read_trial(trial.asf, trial.amc)), trial.rate_hz),
                keypoints="det" if keypoints == "det" else "gt",
                seed=SEED,
            )


def read_trial(asf: str | Path, amc: str | Path) -> Array:
    """Joint positions of one trial, every row of the file: (frames, 17, 3) metres in the files' world axes, y up.

    asf, amc: skeleton and motion, plain or .gz. Joints in Human3.6M order. Raises MissingDataError if a file is
    missing, BenchError with file and line if its content is invalid.
    """
    figure = read_figure(Path(asf))
    missing = sorted(set(BONES.values()) - {bone.name for bone in figure.bones})
    if missing:
        raise BenchError(f"{shown(Path(asf))}: not the CMU skeleton, it has no bone {', '.join(missing)}")
    ends = bone_ends(figure, read_motion(Path(amc), figure))
    ends["pelvis"] = (ends[BONES["left hip"]] + ends[BONES["right hip"]]) / 2
    return np.stack([ends[BONES.get(joint, joint)] for joint in H36M_17.joints], axis=1)


def z_up(positions: Array) -> Array:
    """From the files' axes (y up) to Human3.6M's (z up), without mirroring. (..., 3) to (..., 3)."""
    x, y, z = np.moveaxis(positions, -1, 0)
    return np.stack([x, -z, y], axis=-1)


def resample(positions: Array, rate_hz: float, fps: float = FPS) -> Array:
    """Resample positions from `rate_hz` to `fps` by linear interpolation, within the recorded time.

    (rows, joints, 3) to (frames, joints, 3). Joints move on curves between two rows, so bones get shorter, by up to 0.2
    mm in a typical trial.
    """
    last = len(positions) - 1
    times = np.arange(int(last * fps / rate_hz + 1e-9) + 1) * (rate_hz / fps)
    before = np.minimum(times.astype(np.int64), last)
    after = np.minimum(before + 1, last)
    share = (times - before)[:, None, None]
    return np.asarray(positions[before] * (1 - share) + positions[after] * share)


# --- finding trials


@dataclass(frozen=True)
class Trial:
    """One recording: subject, number, files, action and sampling rate."""

    subject: str
    number: str
    asf: Path
    amc: Path
    action: str
    rate_hz: float


def find_trials(root: Path) -> list[Trial]:
    """The trials below `root`, by name.

    Raises MissingDataError if there is none or a subject has no skeleton, BenchError if trials.csv is not readable.
    """
    folder = _folder(root)
    # A plain file is preferred to a packed one of the same name: it comes later and replaces it.
    motions = {_name(amc): amc for amc in [*folder.glob("*/*_*.amc.gz"), *folder.glob("*/*_*.amc")]}
    if not motions:
        raise _missing(folder / "<subject>" / "<subject>.asf")
    listed = _listed(folder / "trials.csv")
    trials = []
    for name, amc in sorted(motions.items()):
        subject, _, number = name.partition("_")
        asf = amc.with_name(f"{subject}.asf")
        if not asf.is_file():
            raise _missing(asf)
        action, rate_hz = listed.get(name, ("motion", RATES_HZ.get(subject, RATE_HZ)))
        trials.append(Trial(subject, number, asf, amc, action, rate_hz))
    return trials


def _folder(root: Path) -> Path:
    return root / "cmu" if (root / "cmu").is_dir() else root


def _name(amc: Path) -> str:
    return amc.name.removesuffix(".gz").removesuffix(".amc")


def _listed(path: Path) -> dict[str, tuple[str, float]]:
    """Action and sampling rate of each trial in trials.csv. An action is a single word: spaces become "-"."""
    if not path.is_file():
        return {}
    try:
        table = pd.read_csv(path, dtype={"trial": str, "action_group": str})
        rows = zip(table["trial"], table["action_group"].str.replace(" ", "-"), table["rate_hz"], strict=True)
        listed = {trial: (action, float(rate_hz)) for trial, action, rate_hz in rows}
    except (ValueError, KeyError, AttributeError, OSError) as error:
        raise BenchError(f"{shown(path)}: cannot read columns trial, action_group, rate_hz ({error})") from error
    for trial, (action, rate_hz) in listed.items():
        if not isinstance(action, str) or not 0 < rate_hz < np.inf:
            raise BenchError(f"{shown(path)}: trial {trial} has action_group {action!r} and rate_hz {rate_hz}")
    return listed


def _missing(path: Path) -> MissingDataError:
    return MissingDataError(
        f"cmu: {shown(path)} not found. The motion capture is free, but not part of this repository: "
        "bench data fetch cmu downloads it, see docs/reference/datasets.md. To try the suite without it: make demo"
    )
