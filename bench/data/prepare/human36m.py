"""Human3.6M (Ionescu et al., TPAMI 2014): the raw 3D positions to `data_3d_h36m.npz` and `data_2d_h36m_gt.npz`.

Three layouts are in use: the official .cdf files, the .cdf.mat files that MATLAB exported from them, and the .h5 files
that 3d-pose-baseline (Martinez et al., ICCV 2017) handed out. All hold world positions of 32 joints in millimetres.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data import known
from bench.data.human36m import FARTHEST, RECORDED_JOINTS
from bench.data.prepare import next_command
from bench.data.prepare.kept import Conversion, Kept, write
from bench.data.prepare.sources import Source, blamed, find, finite, once, require
from bench.geometry.camera import denormalise_screen, h36m_cameras
from bench.geometry.skeleton import H36M_17, H36M_17_OF_32
from bench.system.errors import BenchError, MissingDataError
from bench.system.paths import shown

Array = NDArray[Any]

READER = "h36m, preparation 1"  # change it when an edit here changes numbers
MM = 1000.0  # per metre
CAMERAS = 4
DROPPED = " ".join(known.H36M_DROPPED)
ARCHIVES = ("*.zip", "*D3_Positions*.tgz", "*D3_Positions*.tar.gz", "*D3_Positions*.tar")


def prepare(raw: Path, output: Path, skeleton: str | None, partial: bool, force: bool) -> str:
    """Make the two files; returns a report as text. See `bench.data.prepare.prepare`."""
    if skeleton is not None:
        raise BenchError("h36m has one kind of 3D labels; --skeleton is for 3dhp")
    layout, recordings = _recordings(raw)
    missing = [
        name for subject in known.H36M_RECORDED for name in takes(subject) if name not in recordings and name != DROPPED
    ]
    if missing and not partial:
        raise BenchError(
            f"{shown(raw)} lacks{_listed(missing)}\nCopy what is missing, or make files of what is there with "
            "--partial; numbers on such files are not comparable"
        )
    recordings.pop(DROPPED, None)
    if not recordings:
        raise MissingDataError(f"{shown(raw)} holds nothing but {DROPPED}, which the community leaves out")
    names = {source: name for name, source in recordings.items()}

    def read(source: Source, path: Path) -> dict[str, Array]:
        poses = _metres(source, LAYOUTS[layout](source, path))
        return {"poses": poses, **_projections(poses, _split(names[source])[0])}

    conversion = Conversion("h36m", READER)
    made = dict(zip(recordings, conversion.convert(list(names), read), strict=True))
    written = write(_files(output, made), force)
    report = _report(f"{len(made)} files {Path(layout).name} below {shown(raw)}", made, missing)
    conversion.forget()
    return "\n".join([report, "", *written, next_command("h36m", output)])


def _files(output: Path, made: Mapping[str, Mapping[str, Kept]]) -> dict[Path, dict[str, Any]]:
    """The content of each file."""
    positions_3d: dict[str, dict[str, Kept]] = {}
    positions_2d: dict[str, dict[str, list[Kept]]] = {}
    for subject in known.H36M_RECORDED:
        for sequence in sorted(_split(name)[1] for name in made if _split(name)[0] == subject):
            arrays = made[f"{subject} {sequence}"]
            positions_3d.setdefault(subject, {})[sequence] = arrays["poses"]
            positions_2d.setdefault(subject, {})[sequence] = [arrays[view.name] for view in h36m_cameras()[subject]]
    metadata = {"num_joints": len(H36M_17), "keypoints_symmetry": [list(H36M_17.left), list(H36M_17.right)]}
    return {
        output / "data_3d_h36m.npz": {"positions_3d": positions_3d},
        output / "data_2d_h36m_gt.npz": {"positions_2d": positions_2d, "metadata": metadata},
    }


# --- which files: a name is "S1 Sitting 2", subject and sequence


def _recordings(raw: Path) -> tuple[str, dict[str, Source]]:
    """The layout with the most files, and its files by name."""
    found = {layout: _by_name(sources) for layout, sources in find(raw, list(LAYOUTS), ARCHIVES).items()}
    layout = max(found, key=lambda layout: len(found[layout]))
    if not found[layout]:
        raise MissingDataError(
            f"{shown(raw)} holds no 3D positions of Human3.6M: looked for {', '.join(LAYOUTS)}, unpacked or in "
            f"{', '.join(ARCHIVES)}. Of its downloads take Poses, D3 Positions of each subject (not mono, not mono "
            "universal)"
        )
    return layout, found[layout]


def _by_name(sources: Iterable[Source]) -> dict[str, Source]:
    return once((name, source) for source in sources if (name := _name(source)) is not None)


def _name(source: Source) -> str | None:
    """Subject and sequence, by the community's names; None for a recording that is not used.

    No 3D was published for other subjects, and recordings named _ALL are for calibration.
    """
    subject, (action, _, number) = source.inside.parts[-4], source.inside.name.partition(".")[0].partition(" ")
    if subject not in known.H36M_RECORDED or action == "_ALL":
        return None
    name = f"{subject} {known.H36M_RENAMED.get(action, action)} {number}".strip()
    if name not in takes(subject):
        raise BenchError(
            f"{source}: {name!r} is no recording of Human3.6M, where {subject} has "
            f"{', '.join(takes(subject))}; move the file away"
        )
    return name


def takes(subject: str) -> list[str]:
    """The names of a subject's 30 recordings."""
    return [f"{subject} {sequence}" for sequence in known.H36M_RECORDED[subject]]


