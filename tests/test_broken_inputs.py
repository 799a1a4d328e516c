"""Whatever is wrong with an input: exit status 2, one clear message that says where, no traceback, nothing written.

To add a case, write a line into `CASES`: what is wrong, a function that spoils a folder of good inputs (`GOOD` lists
them), the command that meets it, and a pattern for the message. Helpers that change one part of a file stand above.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import amc, asf, h36m_positions, mpi_inf_3dhp, save_3dhp, save_h36m, upstream_state

from bench.cli import main
from bench.geometry.camera import h36m_cameras, normalise_screen
from bench.method.weights import import_file, save_weights

GOLDEN = Path(__file__).parent / "golden"

CONFIG = """
title: The mean pose
protocol:
  dataset: h36m
  keypoints: gt
  frames: 9
  train_subjects: [S1, S5]
  test_subjects: [S9]
methods:
  mean_pose: {}
  mixste: {recipe: {epochs: 1, batch_windows: 4, learning_rate: 1.0e-3}, model: {dim: 16, depth: 1, heads: 2}}
"""

# What lies in the folder of good inputs; commands run in it.
GOOD = {
    "h36m": "data_3d_h36m.npz, data_2d_h36m_gt.npz",
    "3dhp": "data_train_3dhp.npz, data_test_3dhp.npz",
    "cmu": "02/02.asf, 02/02_01.amc, trials.csv",
    "mine.yaml": "a benchmark on h36m: mean_pose and mixste, 9 frames",
    "published.bin": "a published checkpoint of MixSTE, 9 frames",
    "mixste.safetensors": "what `bench import` makes of it",
}
FRAMES = {"S1": {"Sitting 1": 12, "Walking": 10}, "S5": {"Walking": 9}, "S9": {"Photo": 8}}


def write_good(folder: Path) -> None:
    """Files that nothing is wrong with."""
    save_h36m(folder / "h36m", *h36m_positions(FRAMES))
    save_3dhp(folder / "3dhp", *mpi_inf_3dhp())
    (folder / "cmu" / "02").mkdir(parents=True)
    (folder / "cmu" / "02" / "02.asf").write_text(asf())
    (folder / "cmu" / "02" / "02_01.amc").write_text(amc(25, step=0.1))
    (folder / "cmu" / "trials.csv").write_text("trial,rate_hz,action_group\n02_01,120,walk\n")
    (folder / "mine.yaml").write_text(CONFIG)
    with np.load(GOLDEN / "mixste.npz", allow_pickle=False) as stored:
        state = {key: torch.from_numpy(value) for key, value in upstream_state(dict(stored)).items()}
    torch.save({"model_pos": state}, folder / "published.bin")
    save_weights(import_file("mixste", folder / "published.bin"), folder / "mixste.safetensors")


# --- helpers: each gives a function that spoils the folder it is called with

Spoil = Callable[[Path], object]


def h36m(change: Callable[[Any, Any], object], **metadata: Any) -> Spoil:
    """`change(positions_3d, positions_2d)` in the files of Human3.6M; metadata of the 2D file."""

    def spoil(folder: Path) -> None:
        world, pixels = h36m_positions(FRAMES)
        change(world, pixels)
        save_h36m(folder / "h36m", world, pixels, **metadata)

    return spoil


def mpi(change: Callable[[Any, Any], object]) -> Spoil:
    """`change(train, test)` in the files of MPI-INF-3DHP."""

    def spoil(folder: Path) -> None:
        train, test = copy.deepcopy(mpi_inf_3dhp())
        change(train, test)
        save_3dhp(folder / "3dhp", train, test)

    return spoil


def edit(name: str, old: str, new: str) -> Spoil:
    """Replace text in a file."""

    def spoil(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return spoil


def cut(name: str, share: float = 0.5) -> Spoil:
    """Keep only the first part of a file."""

    def spoil(folder: Path) -> None:
        raw = (folder / name).read_bytes()
        (folder / name).write_bytes(raw[: int(len(raw) * share)])

    return spoil


def content(name: str, what: bytes) -> Spoil:
    """Something else in a file."""
    return lambda folder: (folder / name).write_bytes(what)


def arrays(name: str, **what: Any) -> Spoil:
    """Other arrays in an .npz file."""
    return lambda folder: np.savez_compressed(folder / name, **what)


def folder_instead(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return spoil


def pickled(name: str, program: bytes) -> Spoil:
    """An object array whose pickle is this program, as `positions_3d`."""

    def spoil(folder: Path) -> None:
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("a.npy", "w") as stream:
            header = {"descr": "|O", "fortran_order": False, "shape": ()}
            np.lib.format.write_array_header_1_0(stream, header)
            stream.write(program)

    return spoil


def zip_bomb(folder: Path) -> None:
    with zipfile.ZipFile(folder / DATA_3D, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("a.npy", "w") as stream:
        for _ in range(150):
            stream.write(bytes(1 << 20))


class Hostile:
    """Pickles as a call."""

    def __reduce__(self) -> Any:
        return os.system, ("touch victim",)


def every(positions: Any, change: Callable[[Any], Any]) -> None:
    """Change every array in a nest of dictionaries and lists."""
    for key, value in positions.items() if isinstance(positions, dict) else enumerate(positions):
        if isinstance(value, dict | list):
            every(value, change)
        elif isinstance(value, np.ndarray):
            positions[key] = change(value)


def with_value(array: Any, place: tuple[int, ...], value: float) -> Any:
    array[place] = value
    return array


def normalised(pixels: Any) -> None:
    for subject, sequences in pixels.items():
        for sequence, views in sequences.items():
            cameras = h36m_cameras()[subject]
            sequences[sequence] = [
                normalise_screen(view, camera.width, camera.height) for view, camera in zip(views, cameras, strict=True)
            ]


# --- the cases

DATA_3D, DATA_2D = "h36m/data_3d_h36m.npz", "h36m/data_2d_h36m_gt.npz"
TRAIN, TEST = "3dhp/data_train_3dhp.npz", "3dhp/data_test_3dhp.npz"
H36M, MPI, CMU = (f"data describe {name} --data ." for name in ("h36m", "3dhp", "cmu"))
RUN = "run mine.yaml --data . --no-track"
IMPORT = "import mixste published.bin"
LEFT, RIGHT = [4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]


@dataclass(frozen=True)
class Case:
    """leaves: folders of the results that may hold something afterwards, since what came first was good."""

    what: str
    spoil: Spoil
    command: str
    message: str
    leaves: tuple[str, ...] = ()


CASES = [
    # files that are no files
    Case("no data folder", lambda folder: None, "data describe h36m --data nowhere", "nowhere/h36m/data_3d_h36m.npz"),
    Case("a file for a data folder", lambda folder: None, f"data describe h36m --data {DATA_3D}", "npz not found"),
    Case("a folder for a file", folder_instead(DATA_3D), H36M, "data_3d_h36m.npz not found"),
    Case("no 2D file", lambda folder: (folder / DATA_2D).unlink(), H36M, "data_2d_h36m_gt.npz not found, looked for"),
    Case("an empty file", content(DATA_3D, b""), H36M, f"{DATA_3D} is not a whole .npz file"),
    Case("an error page", content(DATA_2D, b"<html>404</html>"), H36M, f"{DATA_2D} is not a whole .npz file"),
    Case("a cut archive", cut(DATA_3D), H36M, f"{DATA_3D} is not a whole .npz file .*copy it again"),
    Case("a cut archive of 3dhp", cut(TRAIN, 0.9), MPI, f"{TRAIN} is not a whole .npz file"),
    # files that want to do harm
    Case("a pickle that runs something", arrays(DATA_3D, positions_3d=np.array({"S1": Hostile()}, object)), H36M,
         f"{DATA_3D} was refused: it wants to run posix.system.*do not trust"),
    Case("a pickle bomb", pickled(DATA_3D, b"]" + b"]a" * 400_000 + b"."), H36M, f"{DATA_3D} was refused: it takes"),
    Case("a pickle that asks for memory", pickled(DATA_2D, b"Nr\xff\xff\xff\x7f."), H36M, f"{DATA_2D} cannot be read"),
    Case("a key nested without end", pickled(DATA_3D, b"})" + b"\x85" * 99_999 + b"Ns."), H36M, "a tuple for a key"),
    Case("a zip bomb", zip_bomb, H36M, f"{DATA_3D} was refused: its .* MB would unpack to 157 MB"),
    # Human3.6M
    Case("another key", arrays(DATA_3D, poses=np.eye(3)), H36M, f"{DATA_3D}: expected an array 'positions_3d', found"),
    Case("an array for subjects", arrays(DATA_3D, positions_3d=np.eye(3)), H36M, "d' holds .3, 3., not sequences"),
    Case("a list for sequences", h36m(lambda world, pixels: world.update(S1=[1])), H36M, "S1 holds list, not seq"),
    Case("numbers for names", h36m(lambda world, pixels: world["S1"].update({7: 1})), H36M, "7 is not the name of a"),
    Case("numbers for subjects", h36m(lambda world, pixels: world.update({1: {}})), H36M, "1 is not the name of a"),
    Case("an unknown subject", h36m(lambda world, pixels: world.update(S4=world["S1"])), H36M, "no cameras .* 'S4'"),
    Case("text for numbers", h36m(lambda world, pixels: every(world, lambda a: a.astype(str))), H36M,
         f"{DATA_3D}: S1 'Sitting 1': expected .frames, 32, 3., found .12, 32, 3. of <U"),
    Case("objects for numbers", h36m(lambda world, pixels: every(pixels, lambda a: a.astype(object))), H36M,
         f"{DATA_2D}: S1 'Sitting 1', camera 0: expected .frames, 17, 2., found .12, 17, 2. of object"),
    Case("a list for an array", h36m(lambda world, pixels: every(world, lambda a: a.tolist())), H36M, "found a list"),
    Case("NaN in 3D", h36m(lambda world, pixels: with_value(world["S9"]["Photo"], (3, 25, 1), np.nan)), H36M,
         f"{DATA_3D}: S9 'Photo': frame 3 holds numbers that are not finite"),
    Case("infinity in 2D", h36m(lambda world, pixels: with_value(pixels["S9"]["Photo"][2], (4, 5, 0), np.inf)), H36M,
         f"{DATA_2D}: S9 'Photo', camera 2: frame 4 holds numbers that are not finite"),
    Case("a missing camera", h36m(lambda world, pixels: pixels["S1"]["Walking"].pop()), H36M,
         f"{DATA_2D}: S1 'Walking': 3 cameras, expected 4"),
    Case("a fifth camera", h36m(lambda world, pixels: pixels["S1"]["Walking"].append(pixels["S1"]["Walking"][0])), H36M,
         f"{DATA_2D}: S1 'Walking': 5 cameras, expected 4"),
    Case("no cameras", h36m(lambda world, pixels: pixels["S1"].update(Walking=np.array(None))), H36M, "0 cameras, exp"),
    Case("a sequence without 2D", h36m(lambda world, pixels: pixels["S1"].pop("Walking")), H36M,
         f"{DATA_2D}: S1 'Walking' is missing, which data_3d_h36m.npz holds"),
    Case("2D shorter than 3D", h36m(lambda world, pixels: every(pixels["S5"], lambda a: a[:-1])), H36M,
         f"{DATA_2D}: S5 'Walking', camera 0: 8 frames of 2D, 9 of 3D"),
    Case("an empty sequence", h36m(lambda world, pixels: every(world["S5"], lambda a: a[:0])), H36M,
         f"{DATA_3D}: S5 'Walking': expected .frames, 32, 3., found .0, 32, 3."),
    Case("16 joints", h36m(lambda world, pixels: every(pixels, lambda a: a[:, :16])), H36M, "found .12, 16, 2."),
    Case("17 of 32 joints in 3D", h36m(lambda world, pixels: every(world, lambda a: a[:, :17])), H36M, "12, 17, 3"),
    Case("the joints of COCO", h36m(lambda world, pixels: None, keypoints_symmetry=[[*range(1, 17, 2)],
         [*range(2, 17, 2)]]), H36M, f"{DATA_2D}: its left and right joints are .*another joint set"),
    Case("left and right swapped", h36m(lambda world, pixels: None, keypoints_symmetry=[RIGHT, LEFT]), H36M,
         f"{DATA_2D}: its left and right joints are swapped"),
    Case("symmetry that is none", h36m(lambda world, pixels: None, keypoints_symmetry=[["hip"], None]), H36M,
         f"{DATA_2D}: its metadata do not name left and right joints"),
    Case("millimetres for metres", h36m(lambda world, pixels: every(world, lambda a: a * 1000)), H36M,
         f"{DATA_3D}: S1 'Sitting 1': a joint lies .* is the file in millimetres"),
    Case("2D that is normalised", h36m(lambda world, pixels: normalised(pixels)), H36M,
         f"{DATA_2D}: S1 'Sitting 1', camera 0: .* normalised already"),
    Case("2D and 3D swapped", lambda folder: (folder / DATA_2D).write_bytes((folder / DATA_3D).read_bytes()), H36M,
         f"{DATA_2D}: expected an array 'positions_2d', found positions_3d"),
    Case("no test subject", h36m(lambda world, pixels: world.pop("S9")), RUN, "no subject 'S9'; the data hold S1, S5",
         leaves=("cache/data",)),
    # MPI-INF-3DHP
    Case("metres for millimetres", mpi(lambda train, test: every(train, lambda a: a / 1000 if a.shape[-1] == 3 else a)),
         MPI, f"{TRAIN}: 'S1 Seq1', camera 0: the largest coordinate is .* in metres, not in millimetres"),
    Case("normalised pixels", mpi(lambda train, test: every(test["TS3"], lambda a: a / 2e3 if a.shape[-1] == 2 else a)),
         MPI, f"{TEST}: 'TS3': no keypoint is farther than 4 pixels .* normalised already"),
    Case("no dictionary", arrays(TEST, data=np.eye(2)), MPI, f"{TEST}: 'data' is a ndarray, not sequences by name"),
    Case("valid with 2s", mpi(lambda train, test: with_value(test["TS2"]["valid"], (1,), 2)), MPI,
         f"{TEST}: 'TS2', valid: expected 3 values of 0 or 1, found the values 0.0, 1.0, 2.0"),
    Case("nothing valid", mpi(lambda train, test: with_value(test["TS2"]["valid"], (...,), 0)), MPI,
         f"{TEST}: 'TS2', valid: no frame is valid"),
    Case("valid as a nest of lists", mpi(lambda train, test: test["TS2"].update(valid=[[0], [1], 1])), MPI,
         f"{TEST}: 'TS2', valid: expected 3 values of 0 or 1, found list"),
    Case("a camera too few", mpi(lambda train, test: train["S1 Seq1"][0].pop("8")), MPI, "'S1 Seq1': cameras are 0, 1"),
    Case("training for testing", lambda folder: (folder / TEST).write_bytes((folder / TRAIN).read_bytes()), MPI,
         f"{TEST}: 'S1 Seq1' is no sequence of this file"),
    Case("34 joints", mpi(lambda train, test: every(test["TS1"], lambda a: np.repeat(a, 2, 1) if a.ndim == 3 else a)),
         MPI, f"{TEST}: 'TS1', data_2d: expected .frames, 17, 2. numbers, found .10, 34, 2."),
    # CMU
    Case("a cut motion", cut("cmu/02/02_01.amc", 0.97), CMU, r"cmu/02/02_01.amc, line \d+: "),
    Case("an empty motion", content("cmu/02/02_01.amc", b""), CMU, "cmu/02/02_01.amc, line 1: the first frame lacks"),
    Case("another skeleton", edit("cmu/02/02.asf", "rwrist", "rpaw"), CMU, "02.asf: not the CMU skeleton.* rwrist"),
    Case("no skeleton", lambda folder: (folder / "cmu/02/02.asf").unlink(), CMU, "cmu/02/02.asf not found"),
    Case("a word for a number", edit("cmu/02/02_01.amc", "root 0 17", "root zero 17"), CMU, "amc, line 4: expected n"),
    Case("a rate of nothing", edit("cmu/trials.csv", "120", "0"), CMU, "trials.csv: trial 02_01 has .* rate_hz 0.0"),
    Case("a list that is no table", content("cmu/trials.csv", b"\xff\xfe\x00"), CMU, "trials.csv: cannot read columns"),
    # names and configurations
    Case("wrong keypoints", lambda folder: None, f"{H36M} --keypoints detectron", "No h36m keypoints 'detectron'"),
    Case("no such data set", lambda folder: None, "data describe h37m", "No data set 'h37m'. Did you mean 'h36m'"),
    Case("no such benchmark", lambda folder: None, "run yours.yaml", "yours"),
    Case("damaged YAML", edit("mine.yaml", "[S9]", "[S9"), RUN, r"mine.yaml"),
    Case("an empty configuration", content("mine.yaml", b""), RUN, "mine.yaml"),
    Case("bytes for a configuration", content("mine.yaml", b"\xff\xfe\x00\x01"), RUN, "mine.yaml"),
    Case("an unknown key", edit("mine.yaml", "epochs", "epoch"), RUN, "did you mean epochs"),
    Case("an unknown data set", edit("mine.yaml", "h36m", "h37m"), RUN, "h37m"),
    Case("tested on what is trained on", edit("mine.yaml", "[S9]", "[S9, S1]"), RUN, "S1"),
    Case("a word for a size", edit("mine.yaml", "dim: 16", "dim: big"), RUN, "dim", leaves=("cache/data",)),
    Case("an unknown method", edit("mine.yaml", "mean_pose", "mean_poze"), RUN, "mean_poze.* mean you|Did you mean"),
    # weights
    Case("cut weights", cut("mixste.safetensors"), f"{RUN} --weights mixste=mixste.safetensors",
         "mixste.safetensors is not a safetensors file, or is truncated"),
    Case("weights of another tool", lambda folder: save_plain(folder), f"{RUN} --weights mixste=mixste.safetensors",
         "mixste.safetensors is a safetensors file of another tool"),
    Case("no weights file", lambda folder: None, f"{RUN} --weights mixste=none.safetensors", "none.safetensors not f"),
    Case("weights for another method", lambda folder: None, f"{RUN} --weights mean_pose=mixste.safetensors",
         "weights of mixste"),
    Case("a checkpoint of a class", lambda folder: torch.save({"model_pos": Hostile()}, folder / "published.bin"),
         IMPORT, "published.bin was refused: it wants to run posix.system.*do not trust"),
    Case("a cut checkpoint", cut("published.bin"), IMPORT, "published.bin is not a checkpoint, or is truncated"),
    Case("a text for a checkpoint", content("published.bin", b"404"), IMPORT, "published.bin is not a checkpoint"),
    Case("a checkpoint of another method", lambda folder: None, "import poseformer published.bin", "published.bin"),
    Case("a folder for a checkpoint", folder_instead("published.bin"), IMPORT, "published.bin is a folder"),
]  # fmt: skip


def save_plain(folder: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.ones(2)}, folder / "mixste.safetensors")


@pytest.fixture(scope="session")
def good(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    write_good(folder)
    return folder


@pytest.fixture
def inputs(good, tmp_path, monkeypatch) -> Path:
    """A copy of the good inputs, as the current folder."""
    folder = shutil.copytree(good, tmp_path / "inputs")
    monkeypatch.chdir(folder)
    return folder


def files_of(folder: Path, leaves: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Every file below a folder; digests that are remembered of inputs are no result."""
    return {
        name: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not (name := str(path.relative_to(folder))).startswith(("cache/digests", *leaves))
    }


