"""The report as a reader meets it, in Chromium: what is clicked and typed does what it says."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from report_samples import MARKUP, leave_sweep

from bench.show.report import default_path, write_report

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any, with_runs: Path) -> Iterator[Callable[..., Any]]:
    """Opens the report at its benchmark; afterwards nothing was asked of a network and nothing went wrong."""
    write_report(None, [str(with_runs / "toy.yaml")])
    found: list[str] = []
    pages = []

    def open_at(place: str = "#toy", **settings: Any) -> Any:
        page = browser.new_page(**({"viewport": {"width": 1280, "height": 900}} | settings))
        page.on("console", lambda message: found.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: found.append(f"error: {error}"))
        page.on("request", lambda request: found.append(request.url) if request.url != page.url else None)
        page.goto(default_path().as_uri() + place)
        pages.append(page)
        return page

    yield open_at
    for page in pages:
        page.close()
    assert [one for one in found if not one.startswith("file:") or not re.search(r"report\.html", one)] == []


def methods(page: Any) -> list[str]:
    return [text.strip() for text in page.locator(".board tbody th").all_inner_texts()]


def test_text_of_records_is_text(opened):
    page = opened()
    assert page.title() == "People & <b>markup</b> · Lifters compared"
    assert page.locator("h1").inner_text() == "People & <b>markup</b>"
    assert any(MARKUP in name for name in methods(page))
    assert page.locator("main img").count() == 0


def test_a_heading_sorts_by_click_and_by_enter_and_unknown_numbers_stay_last(opened):
    page = opened()
    order = [name.partition(" ")[0] for name in methods(page)]
    assert order == ["MixSTE", "mean_pose", "poseformer"]
    heading = page.locator('[data-key="measured.mpjpe"]')
    heading.click()
    assert [name.partition(" ")[0] for name in methods(page)] == ["mean_pose", "MixSTE", "poseformer"]
    assert page.locator('th[aria-sort="descending"]').count() == 1
    page.keyboard.press("Enter")  # the focus has stayed on the heading
    assert [name.partition(" ")[0] for name in methods(page)] == ["MixSTE", "mean_pose", "poseformer"]


def test_methods_are_filtered_by_text_and_columns_by_metric(opened):
    page = opened()
    page.get_by_label("Filter methods").fill("MEAN")
    assert methods(page) == ["mean_pose"]
    assert page.locator('[data-key="measured.p_mpjpe"]').count() == 1
    page.get_by_role("button", name="P-MPJPE", exact=True).first.click()
    assert page.locator('[data-key="measured.p_mpjpe"]').count() == 0
    page.get_by_label("Filter methods").fill("nobody")
    assert "No method matches" in page.locator(".board tbody").inner_text()


def test_the_viewer_plays_steps_turns_and_jumps(opened):
    page = opened()
    slider, counter = page.get_by_label("Frame", exact=True), page.locator(".counter")
    before = counter.inner_text()
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert counter.inner_text() == before.replace("frame 0", "frame 2")
    page.keyboard.press("Space")
    assert page.locator(".play").inner_text() == "Pause"
    page.wait_for_function("text => document.querySelector('.counter').textContent !== text", arg=counter.inner_text())
    page.keyboard.press("Space")
    assert page.locator(".play").inner_text() == "Play"
    picture = "canvas => canvas.toDataURL()"
    figure = page.locator("canvas.orbit").first
    still = figure.evaluate(picture)
    figure.focus()
    page.keyboard.press("ArrowLeft")
    assert figure.evaluate(picture) != still
    page.locator(".view select").first.select_option("mean_pose@9")
    assert page.locator(".view .big").first.inner_text() == "113 mm"  # 120 of 16 joints, none of the root
    page.locator(".worst button").first.click()
    assert re.search(r"frame \d+", page.locator(".worst button").first.inner_text())[0] in counter.inner_text()


def test_the_figure_and_the_curves_show_what_is_chosen(opened):
    page = opened()
    page.locator("#joints select").first.select_option("mean_pose@9")
    assert page.locator("#joints figure").first.locator(".joint-text").all_text_contents() == ["120"] * 16
    assert "AUC" in page.locator("#pck .reading").first.inner_text()
    page.locator("#pck svg.chart").hover()
    assert "Share of joints within" in page.locator("#pck .caption").inner_text()


def test_sweeps_have_a_chart_whose_lines_can_be_read_and_oracles_are_dashed(with_runs, opened):
    leave_sweep()
    write_report(None, [str(with_runs / "toy.yaml")])
    sweeps = opened().locator("#sweeps")
    assert "hypotheses" in sweeps.locator("h3").inner_text()
    lines = sweeps.locator("svg.chart .series path")
    assert lines.count() == 2
    assert lines.nth(1).get_attribute("stroke-dasharray")
    sweeps.locator("summary").click()
    assert "30.0 (29.0 to 31.0)" in sweeps.locator("table").inner_text()


@pytest.mark.parametrize("system", ["light", "dark"])
def test_colours_follow_the_system_until_somebody_chooses(opened, system):
    page = opened(color_scheme=system)
    background = "getComputedStyle(document.body).backgroundColor"
    first = page.evaluate(background)
    assert page.evaluate("document.documentElement.dataset.theme") == system
    page.locator("#theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") != system
    assert page.evaluate(background) != first


@pytest.mark.parametrize("place", ["", "#toy"])
def test_a_phone_shows_it_without_scrolling_sideways(opened, place):
    page = opened(place, viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_the_overview_leads_to_a_benchmark_and_back(opened):
    page = opened("")
    page.locator(".card").click()
    page.locator("#board").wait_for()  # the page follows the address a moment later
    assert page.locator(".card").count() == 0
    page.go_back()
    page.locator(".card").wait_for()
    assert page.locator("#board").count() == 0
