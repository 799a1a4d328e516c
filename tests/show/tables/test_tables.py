from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench.config import identity, load_benchmark
from bench.results import metrics, records
from bench.results.metrics import METRICS, Metric
from bench.results.records import Record
from bench.show import tables
from bench.system.errors import BenchError

CHECKOUT = Path(__file__).parents[3]

CONFIG = """\
title: A toy
protocol:
  dataset: {dataset}
  keypoints: {keypoints}
  frames: {frames}
  train_subjects: [S1]
  test_subjects: [S9]
methods:
  mean_pose: {{}}
  mixste:
    model: {{dim: 32}}
    recipe: {{epochs: 8}}
  diff3dhpe: {{}}
"""

README = """\
# A project

<!-- table:toy -->
<!-- /table:toy -->

Words between.

<!-- table:h36m-cpn-243 -->
<!-- /table:h36m-cpn-243 -->
The end.
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a benchmark of its own, one that papers report, and no records."""
    for name, dataset, keypoints, frames in [("toy", "synthetic", "det", 27), ("h36m-cpn-243", "h36m", "cpn", 243)]:
        add_benchmark(tmp_path, name, dataset, keypoints, frames)
    (tmp_path / "results").mkdir()
    shutil.copy(CHECKOUT / "results" / "published.csv", tmp_path / "results")
    (tmp_path / "README.md").write_text(README)
    return tmp_path


def add_benchmark(project: Path, name: str, dataset: str, keypoints: str, frames: int) -> None:
    (project / "configs").mkdir(exist_ok=True)
    text = CONFIG.format(dataset=dataset, keypoints=keypoints, frames=frames)
    (project / "configs" / f"{name}.yaml").write_text(text)


def measured(method: str, seed: int = 0, *, day: int = 1, **changes: Any) -> Record:
    """A record of `method` on the toy benchmark; metric values may be given by name."""
    units = {name: metric.unit for name, metric in METRICS.items()}
    metrics = {name: changes.pop(name) for name in list(changes) if name in METRICS or name.startswith("mpjpe_")} or {
        "mpjpe": 50.0
    }
    fields: dict[str, Any] = {
        "run_key": identity([method, seed, day, changes.get("benchmark"), changes.get("accounting")]),
        "benchmark": "toy",
        "method": method,
        "seed": seed,
        "accounting": "shared",
        "data": {"dataset": "synthetic", "keypoints": "det"},
        "model": {},
        "recipe": {},
        "receptive_field": 27,
        "metrics": {name: {"value": value, "unit": units.get(name, "mm")} for name, value in metrics.items()},
        "frames": 1000,
        "sequences": 8,
        "parameters": 0 if method == "mean_pose" else 33_650_435,
        "macs_per_frame": 0 if method == "mean_pose" else 573_456_789,
        "provenance": {
            "config_hash": "c0ffee",
            "data_fingerprint": "da7a",
            "packages": {},
            "hardware": "CPU",
            "finished_at": datetime(2026, 1, day, tzinfo=UTC),
        },
    }
    return Record.model_validate({**fields, **changes})


H36M: dict[str, Any] = {
    "benchmark": "h36m-cpn-243",
    "data": {"dataset": "h36m", "keypoints": "cpn"},
    "receptive_field": 243,
}


CROSSING: dict[str, Any] = {
    "benchmark": "crossing",
    "data": {
        "dataset": "cmu",
        "keypoints": "gt",
        "trained_on": {"dataset": "synthetic", "keypoints": "det"},
    },
}


@pytest.fixture
def crossing(project: Path) -> Path:
    """The same, with a benchmark that tests on other data than it trains on."""
    text = CONFIG.format(dataset="x", keypoints="x", frames=27)
    both = "  train: {dataset: synthetic, keypoints: det}\n  test: {dataset: cmu, keypoints: gt}\n"
    text = text.replace("  dataset: x\n  keypoints: x\n", both)
    (project / "configs" / "crossing.yaml").write_text(text)
    return project


def publish(project: Path, *found: Record) -> list[str]:
    for record in found:
        records.write(record, project / "results" / "records")
    return tables.write(root=project)


