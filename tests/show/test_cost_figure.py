"""The figure of cost: which points there are, where they stand, and names that cover nothing."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from matplotlib.colors import to_rgba
from matplotlib.image import imread
from test_tables import H36M, measured

from bench.config import Benchmark
from bench.method.cost import macs_per_frame
from bench.method.registry import build
from bench.results.records import published, write
from bench.show import cost_figure as figures
from bench.show.cost_figure import CostPoint, cost_figure, draw, points
from bench.show.tables import rows
from bench.system.errors import BenchError

SMALL = {"dim": 16, "depth": 1, "heads": 2}


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    """Published numbers of Human3.6M, for networks that are counted in a moment."""
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path))
    protocol = {"dataset": "h36m", "keypoints": "cpn", "frames": 243, "train_subjects": ["S1"], "test_subjects": ["S9"]}
    methods = {"mean_pose": {}, "mixste": {"model": SMALL}}
    return Benchmark.model_validate(
        {"name": "h36m-cpn-243", "title": "People", "protocol": protocol, "methods": methods}
    )


def test_a_point_has_the_cost_of_its_record_or_of_the_network_that_is_stated(people: Benchmark) -> None:
    network = build("mixste", frames=243, **SMALL)
    size = (macs_per_frame(network, 17), network.parameter_count)
    (only,) = points(people, rows(people, [], published()))
    assert only == CostPoint("MixSTE", "published", size[0], 40.9, size[1]), "of others no cost is known"
    ci = {"metrics": {"mpjpe": {"value": 41.0, "unit": "mm", "ci": (40.0, 42.5)}}}
    recorded = [measured("mixste", **ci, **H36M), measured("mean_pose", 0, mpjpe=100.0, **H36M)]
    recorded += [measured("mean_pose", 1, mpjpe=104.0, **H36M)]
    assert points(people, rows(people, recorded, published())) == [
        CostPoint("MixSTE", "published", 573_456_789, 40.9, 33_650_435),
        CostPoint("MixSTE", "measured", 573_456_789, 41.0, 33_650_435, (40.0, 42.5)),
        CostPoint("mean_pose", "measured", 0, 102.0, 0, (pytest.approx(102 - 8**0.5), pytest.approx(102 + 8**0.5))),
    ]


def crowd(count: int) -> list[CostPoint]:
    """Methods of nearly the same cost and error."""
    return [CostPoint(f"Method {one}", "measured", 1e6 * 1.05**one, 50 + 0.3 * (one % 3), 1e5) for one in range(count)]


@pytest.mark.parametrize("found", [crowd(1), crowd(8), [*crowd(3), CostPoint("far", "published", 1e10, 300.0, 1e9)]])
def test_names_cover_neither_each_other_nor_a_point(found: list[CostPoint]) -> None:
    figure = draw("A title", found)
    (axes,) = figure.axes
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    names = [text.get_window_extent(renderer) for text in axes.texts if text.get_text() in {one.label for one in found}]
    assert len(names) == len(found)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(names, 2))
    places = axes.transData.transform([(one.macs, one.mpjpe) for one in found])
    assert not any(name.contains(*place) for name in names for place in places)
    assert all(axes.bbox.x0 <= name.x0 and name.x1 <= axes.bbox.x1 for name in names)


def test_measured_is_filled_published_is_hollow_and_area_follows_parameters() -> None:
    found = [
        CostPoint("A", "measured", 1e6, 50.0, 4e6, (48.0, 53.0)),
        CostPoint("A", "published", 1e6, 45.0, 4e6),
        CostPoint("B", "measured", 1e8, 60.0, 1e6),
        CostPoint("floor", "measured", 0, 200.0, 0),
        CostPoint("riddle", "measured", None, 180.0, 5e6),
    ]
    (axes,) = draw("A title", found).axes
    ours, theirs, small = axes.collections
    assert to_rgba("white") == pytest.approx(theirs.get_facecolor()[0], abs=0.11)
    assert tuple(ours.get_facecolor()[0]) == tuple(theirs.get_edgecolor()[0]), "a method has one colour"
    assert ours.get_sizes()[0] == pytest.approx(4 * small.get_sizes()[0])
    assert [list(line.get_ydata()) for line in axes.lines] == [[48.0, 53.0]]
    assert axes.get_xscale() == "log"
    assert axes.get_ylim()[1] < 100, "what has no place on the scale does not stretch the other"
    (below,) = [text.get_text() for text in axes.texts if "floor" in text.get_text()]
    assert below.endswith("floor, which multiplies nothing: 200.0 mm; riddle, of unknown cost: 180.0 mm")


@pytest.mark.parametrize("form", figures.FORMATS)
def test_it_is_written_in_each_format_the_same_twice(people: Benchmark, tmp_path: Path, form: str) -> None:
    write(measured("mixste", mpjpe=41.0, **H36M))
    one, two = tmp_path / f"one.{form}", tmp_path / f"two.{form}"
    cost_figure(one, people)
    cost_figure(two, people)
    assert one.read_bytes() == two.read_bytes()
    if form == "png":
        assert imread(one).std() > 0.02, "it is not blank"


def test_nothing_to_draw_is_refused(people: Benchmark, tmp_path: Path) -> None:
    empty = people.model_copy(update={"name": "nobody"})
    with pytest.raises(BenchError, match="no method of nobody has both an MPJPE and a cost yet; run: bench run nobody"):
        cost_figure(tmp_path / "cost.png", empty)
    assert not list(tmp_path.iterdir())
