"""docs/how-to/adding-a-metric.md, done as it says: its package is written, installed, run, and gets its column."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from samples import toy_dataset
from strangers import Page, blocks, checkout_in, shell

from bench.data.windows import scored_windows
from bench.evaluation import Predictions, score
from bench.evaluation.counting import ScoredPoses
from bench.method import Window
from bench.results import metrics
from bench.results.metrics import Metric

PAGE = Page("adding-a-metric.md")
COMMANDS = [shlex.split(line) for file, body in blocks(PAGE.text) if not file for line in body.splitlines()]


def test_the_page_shows_a_whole_package(tmp_path):
    shown = {path.name for path in PAGE.write_package(tmp_path / "my-metric").iterdir()}
    assert shown == {"my_metric.py", "pyproject.toml", "worst.yaml"}


def test_the_metric_is_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(PAGE.write_package(tmp_path / "my-metric"))
    from my_metric import METRIC

    sys.modules.pop("my_metric")
    assert "torch" not in Path(tmp_path / "my-metric" / "my_metric.py").read_text()
    monkeypatch.setattr(
        metrics, "_of_packages", lambda: {METRIC.name: dataclasses.replace(METRIC, package="my-metric")}
    )
    dataset, window = toy_dataset(), Window(1)
    poses = dataset.poses_3d.numpy().copy()
    poses[:, 3, 2] += 0.2
    poses[:, 5, 0] += 0.1
    scores = score(Predictions(window, scored_windows(dataset, window), poses[:, None]), dataset)
    np.testing.assert_allclose(scores.values["worst_joint"], 200, rtol=1e-4)


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without the line of titles."""
    table = PAGE.text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    return [row for row in cells if row[0].startswith("`")]


def test_the_page_names_what_a_function_is_given_and_what_can_be_chosen():
    given = {name for row in rows("What a function is given") for name in re.findall(r"`(\w+)`", row[0])}
    assert all(hasattr(ScoredPoses, name) or name in ScoredPoses.__dataclass_fields__ for name in given)
    chosen = {name: row[1] for row in rows("Arguments") for name in re.findall(r"`(\w+)`", row[0])}
    fields = {field.name: field.default for field in dataclasses.fields(Metric) if field.name != "package"}
    assert chosen.keys() == fields.keys()
    for name, default in fields.items():
        if default is dataclasses.MISSING:
            assert chosen[name] == "required"
        elif name != "views":
            assert chosen[name].strip("`") == json.dumps(default)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A checkout after `make setup`, with the package beside it: what the page starts from."""
    folder = tmp_path_factory.mktemp("stranger")
    PAGE.write_package(folder / "my-metric")
    checkout = checkout_in(folder)
    shell(checkout, "git", "init")
    return checkout


@pytest.mark.slow
def test_from_an_empty_folder_to_every_view(checkout):
    install, run, table, by_subject, compare, report = COMMANDS
    shell(checkout, *install)
    module = checkout.parent / "my-metric" / "my_metric.py"
    written = module.read_text()

    module.write_text(written.replace("worst_joint, column", '"my_metric:worst", column'))
    said = shell(checkout, *run, status=2)
    assert "metric 'worst_joint' of the package my-metric: AttributeError" in said
    assert "epoch" not in said, "found before training"

    module.write_text(written)
    shown = shell(checkout, *run).partition("\nThe worst joint\n")[2]
    titles = re.split(r"  +", next(line for line in shown.splitlines() if line.startswith("Method")))
    assert titles[-2:] == ["Worst joint (mm)", "vs mean_pose"]
    (record,) = (checkout / "results").rglob("worst/mixste-*/record.json")
    content = json.loads(record.read_text())
    value, mpjpe = (content["metrics"][name] for name in ("worst_joint", "mpjpe"))
    assert (value["unit"], value["value"] > mpjpe["value"] > 0) == ("mm", True)
    assert value["ci"][0] < value["value"] < value["ci"][1]
    assert {*content["metrics"]} >= {"worst_joint_frames", "pck150", "accel"}
    assert all({"worst_joint", "pck150", "accel"} <= block["means"].keys() for block in content["blocks"])

    text = shell(checkout, *table)
    assert re.search(r"\| +Worst joint \(mm\) +\|", text)
    assert f"{value['value']:.1f}" in text
    assert "Measured Worst joint (mm) per subject" in shell(checkout, *by_subject)
    assert "worst: Worst joint in mm, lower is better" in shell(checkout, *compare)
    further = shell(checkout, *table, "--by", "further")
    assert "PCK@150 mm (%)" in further
    assert "Acceleration error (mm/frame²)" in further
    compared = shell(checkout, *compare[:-1], "accel")
    assert "worst: Acceleration error in mm/frame², lower is better" in compared
    shell(checkout, *report)
    page = (checkout / "results" / "report.html").read_text(encoding="utf-8")
    assert '"worst_joint": {"title": "Worst joint"' in page or '"worst_joint":{"title":"Worst joint"' in page

    module.write_text(written.replace(".amax(dim=-1)", ""))  # of another shape
    shutil.rmtree(record.parent)
    said = shell(checkout, *run, "--methods", "mixste")
    assert "metric 'worst_joint' of the package my-metric is left out: its function returned the shape" in said
    assert "mixste" in said.partition("\nThe worst joint\n")[2], "the run is not lost"
