"""What the tracker keeps of a run."""

from __future__ import annotations

import re

import pytest

from bench.results.metrics import METRICS
from bench.results.records import Metric
from bench.runs.log import logged_name


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("mm", "name_mm"),
        ("mm/frame", "name_mm"),  # as stores hold it already
        ("%", "name_percent"),
        ("mm/frame²", "name_mm_per_frame2"),
        ("°", "name_degrees"),
        ("m/s", "name_m_per_s"),
        ("", "name"),
        ("Ω · ミリ", "name"),
        ("% of frames", "name_percent_of_frames"),
    ],
)
def test_every_unit_has_a_name_that_mlflow_accepts(unit, expected):
    found = logged_name("name", Metric(value=1, unit=unit))
    assert found == expected
    assert re.fullmatch(r"[\w.-]+", found, re.ASCII)


def test_no_two_metrics_of_the_suite_share_a_name():
    names = {logged_name(name, Metric(value=1, unit=one.unit)) for name, one in METRICS.items()}
    assert len(names) == len(METRICS)
