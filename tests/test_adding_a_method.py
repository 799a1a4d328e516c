"""docs/how-to/adding-a-method.md, done as it says: its package is written, installed, run, and gets its row."""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from strangers import Page, blocks, checkout_in, shell

import bench
from bench.cli import main
from bench.config import load_benchmark
from bench.method import registry
from bench.runs.launch import run_benchmark
from bench.system.errors import BenchError
from bench.testing import check_method

PAGE = Page("adding-a-method.md")


def test_the_page_shows_a_whole_package(tmp_path):
    shown = {path.name for path in PAGE.write_package(tmp_path / "my-lifter").iterdir()}
    assert shown == {
        "my_lifter.py", "pyproject.toml", "synthetic-gt-27.yaml", "test_my_lifter.py", "try_it.py", "my_guess.py",
        "my_mean.py",
    }  # fmt: skip


# In this process


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture
def package(tmp_path, results, monkeypatch) -> Iterator[Path]:
    """The page's package on the path, the current folder, its modules forgotten after the test."""
    folder = PAGE.write_package(tmp_path / "my-lifter")
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setenv("BENCH_RESULTS", str(results))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(folder)
    yield folder
    for module in ("my_lifter", "my_guess", "my_mean"):
        sys.modules.pop(module, None)


def test_without_a_package(package, capsys):
    runpy.run_path("try_it.py")
    factor = float(re.search(r"^linear .* (\S+)x$", capsys.readouterr().out, re.M)[1])
    assert 0 < factor < 1, "one epoch is enough to beat the mean pose"
    check_method("linear", frames=9, dim=8)


@pytest.mark.parametrize(
    ("written", "instead", "expected"),
    [
        ('self.window = Window(frames, targets="all")', "pass", "linear: Linear.__init__ must set self.window"),
        ("super().__init__()", "pass", "linear: cannot assign module before Module.__init__() call"),
        ("shape[1:3], 3", "shape[2:0:-1], 3", "linear: lift() of (1, 27, 17, 2) returned (1, 17, 27, 3)"),
        ("nn.Linear(frames * joints * 2", "nn.Linear(joints * 2", "lift() of (1, 27, 17, 2) failed: RuntimeError"),
        ("def lift", "def lifted", "Linear does not implement lift()"),
        ('"total"', '"position"', "loss() must return a `total` of shape () to minimise; found position ()"),
    ],
)  # fmt: skip
def test_what_is_forgotten_ends_with_one_message_before_training(package, capsys, written, instead, expected):
    module = package / "my_lifter.py"
    assert module.read_text().count(written) == 1
    module.write_text(module.read_text().replace(written, instead))
    from my_lifter import Linear

    bench.register(Linear)
    with pytest.raises(SystemExit, match="2"):
        main(["run", "synthetic-gt-27.yaml", "--methods", "linear"])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("bench: linear: ")
    assert expected in err


def test_one_frame_statistics_and_random_numbers(package):
    from my_guess import Guess

    bench.register(Guess)
    check_method("guess", spread=0.1)
    with pytest.raises(BenchError, match="guess: spread must be at least 0, not -1"):
        bench.build("guess", frames=9, spread=-1)
    text = Path("synthetic-gt-27.yaml").read_text()
    Path("guessing.yaml").write_text(text.partition("methods:\n")[0] + "methods: {mean_pose: {}, guess: {}}\n")
    mean_pose, guess = run_benchmark(load_benchmark("guessing.yaml"), device="cpu", track=False)
    assert guess.parameters == 0
    assert guess.frames == mean_pose.frames, "the frames before the first whole window count, too"
    # Noise of 5 cm along each axis, averaged with that of the mirrored window, on what the mean pose is off anyway
    assert 1 < guess.metrics["mpjpe"].value / mean_pose.metrics["mpjpe"].value < 1.2


def test_whole_videos(package):
    from my_mean import Mean

    bench.register(Mean)
    check_method("mean_feature", dim=8)


