"""Files on disk: the community's pickled .npz through a restricted reader, fingerprints, the memory-mapped cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import pickle
import shutil
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.data.files import pickled
from bench.data.pose_dataset import BLOCKS, Builder, PoseDataset
from bench.geometry.skeleton import KNOWN, Skeleton
from bench.system import paths
from bench.system.errors import BenchError, MissingDataError

# --- the community's pickled archives

# What zipfile, zlib, numpy and the pickle reader raise for damaged bytes.
_DAMAGED = (
    ValueError, TypeError, LookupError, AttributeError, EOFError, OSError, OverflowError, RuntimeError, SyntaxError,
    struct.error, tokenize.TokenError, zlib.error,
)  # fmt: skip

UNPACKED_TIMES, UNPACKED_BYTES = 50, 100e6  # motion compresses about twofold; beyond both it is a zip bomb


def read_npz(path: Path) -> dict[str, Any]:
    """Every array of an .npz file, object arrays by `bench.data.files.pickled`. 0-d arrays give their content.

    Raises MissingDataError if there is no such file, BenchError if it is not an .npz file, is damaged, holds a pickle
    of anything but arrays, dictionaries, lists, tuples, numbers and strings, or would unpack to far more memory than
    its content needs.
    """
    if not path.is_file():
        raise MissingDataError(f"{paths.shown(path)} not found")
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive.infolist(), path.stat().st_size)
            return {_key(member): _read_member(archive, member) for member in archive.infolist()}
    except zipfile.BadZipFile as error:
        raise BenchError(f"{paths.shown(path)} is not a whole .npz file ({error}); copy it again") from error
    except pickle.UnpicklingError as error:
        raise BenchError(
            f"{paths.shown(path)} was refused: {error}. A pose file holds arrays, dictionaries, lists, numbers and "
            "strings only; do not trust this one"
        ) from error
    except MemoryError as error:
        raise BenchError(f"{paths.shown(path)} needs more memory than there is") from error
    except _DAMAGED as error:
        what = " ".join(str(error).split())[:200]  # NumPy quotes the whole header
        raise BenchError(f"{paths.shown(path)} cannot be read ({what}); copy it again") from error


def _key(member: zipfile.ZipInfo) -> str:
    return member.filename.removesuffix(".npy")


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse archives with features that no .npz file has, before unpacking anything. size: bytes of the file."""
    for member in members:
        if not member.filename.isprintable() or len(member.filename) > pickled.LONG_TEXT:
            raise pickle.UnpicklingError("it holds an array whose name is not readable text")
        if member.flag_bits & 1:
            raise pickle.UnpicklingError(f"{member.filename[:80]!r} in it is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise pickle.UnpicklingError(f"{member.filename[:80]!r} in it is packed as .npz files never are")
    if len({_key(member) for member in members}) < len(members):
        raise pickle.UnpicklingError("it holds two arrays with the same name")
    unpacked = sum(member.file_size for member in members)
    if unpacked > UNPACKED_TIMES * size + UNPACKED_BYTES:
        raise pickle.UnpicklingError(f"its {size / 1e6:,.1f} MB would unpack to {unpacked / 1e6:,.0f} MB")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Any:
    with archive.open(member) as stream:
        try:
            return _read_npy(stream, member.file_size)
        finally:  # read to the end, where the checksum is compared, so that damage is reported as damage
            while stream.read(1 << 20):
                pass


def _read_npy(stream: IO[bytes], size: int) -> Any:
    """size: bytes of the .npy file."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"version {version} of the .npy format is not known")
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = reader(stream)
    if kind.hasobject and kind.kind == "O":
        array = pickled.load(stream, size)
        if not isinstance(array, np.ndarray) or array.shape != shape:
            raise ValueError("its pickle does not hold the array that its header describes")
        return array.item() if array.shape == () else array
    if kind.kind not in "biufcSU":
        raise pickle.UnpicklingError(f"it holds an array of {str(kind)[:80]}, not of numbers, strings or objects")
    if math.prod(shape) * kind.itemsize != size - stream.tell():
        raise ValueError("an array does not have the size that its header states")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


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
    """SHA-256 of a file's content, cached by its size and time stamps, so that big files are hashed once."""
    try:
        return _remembered_digest(path)
    except OSError as error:
        raise BenchError(f"{paths.shown(path)} cannot be read: {error.strerror or error}") from error


def _remembered_digest(path: Path) -> str:
    status = path.stat()
    memo = paths.cache() / "digests" / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:24]}.json"
    # Tools that copy files can set the modification time (mtime), but not the status-change time (ctime).
    stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    try:
        known = json.loads(memo.read_text(encoding="utf-8"))
        if known["stamp"] == stamp:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not seen before, or not readable: hash it
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    with contextlib.suppress(OSError):  # if the results folder is read-only, files are hashed every time
        paths.write_text(memo, json.dumps({"stamp": stamp, "sha256": digest}))
    return digest


