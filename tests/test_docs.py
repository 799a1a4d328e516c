"""The documentation says what is there: links, commands, paths, names and defaults."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import pydoc
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import BaseModel

import bench
from bench.cli import _parser
from bench.config import MethodEntry, Protocol, Recipe, Stage, Sweep, benchmark_names, load_benchmark
from bench.data import datasets
from bench.data.mocap.detector import Detector
from bench.method import registry

ROOT = Path(__file__).parent.parent
SITE = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *SITE]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z%-]*):", MAKEFILE, re.M))


def _commands(parser: argparse.ArgumentParser, words: str = "") -> dict[str, argparse.ArgumentParser]:
    """Every command by its words, like "data describe"; a group is left to those in it."""
    groups = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        return {words: parser}
    inner = [_commands(one, f"{words} {name}".strip()) for name, one in groups[0].items()]
    return {name: one for found in inner for name, one in found.items()}


COMMANDS = _commands(_parser())

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def fences(page: Path, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


def spans(page: Path) -> list[str]:
    """What stands between backticks in running text."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text(encoding="utf-8")))


def commands(page: Path) -> Iterator[list[str]]:
    """Words of every shell command: in fences without a language, indented blocks and backticks."""
    text = page.read_text(encoding="utf-8")
    lines = [line for body in fences(page, "") for line in body.splitlines()]
    lines += re.findall(r"^    (\S.*)$", FENCE.sub("", text), re.M) + spans(page)
    for line in lines:
        if not re.match(r"([A-Z_]+=\S+ )*(\.venv/bin/bench|bench|make)( |$)", line):
            continue
        words = shlex.split(line, comments=True)
        while "=" in words[0]:
            words = words[1:]
        yield [words[0].removeprefix(".venv/bin/"), *words[1:]]


# --- what is named exists


@every_page
def test_relative_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text(encoding="utf-8")))
    paths = [link.partition("#")[0] for link in links if "://" not in link]
    assert [path for path in paths if path and not (page.parent / path).exists()] == []


