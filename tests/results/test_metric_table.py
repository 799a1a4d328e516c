"""The table of metrics, and what an installed package adds to it."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from bench.results import metrics
from bench.results.metrics import METRICS, Metric, columns, described, further, in_view
from bench.system.errors import BenchError


class Point(EntryPoint):
    """An entry point whose package is called `of`."""

    def __init__(self, name, loaded, of="my-metric"):
        super().__init__(name, "mine:METRIC", metrics.GROUP)
        vars(self).update(loaded=loaded, dist=type("Distribution", (), {"name": of}))

    def load(self):
        if isinstance(self.loaded, Exception):
            raise self.loaded
        return self.loaded


def mine(name="mine", **changes):
    return Metric(name, "Mine", "mm", "mine:per_frame", **changes)


@pytest.fixture
def installed(monkeypatch):
    """installed(point, ...): what the packages of this environment declare."""

    def install(*points):
        metrics._of_packages.cache_clear()
        monkeypatch.setattr(metrics, "entry_points", lambda group: points if group == "bench.metrics" else ())

    yield install
    metrics._of_packages.cache_clear()


def test_every_metric_of_the_suite_has_its_function():
    for name, metric in METRICS.items():
        assert metric.name == name
        assert callable(metric.load())
        assert metric.package == ""


def test_what_tables_show_and_in_which_order():
    assert columns() == ["mpjpe", "p_mpjpe", "n_mpjpe", "mpjve", "mpjpe_frames", "mpjpe_actions", "pck", "auc"]
    assert further() == ["pck150", "accel"]
    assert in_view("groups") == ["mpjpe", "p_mpjpe", "pck", "auc"]
    assert in_view("sweeps") == ["mpjpe", "p_mpjpe", "mpjve", "pck", "auc", "pck150", "accel"]


@pytest.mark.parametrize(
    ("name", "title", "unit"),
    [
        ("mpjpe", "MPJPE", "mm"),
        ("mpjpe_frames", "MPJPE over frames", "mm"),
        ("mpjve_actions", "MPJVE over actions", "mm/frame"),
        ("pck_w2929", "PCK by 2,929 weights", "%"),
        ("mpjpe_raw_root_frames", "MPJPE, root as predicted over frames", "mm"),
    ],
)
def test_other_means_are_described_after_their_metric(name, title, unit):
    found = described(name)
    assert (found.name, found.title, found.unit) == (name, title, unit)


def test_a_name_that_no_installed_package_has_is_unknown():
    assert described("mine") is described("mine_frames") is None


def test_a_package_adds_a_metric(installed):
    installed(Point("mine", mine(column="where measured", views=("sweeps",), better="higher")))
    assert list(metrics.metrics()) == [*METRICS, "mine"]
    assert metrics.metrics()["mine"].package == "my-metric"
    assert described("mine_frames").title == "Mine over frames"
    assert columns()[-1] == "mine"
    assert in_view("sweeps")[-1] == "mine"
    assert "mine" not in in_view("groups")


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([Point("mine", ModuleNotFoundError("No module named 'mine'"))], "No module named 'mine'"),
        ([Point("mine", ValueError("better must be one of lower, higher: 'up'"))], "better must be one of"),
        ([Point("mine", print)], "mine:METRIC is not a bench.Metric, found <built-in function print>"),
        ([Point("mine", mine("hers"))], "mine:METRIC is called 'hers'; the entry point must be, too"),
        ([Point("accel", mine("accel"))], "the suite has a metric of that name"),
        ([Point("mpjpe_frames", mine("mpjpe_frames"))], "a name must not end in _frames, as those of other means do"),
        ([Point("mine", mine(), "hers"), Point("mine", mine())], "hers has a metric of that name too"),
    ],
)  # fmt: skip
def test_an_error_in_a_package_names_the_package(installed, points, said):
    vars(points[0])["value"] = "mine:OTHER" if len(points) > 1 else "mine:METRIC"
    installed(*points)
    with pytest.raises(BenchError) as error:
        metrics.metrics()
    assert str(error.value).startswith(f"metric {points[0].name!r} of the package my-metric: ")
    assert said in str(error.value)
    assert str(error.value).endswith("Repair or uninstall my-metric")


def test_a_missing_function_is_found_before_training(installed):
    installed(Point("mine", mine()))
    with pytest.raises(BenchError, match="metric 'mine' of the package my-metric: ModuleNotFoundError"):
        metrics.check_functions()
    installed(Point("mine", Metric("mine", "Mine", "mm", lambda poses: poses.errors[:, 0])))
    metrics.check_functions()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "My metric"}, "name must be lower-case letters"),
        ({"name": "frames"}, "name must be lower-case letters"),
        ({"title": ""}, "title must be a line of text"),
        ({"unit": "mm\n"}, "unit must be a line of text"),
        ({"digits": 9}, "digits must be 0 to 6"),
        ({"better": "up"}, "better must be one of lower, higher"),
        ({"column": "first"}, "column must be one of always, where measured, further, never"),
        ({"views": "report"}, "views must be some of groups, sweeps, report"),
        ({"views": ("pages",)}, "views must be some of groups, sweeps, report"),
        ({"function": "per_frame"}, "function must be callable, or text like 'module:function'"),
    ],
)
def test_an_invalid_metric_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        Metric(**{"name": "mine", "title": "Mine", "unit": "mm", "function": "mine:per_frame", **changes})
