"""MPI-INF-3DHP (Mehta et al., 3DV 2017): the raw annotations to `data_train_3dhp.npz` and `data_test_3dhp.npz`.

Training sequences are `S*/Seq*/annot.mat` (MATLAB 5): a cell for each of 14 cameras, 28 joints. Test sequences are
`TS*/annot_data.mat` (MATLAB 7.3, which is HDF5 with reversed axes): 17 joints, valid frames and activities.
`universal` uses the skeletons scaled to one height (`univ_annot3`), `camera` those that were measured (`annot3`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data import known
from bench.data.mpi_inf_3dhp import TRAIN_CAMERAS
from bench.data.prepare import next_command
from bench.data.prepare.kept import Conversion, Kept, write
from bench.data.prepare.sources import Source, blamed, find, finite, once, require
from bench.geometry.skeleton import MPI_INF_3DHP_17_OF_28
from bench.system.errors import BenchError, MissingDataError, unknown
from bench.system.paths import shown

Array = NDArray[Any]

READER = "3dhp, preparation 1"  # change it when an edit here changes numbers
LABELS = {"universal": "univ_annot3", "camera": "annot3"}
DATASETS = {"universal": "3dhp", "camera": "3dhp-annot3"}  # their names in the suite
ENDINGS = {"universal": "", "camera": "_annot3"}  # of the files' names
ARCHIVES = ("*.zip",)
TRAIN, TEST = "S*/Seq*/annot.mat", "TS*/annot_data.mat"
CELLS = 14  # cameras of the rig, of which the community uses TRAIN_CAMERAS
RECORDED_JOINTS = 28
ACTIVITIES = range(1, 8)


def prepare(raw: Path, output: Path, skeleton: str | None, partial: bool, force: bool) -> str:
    """Make the files; returns a report as text. See `bench.data.prepare.prepare`."""
    if skeleton is None:
        raise BenchError(
            "3dhp has two kinds of 3D labels, whose numbers are not comparable: --skeleton universal takes the "
            "skeletons scaled to one height, as P-STMO and Diff3DHPE do; --skeleton camera those "
            "that were measured, as D3DP does"
        )
    if skeleton not in LABELS:
        raise unknown("skeleton of 3dhp", skeleton, LABELS)
    found = find(raw, [TRAIN, TEST], ARCHIVES)
    train, test = _by_name(found[TRAIN], known.MPI_INF_3DHP_TRAIN), _by_name(found[TEST], known.MPI_INF_3DHP_TEST)
    if not train and not test:
        raise MissingDataError(
            f"{shown(raw)} holds no annotations of MPI-INF-3DHP: looked for {TRAIN} and {TEST}, unpacked or in "
            f"{', '.join(ARCHIVES)}"
        )
    missing = [name for name in (*known.MPI_INF_3DHP_TRAIN, *known.MPI_INF_3DHP_TEST) if name not in {*train, *test}]
    if missing and not partial:
        raise BenchError(
            f"{shown(raw)} lacks {', '.join(missing)}. Copy what is missing, or make files of what is there with "
            "--partial; numbers on such files are not comparable"
        )
    conversion = Conversion(f"3dhp-{skeleton}", f"{READER}, {LABELS[skeleton]}, partial {partial}")
    names = {source: name for recordings in (train, test) for name, source in recordings.items()}

    def read(source: Source, path: Path) -> dict[str, Array]:
        if names[source] in train:
            return _read_train(source, path, LABELS[skeleton], names[source], partial)
        return _read_test(source, path, LABELS[skeleton])

    made = dict(zip(names.values(), conversion.convert(list(names), read), strict=True))
    written = write(_files(output, ENDINGS[skeleton], made), force)
    report = _report(f"{len(made)} files below {shown(raw)}, {LABELS[skeleton]}", made, missing)
    conversion.forget()
    return "\n".join([report, "", *written, next_command(DATASETS[skeleton], output)])


def _by_name(sources: Iterable[Source], names: Collection[str]) -> dict[str, Source]:
    """The files by sequence, "S1 Seq1" or "TS1"; other files are ignored."""
    words = len(min(names).split(" "))
    named = [(" ".join(source.inside.parts[-1 - words : -1]), source) for source in sources]
    return once((name, source) for name, source in named if name in names)


def _files(output: Path, ending: str, made: Mapping[str, Mapping[str, Kept]]) -> dict[Path, dict[str, Any]]:
    """The content of each file. A file without any sequence is left out."""
    train = {
        name: [{camera.name: _view(made[name], f"{camera.name}_") for camera in TRAIN_CAMERAS}, fps]
        for name, (_, fps) in known.MPI_INF_3DHP_TRAIN.items()
        if name in made
    }
    test = {
        name: _view(made[name]) | {"valid": made[name]["valid"]} for name in known.MPI_INF_3DHP_TEST if name in made
    }
    activities = {name: made[name]["activity"].array() for name in test}
    files: dict[str, dict[str, Any]] = {
        f"data_train_3dhp{ending}.npz": {"data": train} if train else {},
        f"data_test_3dhp{ending}.npz": {"data": test} if test else {},
        "activity_test_3dhp.npz": activities,
    }
    return {output / name: content for name, content in files.items() if content}


def _view(arrays: Mapping[str, Kept], camera: str = "") -> dict[str, Kept]:
    return {kind: arrays[f"{camera}{kind}"] for kind in ("data_2d", "data_3d")}


# --- reading one sequence: pixels, and millimetres in camera axes, in the float type of the raw file


def _read_train(source: Source, path: Path, labels: str, name: str, partial: bool) -> dict[str, Array]:
    """Eight views, cut to the frames that the community uses."""
    from scipy.io import loadmat, whosmat

    with blamed(source):
        names = [one for one, *_ in whosmat(path)]
        for variable in ("annot2", labels):
            require(source, variable, names)
        content = loadmat(path, variable_names=["annot2", labels])
    frames, _ = known.MPI_INF_3DHP_TRAIN[name]
    arrays = {}
    for kind, variable, axes in (("data_2d", "annot2", 2), ("data_3d", labels, 3)):
        cells = content[variable].ravel()
        if cells.dtype != object or len(cells) != CELLS:
            raise BenchError(f"{source}, {variable}: expected {CELLS} cells, found {content[variable].shape}")
        for camera in TRAIN_CAMERAS:
            where, cell = f"{source}, {variable}, camera {camera.name}", cells[int(camera.name)]
            if cell.ndim != 2 or cell.shape[1] != RECORDED_JOINTS * axes or not len(cell):
                raise BenchError(f"{where}: expected (frames, {RECORDED_JOINTS * axes}) numbers, found {cell.shape}")
            if len(cell) < frames and not partial:
                raise BenchError(f"{where}: {len(cell)} frames, {name} has {frames} at least; copy the file again")
            joints = cell[:frames].reshape(-1, RECORDED_JOINTS, axes)[:, MPI_INF_3DHP_17_OF_28]
            finite(where, joints)
            arrays[f"{camera.name}_{kind}"] = joints
    _of_one_length(source, arrays)
    return arrays


def _read_test(source: Source, path: Path, labels: str) -> dict[str, Array]:
    """One view, with its valid frames and activities."""
    import h5py

    wanted = {"data_2d": "annot2", "data_3d": labels, "valid": "valid_frame", "activity": "activity_annotation"}
    with blamed(source), h5py.File(path) as file:
        for variable in wanted.values():
            require(source, variable, file)
        arrays = {kind: np.asarray(file[variable][()]) for kind, variable in wanted.items()}
    for kind, shape in (("data_2d", (17, 2)), ("data_3d", (17, 3)), ("valid", ()), ("activity", ())):
        recorded = arrays[kind]
        if recorded.shape[1:] != (1, *shape) or not len(recorded):
            found = f"found {recorded.shape}"
            raise BenchError(f"{source}, {wanted[kind]}: expected {('frames', 1, *shape)} numbers, {found}")
        arrays[kind] = recorded[:, 0]
        finite(f"{source}, {wanted[kind]}", arrays[kind])
    _of_one_length(source, arrays)
    for kind, allowed in (("valid", (0, 1)), ("activity", ACTIVITIES)):
        if not np.isin(arrays[kind], list(allowed)).all():
            found = ", ".join(f"{value:g}" for value in np.unique(arrays[kind])[:9])
            raise BenchError(f"{source}, {wanted[kind]}: expected {min(allowed)} to {max(allowed)}, found {found}")
    return arrays


def _of_one_length(source: Source, arrays: Mapping[str, Array]) -> None:
    lengths = {kind: len(array) for kind, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{frames} of {kind}" for kind, frames in lengths.items())
        raise BenchError(f"{source}: the numbers of frames differ: {found}; the file is damaged or mixed up")


# --- the report


def _report(what: str, made: Mapping[str, Mapping[str, Kept]], missing: list[str]) -> str:
    from tabulate import tabulate

    rows: list[tuple[Any, ...]] = []
    for name, (frames, _) in known.MPI_INF_3DHP_TRAIN.items():
        if name in made:
            rows.append((name, len(TRAIN_CAMERAS), len(made[name]["0_data_3d"]), frames))
    for name, frames in known.MPI_INF_3DHP_TEST.items():
        if name in made:
            counted = int(made[name]["valid"].array().sum())
            rows.append((name, 1, len(made[name]["data_3d"]), frames, counted, known.MPI_INF_3DHP_VALID[name]))
    headers = ("sequence", "cameras", "frames", "expected", "valid", "expected")
    lines = [f"3dhp: {what}"] + ([f"missing: {', '.join(missing)}"] if missing else [])
    lines += ["", tabulate(rows, headers, intfmt=",")]
    if any(
        found != expected for _, _, *counts in rows for found, expected in zip(counts[::2], counts[1::2], strict=True)
    ):
        lines.append(
            "Some numbers of frames are not those of the files in common use: compare docs/reference/datasets.md"
        )
    return "\n".join(lines)
