"""Files on disk: the community's pickled .npz through a restricted reader, fingerprints, the memory-mapped cache."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from bench import paths, skeleton
from bench.data.pose_dataset import PoseDataset
from bench.errors import BenchError, MissingDataError

# --- the community's pickled archives

# What a pickled dictionary of arrays needs, and nothing more. Containers, numbers and strings need no name at all.
_ALLOWED = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")} | {
    (f"{package}.{module}", name)
    for package in ("numpy.core", "numpy._core")
    for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
}

# What zipfile, zlib, numpy and pickle raise over bytes that are not what was written.
_DAMAGED = (
    ValueError, TypeError, LookupError, AttributeError, EOFError, OSError, OverflowError, RuntimeError, struct.error,
    zlib.error,
)  # fmt: skip


class _RestrictedUnpickler(pickle.Unpickler):
    """Builds arrays, containers, numbers and strings; any other name is refused before it is imported."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it wants to run {module}.{name}")
        return super().find_class(module, name)


def read_npz(path: Path) -> dict[str, Any]:
    """Every array of an .npz file; object arrays are unpickled by the restricted reader. 0-d ones give their content.

    Raises MissingDataError if there is no such file, BenchError if it is no .npz file, is damaged, or holds a pickle
    of anything but arrays, dictionaries, lists, tuples, numbers and strings.
    """
    if not path.is_file():
        raise MissingDataError(f"{paths.shown(path)} not found")
    content: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                content[member.removesuffix(".npy")] = _read_npy(archive.read(member))
    except zipfile.BadZipFile as error:
        raise BenchError(f"{paths.shown(path)} is not a whole .npz file ({error}); copy it again") from error
    except pickle.UnpicklingError as error:
        raise BenchError(
            f"{paths.shown(path)} was refused: {error}. A pose file holds arrays, dictionaries, lists, numbers and "
            "strings only; do not trust this one"
        ) from error
    except _DAMAGED as error:
        raise BenchError(f"{paths.shown(path)} cannot be read ({error}); copy it again") from error
    return content


def _read_npy(raw: bytes) -> Any:
    stream = io.BytesIO(raw)
    version = np.lib.format.read_magic(stream)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = reader(stream)
    if not kind.hasobject:
        stream.seek(0)
        return np.lib.format.read_array(stream, allow_pickle=False)
    array = _RestrictedUnpickler(stream, encoding="latin1").load()
    if not isinstance(array, np.ndarray) or array.shape != shape:
        raise ValueError("its pickle does not hold the array that its header promises")
    return array.item() if array.shape == () else array


# --- fingerprints


def fingerprint(parts: Iterable[str], files: Iterable[Path] = ()) -> str:
    """SHA-256 over option strings and file contents, each file by name and digest."""
    total = hashlib.sha256()
    for part in parts:
        total.update(f"{part}\n".encode())
    for path in files:
        total.update(f"{path.name} {file_digest(path)}\n".encode())
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, remembered under its size and time so that big files are hashed once."""
    status = path.stat()
    memo = paths.cache() / "digests" / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:24]}.json"
    stamp = [status.st_size, status.st_mtime_ns]
    try:
        known = json.loads(memo.read_text(encoding="utf-8"))
        if known["stamp"] == stamp:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not seen before, or not readable: hash it
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    paths.write_text(memo, json.dumps({"stamp": stamp, "sha256": digest}))
    return digest


# --- the memory-mapped cache

_BLOCKS = ("keypoints_2d", "poses_3d", "roots", "valid", "activities")  # no file where it is None


def is_cached(folder: Path) -> bool:
    """Whether `store` finished here."""
    return (folder / "dataset.json").is_file()


def store(dataset: PoseDataset, folder: Path) -> None:
    """Write a data set as plain .npy files and a table, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for block in _BLOCKS:
            if getattr(dataset, block) is not None:
                np.save(unfinished / f"{block}.npy", getattr(dataset, block).numpy())
        dataset.sequences.to_csv(unfinished / "sequences.csv", index=False)
        about = {
            "name": dataset.name,
            "keypoints": dataset.keypoints,
            "fps": dataset.fps,
            "skeleton": dataset.skeleton.name,
            "fingerprint": dataset.fingerprint,
            "extent": dataset.extent,
        }
        (unfinished / "dataset.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")
        if is_cached(folder):
            return  # another process was faster; its copy is the same
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def memory_mapped(folder: Path) -> PoseDataset:
    """Open what `store` wrote. The blocks are mapped copy-on-write: nothing is read before it is used."""
    about = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    skeletons = {known.name: known for known in vars(skeleton).values() if isinstance(known, skeleton.Skeleton)}
    blocks = {
        block: torch.from_numpy(np.load(folder / f"{block}.npy", mmap_mode="c", allow_pickle=False))
        for block in _BLOCKS
        if (folder / f"{block}.npy").is_file()
    }
    text = dict.fromkeys(("subject", "action", "sequence", "camera"), "string")
    return PoseDataset(
        name=about["name"],
        keypoints=about["keypoints"],
        fps=about["fps"],
        skeleton=skeletons[about["skeleton"]],
        sequences=pd.read_csv(folder / "sequences.csv", dtype=text, keep_default_na=False).astype(
            dict.fromkeys(text, object)
        ),
        fingerprint=about["fingerprint"],
        extent=about.get("extent"),  # copies made before there was one belong to data sets that have none
        **blocks,
    )
