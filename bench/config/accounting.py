"""Accountings: the rules by which predictions become numbers, ours and those of each paper's own code.

Every rule is a field of `Accounting`, so that one can be changed at a time. `PRESETS` holds `shared` and what published
evaluation code does; docs/reference/protocols.md has the reasons. What happens before prediction (weights picked on
the test set, the mirrored average, steps between input frames) is not part of it: recipes and protocols state that.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from bench.config.schema import Averaging
from bench.system.errors import BenchError, unknown


@dataclass(frozen=True)
class Accounting:
    """How predictions are scored. The defaults are the rules of `shared`.

    tail: frames that the last window of a video shares with the one before count once (as the earlier window predicts
        them) or twice. short: on which side a video shorter than the window is padded with copies of its end frame.
        padding: whether these copies count.
    root: the predicted root is set to zero, left raw, or subtracted from every joint.
    action: a sequence counts for its own action, or for every action whose name is a prefix of its name.
    velocity: MPJVE over the steps within each video (`video`); the same, each video weighted by its frames (`frames`);
        over all windows of a video laid end to end (`windows`); over all videos of an evaluation batch laid end to end
        (`batch`); or not computed (`none`). velocity_batch: windows in such a batch, which never mixes actions.
    p_mpjpe: per frame; or, in an evaluation batch that mixes actions, every frame gets the mean of the batch.
        p_mpjpe_batch: frames in such a batch.
    average: what the headline is a mean over, actions or frames; None: as the protocol says. sequence_weights: of
        MPI-INF-3DHP's test sequences (its actions) in a mean over actions, equal or as in its README.
    pck_joints: of MPI-INF-3DHP, the official 14 or all 17.
    """

    tail: Literal["once", "twice"] = "once"
    short: Literal["right", "left"] = "right"
    padding: Literal["left out", "counted"] = "left out"
    root: Literal["zero", "raw", "reroot"] = "zero"
    action: Literal["equal", "prefix"] = "equal"
    velocity: Literal["video", "frames", "windows", "batch", "none"] = "video"
    velocity_batch: int = 512
    p_mpjpe: Literal["frame", "batch"] = "frame"
    p_mpjpe_batch: int = 160
    average: Averaging | None = None
    sequence_weights: Literal["alike", "readme"] = "alike"
    pck_joints: Literal[14, 17] = 14

    @property
    def departures(self) -> list[str]:
        """The rules that are not those of `shared`, in words."""
        chosen = {field.name: getattr(self, field.name) for field in fields(self)}
        return [WORDS[name, value].format(**chosen) for name, value in chosen.items() if (name, value) in WORDS]


# The words for each rule that differs from `shared`.
WORDS: dict[tuple[str, object], str] = {
    ("tail", "twice"): "the last window of a video counts whole, its overlap twice",
    ("short", "left"): "videos shorter than a window padded on the left",
    ("padding", "counted"): "padding counts",
    ("root", "raw"): "root as predicted",
    ("root", "reroot"): "predicted root subtracted from every joint",
    ("action", "prefix"): "actions by prefix",
    ("velocity", "frames"): "MPJVE weighted by frames",
    ("velocity", "windows"): "MPJVE across windows",
    ("velocity", "batch"): "MPJVE across the videos of a batch of {velocity_batch} windows",
    ("velocity", "none"): "no MPJVE",
    ("p_mpjpe", "batch"): "P-MPJPE averaged in batches of {p_mpjpe_batch} frames that mix actions",
    ("sequence_weights", "readme"): "sequences weighted by 2,929 frames",
    ("pck_joints", 17): "PCK over 17 joints",
}


@dataclass(frozen=True)
class Preset:
    """An accounting by which results were published. paper: the one whose evaluation code follows it."""

    name: str
    paper: str
    accounting: Accounting

    def __str__(self) -> str:
        rules = list(self.accounting.departures)
        if self.name.endswith("_3dhp") and self.accounting.sequence_weights == "alike":  # shared: over valid frames
            rules.append("plain mean of the six sequences")
        return f"{self.paper}: {'; '.join(rules) or 'the rules of shared'}"


SHARED = Accounting()

_RAW_ROOT = Accounting(root="raw", velocity="frames", average="actions")

PRESETS = {
    preset.name: preset
    for preset in (
        Preset("shared", "this suite", SHARED),
        Preset("videopose3d", "Pavllo et al., CVPR 2019", _RAW_ROOT),
        Preset("poseformer", "Zheng et al., ICCV 2021", _RAW_ROOT),
        Preset(
            "mixste",
            "Zhang et al., CVPR 2022",
            Accounting(tail="twice", padding="counted", root="raw", velocity="windows", average="actions"),
        ),
        Preset(
            "pstmo", "Shan et al., ECCV 2022", Accounting(velocity="none", p_mpjpe="batch", average="actions")
        ),
        Preset(
            "diff3dhpe",
            "Zhou et al., ICCVW 2023",
            Accounting(
                short="left", padding="counted", root="raw", action="prefix", velocity="batch", average="actions"
            ),
        ),
        Preset(
            "pstmo_3dhp",
            "Shan et al., ECCV 2022",
            Accounting(velocity="none", average="actions", sequence_weights="readme"),
        ),
        Preset(
            "diff3dhpe_3dhp",
            "Zhou et al., ICCVW 2023",
            Accounting(root="raw", velocity="batch", average="actions"),
        ),
        Preset("d3dp_3dhp", "Shan et al., ICCV 2023", Accounting(velocity="none", average="actions")),
    )
}  # fmt: skip


def preset_named(name: str) -> Preset:
    """One of `PRESETS`. Raises BenchError for a name that is not among them."""
    if name not in PRESETS:
        raise unknown("preset of an accounting", name, PRESETS)
    return PRESETS[name]


def is_3dhp(dataset: str) -> bool:
    """Whether a data set is MPI-INF-3DHP, with either set of its 3D labels."""
    return dataset in ("3dhp", "3dhp-annot3")


def presets(dataset: str) -> list[Preset]:
    """The presets that make sense on a data set: those of MPI-INF-3DHP there, those of Human3.6M on any other."""
    return [one for one in PRESETS.values() if one.name == "shared" or one.name.endswith("_3dhp") == is_3dhp(dataset)]


def for_method(registered: str, dataset: str) -> Preset:
    """The accounting of a method's own code on a data set. registered: the method's name in the registry.

    Raises BenchError where its authors published none.
    """
    name = f"{registered}_3dhp" if is_3dhp(dataset) else registered
    if name == "shared" or name not in PRESETS:
        known = ", ".join(one.name.removesuffix("_3dhp") for one in presets(dataset) if one.name != "shared")
        raise BenchError(
            f"{registered}: no published accounting is known for it on {dataset}, so accounting: as-published does "
            f"not apply; on {dataset} there are those of {known}. Leave the method out (--methods) or keep "
            "accounting: shared"
        )
    return PRESETS[name]


def accounting_of(stated: str, registered: str, dataset: str) -> Accounting:
    """The accounting that `protocol.accounting` stands for, of one method on one data set."""
    return SHARED if stated == "shared" else for_method(registered, dataset).accounting
