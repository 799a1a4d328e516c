"""docs: adding-a-dataset.md, done as it says: its package is written, installed, run, and gets a row and a picture."""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path

import pytest
from strangers import Page, checkout_in, shell

from bench.cli import main
from bench.data.registry import GROUP

PAGE = Page("adding-a-dataset.md")


def test_the_page_shows_a_whole_package(tmp_path):
    shown = {path.name for path in PAGE.write_package(tmp_path / "my-dancers").iterdir()}
    assert shown == {"record.py", "my_dancers.py", "pyproject.toml", "dancers-gt-9.yaml"}


# In this process


@pytest.fixture
def package(tmp_path, monkeypatch) -> Iterator[Path]:
    """The page's package, declared and on the path, the current folder; its data in the folder `data`."""
    folder = PAGE.write_package(tmp_path / "my-dancers")
    found, all_there = EntryPoints([EntryPoint("dancers", "my_dancers:Dancers", GROUP)]), entry_points()

    def select(**wanted: str) -> EntryPoints:
        return (found if wanted["group"] == GROUP else all_there).select(**wanted)

    monkeypatch.setattr("bench.system.entry_points.entry_points", select)
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("BENCH_DATA", "data")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(folder)
    (folder / "data").mkdir()
    monkeypatch.setattr(sys, "argv", ["record.py", "data/dancers.npz"])
    runpy.run_path("record.py")
    yield folder
    sys.modules.pop("my_dancers", None)