def ended(command: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(command.split())
    return int(caught.value.code or 0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_a_broken_input_is_one_clear_message_and_leaves_nothing(inputs, results_folder, capfd, case):
    case.spoil(inputs)
    before = files_of(inputs)
    status = ended(case.command)
    out, err = capfd.readouterr()
    assert status == 2, err
    assert err.startswith("bench: ")
    assert err.count("bench: ") == 1, f"one message: {err}"
    assert "Traceback" not in err
    assert len(err) < 1_000

    assert re.search(case.message, err), err
    assert out == ""
    assert files_of(inputs) == before
    assert files_of(results_folder, case.leaves) == {}


@pytest.mark.parametrize("command", [H36M, MPI, CMU, f"{RUN} --dry-run --weights mixste=mixste.safetensors", IMPORT])
def test_the_good_inputs_are_good(inputs, capfd, command):
    assert ended(command) == 0, capfd.readouterr().err


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize(("name", "command"), [(DATA_3D, H36M), ("cmu/trials.csv", CMU), ("h36m", H36M)])
def test_what_may_not_be_read_is_named(inputs, capfd, name, command):
    (inputs / name).chmod(0)
    try:
        assert ended(command) == 2
    finally:
        (inputs / name).chmod(0o755)
    err = capfd.readouterr().err
    assert err.startswith("bench: ")
    assert "ermission denied" in err
    assert Path(name).name in err


def test_the_cases_have_names_of_their_own():
    names = [case.what for case in CASES]
    assert len(set(names)) == len(names) >= 25
