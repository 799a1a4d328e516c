"""Files of the real sizes of Human3.6M and MPI-INF-3DHP, with made-up motion: python tests/real_size.py h36m DIR"""

from __future__ import annotations

import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.geometry.skeleton import H36M_17

Array = NDArray[np.floating[Any]]

# Frames of each subject's motion capture: a quarter of what users of the files count over the four cameras. Where they
# count subjects together, the parts are ours.
H36M_FRAMES = {"S1": 62_094, "S5": 99_079, "S6": 62_466, "S7": 93_000, "S8": 73_299, "S9": 83_836, "S11": 52_000}
ACTIONS = ("Directions", "Discussion", "Eating", "Greeting", "Phoning", "Photo", "Posing", "Purchases", "Sitting")
ACTIONS += ("SittingDown", "Smoking", "Waiting", "WalkDog", "Walking", "WalkTogether")
# The numbers in the names of the two takes of an action; all others are 1 and none, for SittingDown none and 1.
TAKES = {
    "S1": {"Eating": ("2", ""), "Sitting": ("1", "2"), "SittingDown": ("2", "")},
    "S5": {
        **dict.fromkeys(("Directions", "Greeting", "Waiting"), ("1", "2")),
        **{"Discussion": ("2", "3"), "Photo": ("", "2")},
    },
    "S6": {
        **{"Eating": ("1", "2"), "Posing": ("2", ""), "Sitting": ("1", "2"), "SittingDown": ("1", "")},
        **{"Photo": ("", "1"), "Waiting": ("3", "")},
    },
    "S7": {"Phoning": ("2", ""), "Photo": ("", "1"), "Waiting": ("1", "2"), "Walking": ("1", "2")},
    "S8": {"WalkTogether": ("1", "2")},
    "S9": {"Discussion": ("1", "2")},
    "S11": {"Discussion": ("1", "2"), "Greeting": ("2", ""), "Phoning": ("3", "2"), "Smoking": ("2", "")},
}

MPI_INF_3DHP_FRAMES = {
    **{"S1 Seq1": 6416, "S2 Seq1": 6502, "S3 Seq1": 12488, "S4 Seq1": 6171, "S5 Seq1": 12820, "S6 Seq1": 6188},
    **{"S7 Seq1": 6239, "S8 Seq1": 6468, "S1 Seq2": 12430, "S2 Seq2": 6081, "S3 Seq2": 12283, "S4 Seq2": 6675},
    **{"S5 Seq2": 12312, "S6 Seq2": 6145, "S7 Seq2": 6320, "S8 Seq2": 6054},
}
MPI_INF_3DHP_TEST_FRAMES = {"TS1": 6151, "TS2": 6080, "TS3": 5838, "TS4": 6007, "TS5": 320, "TS6": 492}


def h36m_lengths() -> dict[str, dict[str, int]]:
    """Frames of each of the 209 sequences, by subject and name."""
    rng = np.random.default_rng(0)
    lengths = {}
    for subject, total in H36M_FRAMES.items():
        names = []
        for action in ACTIONS:
            takes = TAKES[subject].get(action, ("", "1") if action == "SittingDown" else ("1", ""))
            names += [f"{action} {take}".strip() for take in takes]
        if subject == "S11":
            names.remove("Directions")  # one of its videos is missing
        ends = np.cumsum(rng.uniform(0.5, 1.5, len(names)))
        cuts = np.rint(ends / ends[-1] * total).astype(int)
        lengths[subject] = dict(zip(names, np.diff(cuts, prepend=0).tolist(), strict=True))
    return lengths


def write_h36m(root: Path) -> int:
    """The 3D and the `gt` 2D file, as NumPy wrote them when the community made its own. Returns bytes of arrays."""
    rng = np.random.default_rng(1)
    lengths = h36m_lengths()
    world = {
        subject: {name: _motion(rng, (frames, 32, 3), 0.5, 0.005) for name, frames in sequences.items()}
        for subject, sequences in lengths.items()
    }
    written = _write(root / "data_3d_h36m.npz", protocol=2, positions_3d=world)
    del world
    pixels = {
        subject: {
            name: [500 + _motion(rng, (frames, 17, 2), 100, 1) for _ in range(4)] for name, frames in sequences.items()
        }
        for subject, sequences in lengths.items()
    }
    about = {"num_joints": 17, "keypoints_symmetry": [list(H36M_17.left), list(H36M_17.right)]}
    return written + _write(root / "data_2d_h36m_gt.npz", protocol=2, positions_2d=pixels, metadata=about)


def write_3dhp(root: Path) -> int:
    """The training and the test file. Returns bytes of arrays."""
    rng = np.random.default_rng(2)

    def view(frames: int) -> dict[str, Array]:
        poses = _motion(rng, (frames, 17, 3), 300, 5).astype(np.float64)
        return {"data_2d": 1000 + _motion(rng, (frames, 17, 2), 100, 1).astype(np.float64), "data_3d": poses}

    train = {
        name: [{camera: view(frames) for camera in "01245678"}, 25] for name, frames in MPI_INF_3DHP_FRAMES.items()
    }
    written = _write(root / "data_train_3dhp.npz", protocol=4, data=train)
    del train
    test = {
        name: view(frames) | {"valid": (rng.uniform(size=frames) < 0.1).astype(float)}
        for name, frames in MPI_INF_3DHP_TEST_FRAMES.items()
    }
    return written + _write(root / "data_test_3dhp.npz", protocol=4, data=test)


def _motion(rng: np.random.Generator, shape: tuple[int, int, int], spread: float, step: float) -> Array:
    """A body of random joints that wanders: float32."""
    body = rng.normal(0, spread, shape[1:]).astype(np.float32)
    path = (step * rng.standard_normal((shape[0], 1, shape[2]), np.float32)).cumsum(axis=0)
    return body + path


def _write(path: Path, protocol: int, **arrays: Any) -> int:
    """Dictionaries in 0-d object arrays, as by `numpy.savez_compressed` but faster. Returns bytes of arrays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for name, content in arrays.items():
            box = np.empty((), object)
            box[()] = content
            with packed.open(f"{name}.npy", "w", force_zip64=True) as stream:
                header = {"descr": "|O", "fortran_order": False, "shape": ()}
                np.lib.format.write_array_header_1_0(stream, header)
                pickle.dump(box, stream, protocol=protocol)
    return sum(_bytes(content) for content in arrays.values())


def _bytes(content: Any) -> int:
    if isinstance(content, dict):
        return sum(map(_bytes, content.values()))
    return sum(map(_bytes, content)) if isinstance(content, list) else getattr(content, "nbytes", 0)


WRITERS = {"h36m": write_h36m, "3dhp": write_3dhp}

if __name__ == "__main__":
    print(WRITERS[sys.argv[1]](Path(sys.argv[2])))