# As a stranger: in a checkout of its own, with an environment of its own, from the shell


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A checkout after `make setup`, with the package beside it: what the page starts from."""
    folder = tmp_path_factory.mktemp("stranger")
    PAGE.write_package(folder / "my-lifter")
    checkout = checkout_in(folder, "docs", "Makefile", "constraints.txt", "README.md")
    shell(checkout, "git", "init")
    return checkout


@pytest.fixture(scope="module")
def installed(checkout) -> Path:
    install, *_ = PAGE.commands("A complete example")
    shell(checkout, *install)
    return checkout


def test_the_package_is_installed_and_its_method_listed(installed):
    _, methods, *_ = PAGE.commands("A complete example")
    assert methods == [".venv/bin/bench", "methods"]
    listed = shell(installed, *methods)
    assert re.search(r"^linear +- +27 frames to all of them +148,321 ", listed, re.M)
    assert re.search(r"^mean_pose ", listed, re.M)


@pytest.mark.slow
def test_from_an_empty_folder_to_a_row_in_the_table(installed):
    """All that the page says to do, at one epoch instead of ten."""
    module = installed.parent / "my-lifter" / "my_lifter.py"
    _, _, plan, run = PAGE.commands("A complete example")
    shorter = ("--set", "recipe.epochs=1", "--no-track")
    assert plan == [*run, "--dry-run"]
    assert re.search(r"^ *linear-s0-\w{8} +train +27 +148,321 .* 10 ", shell(installed, *plan), re.M)
    assert not (installed / "results" / "records").exists()

    text = shell(installed, *run, *shorter)
    assert re.search(r"^linear +0 +\d+\.\d ", text.partition("\nSynthetic people, exact 2D, 27 frames\n")[2], re.M)
    (record,) = (installed / "results" / "trials" / "synthetic-gt-27").glob("linear-*.json")  # of a single epoch
    assert json.loads(record.read_text())["recipe"]["epochs"] == 1

    def states() -> dict[str, str]:
        return dict(re.findall(r"^ *(\w+)-s0-\w{8} +(finished|train|fit and test) ", again(), re.M))

    def again() -> str:
        return shell(installed, *plan, *shorter)

    assert states() == {"mean_pose": "finished", "linear": "finished"}
    before = record.stat().st_mtime_ns
    assert "epoch 1/1" not in shell(installed, *run, *shorter), "nothing is repeated"
    assert record.stat().st_mtime_ns == before
    module.write_text(f"# A comment.\n{module.read_text()}")
    assert states() == {"mean_pose": "finished", "linear": "finished"}
    module.write_text(module.read_text().replace("errors[batch.supervised].mean()", "errors[batch.supervised].sum()"))
    assert states() == {"mean_pose": "finished", "linear": "train"}

    assert "`.venv/bin/python -m pytest ../my-lifter` runs it" in PAGE.section("Check it")
    assert "1 passed" in shell(installed, ".venv/bin/python", "-m", "pytest", "../my-lifter")


@pytest.mark.slow
def test_into_the_tables_of_the_repository(installed):
    heading = "Into the tables of the repository"
    (config, entry), *_ = blocks(PAGE.section(heading))
    assert config == "configs/demo.yaml"
    path = installed / config
    path.write_text(path.read_text() + entry.replace("epochs: 10", "epochs: 1"))
    measure, add, render = PAGE.commands(heading)
    assert measure[:2] == ["make", "demo"]
    assert re.search(r"^linear +0 +\d+\.\d ", shell(installed, *measure), re.M)
    shell(installed, *add)
    assert "results/records/demo/linear-s0-" in shell(installed, "git", "diff", "--cached", "--name-only")
    assert "results/tables/demo.md" in shell(installed, *render)
    row = r"^\| linear +\| +27 \| .* \[s0\]\({}records/demo/linear-s0-\w{{8}}\.json\)"
    assert re.search(row.format(r"\.\./"), (installed / "results" / "tables" / "demo.md").read_text(), re.M)
    assert re.search(r"^\| linear +\| +27 \| .* s0 +\|$", (installed / "docs" / "results.md").read_text(), re.M)
    shell(installed, "make", "tables-check")
