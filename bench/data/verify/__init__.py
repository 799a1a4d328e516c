"""Check the files of a data set: all checks in one pass, with common mix-ups diagnosed by name.

`recordings` reads all it can, `bodies` checks the 3D, `views` checks how 2D and 3D fit, and this module compares the
counts with those of complete files. Videos are checked one by one, on `recordings.SAMPLED` frames each.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from bench.config.accounting import is_3dhp
from bench.data import kind_of, known, load_dataset
from bench.data.pose_dataset import subject_order
from bench.data.verify.bodies import Bodies
from bench.data.verify.findings import Finding, Report
from bench.data.verify.recordings import CHECKED, Take, takes
from bench.data.verify.views import Views
from bench.system import paths
from bench.system.errors import BenchError, MissingDataError

__all__ = ["Finding", "Report", "verify"]

Frames = dict[str, dict[str, int]]  # subject: sequence: frames of 3D


def verify(name: str, root: str | Path | None = None, keypoints: str = "gt") -> Report:
    """Check the files of a data set; `Report.is_wrong` is the overall result.

    For a data set of another package it checks only that it can be read. An unreadable file is a finding. Raises
    MissingDataError if a file is missing, BenchError for an unknown data set or kind of keypoints.
    """
    kind, folder = kind_of(name, keypoints), Path(root) if root is not None else paths.data()
    report = Report(f"{name}, {kind} keypoints, in {paths.shown(folder)}")
    if name not in CHECKED:
        report.warning("checks", f"there are none for {name}", f"they exist for {', '.join(CHECKED)}; it is only read")
        _load(name, folder, kind, report)
        return report
    bodies, views = Bodies(report), Views(report, name, kind)
    found: Frames = defaultdict(dict)
    valid: dict[str, int] = {}
    try:
        for take in takes(name, folder, kind, report):
            found[take.subject][take.sequence] = take.length
            if take.valid is not None:
                valid[take.subject] = take.valid
            _check_rate(take, report)
            if len(take.frames):
                views.look(take, bodies.look(take))
    except MissingDataError:
        raise
    except BenchError as error:
        report.wrong("files", str(error))
        return report
    if name == "h36m":
        _count_h36m(found, report)
    elif is_3dhp(name):
        _count_3dhp(found, valid, report)
    _all_right(found, report)
    bodies.compare()
    views.sum_up()
    if not report.is_wrong:
        _load(name, folder, kind, report)
    return report


def _all_right(found: Frames, report: Report) -> None:
    """Report what has passed the checks while reading."""
    report.ok("subjects", ", ".join(sorted(found, key=subject_order)) or "none")
    report.ok("sequences", f"{sum(map(len, found.values())):,}")
    report.ok("frames", f"{sum(sum(lengths.values()) for lengths in found.values()):,} of each camera")
    report.ok("units", "people are as long as people")
    report.ok("numbers", "all finite")
    report.ok("joints", "in the right order, as far as bones and projections tell")


def _load(name: str, folder: Path, kind: str, report: Report) -> None:
    """Finally, load the data with the reader that benchmarks use."""
    try:
        dataset = load_dataset(name, folder, kind)
    except MissingDataError:
        raise
    except BenchError as error:
        report.wrong("loading", str(error))
    else:
        report.ok("loading", f"{len(dataset.sequences):,} videos, {int(dataset.lengths.sum()):,} frames")


# --- what whole files hold

# Partial files may be correct and can be run on, but the result is not that of the benchmark.
_PARTIAL = "benchmarks run on what is there, but no table shows it; prepare the file again, or copy it whole"


def _count_h36m(found: Frames, report: Report) -> None:
    whole = known.H36M_SEQUENCES
    if missing := [subject for subject in whole if subject not in found]:
        report.warning("subjects", f"missing: {', '.join(missing)}", "a whole file has S1, S5, S6, S7, S8, S9 and S11")
    for subject, sequences in found.items():
        for sequence in sorted(whole.get(subject, frozenset()) - sequences.keys()):
            what = "sequences are missing: a whole file has 209, of four videos each"
            report.warning("sequences", what, _PARTIAL, f"{subject} {sequence!r}")
        for sequence in sorted(sequences.keys() - whole.get(subject, frozenset())):
            where = f"{subject} {sequence!r}"
            action = sequence.split(" ")[0]
            if (subject, sequence) == known.H36M_DROPPED:
                what = "S11 'Directions' is there, which everybody leaves out: one of its videos is missing"
                report.wrong("sequences", what, "delete it from the files", where)
            elif action in known.H36M_RENAMED:
                what = f"{action!r} has not been renamed to {known.H36M_RENAMED[action]!r}"
                report.wrong("sequences", what, "rename it, or S1 has an action of its own", where)
            else:
                report.warning("sequences", "the files are known without this sequence", "is it a copy?", where)
    for subjects, frames in known.H36M_FRAMES.items():
        if all(found.get(subject, {}).keys() == whole[subject] for subject in subjects):
            _count_frames_h36m(subjects, 4 * sum(sum(found[subject].values()) for subject in subjects), frames, report)


def _count_frames_h36m(subjects: tuple[str, ...], here: int, whole: int, report: Report) -> None:
    """Check the frames of subjects that have all their sequences, counted over the four cameras."""
    where = f"{' and '.join(subjects)}: {here:,} frames, not {whole:,}"
    videos = 4 * sum(len(known.H36M_SEQUENCES[subject]) for subject in subjects)
    if here == whole:
        return
    if step := known.thinned(here, whole, videos):
        what = f"only every {_TH[step]} frame is there: {50 / step:g} per second, not 50"
        report.wrong("frames", what, "the benchmarks use all frames", where)
    elif "S9" in subjects and here == known.H36M_TEST_FRAMES_OF_VIDEOS:
        what = "these are the files cut from the videos, as in MotionBERT and its followers"
        report.wrong("frames", what, "take the files made from the 3D data; numbers of the two do not compare", where)
    else:
        what = "not as many frames as users of the files count: numbers may not compare"
        report.warning("frames", what, "compare where the file comes from", where)


_TH = {2: "second", 5: "fifth"}


def _count_3dhp(found: Frames, valid: dict[str, int], report: Report) -> None:
    whole = {name: frames for name, (frames, _) in known.MPI_INF_3DHP_TRAIN.items()} | known.MPI_INF_3DHP_TEST
    here = {
        subject if subject == sequence else f"{subject} {sequence}": frames
        for subject, sequences in found.items()
        for sequence, frames in sequences.items()
    }
    for name in sorted(whole.keys() - here.keys()):
        what = "sequences are missing: whole files have S1 Seq1 to S8 Seq2 and TS1 to TS6"
        report.warning("sequences", what, _PARTIAL, repr(name))
    for name in sorted(whole.keys() & here.keys()):
        where = f"{name}: {here[name]:,}, not {whole[name]:,}"
        if step := known.thinned(here[name], whole[name], 1):
            what = f"only every {_TH[step]} frame is there"
            report.wrong("frames", what, "the benchmarks use all frames", where)
        elif here[name] != whole[name]:
            what = "not as many frames as the files are known to have: numbers may not compare"
            report.warning("frames", what, "compare where the file comes from", where)
    older, newer = known.MPI_INF_3DHP_VALID_BEFORE, known.MPI_INF_3DHP_VALID
    if valid == older:
        what = "the labels of the test set are of an older release: 2,929 valid frames, not 2,875"
        report.wrong("valid frames", what, "get the test set again; numbers of the two do not compare")
    for name in sorted(valid):
        if valid != older and valid[name] != newer[name]:
            where = f"{name}: {valid[name]:,}, not {newer[name]:,}"
            report.warning("valid frames", "not as many as the labels are known to have", "", where)
    report.ok("valid frames", f"{sum(valid.values()):,}")


def _check_rate(take: Take, report: Report) -> None:
    _, rate = known.MPI_INF_3DHP_TRAIN.get(f"{take.subject} {take.sequence}", (0, None))
    if take.fps is not None and rate is not None and take.fps != rate:
        where = f"{take.name}: {take.fps:g}, not {rate}"
        report.warning("frame rate", "the file states another frame rate than the recording's", "", where)