def bench(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    with pytest.raises(SystemExit) as ended:
        main(words)
    out, err = capsys.readouterr()
    assert ended.value.code == status, err
    return out + err


def test_data_set_describes_itself_and_there_are_no_checks_for_it(package, capsys):
    text = bench(capsys, "data", "describe", "dancers", "--picture", "dancers.svg")
    assert "dancers, gt keypoints: 16 videos, 2,400 frames at 25 fps, dancer-13" in text
    assert "actions: samba, waltz" in text
    assert "images: 800 x 800 pixels" in text
    assert Path("dancers.svg").stat().st_size > 10_000
    text = bench(capsys, "data", "verify", "dancers")
    assert re.search(r"warning +checks +there are none for dancers", text)
    assert re.search(r"ok +loading +16 videos, 2,400 frames", text)
    Path("data/dancers.npz").unlink()
    assert "data/dancers.npz not found: python record.py" in bench(capsys, "data", "describe", "dancers", status=2)


@pytest.mark.parametrize(
    ("written", "instead", "expected"),
    [
        ('name = "dancers"', 'name = "dancer"', "needs the class attribute `name = 'dancers'`"),
        ("fps = 25.0", "", "needs the class attributes `skeleton`, a bench.Skeleton, and `fps`"),
        ("def read(", "def reads(", "my_dancers:Dancers of an unknown package does not implement read()"),
        ("class Dancers(Dataset)", "class Dancers", "is not a subclass of bench.Dataset"),
        ("import Iterator", "import Iterators", "cannot be loaded from my_dancers:Dancers of an unknown"),
        ("parents=(-1, 0, 1, 0", "parents=(-1, 0, 1", "skeleton dancer-13: each of its 13 joints needs a parent"),
        ("left=(1, 2,", "left=(1,", "skeleton dancer-13: left and right must list pairs"),
        ("root=0", "root=5", "skeleton dancer-13: the root, and it alone, has the parent -1"),
        ("poses[..., 2:] + 400", "poses[..., 2:] / 400", "dancers: D1 'samba', camera front: no keypoint is farther"),
        ("keypoints_px, poses)", "keypoints_px[1:], poses)", "keypoints_px is (149, 13, 2) float64, expected (150, 13"),
        ("keypoints_px, poses)", "keypoints_px, 1000 * poses)", "m from the root; poses_camera must be in metres"),
        ("keypoints_px, poses)", "keypoints_px, 0 * poses / 0)", "frame 0 of poses_camera is not finite"),
        ("self.cameras[name]", 'View("top", 800, 800)', "No camera in Dancers.cameras 'top'. Known: front, left"),
        ("self.cameras[name]", "View(name, 9, 9)", "its image is 9 x 9 pixels, but camera() says 800 x 800"),
        ("self.cameras[name]", 'self.cameras["left"]', "read() gives this video twice"),
        ("sorted(motion)", "sorted(motion)[:0]", "dancers: read() gives no video"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_does_not_fit_ends_with_one_message(package, capsys, written, instead, expected):
    module = package / "my_dancers.py"
    assert module.read_text().count(written) == 1
    module.write_text(module.read_text().replace(written, instead))
    message = bench(capsys, "data", "describe", "dancers", status=2)
    assert message.startswith("bench: ")
    assert message.count("\n") == 1
    assert expected in message


def test_a_skeleton_that_changes_without_the_readers_version_is_refused(package, capsys):
    bench(capsys, "data", "describe", "dancers")
    module = package / "my_dancers.py"
    module.write_text(module.read_text().replace('"head",', '"crown",'))
    sys.modules.pop("my_dancers")
    message = bench(capsys, "data", "describe", "dancers", status=2)
    assert "dancers: its skeleton or frame rate has changed, but not what describe() says" in message
    module.write_text(module.read_text().replace("reader 1", "reader 2"))
    sys.modules.pop("my_dancers")
    assert "16 videos" in bench(capsys, "data", "describe", "dancers")


def test_actions_may_be_named_in_any_script(package, capsys, monkeypatch):
    record = (package / "record.py").read_text()
    (package / "record.py").write_text(record.replace('"waltz"', '"вальс"').replace('"samba"', '"サンバ"'), "utf-8")
    runpy.run_path("record.py")
    assert "actions: вальс, サンバ" in bench(capsys, "data", "describe", "dancers")
    monkeypatch.setattr("bench.system.paths.configs", lambda: package)
    bench(capsys, "run", "dancers-gt-9", "--methods", "mean_pose", "--device", "cpu", "--no-track")
    table = bench(capsys, "tables", "--format", "markdown", "dancers-gt-9", "--by", "action")
    assert re.search(r"^\| Method +\|.* вальс \|.* サンバ \|", table, re.M)


# As a stranger: in a checkout of its own, with an environment of its own, from the shell


@pytest.mark.slow
def test_from_an_empty_folder_to_a_row_and_moving_poses(tmp_path):
    """All that the page says to do, at two epochs instead of twenty."""
    PAGE.write_package(tmp_path / "my-dancers")
    checkout = checkout_in(tmp_path)
    for words in PAGE.commands("A complete example"):
        text = shell(checkout, *words)
    assert "dancers, gt keypoints: 16 videos, 2,400 frames at 25 fps, dancer-13" in text
    assert (checkout / "dancers.png").read_bytes().startswith(b"\x89PNG")

    config = tmp_path / "my-dancers" / "dancers-gt-9.yaml"
    config.write_text(config.read_text().replace("epochs: 20", "epochs: 2"))
    copy, run, table, report = PAGE.commands("To a table and a report")
    shell(checkout, *copy)
    assert re.search(r"^VideoPose3D +0 +\d+\.\d ", shell(checkout, *run, "--no-track"), re.M)
    assert re.search(r"^\| VideoPose3D[^|]*\| +9 \| +\**\d+\.\d", shell(checkout, *table), re.M)
    text = shell(checkout, *report)
    assert re.search(r"dancers-gt-9 +2 records.*predictions of 2 methods, \d clips", text), text
    content = re.search(
        r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', (checkout / "results/report.html").read_text(), re.S
    )
    (shown,) = json.loads(content[1])["benchmarks"]
    assert len(shown["skeleton"]["joints"]) == 13
    assert {clip["action"] for clip in shown["viewer"]["clips"]} <= {"samba", "waltz"}
    rows = {row.partition("@")[0] for row in shown["viewer"]["clips"][0]["poses"]}
    assert rows == {"mean_pose", "videopose3d"}
