"""Content of complete files: names, frames and rates of the two community data sets, and of variants in circulation."""

from __future__ import annotations

# Human3.6M: the release names two actions of S1 differently; the community's files rename them.
H36M_ACTIONS = (
    "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Photo", "Posing", "Purchases", "Sitting",
    "SittingDown", "Smoking", "Waiting", "WalkDog", "Walking", "WalkTogether",
)  # fmt: skip
H36M_RENAMED = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog"}

# Each action was recorded twice, as "Eating" and "Eating 1", except for these: the numbers of their takes.
_TAKES: dict[str, dict[str, tuple[str, str]]] = {
    "S1": {"Eating": ("", "2"), "Sitting": ("1", "2"), "SittingDown": ("", "2")},
    "S5": {
        "Directions": ("1", "2"), "Discussion": ("2", "3"), "Greeting": ("1", "2"), "Photo": ("", "2"),
        "Waiting": ("1", "2"),
    },
    "S6": {"Eating": ("1", "2"), "Posing": ("", "2"), "Sitting": ("1", "2"), "Waiting": ("", "3")},
    "S7": {"Phoning": ("", "2"), "Waiting": ("1", "2"), "Walking": ("1", "2")},
    "S8": {"WalkTogether": ("1", "2")},
    "S9": {"Discussion": ("1", "2")},
    "S11": {"Discussion": ("1", "2"), "Greeting": ("", "2"), "Phoning": ("2", "3"), "Smoking": ("", "2")},
}  # fmt: skip

# The names of each subject's 30 recordings, of which the community's files hold all but one.
H36M_RECORDED = {
    subject: tuple(f"{action} {take}".strip() for action in H36M_ACTIONS for take in takes.get(action, ("", "1")))
    for subject, takes in _TAKES.items()
}
H36M_DROPPED = ("S11", "Directions")  # one of its four videos is missing from the release
H36M_SEQUENCES = {
    subject: frozenset(name for name in names if (subject, name) != H36M_DROPPED)
    for subject, names in H36M_RECORDED.items()
}

# Frames of all four cameras, as reported by users of the files.
H36M_FRAMES = {
    ("S1",): 248_376,
    ("S5",): 396_316,
    ("S6",): 249_864,
    ("S7", "S8"): 665_196,
    ("S9", "S11"): 543_344,
}
H36M_TEST_FRAMES_OF_VIDEOS = 566_920  # of the files that were cut from the videos, not from the motion capture
# The labels of these sequences drift away from the images, in all copies of the files: detections do not fit them.
H36M_DRIFTING = {("S9", "Greeting"), ("S9", "SittingDown 1"), ("S9", "Waiting 1")}

# MPI-INF-3DHP: frames that the training file keeps of each sequence, and its frames per second.
MPI_INF_3DHP_TRAIN = {
    "S1 Seq1": (6416, 25), "S1 Seq2": (12430, 50), "S2 Seq1": (6502, 25), "S2 Seq2": (6081, 25),
    "S3 Seq1": (12488, 50), "S3 Seq2": (12283, 50), "S4 Seq1": (6171, 25), "S4 Seq2": (6675, 25),
    "S5 Seq1": (12820, 50), "S5 Seq2": (12312, 50), "S6 Seq1": (6188, 25), "S6 Seq2": (6145, 25),
    "S7 Seq1": (6239, 25), "S7 Seq2": (6320, 25), "S8 Seq1": (6468, 25), "S8 Seq2": (6054, 25),
}  # fmt: skip
MPI_INF_3DHP_TEST = {"TS1": 6151, "TS2": 6080, "TS3": 5838, "TS4": 6007, "TS5": 320, "TS6": 492}
MPI_INF_3DHP_VALID = {"TS1": 603, "TS2": 540, "TS3": 506, "TS4": 558, "TS5": 276, "TS6": 392}
MPI_INF_3DHP_VALID_BEFORE = {"TS1": 603, "TS2": 540, "TS3": 505, "TS4": 553, "TS5": 276, "TS6": 452}  # older release


def thinned(found: int, whole: int, slack: int) -> int | None:
    """The step if only every second or fifth frame is left: 2, 5 or None. slack: frames that rounding may cost."""
    return next((step for step in (2, 5) if abs(found * step - whole) <= slack * step), None)
