"""Files that are not what they seem are refused; what is cached comes back as it was, or not at all."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import random
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.data.files import archive
from bench.data.files.archive import read_npz
from bench.data.pose_dataset import Builder, PoseDataset, Video
from bench.geometry.camera import View, h36m_cameras
from bench.geometry.skeleton import H36M_17, Skeleton
from bench.system.errors import BenchError, MissingDataError

# --- pickled archives


def test_dictionaries_in_0d_object_arrays_come_back(tmp_path):
    positions = {"S1": {"Walking 1": np.arange(6, dtype=np.float32).reshape(2, 3), "views": [np.zeros(2), np.ones(2)]}}
    metadata = {"num_joints": np.int64(17), "scale": np.float32(0.5), "sides": (["left"], ["right"]), "none": None}
    np.savez_compressed(tmp_path / "a.npz", positions=positions, metadata=metadata, plain=np.eye(3))
    content = read_npz(tmp_path / "a.npz")
    assert sorted(content) == ["metadata", "plain", "positions"]
    assert content["metadata"] == metadata
    np.testing.assert_array_equal(content["positions"]["S1"]["Walking 1"], positions["S1"]["Walking 1"])
    assert content["positions"]["S1"]["Walking 1"].dtype == np.float32
    np.testing.assert_array_equal(content["plain"], np.eye(3))


def with_pickle(path: Path, pickled: bytes) -> Path:
    """An .npz file whose only array, `payload`, is this pickle in a 0-d object array."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("payload.npy", header.getvalue() + pickled)
    return path


def boxed(content: object) -> np.ndarray:
    box = np.empty((), object)
    box[()] = content
    return box


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_files_of_older_numpy_are_read(tmp_path, protocol):
    content = {"S1": {"Walking": np.arange(3.0)}, "n": np.float64(2)}
    pickled = pickle.dumps(boxed(content), protocol=protocol)
    if protocol < 4:  # names are lines of text: the module was called numpy.core
        assert b"numpy._core" in pickled
        pickled = pickled.replace(b"numpy._core", b"numpy.core")
    read = read_npz(with_pickle(tmp_path / "old.npz", pickled))["payload"]
    np.testing.assert_array_equal(read["S1"]["Walking"], np.arange(3.0))
    assert read["n"] == 2


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("place", [lambda evil: evil, lambda evil: {"S1": {"Walking": [np.zeros(3), evil]}}])
def test_a_pickle_that_runs_something_is_refused_and_nothing_runs(tmp_path, place, protocol):
    evidence = tmp_path / "evidence"
    evil = place(Call(os.system, f"touch {evidence}"))
    path = with_pickle(tmp_path / "evil.npz", pickle.dumps(boxed(evil), protocol=protocol))
    with pytest.raises(BenchError, match=r"evil\.npz was refused: it wants to run (posix|nt)\.system.* do not trust"):
        read_npz(path)
    assert not evidence.exists()
    np.load(path, allow_pickle=True)["payload"]  # the payload is a real one
    assert evidence.exists()


@pytest.mark.parametrize("evil", [Call(eval, "1"), Call(getattr, "", "join"), Call(Path, "x"), Call(np.fromfile, "x")])
def test_no_other_function_can_be_named_either(tmp_path, evil):
    with pytest.raises(BenchError, match="was refused"):
        read_npz(with_pickle(tmp_path / "evil.npz", pickle.dumps(boxed({"a": evil}), protocol=4)))


def test_an_array_that_hides_in_the_pickle_of_another_is_refused(tmp_path):
    with pytest.raises(BenchError, match="its pickle does not hold the array that its header describes"):
        read_npz(with_pickle(tmp_path / "a.npz", pickle.dumps({"no": "array"})))


def test_a_file_that_is_not_there_or_no_archive_is_named(tmp_path):
    with pytest.raises(MissingDataError, match=r"none\.npz not found"):
        read_npz(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("an error page of a download")
    with pytest.raises(BenchError, match=r"text\.npz is not a whole \.npz file .*copy it again"):
        read_npz(tmp_path / "text.npz")
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as packed:
        packed.writestr("notes.txt", "not an array")
    with pytest.raises(BenchError, match=r"other\.npz cannot be read"):
        read_npz(tmp_path / "other.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damage_anywhere_is_a_plain_error(tmp_path, save):
    path, rng = tmp_path / "a.npz", random.Random(0)
    save(path, positions={"S1": {"Walking": np.arange(300.0)}}, plain=np.arange(40.0))
    whole = path.read_bytes()
    for cut in rng.sample(range(len(whole)), 30):
        path.write_bytes(whole[:cut])
        with pytest.raises(BenchError, match="copy it again"):
            read_npz(path)
    refused = 0
    for place in rng.sample(range(len(whole)), 300):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ rng.randrange(1, 256)]) + whole[place + 1 :])
        try:
            read_npz(path)  # a byte that means nothing, such as a date
        except BenchError:
            refused += 1
    assert refused > 150


