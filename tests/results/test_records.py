from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench.config import identity
from bench.results import records
from bench.results.records import Record
from bench.system.errors import BenchError


def make(**changes: Any) -> Record:
    fields: dict[str, Any] = {
        "run_key": identity([changes.get("method"), changes.get("seed")]),
        "benchmark": "toy",
        "method": "mixste",
        "seed": 0,
        "accounting": "shared",
        "data": {"dataset": "synthetic", "keypoints": "det"},
        "model": {"dim": 32},
        "recipe": {"epochs": 8, "learning_rate": 1e-3},
        "receptive_field": 27,
        "metrics": {"mpjpe": {"value": 60.123456789, "unit": "mm", "ci": (58.0, 62.0)}},
        "per_action": {"Walking": {"mpjpe": 59.5}},
        "per_joint": {"RFoot": {"mpjpe": 90.25}},
        "frames": 1000,
        "sequences": 8,
        "parameters": 33_650_435,
        "macs_per_frame": 573_000_001,
        "training": {"final_loss": 0.00012345678},
        "provenance": {
            "config_hash": "c0ffee",
            "data_fingerprint": "da7a",
            "packages": {"torch": "2.6.0"},
            "hardware": "CPU",
            "finished_at": datetime(2026, 1, 1, tzinfo=UTC),
        },
    }
    return Record.model_validate({**fields, **changes})


def test_a_record_survives_writing_and_reading(tmp_path: Path) -> None:
    path = records.write(make(), tmp_path)
    assert path == tmp_path / "toy" / f"mixste-s0-{make().run_key[:8]}.json"
    back = records.read(path)
    assert back.provenance == make().provenance
    assert back.metrics["mpjpe"].ci == (58.0, 62.0)
    assert back.model_dump(exclude={"metrics", "training"}) == make().model_dump(exclude={"metrics", "training"})


def test_the_file_is_sorted_rounded_and_ends_with_a_newline(tmp_path: Path) -> None:
    text = records.write(make(), tmp_path).read_text()
    content = json.loads(text)
    assert text.endswith("}\n")
    assert list(content) == sorted(content)
    assert content["schema"] == records.SCHEMA
    assert content["metrics"]["mpjpe"]["value"] == 60.1235
    assert content["training"]["final_loss"] == 0.000123457
    assert content["parameters"] == 33_650_435, "counts are not rounded"
    assert content["macs_per_frame"] == 573_000_001


def test_groups_come_back_and_records_from_before_them_have_none(tmp_path: Path) -> None:
    groups = {"subject": {"S9": {"mpjpe": 58.123456, "frames": 12_345_678}}, "activity": {"Standing/Walking": {}}}
    path = records.write(make(groups=groups), tmp_path)
    back = records.read(path).groups
    assert back["subject"]["S9"] == {"mpjpe": 58.1235, "frames": 12_345_678}, "counts are not rounded"
    assert list(back) == ["activity", "subject"]
    content = json.loads(path.read_text())
    del content["groups"]
    path.write_text(json.dumps(content))
    assert records.read(path).groups == {}


def test_contract_keys_are_all_there(tmp_path: Path) -> None:
    content = json.loads(records.write(make(), tmp_path).read_text())
    contract = "benchmark method seed accounting metrics per_action per_joint frames sequences parameters "
    assert set((contract + "macs_per_frame training provenance schema run_key").split()) <= set(content)
    provenance = "mlflow_run_id git config_hash data_fingerprint packages hardware finished_at"
    assert set(content["provenance"]) == set(provenance.split())


def test_writing_again_leaves_the_committed_file_alone(tmp_path: Path) -> None:
    path = records.write(make(), tmp_path)
    before = path.read_bytes()
    again = make(
        metrics={"mpjpe": {"value": 61.0, "unit": "mm"}, "p_mpjpe": {"value": 50.0, "unit": "mm"}}, per_joint={}
    )
    assert records.write(again, tmp_path) == path
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert records.differences(again, records.read(path)) == {"mpjpe": pytest.approx(61.0 - 60.1235)}
    assert records.differences(records.read(path), again)["p_mpjpe"] == math.inf, "a metric was lost"


