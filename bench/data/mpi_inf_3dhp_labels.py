"""Groups in the evaluation of MPI-INF-3DHP (Mehta et al., 3DV 2017): activities, scenes, weights of older labels.

Its groups of joints are `bench.geometry.skeleton.MPI_INF_3DHP_GROUPS`.
"""

from __future__ import annotations

from bench.data.known import MPI_INF_3DHP_VALID_BEFORE

# In the order of the numbers 1 to 7 that the labels hold.
ACTIVITIES = (
    "Standing/Walking", "Exercising", "Sitting", "Reaching/Crouching", "On The Floor", "Sports", "Miscellaneous",
)  # fmt: skip

SCENES = {
    "TS1": "studio, green screen",
    "TS2": "studio, green screen",
    "TS3": "studio",
    "TS4": "studio",
    "TS5": "outdoor",
    "TS6": "outdoor",
}

# Valid frames of each test sequence in an older release of the labels. The official README and P-STMO (Shan et al.,
# ECCV 2022) weight the numbers of the six sequences by them, regardless of the files that were tested.
README_WEIGHTS = MPI_INF_3DHP_VALID_BEFORE


def w2929(by_sequence: dict[str, float]) -> float | None:
    """The mean of the six sequences' numbers with the weights of the older labels, 2,929 frames in all.

    None unless all six sequences have a number.
    """
    if by_sequence.keys() != README_WEIGHTS.keys():
        return None
    return sum(README_WEIGHTS[name] * by_sequence[name] for name in by_sequence) / sum(README_WEIGHTS.values())
