"""The page of a sweep: a table for every metric that asks for one and that points have."""

from __future__ import annotations

from report_samples import leave_sweep

from bench.results import sweeps
from bench.results.records import Metric
from bench.show.sweeps import page


def test_the_page_has_a_table_for_each_metric_of_the_points():
    leave_sweep()
    (path,) = sweeps.files("toy")
    outcome = sweeps.read(path)
    assert "MPJPE (mm):" in page([outcome])
    assert "Acceleration" not in page([outcome])
    more = {"accel": Metric(value=1.234, unit="mm/frame²"), "n_mpjpe": Metric(value=20, unit="mm")}
    points = [point.model_copy(update={"metrics": point.metrics | more}) for point in outcome.points]
    text = page([outcome.model_copy(update={"points": tuple(points)})])
    table = text.partition("Acceleration error (mm/frame²):\n\n")[2].splitlines()
    assert [cell.strip() for cell in table[2].strip("|").split("|")] == ["mixste, mean of H", "1.23", "1.23"]
    assert "N-MPJPE" not in text, "it asks for none"