# --- fingerprints


def test_fingerprint_follows_options_names_and_contents(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("content")
    two.write_text("content")
    prints = [
        archive.fingerprint(["a"], [one]),
        archive.fingerprint(["b"], [one]),
        archive.fingerprint(["a"], [two]),
        archive.fingerprint(["a"], [one, two]),
        archive.fingerprint(["a"]),
    ]
    assert len(set(prints)) == len(prints)
    assert archive.fingerprint(["a"], [one]) == prints[0]
    one.write_text("more content")
    assert archive.fingerprint(["a"], [one]) != prints[0]


def test_a_digest_is_remembered_and_a_broken_memory_is_no_harm(tmp_path, results_folder):
    path = tmp_path / "file"
    path.write_text("abc")
    digest = archive.file_digest(path)
    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (memory,) = (results_folder / "cache" / "digests").iterdir()
    for broken in ("", "[]", "{}", '{"stamp": 3}'):
        memory.write_text(broken)
        assert archive.file_digest(path) == digest
    remembered = memory.read_text().replace(digest, "f" * 64)
    memory.write_text(remembered)
    assert archive.file_digest(path) == "f" * 64, "an unchanged file is not read again"


# --- the cache


def small_builder() -> Builder:
    builder = Builder("small", "gt", 50.0, "f" * 64)
    for index, (subject, sequence) in enumerate([("S9", "Walking 1"), ("02", "NA"), ("118", "007 1")]):
        poses = np.random.default_rng(index).normal(0, 1, (3 + index, 17, 3)).astype(np.float32)
        builder.add(Video(subject, sequence.split(" ")[0], sequence, h36m_cameras()["S9"][0], poses[..., :2], poses))
    return builder


def small_dataset() -> PoseDataset:
    return small_builder().build()


def test_videos_that_were_only_collected_are_stored_as_the_data_set_that_they_build(tmp_path):
    archive.store(small_builder(), tmp_path / "collected")
    archive.store(small_dataset(), tmp_path / "built")
    for path in (tmp_path / "built").iterdir():
        assert (tmp_path / "collected" / path.name).read_bytes() == path.read_bytes()


SPOILT = {
    "a block is gone": lambda folder: (folder / "roots.npy").unlink(),
    "a block that may be None is gone": lambda folder: (folder / "valid.npy").unlink(),
    "a block is cut": lambda folder: os.truncate(folder / "poses_3d.npy", 200),
    "a block is another's": lambda folder: (folder / "poses_3d.npy").write_bytes((folder / "roots.npy").read_bytes()),
    "a header is overwritten": lambda folder: overwrite(folder / "keypoints_2d.npy", b"?" * 20),
    "the table is gone": lambda folder: (folder / "sequences.csv").unlink(),
    "the table is edited": lambda folder: edit(folder / "sequences.csv", "Walking", "Running"),
    "the description is empty": lambda folder: (folder / "dataset.json").write_text(""),
    "the description is a list": lambda folder: (folder / "dataset.json").write_text("[]"),
    "the description is of an older version": lambda folder: (folder / "dataset.json").write_text('{"name": "small"}'),
    "a number is edited": lambda folder: edit(folder / "dataset.json", "50.0", "25.0"),
    "a skeleton is edited": lambda folder: edit(folder / "dataset.json", "H36M-17", "H37M-17"),
    "it is a file": lambda folder: (shutil.rmtree(folder), folder.write_text("")),
}


def edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def overwrite(path: Path, content: bytes) -> None:
    with path.open("r+b") as stream:
        stream.write(content)


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT.keys())
def test_what_was_damaged_is_noticed_and_written_again(tmp_path, spoil):
    whole = replace(small_dataset(), valid=torch.arange(12) % 3 == 0)
    archive.store(whole, tmp_path / "set")
    assert archive.is_cached(tmp_path / "set")
    spoil(tmp_path / "set")
    assert not archive.is_cached(tmp_path / "set")
    archive.store(whole, tmp_path / "set")
    assert torch.equal(archive.memory_mapped(tmp_path / "set").poses_3d, whole.poses_3d)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_what_is_stored_comes_back(tmp_path):
    dataset, folder = small_dataset(), tmp_path / "cache" / "set"
    assert not archive.is_cached(folder)
    archive.store(dataset, folder)
    assert archive.is_cached(folder)
    mapped = archive.memory_mapped(folder)
    for block in ("keypoints_2d", "poses_3d", "roots"):
        assert torch.equal(getattr(mapped, block), getattr(dataset, block))
    assert mapped.sequences.to_dict("list") == dataset.sequences.to_dict("list")
    for field in ("name", "keypoints", "fps", "skeleton", "fingerprint"):
        assert getattr(mapped, field) == getattr(dataset, field)
    assert mapped.valid is mapped.activities is mapped.extent is None
    archive.store(dataset, folder)  # again: the first copy stays
    assert [path.name for path in folder.parent.iterdir()] == ["set"]


