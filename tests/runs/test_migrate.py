"""`bench records migrate`: records of schema 1 get the keys of this version; their numbers do not move."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from samples import TOYS, toy_dataset

from bench.cli import main
from bench.config import load_benchmark
from bench.data import split
from bench.results import records
from bench.results.records import Record
from bench.runs.launch import run_benchmark
from bench.runs.plan import make_plan
from bench.system import paths

OLD = "0123456789abcdef" * 4


@pytest.fixture
def finished(tmp_path, monkeypatch) -> Path:
    """A project whose benchmark was run, its records and folders as an earlier version left them. Returns results/."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "toys.yaml").write_text(yaml.safe_dump(TOYS), encoding="utf-8")
    monkeypatch.setattr(split, "load_dataset", lambda name, root, keypoints: toy_dataset())
    monkeypatch.setattr("bench.system.paths.root", lambda: tmp_path)
    run_benchmark(load_benchmark("toys"), device="cpu", track=False)
    for number, one in enumerate(records.load("toys")):
        old = aged(one, f"{number}{OLD[1:]}")
        (paths.records() / one.path).unlink()
        (paths.records() / old.path).write_text(records.text(old))
        runs = paths.cache() / "runs" / "toys"
        (runs / one.path.stem / "record.json").write_text(records.text(old))
        (runs / one.path.stem).rename(runs / old.path.stem)
    return paths.results()


def aged(record: Record, key: str) -> Record:
    content = record.model_dump(mode="json", by_alias=True) | {"schema": 1, "run_key": key}
    content |= {"precision": None, "scoring_revision": None}
    return Record.model_validate(content)


def numbers() -> dict[str, Any]:
    kept = ("metrics", "per_action", "per_joint", "groups", "blocks", "frames", "provenance", "training")
    return {one.method: one.model_dump(mode="json", include=set(kept)) for one in records.load("toys")}


def migrate(capsys) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["records", "migrate"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_records_get_the_keys_of_this_version_and_runs_stay_finished(finished, capsys, monkeypatch):
    before = numbers()
    assert not any(run.finished for run in make_plan(load_benchmark("toys")).runs)
    text = migrate(capsys)
    assert text.count(" -> ") == 2
    assert numbers() == before
    runs = make_plan(load_benchmark("toys")).runs
    assert {one.run_key for one in records.load("toys")} == {run.key for run in runs}
    assert {one.schema_ for one in records.load("toys")} == {records.SCHEMA}
    assert all(run.finished for run in runs), "the folders in the cache have the new names"
    monkeypatch.setattr("bench.runs.launch._do", lambda *_: pytest.fail("done again"))
    run_benchmark(load_benchmark("toys"), device="cpu", track=False)


def test_a_record_of_this_version_never_gets_another_key(finished, capsys, monkeypatch):
    migrate(capsys)
    before = {path: path.read_bytes() for path in (finished / "records").rglob("*.json")}
    monkeypatch.setattr("bench.runs.identity.code_version", lambda name: "edited since")
    assert migrate(capsys) == "every record is of this version\n"
    assert {path: path.read_bytes() for path in (finished / "records").rglob("*.json")} == before


def test_records_of_trials_move_to_theirs(finished, capsys):
    path = next((finished / "records" / "toys").glob("videopose3d-*.json"))
    content = json.loads(path.read_text())
    content["recipe"]["epochs"] = 99
    path.write_text(records.text(Record.model_validate(content)))
    assert "(a trial, now in results/trials)" in migrate(capsys)
    assert [one.method for one in records.load("toys")] == ["mean_pose"]
    assert [one.recipe["epochs"] for one in records.load("toys", paths.trial_records())] == [99]


def test_what_cannot_be_keyed_is_left_and_named(finished, capsys):
    (paths.configs() / "toys.yaml").unlink()
    text = migrate(capsys)
    assert text.count("left as it is") == 2
    assert "no benchmark toys in configs/" in text
    assert {one.schema_ for one in records.load("toys")} == {1}
