"""MPI-INF-3DHP with the labels `annot3`: the skeletons as measured, not scaled to one height as `3dhp` has them.

The same 2D, valid frames and reader, other 3D: `data_train_3dhp_annot3.npz` and `data_test_3dhp_annot3.npz`. A data set
of its own, because numbers of the two kinds of labels do not compare (docs/datasets.md).
"""

from __future__ import annotations

from pathlib import Path

from bench.data import mpi_inf_3dhp
from bench.data.mpi_inf_3dhp import KEYPOINTS, SKELETON, Labels
from bench.data.pose_dataset import PoseDataset

__all__ = ["KEYPOINTS", "SKELETON", "fingerprint", "read"]

MEASURED = Labels("3dhp-annot3", "data_train_3dhp_annot3.npz", "data_test_3dhp_annot3.npz")


def fingerprint(root: Path, keypoints: str) -> str:
    """As `mpi_inf_3dhp.fingerprint`."""
    return mpi_inf_3dhp.fingerprint(root, keypoints, MEASURED)


def read(root: Path, keypoints: str, fingerprint: str) -> PoseDataset:
    """As `mpi_inf_3dhp.read`."""
    return mpi_inf_3dhp.read(root, keypoints, fingerprint, MEASURED)