BLOCK = {"subject": "S9", "action": "Walking", "sequence": "Walking 1", "frames": 9, "steps": 8}


def test_a_record_from_before_blocks_gains_them_from_a_run_that_says_the_same(tmp_path: Path) -> None:
    blocks = [{**BLOCK, "means": {"mpjpe": 60.123456789}}]
    old = make(metrics={"mpjpe": {"value": 60.123456789, "unit": "mm"}})
    path = records.write(old, tmp_path)
    before = path.read_text()
    assert records.read(path).lacks_blocks
    records.write(make(blocks=blocks, metrics={"mpjpe": {"value": 60.1236, "unit": "mm"}}), tmp_path)
    records.write(make(blocks=blocks, per_joint={"RFoot": {"mpjpe": 90.2501}}), tmp_path)
    assert path.read_text() == before, "other numbers, even in the last digit that a file keeps"
    later = {**make().provenance.model_dump(), "finished_at": datetime(2026, 2, 2, tzinfo=UTC)}
    metrics = {**make().model_dump()["metrics"], "p_mpjpe": {"value": 50.0, "unit": "mm"}}
    records.write(make(blocks=blocks, metrics=metrics, provenance=later), tmp_path)
    found = records.read(path)
    assert not found.lacks_blocks
    assert found.blocks[0].means == {"mpjpe": 60.1235}
    assert (found.metrics["mpjpe"].ci, found.metrics["p_mpjpe"].value) == ((58.0, 62.0), 50.0)
    assert found.provenance == old.provenance, "the run is the one it was"
    assert not make(accounting="as-published").lacks_blocks


def test_a_reproduced_record_has_no_differences(tmp_path: Path) -> None:
    existing = records.read(records.write(make(), tmp_path))
    assert records.differences(make(), existing) == {"mpjpe": 0.0}
    cost = {"test_frames_per_second": 1234.5678, "device": "CPU", "threads": 1}
    timed = make(cost=cost, training={"final_loss": 0.00012345678, "seconds": 9.0})
    assert records.differences(timed, existing) == {"mpjpe": 0.0}, "time is no part of a comparison"
    assert timed.path == existing.path
    text = json.loads(records.text(timed))["cost"]
    assert text == {"test_frames_per_second": 1234.57, "peak_memory_mb": None, "device": "CPU", "threads": 1}


def test_a_run_key_of_the_same_beginning_is_not_the_same_run(tmp_path: Path) -> None:
    records.write(make(run_key="12345678aa"), tmp_path)
    with pytest.raises(BenchError, match="belongs to run 12345678aa"):
        records.write(make(run_key="12345678bb"), tmp_path)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("metrics.mpjpe.value", lambda v: {"metrics": {"mpjpe": {"value": v, "unit": "mm"}}}),
        ("per_action.Walking.mpjpe", lambda v: {"per_action": {"Walking": {"mpjpe": v}}}),
        ("training.losses[1]", lambda v: {"training": {"losses": [0.5, v]}}),
    ],
)
def test_numbers_that_are_not_finite_are_refused_and_nothing_is_written(
    tmp_path: Path, value: float, key: str, place: Any
) -> None:
    with pytest.raises(BenchError) as error:
        records.write(make(**place(value)), tmp_path)
    assert key in str(error.value)
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    "text",
    [
        "/scratch/someone/run",
        "/tmp",
        "loaded from /data/x/model.bin",
        "out=/data/x",
        "~/runs",
        "~someone/runs",
        r"C:\Users\someone",
        "D:/data",
        r"\\server\share",
        "file:///data/x",
        str(Path.home() / "x"),
    ],
)
def test_paths_of_the_machine_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BenchError, match=r"training\.weights is .*path of this machine"):
        records.write(make(training={"weights": text}), tmp_path)
    with pytest.raises(BenchError, match="path of this machine"):
        records.write(make(training={text: 1}), tmp_path)


@pytest.mark.parametrize(
    "text",
    ["results/cache/x.pt", "mm/frame", "N/A", "https://example.org/a/b", "2 / 3", "12:30", "a ~ b", "S9/Walking 1", ""],
)
def test_ordinary_text_is_kept(tmp_path: Path, text: str) -> None:
    path = records.write(make(training={"remark": text}), tmp_path)
    assert records.read(path).training["remark"] == text


