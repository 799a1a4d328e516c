"""MPI-INF-3DHP with the labels `annot3`: the skeletons as measured, not scaled to one height as `3dhp` has them.

The same 2D, valid frames and reader, other 3D: `data_train_3dhp_annot3.npz` and `data_test_3dhp_annot3.npz`. A data set
of its own, because numbers of the two kinds of labels do not compare (docs/reference/datasets.md).
"""

from __future__ import annotations

from functools import partial

from bench.data import mpi_inf_3dhp
from bench.data.mpi_inf_3dhp import KEYPOINTS, MEASURED, SKELETON, camera

__all__ = ["KEYPOINTS", "SKELETON", "camera", "collect", "fingerprint", "read"]

fingerprint = partial(mpi_inf_3dhp.fingerprint, labels=MEASURED)
collect = partial(mpi_inf_3dhp.collect, labels=MEASURED)
read = partial(mpi_inf_3dhp.read, labels=MEASURED)