def _split(name: str) -> tuple[str, str]:
    subject, _, sequence = name.partition(" ")
    return subject, sequence


def _listed(missing: list[str]) -> str:
    """The missing sequences, one line per subject."""
    lines = []
    for subject in known.H36M_RECORDED:
        lacking = [_split(name)[1] for name in missing if _split(name)[0] == subject]
        if lacking:
            everything = len(lacking) == len(set(takes(subject)) - {DROPPED})
            lines.append(f"\n  {subject} {'(all)' if everything else ', '.join(lacking)}")
    return "".join(lines)


# --- reading one: (frames, 32, 3) millimetres in the world


def _read_cdf(source: Source, path: Path) -> Array:
    import cdflib

    with blamed(source):
        file = cdflib.CDF(path)
        require(source, "Pose", file.cdf_info().zVariables + file.cdf_info().rVariables)
        recorded = file.varget("Pose")
    return _rows(source, recorded)


def _read_mat(source: Source, path: Path) -> Array:
    from scipy.io import loadmat

    with blamed(source):
        content = loadmat(path)
        require(source, "data", content)
        recorded = content["data"]
    return _rows(source, recorded[0, 0] if recorded.dtype == object and recorded.size == 1 else recorded)


def _read_h5(source: Source, path: Path) -> Array:
    import h5py

    with blamed(source), h5py.File(path) as file:
        require(source, "3D_positions", file)
        recorded = file["3D_positions"][()]
    if not np.size(recorded) or np.size(recorded) % (RECORDED_JOINTS * 3):
        raise BenchError(f"{source}: expected (96, frames) numbers, found {np.shape(recorded)}")
    return np.asarray(recorded).reshape(RECORDED_JOINTS, 3, -1).transpose(2, 0, 1)


LAYOUTS: dict[str, Callable[[Source, Path], Array]] = {
    "S*/MyPoseFeatures/D3_Positions/*.cdf": _read_cdf,
    "S*/MyPoseFeatures/D3_Positions/*.cdf.mat": _read_mat,
    "S*/MyPoses/3D_positions/*.h5": _read_h5,
}


def _rows(source: Source, recorded: Any) -> Array:
    """(1, frames, 96) or (frames, 96) to (frames, 32, 3)."""
    shape = np.shape(recorded)
    if shape[-1:] != (RECORDED_JOINTS * 3,) or len(shape) not in (2, 3) or 0 in shape or shape[:-2] not in ((), (1,)):
        raise BenchError(f"{source}: expected (frames, 96) numbers, found {shape}")
    return np.asarray(recorded).reshape(-1, RECORDED_JOINTS, 3)


def _metres(source: Source, recorded: Array) -> NDArray[np.float32]:
    """(frames, 32, 3) millimetres to float32 metres."""
    finite(source, recorded)
    poses = (recorded / MM).astype(np.float32)
    farthest = float(np.abs(poses).max())
    if not FARTHEST / MM < farthest < FARTHEST:
        raise BenchError(f"{source}: the largest coordinate is {farthest * MM:.4g}; is the 3D in millimetres?")
    return poses


def _projections(poses: NDArray[np.float32], subject: str) -> dict[str, Array]:
    """Project (frames, 32, 3) metres into each camera: (frames, 17, 2) pixels, lens distortion included."""
    kept = poses[:, H36M_17_OF_32]
    return {
        camera.name: denormalise_screen(camera.project(camera.to_camera(kept)), camera.width, camera.height)
        for camera in h36m_cameras()[subject]
    }


# --- the report


def _report(what: str, made: Mapping[str, Mapping[str, Kept]], missing: list[str]) -> str:
    from tabulate import tabulate

    rows: list[tuple[Any, ...]] = []
    for subjects, frames in known.H36M_FRAMES.items():
        lengths = [len(arrays["poses"]) for name, arrays in made.items() if _split(name)[0] in subjects]
        expected_names = [name for subject in subjects for name in takes(subject) if name != DROPPED]
        rows.append((", ".join(subjects), len(lengths), len(expected_names), sum(lengths), frames // CAMERAS))
    rows.append(("all", *(sum(row[column] for row in rows) for column in range(1, 5))))
    headers = ("subjects", "sequences", "expected", "frames", "expected")
    lines = [f"h36m: {what}", f"left out: {DROPPED}, of which one video is missing"]
    lines += [f"missing:{_listed(missing)}"] if missing else []
    lines += ["", tabulate(rows, headers, intfmt=",")]
    if not missing and any(found != expected for *_, found, expected in rows):
        lines.append(
            "The frames are not those that users of the community's files count: compare docs/reference/datasets.md"
        )
    return "\n".join(lines)