@every_page
def test_files_that_are_named_exist(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(
        r"(?<![\w./-])(?:configs|docs|tests|bench|baselines|diff3dhpe)/[\w./-]+\.(?:py|yaml|json|md)", text
    )
    assert [name for name in named if not Path(name).stem.isupper() and not (ROOT / name).is_file()] == []


@every_page
def test_names_of_python_exist(page):
    named = [
        name for span in spans(page) if (name := re.match(r"(?:bench|baselines|diff3dhpe)(?:\.[A-Za-z_]\w*)+", span))
    ]
    assert [name[0] for name in named if pydoc.locate(name[0]) is None] == []


@every_page
def test_configuration_keys_exist(page):
    for span in spans(page):
        part, _, key = re.split(r"[= ]", span)[0].partition(".")
        if part in ("recipe", "protocol") and key.isidentifier():
            assert key in {"recipe": Recipe, "protocol": Protocol}[part].model_fields, span
        if part == "methods" and key:
            method, *steps, kind, name = key.split(".")
            trained = registry.trained_class("-".join([method, *steps[1:]]))
            assert steps[:1] in ([], ["stages"]), span
            known = Recipe.model_fields if kind == "recipe" else inspect.signature(trained).parameters
            assert kind in ("model", "recipe"), span
            assert name in known, span


# --- commands can be given


@every_page
def test_commands_of_bench_exist(page):
    importable = [*bench.methods(), "pstmo-pretrain"]
    own = re.findall(r'entry-points\."bench\.datasets"\]\n(\w+)', page.read_text())  # of the page's own package
    written = re.findall(r"`([\w.-]+)\.yaml`", page.read_text())
    known_names = {
        "run": [*benchmark_names(), *written],
        "data describe": [*datasets(), *own],
        "data verify": [*datasets(), *own],
        "import": importable,
    }
    known_names |= dict.fromkeys(("score", "export template", "sweep"), benchmark_names())
    for words in commands(page):
        if words[0] != "bench" or words[1:] in ([], ["--help"]):
            continue
        command = next((name for name in (words[1], " ".join(words[1:3])) if name in COMMANDS), None)
        if any(name.startswith(f"{words[1]} ") for name in COMMANDS) and len(words) == 2:
            continue  # a group, named alone
        assert command, words
        known = COMMANDS[command]._option_string_actions
        assert [word for word in words if word.startswith("--") and word.partition("=")[0] not in known] == [], words
        named = (*words[1 + len(command.split()) :], "")[0]
        if command in known_names and named.islower() and "/" not in named and not named.startswith("-"):
            assert named in known_names[command], words


@every_page
def test_commands_of_make_exist(page):
    for words in commands(page):
        if words[0] != "make":
            continue
        for word in words[1:]:
            variable, equals, value = word.partition("=")
            kind, _, name = word.partition("-")
            if equals:
                assert f"$({variable})" in MAKEFILE, words
                if variable == "SET":
                    load_benchmark(words[1].removeprefix("bench-"), value.split())
            elif word not in TARGETS:
                assert f"{kind}-%" in TARGETS, words
                names = benchmark_names() if kind == "bench" else list(datasets())
                assert name in names or name.isupper(), words


def test_the_changelog_names_every_command_and_benchmark():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    named = {name.removeprefix("bench ") for name in re.findall(r"`([^`\n]+)`", text)}
    assert {*COMMANDS, *benchmark_names()} - named == set()


# --- numbers are those of the code


def section(page: str, heading: str) -> str:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def cells(text: str) -> list[list[str]]:
    """The rows of all tables in a text, without the lines below their heads."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [row for row in rows if set(row) != {"---"}]


def value_of(cell: str) -> Any:
    """What a cell says, as a benchmark's file would; lists also without their brackets."""
    if re.fullmatch(r"\de-\d", cell):
        return float(cell)
    parsed = yaml.safe_load(f"[{cell}]" if ", " in cell and "[" not in cell else cell)
    return None if parsed == "none" else parsed


@pytest.mark.parametrize(
    ("heading", "model"), [("Protocol", Protocol), ("Methods", MethodEntry), ("Recipe", Recipe), ("Sweeps", Sweep)]
)
def test_every_key_of_a_benchmark_is_documented_with_its_default(heading, model):
    documented = {row[0].strip("`"): row[1] for row in cells(section("reference/configuration.md", heading))[1:]}
    assert documented.keys() == model.model_fields.keys()
    for key, field in model.model_fields.items():
        if field.is_required():
            assert documented[key] == "required", key
            continue
        default = field.default.model_dump(exclude_defaults=True) if key == "recipe" else field.default
        assert value_of(documented[key]) == (list(default) if isinstance(default, tuple) else default), key


def test_a_stage_has_nothing_that_is_not_documented():
    assert Stage.model_fields.keys() <= MethodEntry.model_fields.keys()


def test_recipes_are_documented_as_they_are():
    head, *rows = cells(section("reference/methods.md", "Recipes").partition("\n\n| benchmark |")[0])
    recipes: dict[str, BaseModel] = {}
    for method in head[1:]:
        name, _, stage = method.replace("`", "").partition(": ")
        stated = yaml.safe_load((ROOT / "configs" / "methods" / f"{name}.yaml").read_text(encoding="utf-8"))
        over = stated["stages"][stage]["recipe"] if stage else {}
        recipes[method] = Recipe.model_validate({**stated["recipe"], **over})
    assert len(recipes) == len(list((ROOT / "configs" / "methods").glob("*.yaml"))) + 1
    for key, *values in ([row[0].strip("`"), *row[1:]] for row in rows):
        for method, value in zip(head[1:], values, strict=True):
            found = getattr(recipes[method], key)
            assert value_of(value) == (list(found) if isinstance(found, tuple) else found), (method, key)
    documented = {row[0].strip("`") for row in rows}
    for method, recipe in recipes.items():
        apart = {key for key in recipe.model_fields_set if getattr(recipe, key) != Recipe.model_fields[key].default}
        assert apart <= documented, method


def test_the_recipe_of_every_published_benchmark_is_documented():
    rows = cells(section("reference/methods.md", "Recipes"))
    documented, benchmark = set(), ""
    for row in rows[1 + next(number for number, row in enumerate(rows) if row[0] == "benchmark") :]:
        benchmark = row[0].strip("`") or benchmark
        documented.add((benchmark, row[1].strip("`")))
    published = [
        load_benchmark(name) for name in benchmark_names() if not name.startswith(("demo", "cmu-", "synthetic-"))
    ]
    assert documented == {(one.name, method) for one in published for method in one.methods}


def test_the_quirks_are_those_that_as_published_brings_back():
    text = section("reference/methods.md", "Quirks of the published code")
    documented = set()
    for methods, _, _, switch, brought_back in cells(text.partition("### Training")[2].partition("### ")[0])[1:]:
        assert brought_back in ("yes", "no"), switch
        for key, value in re.findall(r"`((?:model|recipe)\.\w+)(?:=([\w-]+))?`", switch):
            part, _, name = key.partition(".")
            for method in re.findall(r"`([\w-]+)`", methods):
                cls = registry.trained_class(method)
                known = Recipe.model_fields if part == "recipe" else inspect.signature(cls).parameters
                assert name in known, (method, key)
                if brought_back == "yes":
                    documented.add((method, key, yaml.safe_load(value)))
    classes = [registry.method_class(name) for name in bench.methods()]
    classes += [stage for cls in classes for stage in cls.stages.values()]
    assert documented == {
        (cls.name, f"{part}.{key}", value)
        for cls in classes
        for part, settings in cls.as_published.items()
        for key, value in settings.items()
    }


@pytest.mark.parametrize("part", ["Training", "Counting"])
def test_quirks_are_of_methods_that_exist(part):
    text = (
        section("reference/methods.md", "Quirks of the published code")
        .partition(f"### {part}\n")[2]
        .partition("### ")[0]
    )
    named = {name for row in cells(text)[1:] for name in re.findall(r"`([\w-]+)`", row[0])}
    assert named <= {*bench.methods(), "pstmo-pretrain"}


def test_the_detector_has_the_documented_defaults():
    documented = re.findall(r"^\| `(\w+)` \| (\S+) \|", section("reference/datasets.md", "Simulated detector"), re.M)
    assert dict(documented) == {field.name: str(field.default) for field in dataclasses.fields(Detector)}


@pytest.mark.parametrize("heading", ["MixSTE", "Diff3DHPE", "PoseFormer", "P-STMO", "VideoPose3D"])
def test_methods_have_the_documented_defaults(heading):
    documented = re.findall(r"^\| `(\w+)` \| (\S+) \|", section("reference/methods.md", heading), re.M)
    method = registry.method_class(heading.lower().replace("-", ""))
    classes = (method, *method.stages.values())  # what a stage shares with its method is documented once
    parameters = [one for cls in classes for one in inspect.signature(cls).parameters.values()]
    defaults = {one.name: one.default for one in parameters if one.name not in ("frames", "joints")}
    assert all(defaults.get(one.name, one.default) == one.default for one in parameters)
    assert dict(documented) == {
        name: re.sub("None|True|False", lambda word: word[0].lower(), str(value)) for name, value in defaults.items()
    }


def test_methods_have_the_documented_sizes():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| ([\d,]+) \|", section("reference/methods.md", "Sizes"), re.M)
    assert {method for method, _, _ in rows} == set(bench.methods()) - {"mean_pose"}
    for method, frames, parameters in rows:
        with torch.device("meta"):
            assert f"{bench.build(method, frames=int(frames)).parameter_count:,}" == parameters


def test_every_dependency_is_explained():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[<>=]", one)[0] for one in wanted}
    text = "".join(section("reference/dependencies.md", heading) for heading in ("To run", "To develop"))
    assert set(re.findall(r"^\| ([\w-]+) \|", text, re.M)) - {"package", "extra"} == names


# --- the first screen


def test_the_first_screen_of_the_readme_is_short():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    first = text.partition("\n## ")[0]
    assert [line.partition("#")[0].strip() for line in FENCE.findall(first)[0][1].splitlines()] == [
        "make demo",
        "make test",
    ]
    assert "](docs/pictures/" in first
    assert set(re.findall(r"<!-- table:(\S+) -->", text)) == {"papers"}, "no number that is not Human3.6M's"


# --- the site


def test_every_page_is_in_the_navigation_once():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"[\w/-]+\.md", text.partition("\nnav:\n")[2])
    assert sorted(listed) == sorted(page.relative_to(ROOT / "docs").as_posix() for page in SITE)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The folder of a copy of the documentation, to be built."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    return tmp_path


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    zensical = shutil.which("zensical", path=str(Path(sys.executable).parent))
    if zensical is None:
        pytest.skip("no zensical here")
    return subprocess.run([zensical, "build", "--strict"], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_asks_nothing_of_the_network(site):
    done = build(site)
    assert done.returncode == 0, done.stderr
    fetched = re.compile(r"<(?:script|img|iframe|link rel=.?stylesheet)[^>]+(?:src|href)=.?(?:https?:)?//[^>]+>")
    pages = list((site / "site").rglob("*.html"))
    assert {page.stem for page in pages} >= {page.stem for page in SITE}
    assert [found[0] for page in pages if (found := fetched.search(page.read_text(encoding="utf-8")))] == []


@pytest.mark.slow
@pytest.mark.parametrize("link", ["nowhere.md", "results.md#nowhere", "#nowhere", "../README.md"])
def test_the_site_is_not_built_with_a_broken_link(site, link):
    with (site / "docs" / "index.md").open("a") as page:
        page.write(f"\n[broken]({link})\n")
    assert build(site).returncode == 1


@pytest.mark.slow
def test_the_site_is_searched_without_a_server(site):
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here")
    assert build(site).returncode == 0
    asked: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--headless=new", "--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "site" / "index.html").as_uri())
        page.get_by_role("button", name="Search").first.click()
        page.get_by_placeholder("Search").last.wait_for()
        page.keyboard.type("reprojection, oracle on the root", delay=30)
        page.get_by_text("Hypotheses").last.wait_for()
        browser.close()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


# --- code runs


@every_page
def test_python_blocks_compile(page):
    for block in fences(page, "python"):
        compile(block, str(page), "exec")