def test_the_home_folder_is_refused_inside_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/h"))
    with pytest.raises(BenchError, match="path of this machine"):
        records.write(make(training={"remark": "x@/h"}), tmp_path)
    monkeypatch.setattr(Path, "home", lambda: Path("/"))  # as in some containers
    assert records.write(make(training={"remark": "a/b"}), tmp_path).exists()


@pytest.mark.parametrize("value", ["/scratch/me/weights.bin", math.inf, Path("weights.bin")])
def test_settings_that_no_record_can_hold_are_refused_before_there_is_a_record(value: Any) -> None:
    with pytest.raises(BenchError, match=r"^demo, mixste: model\.teacher\[1\] is "):
        records.check_portable({"model": {"teacher": ["a", value]}, "recipe": {"epochs": 8}}, "demo, mixste")
    records.check_portable({"model": {"teacher": "checkpoints/a.bin", "dim": 32, "rate": 0.1, "flag": None}}, "demo")


def test_what_json_cannot_hold_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"training\.weights is a .*Path"):
        records.write(make(training={"weights": Path("x")}), tmp_path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c["metrics"]["mpjpe"].update(value="best"), r"metrics\.mpjpe\.value: .*valid number"),
        (lambda c: c["metrics"]["mpjpe"].update(value=math.nan), r"metrics\.mpjpe\.value is nan"),
        (lambda c: c.update(schema=3), "schema: "),
        (lambda c: c.update(sed=1), "sed: "),
        (lambda c: c.pop("frames"), "frames: Field required"),
        (lambda c: c["provenance"].update(finished_at="2026-01-01T00:00:00"), r"provenance\.finished_at: .*timezone"),
        (lambda c: c["provenance"].update(hardware="/data/x/y"), r"provenance\.hardware is '/data/x/y'"),
        (lambda c: c["per_action"]["Walking"].update(pck=1.0), r"per_action\.Walking has pck"),
        (lambda c: c.update(blocks=[{**BLOCK, "means": {"pck": 1.0}}]), r"blocks\.S9\.Walking 1 has pck"),
        (lambda c: c.update(blocks=[{**BLOCK, "frames": 0, "means": {}}]), r"blocks\.0\.frames: "),
        (lambda c: c["per_action"]["Walking"].update(frames=3), r"per_action\.Walking has frames"),
        (lambda c: c.update(groups={"subject": {"S9": {"frames": 3, "pck": 1.0}}}), r"groups\.subject\.S9 has pck"),
    ],
)
def test_a_record_edited_by_hand_is_refused_with_file_and_key(tmp_path: Path, edit: Any, message: str) -> None:
    path = records.write(make(), tmp_path)
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    with pytest.raises(BenchError, match=message) as error:
        records.load(folder=tmp_path)
    assert path.name in str(error.value)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = records.write(make(), tmp_path)
    path.write_text(path.read_text()[:100])
    with pytest.raises(BenchError, match="cannot be read as JSON"):
        records.read(path)


def test_a_record_in_another_benchmarks_folder_is_refused(tmp_path: Path) -> None:
    path = records.write(make(), tmp_path)
    (tmp_path / "h36m-cpn-243").mkdir()
    path.rename(tmp_path / "h36m-cpn-243" / path.name)
    with pytest.raises(BenchError, match="belongs in toy/mixste-s0"):
        records.load("h36m-cpn-243", tmp_path)


def test_load_reads_one_benchmark_or_all(tmp_path: Path) -> None:
    for benchmark in ("toy", "other"):
        for seed in (1, 0):
            records.write(make(benchmark=benchmark, seed=seed), tmp_path)
    assert [(one.benchmark, one.seed) for one in records.load("toy", tmp_path)] == [("toy", 0), ("toy", 1)]
    assert len(records.load(folder=tmp_path)) == 4
    assert records.load("nothing", tmp_path) == []


def at(day: int) -> dict[str, Any]:
    return {**make().provenance.model_dump(), "finished_at": datetime(2026, 1, day, tzinfo=UTC)}