def test_a_skeleton_of_ones_own_comes_back_and_copies_with_the_name_of_a_known_one_are_read(tmp_path):
    own = Skeleton("точки", ("таз", "左手", "右手"), (-1, 0, 0), left=(1,), right=(2,), root=0)
    builder = Builder("own", "gt", 50.0, "f", own)
    camera = View("前", 100, 100)
    builder.add(Video("С1", "歩く", "歩く 1", camera, np.full((4, 3, 2), 50.0), np.ones((4, 3, 3))))
    builder.add(Video("С1", "Ходьба", "Ходьба 2", camera, np.full((5, 3, 2), 50.0), np.ones((5, 3, 3))))
    archive.store(builder, tmp_path / "own")
    stored = archive.memory_mapped(tmp_path / "own")
    assert stored.skeleton == own
    assert stored.sequences[["subject", "action", "camera"]].to_numpy().tolist() == [
        ["С1", "Ходьба", "前"], ["С1", "歩く", "前"],
    ]  # fmt: skip

    archive.store(small_dataset(), tmp_path / "old")
    about = json.loads((tmp_path / "old" / "dataset.json").read_text())
    (tmp_path / "old" / "dataset.json").write_text(json.dumps(about | {"skeleton": "H36M-17"}))
    assert archive.memory_mapped(tmp_path / "old").skeleton == H36M_17


def test_valid_frames_activities_and_the_extent_come_back(tmp_path):
    dataset = small_dataset()
    valid = torch.arange(len(dataset.poses_3d)) % 3 == 0
    activities = (torch.arange(len(dataset.poses_3d)) % 8).to(torch.uint8)
    archive.store(replace(dataset, valid=valid, activities=activities, extent=1.25), tmp_path / "set")
    mapped = archive.memory_mapped(tmp_path / "set")
    assert torch.equal(mapped.valid, valid)
    assert torch.equal(mapped.activities, activities)
    assert mapped.extent == 1.25


def test_writing_to_a_mapped_block_does_not_reach_the_file(tmp_path):
    archive.store(small_dataset(), tmp_path / "set")
    archive.memory_mapped(tmp_path / "set").poses_3d.fill_(7)
    assert torch.equal(archive.memory_mapped(tmp_path / "set").poses_3d, small_dataset().poses_3d)


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_an_interrupted_store_leaves_nothing(tmp_path, monkeypatch, calls):
    save, seen = archive._save, []

    def interrupted(path, pieces):
        if len(seen) == calls:
            raise KeyboardInterrupt
        seen.append(path)
        return save(path, pieces)

    monkeypatch.setattr(archive, "_save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        archive.store(small_dataset(), tmp_path / "cache" / "set")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_disk_that_is_full_is_a_clear_message_and_nothing_stays(tmp_path, monkeypatch):
    def full(path, pieces):
        path.write_bytes(b"some of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archive, "_save", full)
    with pytest.raises(BenchError, match=r"set cannot be written: No space left on device. .* needs 0 MB; \$BENCH_RES"):
        archive.store(small_dataset(), tmp_path / "cache" / "set")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_clear_message(tmp_path):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(BenchError, match=r"set cannot be written: File exists"):
        archive.store(small_dataset(), tmp_path / "cache" / "set")


def test_who_stores_the_same_at_the_same_time_finds_it_whole(tmp_path):
    def store_and_open(_: int) -> torch.Tensor:
        archive.store(small_builder(), tmp_path / "set")
        return archive.memory_mapped(tmp_path / "set").poses_3d.sum()

    with ThreadPoolExecutor(8) as pool:
        sums = list(pool.map(store_and_open, range(24)))
    assert len(set(map(float, sums))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_remains_of_a_killed_store_are_replaced(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "poses_3d.npy").write_bytes(b"half")
    assert not archive.is_cached(folder)
    archive.store(small_dataset(), folder)
    assert torch.equal(archive.memory_mapped(folder).poses_3d, small_dataset().poses_3d)