# --- the memory-mapped cache


def is_cached(folder: Path) -> bool:
    """Whether `store` finished here, and nothing was lost or changed since."""
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        return bool(about.pop("seal") == _seal(folder, about))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def store(dataset: PoseDataset | Builder, folder: Path) -> None:
    """Write a data set as plain .npy files and a table, whole or not at all. Raises BenchError if there is no room."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _write(dataset, unfinished)
            if not is_cached(folder):
                _remove(folder)
                paths.publish(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        if is_cached(folder):
            return  # another process was faster; its copy is the same
        needed = sum(piece.nbytes for block in BLOCKS for piece in dataset.pieces(block)) / 1e6
        raise BenchError(
            f"{paths.shown(folder)} cannot be written: {error.strerror or error}. The memory-mapped copy of these data "
            f"needs {needed:,.0f} MB; $BENCH_RESULTS moves it"
        ) from error


def _write(dataset: PoseDataset | Builder, folder: Path) -> None:
    dataset.sequences.to_csv(folder / _TABLE, index=False)
    about = {
        "name": dataset.name,
        "keypoints": dataset.keypoints,
        "fps": dataset.fps,
        "skeleton": asdict(dataset.skeleton),
        "fingerprint": dataset.fingerprint,
        "extent": dataset.extent,
        "blocks": [block for block in BLOCKS if _save(folder / f"{block}.npy", dataset.pieces(block))],
    }
    about["seal"] = _seal(folder, about)
    (folder / _ABOUT).write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def memory_mapped(folder: Path) -> PoseDataset:
    """Open what `store` wrote. The blocks are mapped copy-on-write: nothing is read before it is used."""
    import torch

    about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    text = dict.fromkeys(("subject", "action", "sequence", "camera"), "string")
    blocks: dict[str, Any] = {
        block: torch.from_numpy(np.load(folder / f"{block}.npy", mmap_mode="c", allow_pickle=False))
        for block in about["blocks"]
    }
    return PoseDataset(
        name=about["name"],
        keypoints=about["keypoints"],
        fps=about["fps"],
        skeleton=_skeleton(about["skeleton"]),
        sequences=pd.read_csv(folder / _TABLE, dtype=text, keep_default_na=False).astype(dict.fromkeys(text, object)),
        fingerprint=about["fingerprint"],
        extent=about["extent"],
        **blocks,
    )


def _skeleton(stored: str | dict[str, Any]) -> Skeleton:
    """A stored skeleton: its fields, or in older copies the name of one of the suite's skeletons."""
    if isinstance(stored, str):
        return KNOWN[stored]
    whole: dict[str, Any] = {key: tuple(part) if isinstance(part, list) else part for key, part in stored.items()}
    return Skeleton(**whole)


def _remove(path: Path) -> None:
    """Delete a folder or a file, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


_ABOUT, _TABLE = "dataset.json", "sequences.csv"
_NPY_HEADER = 128  # bytes: of every .npy file of a block


def _save(path: Path, pieces: list[NDArray[Any]]) -> bool:
    """Concatenate pieces into one .npy file, without a copy of the whole in memory. False if there are no pieces."""
    if not pieces:
        return False
    shape = (sum(map(len, pieces)), *pieces[0].shape[1:])
    kind = np.lib.format.dtype_to_descr(pieces[0].dtype)
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
        for piece in pieces:
            stream.write(np.ascontiguousarray(piece).data)
    return True


def _seal(folder: Path, about: dict[str, Any]) -> str:
    """SHA-256 over the metadata of a stored data set, its table, and the size and shape of its blocks."""
    seal = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    seal.update((folder / _TABLE).read_bytes())
    for block in about["blocks"]:
        with (folder / f"{block}.npy").open("rb") as stream:
            seal.update(b"%d" % os.fstat(stream.fileno()).st_size + stream.read(_NPY_HEADER))
    return seal.hexdigest()