def test_newest_keeps_the_last_finished_of_each_seed_and_receptive_field() -> None:
    late, early = make(run_key="a" * 8, provenance=at(9)), make(run_key="b" * 8, provenance=at(2))
    other_seed, other_frames = make(run_key="c" * 8, seed=1), make(run_key="d" * 8, receptive_field=9)
    kept = {one.run_key[0] for one in records.newest([late, early, other_seed, other_frames])}
    assert kept == {"a", "c", "d"}


def test_frame_is_tidy() -> None:
    table = records.frame([make(), make(seed=1)])
    assert len(table) == 2
    assert table.loc[0, ["benchmark", "method", "metric", "unit"]].tolist() == ["toy", "mixste", "mpjpe", "mm"]
    assert table["ci_low"].tolist() == [58.0, 58.0]


# Published numbers

AS_PUBLISHED = {  # the seventeen rows of the tables in the README of Diff3DHPE: benchmark, method, frames
    ("h36m-cpn-81", "poseformer", 81): [44.3],
    ("h36m-cpn-81", "mixste", 81): [42.4],
    ("h36m-cpn-81", "pstmo", 81): [44.1],
    ("h36m-cpn-81", "diff3dhpe", 81): [42.0],
    ("h36m-cpn-243", "mixste", 243): [40.9],
    ("h36m-cpn-243", "pstmo", 243): [42.8],
    ("h36m-cpn-243", "pstmo-4-layers", 243): [42.8],
    ("h36m-cpn-243", "diff3dhpe", 243): [40.0],
    ("h36m-gt-81", "poseformer", 81): [31.3],
    ("h36m-gt-81", "mixste", 81): [25.9],
    ("h36m-gt-81", "diff3dhpe", 81): [24.2],
    ("h36m-gt-243", "mixste", 243): [21.6],
    ("h36m-gt-243", "pstmo", 243): [29.3],
    ("h36m-gt-243", "diff3dhpe", 243): [20.2],
    ("3dhp-gt", "poseformer", 9): [77.1, 88.6, 56.4],
    ("3dhp-gt", "mixste", 27): [54.9, 94.4, 66.5],
    ("3dhp-gt", "pstmo", 81): [32.2, 97.9, 75.8],
    ("3dhp-gt", "diff3dhpe", 27): [19.6, 99.1, 84.8],
}


def test_published_numbers_are_those_of_the_papers() -> None:
    table = records.published()
    expected = {**AS_PUBLISHED, ("h36m-cpn-243", "videopose3d", 243): [46.8, 36.5]}
    found = {}
    for key, rows in table.groupby(["benchmark", "method", "frames"]):
        found[key] = rows["value"].tolist()
        wanted = ["mpjpe", "pck", "auc"] if key[0] == "3dhp-gt" else ["mpjpe", "p_mpjpe"][: len(rows)]
        assert rows["metric"].tolist() == wanted
        assert rows["unit"].tolist() == ["%" if metric in ("pck", "auc") else "mm" for metric in wanted]
    assert found == expected


def test_every_published_number_has_a_source_and_a_paper() -> None:
    table = records.published()
    assert (table[["label", "source", "paper"]] != "").all(axis=None)
    notes = table.drop_duplicates(["benchmark", "method"]).set_index(["benchmark", "method"])["note"]
    assert "43.0" in notes["h36m-cpn-243", "pstmo"]
    assert "57.7" in notes["3dhp-gt", "poseformer"]
    assert notes["h36m-cpn-81", "diff3dhpe"] == "9 sampling steps"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("metric,value", "metric,number", "columns are"),
        ("44.3", "best", "best"),
        ("44.3", "nan", "finite"),
        ("h36m-cpn-81,mixste,MixSTE", "h36m-cpn-81,poseformer,MixSTE", "h36m-cpn-81 poseformer 81 mpjpe twice"),
    ],
)
def test_a_broken_table_of_published_numbers_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (Path(__file__).parents[2] / "results" / "published.csv").read_text()
    (tmp_path / "published.csv").write_text(text.replace(old, new))
    with pytest.raises(BenchError, match=message) as error:
        records.published(tmp_path / "published.csv")
    assert "published.csv" in str(error.value)


def test_a_project_without_published_numbers_has_none(tmp_path: Path) -> None:
    assert records.published(tmp_path / "published.csv").empty
