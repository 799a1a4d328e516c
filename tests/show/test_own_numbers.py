"""A user's own number is shown wherever there is one, with the published one beside it; committed pages keep theirs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

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
from bench.show import tables
from bench.show.report.gather import gather
from bench.system import paths


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A project whose benchmark was run once."""
    project = tmp_path_factory.mktemp("project")
    (project / "configs").mkdir()
    (project / "configs" / "toys.yaml").write_text(yaml.safe_dump(TOYS), encoding="utf-8")
    (project / "README.md").write_text("<!-- table:toys -->\n<!-- /table:toys -->\n")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(split, "load_dataset", lambda name, root, keypoints: toy_dataset())
        patched.setattr("bench.system.paths.root", lambda: project)
        patched.delenv("BENCH_RESULTS", raising=False)
        run_benchmark(load_benchmark("toys"), device="cpu", track=False)
    return project


@pytest.fixture
def project(finished, tmp_path, monkeypatch) -> Path:
    """The project where VideoPose3D's record was shipped by others, and is 1 mm better than the run made here."""
    project = tmp_path / "project"
    shutil.copytree(finished, project)
    monkeypatch.setattr(split, "load_dataset", lambda name, root, keypoints: toy_dataset())
    monkeypatch.setattr("bench.system.paths.root", lambda: project)
    monkeypatch.delenv("BENCH_RESULTS", raising=False)
    monkeypatch.chdir(project)
    (mine,) = [one for one in records.load("toys") if one.method == "videopose3d"]
    content = mine.model_dump(mode="json", by_alias=True)
    content["provenance"]["finished_at"] = "2020-01-01T00:00:00+00:00"
    content["metrics"]["mpjpe"]["value"] -= 1
    published = paths.records() / mine.path
    published.write_text(records.text(Record.model_validate(content)))
    tables.write()
    records.keep(mine)
    return project


@pytest.fixture
def both(project) -> str:
    """What is said of the two."""
    (mine,) = records.load("toys", paths.own_records())
    value = mine.metrics["mpjpe"].value
    return f"yours {value:.1f} mm, published record {value - 1:.1f} mm"


def said(capsys, *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("form", ["markdown", "latex", "html"])
def test_exported_tables_show_ones_own_number_and_say_both(form, both, capsys):
    text = said(capsys, "tables", "--format", form, "toys")
    assert both in text
    own = both.split()[1]
    assert re.search(rf"{re.escape(own)}\b", text.replace(both, ""))


def test_the_report_shows_ones_own_number_and_says_both(both, project):
    (benchmark,) = gather(["toys"], beside=project / "results")["benchmarks"]
    (row,) = [row for row in benchmark["boards"][0]["rows"] if row["method"] == "videopose3d"]
    assert f"{row['measured']['mpjpe']['value']:.1f}" == both.split()[1]
    assert any(both in note for note in row["notes"])
    assert row["records"][0]["href"].startswith("own/")


def test_a_comparison_is_of_ones_own_run_and_says_both(both, capsys):
    text = said(capsys, "compare", "toys", "videopose3d", "mean_pose")
    assert f"videopose3d, seed 0: {both}" in text
    assert re.search(rf"^A +videopose3d +{re.escape(both.split()[1])} ", text, re.MULTILINE)


def test_whoever_renders_the_tables_is_told_of_ones_own_number(both, capsys):
    assert f"own      toys, videopose3d, seed 0: {both}  (pages show published records)\n" in said(capsys, "tables")


def test_committed_pages_are_of_published_records_alone(both, project, capsys):
    assert tables.write(check=True) == []
    shown = (project / "README.md").read_text()
    assert both.split()[5] in shown
    assert "yours" not in shown
    assert "yours" not in (project / "results" / "tables" / "toys.md").read_text()


def test_a_trial_does_not_stand_in_the_way_of_a_comparison(project, capsys):
    """The newest run of a seed is the trial; the one that fits is older."""
    changed = load_benchmark("toys", ["methods.videopose3d.recipe.learning_rate=1e-4"])
    run_benchmark(changed, device="cpu", track=False)
    text = said(capsys, "compare", "toys", "videopose3d", "mean_pose")
    assert "Verdict" in text


def test_a_run_on_other_data_leaves_nothing_that_breaks_the_tables(project, capsys):
    """As `bench run demo --set protocol.dataset=h36m` does."""
    changed = load_benchmark("toys", ["protocol.keypoints=det"])
    assert all(run.trial for run in make_plan(changed).runs)
    run_benchmark(changed, device="cpu", track=False)
    assert tables.write(check=True) == []
    assert said(capsys, "tables").endswith("every table says what results/ says\n")
