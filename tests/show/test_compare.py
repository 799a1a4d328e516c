"""`bench compare`: what it says of networks, of methods and of seeds, from records alone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench import load_benchmark
from bench.cli import main
from bench.config import identity
from bench.results import records
from bench.results import statistics as stats
from bench.results.records import Record
from bench.show import tables
from bench.show.compare import compare
from bench.system import paths
from bench.system.errors import BenchError

TOY = """
title: A toy
protocol:
  dataset: synthetic
  keypoints: det
  frames: 27
  train_subjects: [S1]
  test_subjects: [S9, S11]
  averaging: frames
methods:
  mean_pose: {}
  mixste:
    recipe: {epochs: 8}
  diff3dhpe: {}
"""
PROTOCOL = {"averaging": "frames"}
SEQUENCES = [(s, a, f"{a} {n}") for s in ("S9", "S11") for a in ("Sitting", "Walking") for n in (1, 2)] + [
    ("S9", "Waving", "Waving 1")
]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "toy.yaml").write_text(TOY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def record(method: str, seed: int = 0, level: float = 50.0, tilt: float = 0.0, **changes: Any) -> Record:
    """Nine sequences whose errors are level, level + 1, ...; with a tilt every other one is that much worse."""
    means = [level + number + tilt * (number % 2) for number in range(len(SEQUENCES))]
    blocks = [
        {**dict(zip(stats.BLOCK, name, strict=True)), "frames": 100, "steps": 99, "means": {"mpjpe": mean}}
        for name, mean in zip(SEQUENCES, means, strict=True)
    ]
    value, interval = sum(means) / len(means), stats.interval(means)
    fields: dict[str, Any] = {
        "run_key": identity([method, seed, str(changes)]),
        "benchmark": "toy",
        "method": method,
        "seed": seed,
        "accounting": "shared",
        "data": {"dataset": "synthetic", "keypoints": "det"},
        "protocol": PROTOCOL,
        "recipe": {"epochs": 8} if method == "mixste" else {},
        "receptive_field": 27,
        "metrics": {"mpjpe": {"value": value, "unit": "mm", "ci": (interval.low, interval.high)}},
        "blocks": blocks,
        "frames": 900,
        "sequences": 9,
        "parameters": 1,
        "macs_per_frame": 1,
        "training": {"kept": "none to train" if method == "mean_pose" else "last"},
        "provenance": {
            "config_hash": "c0ffee",
            "data_fingerprint": "da7a",
            "packages": {},
            "hardware": "CPU",
            "finished_at": datetime(2026, 1, 1, tzinfo=UTC),
        },
    }
    return Record.model_validate({**fields, **changes})


def say(*arguments: str, capsys: pytest.CaptureFixture[str], status: int = 0) -> str:
    """What `bench compare toy.yaml ...` prints."""
    with pytest.raises(SystemExit) as caught:
        main(["compare", "toy.yaml", *arguments])
    shown = capsys.readouterr()
    assert caught.value.code == status, shown
    return shown.out if status == 0 else shown.err


def test_one_seed_each_is_about_these_networks(capsys):
    for one in (record("mixste"), record("diff3dhpe", level=60, tilt=1)):
        records.write(one)
    text = say("mixste", "diff3dhpe", capsys=capsys)
    assert "toy: MPJPE in mm, lower is better; 9 test sequences of S9, S11 with all their views, 900 frames" in text
    assert re.search(r"^A +mixste +54\.0 +\[\d+\.\d, \d+\.\d\] +0$", text, re.M)
    assert re.search(r"^B +diff3dhpe +64\.4 +\[\d+\.\d, \d+\.\d\] +0$", text, re.M)
    assert "A - B over sequences: -10.4 mm, 95 % interval [-10.9, -10.1], p = 0.0039" in text, "2 / 2**9"
    assert "sequences and seeds" not in text
    assert re.search(r"^Sitting +4 +52\.\d +63\.\d +-10\.5 +\[-11\.4, -9\.6\]$", text, re.M), "0.577 * t of 3 degrees"
    assert re.search(r"^Waving +1 +58\.0 +68\.0 +-10\.0 +—$", text, re.M), "a single sequence has no interval"
    verdict = text[text.index("Verdict") :]
    assert verdict.startswith(
        "Verdict, on these networks: mixste (seed 0) is better than diff3dhpe (seed 0) by 10.4 mm"
    )
    assert "says nothing about methods: of mixste and diff3dhpe there is a single network" in verdict
    assert verdict.endswith("  bench run toy --methods mixste,diff3dhpe --seeds 3\n")
    assert "diff3dhpe (seed 0)" in say("diff3dhpe:0", "mixste:0", capsys=capsys)


def test_two_seeds_of_one_method_are_never_declared_different(capsys):
    for seed, level in enumerate((50, 60, 61)):
        records.write(record("mixste", seed, level))
    text = say("mixste:0", "mixste:1", capsys=capsys)
    assert "p = 0.0039" in text
    assert "Verdict: no difference of methods. Both are mixste" in text
    assert "better" not in text.partition("lower is better")[2]
    assert "are both seed 1 of the same method" in say("mixste", "mixste:1", capsys=capsys, status=2)


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ((50, 50.5, 51), (60, 60.5, 61), "Verdict, on the methods: mixste (seeds 0, 1, 2) is better than diff3dhpe"),
        ((50, 55, 60), (54, 59, 64), "no difference is shown (p = 0.0039 over sequences); the spread over seeds"),
        ((50, 50.1), (50.3, 50.2), "Verdict, on the methods: no difference is shown"),
    ],
)
def test_with_several_seeds_it_is_about_methods(ours, theirs, verdict, capsys):
    for seed, (first, second) in enumerate(zip(ours, theirs, strict=True)):
        records.write(record("mixste", seed, first))
        records.write(record("diff3dhpe", seed, second))
    text = say("mixste", "diff3dhpe", capsys=capsys)
    assert verdict in text
    assert "A - B over sequences and seeds: " in text
    assert re.search(r"^A +mixste +\d\d\.\d ± \d\.\d +\[", text, re.M)


def test_a_method_that_no_seed_changes_needs_none(capsys):
    records.write(record("mean_pose", level=200))
    for seed in range(3):
        records.write(record("mixste", seed, 50 + seed))
    text = say("mean_pose", "mixste", capsys=capsys)
    assert "Verdict, on the methods: mixste (seeds 0, 1, 2) is better than mean_pose by 149.0 mm" in text
    assert "Verdict, on these networks" in say("mean_pose", "mixste:1", capsys=capsys)


def test_what_was_not_trained_here_is_one_network(capsys):
    weights = {"file": "best.bin", "sha256": "ab" * 32}
    for seed in range(3):
        records.write(record("mixste", seed, 50 + seed))
        records.write(record("mixste", seed, 40, weights=weights))
    records.write(record("mine", level=70, training={"scored_from": "predictions", "file": "mine.npz"}))
    text = say("mixste:weights", "mixste", capsys=capsys)
    assert "Verdict, on these networks: mixste (not trained here) is better than mixste" in text
    text = say("mixste", "mine", capsys=capsys)
    assert "of mine there is a single network" in text
    assert "bench run" not in text, "nothing that the suite could train"


def test_a_metric_that_some_frames_do_not_have_weighs_by_those_that_do(capsys):
    for one, value in ((record("mixste"), 1.0), (record("diff3dhpe"), 2.0)):
        blocks = [
            block.model_copy(update={"means": {"accel": value + number}, "counts": {"accel": 10 if number else 90}})
            for number, block in enumerate(one.blocks)
        ]
        metrics = {"accel": records.Metric(value=value, unit="mm/frame²")}
        records.write(one.model_copy(update={"blocks": tuple(blocks), "metrics": metrics}))
        found = stats.recorded(records.load("toy")[0], "accel")
        assert sorted(found["weight"] * 170) == pytest.approx([10] * 8 + [90])
    text = say("mixste", "diff3dhpe", "--metric", "accel", capsys=capsys)
    assert "Acceleration error in mm/frame², lower is better" in text
    assert "mixste (seed 0) is better than diff3dhpe (seed 0) by 1.00 mm/frame²" in text


def test_a_metric_that_nobody_here_knows_is_refused(capsys):
    for method in ("mixste", "diff3dhpe"):
        one = record(method)
        blocks = [block.model_copy(update={"means": {"mine": 1.0}}) for block in one.blocks]
        metrics = {"mine": records.Metric(value=1.0, unit="mm")}
        records.write(one.model_copy(update={"blocks": tuple(blocks), "metrics": metrics}))
    text = say("mixste", "diff3dhpe", "--metric", "mine", capsys=capsys, status=2)
    assert "mine is the metric of a package that is not installed here" in text


def test_pck_is_better_when_higher(capsys):
    for one, value in ((record("mixste"), 90.0), (record("diff3dhpe"), 80.0)):
        blocks = [block.model_copy(update={"means": {"pck": value}}) for block in one.blocks]
        metrics = {"pck": records.Metric(value=value, unit="%")}
        records.write(one.model_copy(update={"blocks": tuple(blocks), "metrics": metrics}))
    text = say("mixste", "diff3dhpe", "--metric", "pck", capsys=capsys)
    assert "PCK in %, higher is better" in text
    assert "mixste (seed 0) is better than diff3dhpe (seed 0) by 10.0 %" in text
    assert "toy has no mpjpe; its records compare by pck" in say("mixste", "diff3dhpe", capsys=capsys, status=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mixste", "nobody"), "No method or submission on toy 'nobody'"),
        (("mixste", "diff3dhpe"), "diff3dhpe has no record on toy; this makes one: bench run toy --methods diff3dhpe"),
        (("mixste", "mixste:2"), "there is seed 0. This makes one: bench run toy --methods mixste --seeds 3"),
        (("mixste", "mixste:x"), "'mixste:x' is not of the form NAME, NAME:SEED or NAME:weights"),
        (("mixste", "mean_pose"), "this makes it anew: bench run toy --methods mean_pose --seeds 1"),
        (("mixste", "mine"), "this makes it anew: bench score toy --name mine, with its file mine.npz"),
        (("mixste", "other"), "mixste and other on toy: the two were not scored on the same frames"),
        (("mixste", "mixste:0", "--set", "recipe.epochs=9"), "not run as toy states: recipe.epochs 8 instead of 9"),
        (("mixste", "mine", "--set", "protocol.accounting=as-published"), "its rows do not compare"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(arguments, message, capsys):
    records.write(record("mixste"))
    records.write(record("mean_pose", blocks=()))
    scored = {"scored_from": "predictions", "file": "mine.npz"}
    records.write(record("mine", blocks=(), training=scored))
    records.write(record("other", blocks=record("other").blocks[:5], training=scored))
    assert message in say(*arguments, capsys=capsys, status=2)


def test_the_folder_of_a_finished_run_serves_where_the_committed_record_is_older():
    whole = record("mixste")
    records.write(whole.model_copy(update={"blocks": ()}))
    records.write(record("diff3dhpe", level=60))
    with pytest.raises(BenchError, match="before records held"):
        compare(load_benchmark("toy.yaml"), "mixste", "diff3dhpe")
    path = paths.cache() / "runs" / "toy" / whole.path.stem / "record.json"
    paths.write_text(path, records.text(whole))
    assert compare(load_benchmark("toy.yaml"), "mixste", "diff3dhpe").found.networks.value == pytest.approx(-10)


def test_neither_torch_nor_the_network_is_needed(results_folder, project):
    for one in (record("mixste"), record("diff3dhpe")):
        records.write(one)
    code = (
        "import sys; from bench import load_benchmark; from bench.show import compare\n"
        "print(compare.compare(load_benchmark('toy.yaml'), 'mixste', 'diff3dhpe').verdict)\n"
        "assert not {'torch', 'mlflow'} & set(sys.modules)"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=project, env={
        "PYTHONPATH": str(root), "BENCH_RESULTS": str(results_folder), "PATH": ""
    })  # fmt: skip


def test_tables_have_intervals_and_note_what_ties_with_the_best(project):
    (project / "configs").mkdir()
    shutil.copy("toy.yaml", project / "configs")
    found = [record("mixste"), record("diff3dhpe", level=50.2, tilt=-0.5), record("mean_pose", level=200)]
    for one in found:
        records.write(one, project / "results" / "records")
    tables.write(root=project)
    text = (project / "results" / "tables" / "toy.md").read_text()
    low, high = found[0].metrics["mpjpe"].ci
    rows = dict(re.findall(r"^\| (mixste|diff3dhpe|mean_pose)(.*)", text, re.M))
    assert f"54.0 [{low:.1f}, {high:.1f}]" in rows["mixste"].replace("**", "")
    assert [("<sup>1</sup>" in rows[name]) for name in ("mixste", "diff3dhpe", "mean_pose")].count(True) == 1
    assert re.search(r"^1\. MPJPE does not differ from that of \w+ beyond chance; this is about these", text, re.M)
    assert "[a, b] is the 95 % interval" in text
    assert tables.write(root=project, check=True) == []
    records.write(record("mean_pose", 1, 200, blocks=()), project / "results" / "records")
    tables.write(root=project)
    assert "MPJPE not compared with that of" in (project / "results" / "tables" / "toy.md").read_text()