def page(project: Path, benchmark: str = "toy") -> str:
    return (project / "results" / "tables" / f"{benchmark}.md").read_text()


def block(project: Path, benchmark: str = "toy") -> str:
    text = (project / "README.md").read_text()
    return text.split(f"<!-- table:{benchmark} -->")[1].split(f"<!-- /table:{benchmark} -->")[0]


def cells(text: str, method: str) -> dict[str, str]:
    """The row of a method in the first table of a text, by column title."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    titles = [cell.strip() for cell in lines[0]]
    row = next(line for line in lines[2:] if line[0].strip().split(" <sup>")[0] == method)
    return dict(zip(titles, [cell.strip() for cell in row], strict=True))


# The whole


TITLES = "Method|Frames|MPJPE published (mm)|MPJPE measured (mm)|P-MPJPE published (mm)|P-MPJPE measured (mm)"
TITLES += "|Parameters|Record"


def test_the_block_of_a_published_benchmark_as_it_was_read(project: Path) -> None:
    ours, base = measured("mixste", mpjpe=41.26, p_mpjpe=33.0, **H36M), measured("mean_pose", mpjpe=120, **H36M)
    publish(project, ours, base)
    links = {one.method: f"[s0](results/records/{one.path.as_posix()})" for one in (ours, base)}
    expected = [
        TITLES.split("|"),
        ["VideoPose3D", "243", "46.8", "—", "36.5", "—", "—", "not measured yet"],
        ["MixSTE", "243", "40.9", "**41.3**", "—", "33.0", "33.7 M", links["mixste"]],
        ["P-STMO-S <sup>1</sup>", "243", "42.8", "—", "—", "—", "—", "not measured yet"],
        ["P-STMO", "243", "42.8", "—", "—", "—", "—", "not measured yet"],
        ["Diff3DHPE-MixSTE", "243", "**40.0**", "—", "—", "—", "—", "not measured yet"],
        ["mean_pose", "243", "—", "120.0", "—", "—", "0", links["mean_pose"]],
    ]
    lines = block(project, "h36m-cpn-243").strip().split("\n\n")
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[0].splitlines()]
    assert [table[0], *table[2:]] == expected
    conflict = "in conflict with the P-STMO README, which gives 43.0 for P-STMO-S and 42.8 for P-STMO (4 layers)"
    assert lines[1] == f"1. Published: {conflict}."
    assert lines[2].endswith("[results/tables/h36m-cpn-243.md](results/tables/h36m-cpn-243.md)")


def test_a_page_byte_for_byte(project: Path) -> None:
    actions = {"Walking": {"mpjpe": 49.0}, "Sitting": {"mpjpe": 51.0}}
    key = {"run_key": "0123456789abcdef", "recipe": {"epochs": 8}}
    publish(project, measured("mixste", mpjpe=50, mpjve=4.567, per_action=actions, **key))
    assert page(project) == (CHECKOUT / "tests" / "golden" / "table_toy.md").read_text()


def test_where_frames_make_the_headline_the_mean_over_actions_stands_beside_it(project: Path) -> None:
    config = project / "configs" / "toy.yaml"
    config.write_text(config.read_text().replace("test_subjects: [S9]", "test_subjects: [S9]\n  averaging: frames"))
    publish(project, measured("mixste", mpjpe=50.0, mpjpe_actions=51.0, pck=90.0, auc=60.0))
    shown = cells(page(project), "MixSTE")
    assert [shown[title] for title in ("MPJPE (mm)", "MPJPE over actions (mm)", "PCK (%)", "AUC (%)")] == [
        "50.0", "51.0", "90.0", "60.0",
    ]  # fmt: skip
    assert "MPJPE over frames" not in page(project)
    assert "count every valid test frame once" in page(project)
    assert "MPJPE over actions" not in page(project, "h36m-cpn-243")


def sections(text: str) -> dict[str, list[list[str]]]:
    """Title of each section -> the rows of its table, titles first."""
    found = {}
    for part in text.split("\n## ")[1:]:
        lines = [line for line in part.splitlines() if line.startswith("|")]
        found[part.splitlines()[0]] = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {title: [rows[0], *rows[2:]] for title, rows in found.items() if rows}


def test_groups_and_joints_have_tables_in_an_order_a_reader_expects(project: Path) -> None:
    groups = {
        "activity": {
            "Sitting": {"mpjpe": 50.0, "pck": 90.0, "frames": 1275},
            "Miscellaneous": {"mpjpe": 52.0, "pck": 80.0, "frames": 5},
            "Standing/Walking": {"mpjpe": 40.0, "pck": 95.0, "frames": 461},
        },
        "subject": {"S9": {"mpjpe": 45.0, "frames": 9}, "S11": {"mpjpe": 47.0, "frames": 4}},
        "scene": {"outdoor": {"mpjpe": 45.0, "frames": 9}},
        "joint_group": {"Knee": {"pck": 88.0, "frames": 13}, "Head": {"pck": 99.0, "frames": 13}},
    }
    joints = {"spine": {"mpjpe": 30.0}, "pelvis": {"mpjpe": 0.0}, "right knee": {"mpjpe": 60.0}}
    publish(
        project,
        measured("mixste", mpjpe=46.0, pck=89.0, groups=groups, per_joint=joints, recipe={"epochs": 8}),
        measured("mean_pose", mpjpe=90.0, pck=30.0, groups={"subject": {"S9": {"mpjpe": 99.0, "frames": 9}}}),
    )
    text = page(project)
    assert sections(text) == {
        "Measured MPJPE (mm) per activity": [
            ["Method", "Frames", "Standing/Walking", "Sitting", "Miscellaneous"],
            ["MixSTE", "27", "40.0", "50.0", "52.0"],
        ],
        "Measured PCK (%) per activity": [
            ["Method", "Frames", "Standing/Walking", "Sitting", "Miscellaneous"],
            ["MixSTE", "27", "95.0", "90.0", "80.0"],
        ],
        "Measured PCK (%) per joint group": [["Method", "Frames", "Head", "Knee"], ["MixSTE", "27", "99.0", "88.0"]],
        "Measured MPJPE (mm) per subject": [
            ["Method", "Frames", "S9", "S11"],
            ["mean_pose", "27", "99.0", "—"],
            ["MixSTE", "27", "**45.0**", "47.0"],
        ],
        "Measured MPJPE (mm) per joint": [
            ["Method", "Frames", "pelvis", "right knee", "spine"],
            ["MixSTE", "27", "0.0", "60.0", "30.0"],
        ],
    }, "a single scene is no table"
    assert "Scored frames by activity: Standing/Walking 461; Sitting 1,275; Miscellaneous 5\n" in text
    assert "per subject" not in block(project)


def test_the_three_usages_of_one_number_stand_side_by_side(project: Path) -> None:
    config = project / "configs" / "toy.yaml"
    config.write_text(config.read_text().replace("test_subjects: [S9]", "test_subjects: [S9]\n  averaging: frames"))
    three = {"": 32.04, "_actions": 32.89, "_w2929": 32.17}
    metrics = {f"mpjpe{suffix}": {"value": value, "unit": "mm"} for suffix, value in three.items()}
    metrics |= {f"pck{suffix}": {"value": 100 - value, "unit": "%"} for suffix, value in three.items()}
    publish(project, measured("mixste", metrics=metrics, recipe={"epochs": 8}), measured("mean_pose"))
    titles, *rows = sections(page(project))["Three usages of one number"]
    assert titles[2:] == [
        f"{metric}, {what} ({unit})"
        for what in ("valid frames", "six sequences", "2,929 weights")
        for metric, unit in (("MPJPE", "mm"), ("PCK", "%"), ("AUC", "%"))
    ]
    assert rows == [["MixSTE", "27", "32.0", "68.0", "—", "32.9", "67.1", "—", "32.2", "67.8", "—"]]
    assert "Three usages" not in page(project, "h36m-cpn-243")


def test_writing_twice_gives_the_same_bytes(project: Path) -> None:
    changed = publish(project, measured("mixste"), measured("mean_pose"))
    assert changed == ["results/tables/h36m-cpn-243.md", "results/tables/toy.md", "README.md"]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in project.rglob("*.md")}
    assert tables.write(root=project) == []
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in project.rglob("*.md")} == before


def test_words_around_the_blocks_stay(project: Path) -> None:
    publish(project)
    text = (project / "README.md").read_text()
    assert text.startswith("# A project\n\n<!-- table:toy -->\n")
    assert "\n<!-- /table:toy -->\n\nWords between.\n\n<!-- table:h36m-cpn-243 -->\n" in text
    assert text.endswith("<!-- /table:h36m-cpn-243 -->\nThe end.\n")


# What the first screen and docs/results.md show


def test_the_block_of_papers_shows_published_rows_and_whether_they_were_measured_here(project: Path) -> None:
    (project / "README.md").write_text("<!-- table:papers -->\n<!-- /table:papers -->\n")
    record = measured("mixste", mpjpe=41.26, **H36M)
    publish(project, record, measured("mean_pose", mpjpe=120.0, **H36M), measured("mixste", mpjpe=77.0))
    rows = block(project, "papers")
    assert cells(rows, "VideoPose3D") == {
        "Method": "VideoPose3D",
        "Paper": "CVPR 2019",
        "Frames": "243",
        "MPJPE published (mm)": "46.8",
        "MPJPE measured (mm)": "—",
        "Record": "not measured yet",
    }
    assert cells(rows, "MixSTE")["MPJPE measured (mm)"] == "41.3"
    assert cells(rows, "MixSTE")["Record"] == f"[s0](results/records/{record.path.as_posix()})"
    assert "mean_pose" not in rows
    assert "77.0" not in rows, "a number on synthetic people stands among those of papers"


def test_the_page_of_results_shows_every_benchmark_those_measured_first_and_links_to_nothing(project: Path) -> None:
    (project / "docs").mkdir()
    assert "docs/results.md" in publish(project, measured("mixste", mpjpe=50.0))
    text = (project / "docs" / "results.md").read_text()
    first, second = text.partition("## Measured\n")[2].split("## Published, and not measured here yet\n")
    assert cells(first, "MixSTE")["Record"] == "s0"
    assert cells(first, "MixSTE")["MPJPE (mm)"] == "50.0"
    assert cells(second, "MixSTE")["MPJPE published (mm)"] == "40.9"
    assert cells(second, "MixSTE")["Record"] == "not measured yet"
    assert "](" not in text, "the site is built of docs/ alone"
    assert tables.write(check=True, root=project) == []
    (project / "docs" / "results.md").write_text(text.replace("50.0", "48.0"))
    assert tables.write(check=True, root=project) == ["docs/results.md"]


# Drift


def test_check_reports_a_number_edited_by_hand_and_changes_nothing(project: Path) -> None:
    publish(project, measured("mixste", mpjpe=50.0))
    assert tables.write(check=True, root=project) == []
    readme = project / "README.md"
    readme.write_text(readme.read_text().replace("50.0", "48.0"))
    edited = readme.read_bytes()
    assert tables.write(check=True, root=project) == ["README.md"]
    assert readme.read_bytes() == edited
    assert tables.write(root=project) == ["README.md"]
    assert "48.0" not in readme.read_text()


def test_check_reports_a_record_that_is_in_no_table_yet(project: Path) -> None:
    publish(project)
    records.write(measured("mixste"), project / "results" / "records")
    assert tables.write(check=True, root=project) == ["results/tables/toy.md", "README.md"]
    assert "not measured yet" in cells(page(project), "MixSTE")["Record"]


def test_results_kept_elsewhere_do_not_reach_the_readme(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("results")
    monkeypatch.setenv("BENCH_RESULTS", str(elsewhere))
    monkeypatch.setattr("bench.system.paths.root", lambda: project)
    records.write(measured("mixste", mpjpe=50.0))
    tables.write()
    assert "50.0" in (elsewhere / "tables" / "toy.md").read_text()
    assert "50.0" not in block(project)
    assert not (project / "results" / "tables").exists()


# Rows


def test_what_nobody_has_measured_says_so(project: Path) -> None:
    publish(project)
    for text in (page(project), block(project)):
        row = cells(text, "MixSTE")
        assert row.pop("Record") == "not measured yet"
        assert (row.pop("Method"), row.pop("Frames")) == ("MixSTE", "27")
        assert set(row.values()) == {"—"}
    assert "per action" not in page(project)


def test_published_rows_without_a_configured_method_appear(project: Path) -> None:
    publish(project)
    row = cells(page(project, "h36m-cpn-243"), "VideoPose3D")
    assert (row["MPJPE published (mm)"], row["P-MPJPE published (mm)"]) == ("46.8", "36.5")
    assert row["Record"] == "not measured yet"
    assert "VideoPose3D (CVPR 2019): VideoPose3D public README" in page(project, "h36m-cpn-243")


def test_a_benchmark_that_no_paper_reports_has_no_published_column(project: Path) -> None:
    publish(project, measured("mixste"))
    assert "ublished" not in page(project)
    assert "ublished" not in block(project)


def test_a_method_that_is_not_configured_is_shown_under_its_own_name(project: Path) -> None:
    publish(project, measured("mine", mpjpe=47.0, receptive_field=None, parameters=None, macs_per_frame=None))
    row = cells(page(project), "mine")
    assert (row["Frames"], row["MPJPE (mm)"], row["Parameters"], row["MACs/frame"]) == ("—", "47.0", "—", "—")


def test_several_seeds_give_mean_and_spread_and_a_link_each(project: Path) -> None:
    found = [measured("mixste", seed, mpjpe=value) for seed, value in [(0, 50.0), (1, 51.0), (2, 52.0)]]
    publish(project, *found)
    row = cells(page(project), "MixSTE")
    assert row["MPJPE (mm)"] == "51.0 ± 1.0"
    assert row["Seeds"] == "0, 1, 2"
    assert row["Record"] == " ".join(f"[s{one.seed}](../records/{one.path.as_posix()})" for one in found)


def test_links_lead_to_records(project: Path) -> None:
    record = measured("mixste")
    publish(project, record)
    link = cells(page(project), "MixSTE")["Record"].split("(")[1].rstrip(")")
    assert records.read(project / "results" / "tables" / link) == record
    link = cells(block(project), "MixSTE")["Record"].split("(")[1].rstrip(")")
    assert records.read(project / link) == record


def test_the_record_that_finished_last_is_shown(project: Path) -> None:
    publish(project, measured("mixste", day=5, mpjpe=50.0), measured("mixste", day=3, mpjpe=40.0))
    row = cells(page(project), "MixSTE")
    assert row["MPJPE (mm)"] == "50.0"
    assert len(list((project / "results" / "records" / "toy").iterdir())) == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"receptive_field": 9}, "frames 9 instead of 27"),
        ({"model": {"dim": 64}}, "model.dim 64 instead of 32"),
        ({"recipe": {"epochs": 2}}, "recipe.epochs 2 instead of 8"),
    ],
)
def test_an_experiment_never_stands_in_the_table(project: Path, changes: dict[str, Any], reason: str) -> None:
    kept = measured("mixste", mpjpe=50.0, model={"dim": 32}, recipe={"epochs": 8, "learning_rate": 4e-4})
    experiment = measured("mixste", day=2, mpjpe=40.0, **changes)
    publish(project, kept, experiment)
    assert cells(page(project), "MixSTE")["MPJPE (mm)"] == "50.0"
    assert tables.departures(experiment, load_benchmark(project / "configs" / "toy.yaml")) == [reason]


def test_a_run_on_a_part_of_the_test_set_never_stands_in_the_table(project: Path) -> None:
    toy = project / "configs" / "toy.yaml"
    toy.write_text(toy.read_text().replace("  frames: 27", "  frames: 27\n  test_videos: 236"))
    publish(project, measured("mixste", mpjpe=40.0))
    assert cells(page(project), "MixSTE")["Record"] == "not measured yet"
    assert tables.departures(measured("mixste"), load_benchmark(toy)) == ["test videos 8 instead of 236"]


def test_weights_picked_on_the_test_set_are_labelled(project: Path) -> None:
    publish(project, measured("mine", training={"kept": "best-test"}))
    assert "scored best on the test set" in page(project)


def test_other_accountings_have_a_section_of_their_own(project: Path) -> None:
    counted = {"accounting": "as-published", "protocol": {"accounting": "as-published"}}
    publish(project, measured("mixste", mpjpe=50.0), measured("diff3dhpe", mpjpe=52.0))
    publish(project, measured("mixste", mpjpe=44.0, **counted), measured("diff3dhpe", mpjpe=45.0, **counted))
    shared, own = page(project).split("## Accounting as published")
    assert "**50.0**" in shared
    assert not {"44.0", "45.0"} & set(re.findall(r"[\d.]+", shared + block(project)))
    assert not {"50.0", "52.0"} & set(re.findall(r"[\d.]+", own))
    assert "**" not in own, "rows that are counted in different ways are not ranked"
    assert re.search(r"\d\. Measured and counted as by Zhang et al., CVPR 2022: the last window .* counts whole", own)
    assert re.search(r"\d\. Measured and counted as by Zhou et al., ICCVW 2023: .* actions by prefix", own)


# Bold


def test_the_best_of_each_column_is_bold(project: Path) -> None:
    publish(project, measured("mixste", mpjpe=50.0, pck=90.0), measured("mean_pose", mpjpe=120.0, pck=30.0))
    row, floor = cells(page(project), "MixSTE"), cells(page(project), "mean_pose")
    assert (row["MPJPE (mm)"], row["PCK (%)"]) == ("**50.0**", "**90.0**")
    assert (floor["MPJPE (mm)"], floor["PCK (%)"]) == ("120.0", "30.0")
    assert floor["Parameters"] == "0", "size is no contest"


def test_what_ties_as_printed_is_bold_together(project: Path) -> None:
    publish(project, measured("mixste", mpjpe=50.01), measured("diff3dhpe", mpjpe=49.99), measured("mine", mpjpe=50.06))
    found = [cells(page(project), name)["MPJPE (mm)"] for name in ("MixSTE", "Diff3DHPE-MixSTE", "mine")]
    assert found == ["**50.0**", "**50.0**", "50.1"]


def test_a_number_alone_is_not_the_best(project: Path) -> None:
    publish(project, measured("mixste", mpjpe=50.0))
    assert cells(page(project), "MixSTE")["MPJPE (mm)"] == "50.0"


def test_published_numbers_compete_among_themselves(project: Path) -> None:
    publish(project, measured("mixste", mpjpe=10.0, **H36M), measured("mean_pose", mpjpe=120.0, **H36M))
    assert cells(page(project, "h36m-cpn-243"), "Diff3DHPE-MixSTE")["MPJPE published (mm)"] == "**40.0**"
    assert cells(page(project, "h36m-cpn-243"), "MixSTE")["MPJPE published (mm)"] == "40.9"


def test_mpi_inf_3dhp_shows_pck_and_auc_where_more_is_better(project: Path) -> None:
    add_benchmark(project, "3dhp-gt", "3dhp", "gt", 27)
    (project / "README.md").write_text("<!-- table:3dhp-gt -->\n<!-- /table:3dhp-gt -->\n")
    publish(project)
    row = cells(block(project, "3dhp-gt"), "Diff3DHPE-MixSTE")
    assert [row[f"{title} published ({unit})"] for title, unit in [("MPJPE", "mm"), ("PCK", "%"), ("AUC", "%")]] == [
        "**19.6**",
        "**99.1**",
        "**84.8**",
    ]
    assert cells(block(project, "3dhp-gt"), "PoseFormer")["Frames"] == "9"
    assert "PoseFormerV2 reports MPJPE 57.7, PCK 95.4, AUC 63.2" in block(project, "3dhp-gt")
    assert "P-MPJPE" not in block(project, "3dhp-gt")


# Refusals


def test_further_metrics_have_a_table_of_their_own_and_no_column_before_one_is_measured(project: Path) -> None:
    publish(project, measured("mixste", mpjpe=50.0), measured("mean_pose", mpjpe=120.0))
    before = page(project)
    assert "Further metrics" not in before
    publish(project, measured("mixste", day=2, mpjpe=50.0, pck150=97.25, accel=1.5))
    assert cells(page(project), "MixSTE").keys() == cells(before, "MixSTE").keys()
    lines = page(project).partition("## Further metrics\n\n")[2].partition("\n\n")[0].splitlines()
    titles, _, *found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rows = {row[0]: dict(zip(titles, row, strict=True)) for row in found}
    assert titles == ["Method", "Frames", "PCK@150 mm (%)", "Acceleration error (mm/frame²)", "Seeds"]
    assert (rows["MixSTE"]["PCK@150 mm (%)"], rows["MixSTE"]["Acceleration error (mm/frame²)"]) == ("97.2", "1.50")
    assert (rows["mean_pose"]["PCK@150 mm (%)"], rows["mean_pose"]["Seeds"]) == (tables.NONE, "0")


def test_a_metric_of_a_package_has_its_column_and_a_dash_where_records_lack_it(project: Path, monkeypatch) -> None:
    mine = Metric("mine", "Mine", "mm", "mine:mine", 3, "higher", "always", package="my-metric")
    publish(project, measured("mixste", mpjpe=50.0), measured("mean_pose", mpjpe=120.0))
    unseen = page(project)
    monkeypatch.setattr(metrics, "_of_packages", lambda: {"mine": mine})
    with_mine = measured("mine_2", mpjpe=70.0)
    values = {**with_mine.metrics, "mine": records.Metric(value=7.12345, unit="mm")}
    publish(project, with_mine.model_copy(update={"metrics": values}))
    assert cells(page(project), "MixSTE")["Mine (mm)"] == tables.NONE
    assert cells(page(project), "mine_2")["Mine (mm)"] == "7.123"
    assert "Mine" not in unseen
    monkeypatch.setattr(metrics, "_of_packages", dict)
    publish(project)
    assert "Mine" not in page(project), "of a metric that nobody here knows nothing is shown"
    assert cells(page(project), "mine_2")["MPJPE (mm)"] == "70.0"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"dataset": "synthetic", "keypoints": "cpn"}}, r"data\.dataset is 'synthetic'.*measured on 'h36m'"),
        ({"data": {"dataset": "h36m", "keypoints": "gt"}}, r"data\.keypoints is 'gt'.*measured on 'cpn'"),
        ({"metrics": {"mpjpe": {"value": 0.04, "unit": "m"}}}, r"metrics\.mpjpe is in 'm', tables show 'mm'"),
    ],
)
def test_a_record_of_other_data_or_units_is_refused(project: Path, changes: dict[str, Any], message: str) -> None:
    before = (project / "README.md").read_bytes()
    with pytest.raises(BenchError, match=message) as error:
        publish(project, measured("mixste", **{**H36M, **changes}))
    assert "results/records/h36m-cpn-243/mixste-s0-" in str(error.value)
    assert (project / "README.md").read_bytes() == before
    assert not (project / "results" / "tables").exists()


def test_a_benchmark_of_two_data_sets_says_so_wherever_it_is_shown(crossing: Path) -> None:
    words = "Trained on synthetic (det keypoints), tested on cmu (gt keypoints)"
    (crossing / "README.md").write_text("<!-- table:crossing -->\n<!-- /table:crossing -->\n")
    record = measured("mixste", mpjpe=77.0, **CROSSING)
    publish(crossing, record)
    benchmark = load_benchmark(crossing / "configs" / "crossing.yaml")
    for text in (page(crossing, "crossing"), block(crossing, "crossing"), tables.terminal(benchmark, [record])):
        assert words in text
        assert "77.0" in text
    assert "Data set cmu, 2D keypoints gt, 27 frames, tested on S9." in page(crossing, "crossing")
    assert "Trained on" not in page(crossing)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("crossing", {"dataset": "cmu", "keypoints": "gt"}, r"data\.trained_on\.dataset is 'cmu'.*on 'synthetic'"),
        (
            "crossing",
            {**CROSSING["data"], "trained_on": {"dataset": "synthetic", "keypoints": "gt"}},
            r"data\.trained_on\.keypoints is 'gt'.*on 'det'",
        ),
        (
            "toy",
            {"dataset": "synthetic", "keypoints": "det", "trained_on": {"dataset": "cmu", "keypoints": "gt"}},
            r"data\.trained_on\.dataset is 'cmu'.*on 'synthetic'",
        ),
    ],
)
def test_a_record_trained_on_other_data_is_refused(
    crossing: Path, name: str, data: dict[str, Any], message: str
) -> None:
    with pytest.raises(BenchError, match=message):
        publish(crossing, measured("mixste", benchmark=name, data=data))


def test_a_block_of_an_unknown_benchmark_is_refused(project: Path) -> None:
    (project / "README.md").write_text(README.replace("table:toy", "table:toi"))
    with pytest.raises(BenchError, match=r"No benchmark 'toi'\. Did you mean 'toy'"):
        tables.write(root=project)


@pytest.mark.parametrize("marker", ["<!-- /table:toy -->\n", "<!-- table:toy -->\n"])
def test_a_block_without_its_other_end_is_refused(project: Path, marker: str) -> None:
    (project / "README.md").write_text(README.replace(marker, ""))
    with pytest.raises(BenchError, match=r"README.md: <!-- /?table:toy --> has no partner"):
        tables.write(root=project)


# The terminal


def test_terminal_shows_what_ran_with_the_published_number_and_the_floor(project: Path) -> None:
    benchmark = load_benchmark(project / "configs" / "h36m-cpn-243.yaml")
    found = [measured("mean_pose", mpjpe=100.0, **H36M), measured("mixste", mpjpe=55.0, **H36M)]
    lines = [line.split() for line in tables.terminal(benchmark, found).splitlines()]
    assert " ".join(lines[0]) == "Method Seeds MPJPE published (mm) MPJPE measured (mm) vs mean_pose"
    assert lines[2:] == [["MixSTE", "0", "40.9", "55.0", "0.55x"], ["mean_pose", "0", "—", "100.0", "1.00x"]]


def test_terminal_has_no_ratio_without_the_floor(project: Path) -> None:
    benchmark = load_benchmark(project / "configs" / "toy.yaml")
    text = tables.terminal(benchmark, [measured("mixste", 0, mpjpe=55.0), measured("mixste", 1, mpjpe=57.0)])
    assert "mean_pose" not in text
    assert "56.0 ± 1.4" in text


def test_terminal_leaves_out_a_ratio_that_cannot_be_formed(project: Path) -> None:
    benchmark = load_benchmark(project / "configs" / "toy.yaml")
    text = tables.terminal(benchmark, [measured("mean_pose", mpjpe=100.0), measured("mixste", p_mpjpe=40.0)])
    assert text.splitlines()[-1].split()[-1] == "—"
    assert "vs mean_pose" not in tables.terminal(benchmark, [measured("mean_pose", p_mpjpe=90.0)])


def test_terminal_refuses_records_of_another_benchmark(project: Path) -> None:
    with pytest.raises(BenchError, match="is a result of toy and has no place in the table of h36m-cpn-243"):
        tables.terminal(load_benchmark(project / "configs" / "h36m-cpn-243.yaml"), [measured("mixste")])


# Small parts


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999"), (1000, "1.00 k"), (999_950, "1.00 M"), (33_650_435, "33.7 M"), (277.4e9, "277 G")],
)
def test_sizes_read_in_three_digits(project: Path, count: float, text: str) -> None:
    publish(project, measured("mine", macs_per_frame=count))
    assert cells(page(project), "mine")["MACs/frame"] == text


def test_importing_tables_loads_neither_torch_nor_mlflow() -> None:
    code = "import sys, bench.show.tables; print(sorted({'torch', 'mlflow', 'matplotlib'} & set(sys.modules)))"
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
