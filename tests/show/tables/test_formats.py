"""The same tables as LaTeX, CSV and HTML: whole by structure, equal by number, and reached from the command line."""

from __future__ import annotations

import csv
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from test_tables import CHECKOUT, H36M, add_benchmark, block, measured, page

from bench.cli import benchmarks, main
from bench.results import records
from bench.results.metrics import METRICS
from bench.show.tables.content import KINDS
from bench.show.tables.export import export
from bench.show.tables.latex import escape
from bench.show.tables.model import numbers

ACTIONS = {"Walking": {"mpjpe": 49.0}, "Sitting & more": {"mpjpe": 51.0}}
JOINTS = {f"left part_{number}": {"mpjpe": 10.0 + number} for number in range(12)}
SUBJECTS = {"subject": {"S9": {"mpjpe": 45.0, "frames": 9}, "S11": {"mpjpe": 47.0, "frames": 4}}}
COST = {"test_frames_per_second": 12_345.6, "peak_memory_mb": 512.25, "device": "A GPU", "threads": 4}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with measured and published numbers, that commands take for their own."""
    add_benchmark(tmp_path, "toy", "synthetic", "det", 27)
    add_benchmark(tmp_path, "h36m-cpn-243", "h36m", "cpn", 243)
    (tmp_path / "results").mkdir()
    shutil.copy(CHECKOUT / "results" / "published.csv", tmp_path / "results")
    (tmp_path / "README.md").write_text("<!-- table:toy -->\n<!-- /table:toy -->\n")
    parts = {"per_action": ACTIONS, "per_joint": JOINTS, "groups": SUBJECTS}
    recipe = {"recipe": {"epochs": 8}}
    for record in (
        measured("mixste", 0, mpjpe=50.0, p_mpjpe=41.0, cost=COST, training={"seconds": 600.0}, **parts, **recipe),
        measured("mixste", 1, mpjpe=52.0, p_mpjpe=41.5, **parts, **recipe),
        measured("mine_2", mpjpe=60.0, p_mpjpe=40.0, **parts),
        measured("mean_pose", mpjpe=120.0, p_mpjpe=90.0, **parts),
        measured("mixste", mpjpe=41.26, **H36M),
    ):
        records.write(record, tmp_path / "results" / "records")
    monkeypatch.delenv("BENCH_RESULTS", raising=False)
    monkeypatch.setattr("bench.system.paths.root", lambda: tmp_path)
    return tmp_path


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["tables", *words])
    return int(ended.value.code or 0)


# Ranks


@pytest.mark.parametrize(
    ("metric", "values", "ranks"),
    [
        ("mpjpe", [50.01, 49.99, 50.06, 61.0], [1, 1, 2, 0]),  # ties as shown
        ("pck", [90.0, 95.0, 80.0], [2, 1, 0]),
        ("mpjpe", [50.0], [0]),
        ("mpjpe", [50.0, 50.0], [1, 1]),
    ],
)
def test_the_best_and_the_second_are_those_as_shown(metric: str, values: list[float], ranks: list[int]) -> None:
    assert [cell.rank for cell in numbers([{0: value} for value in values], METRICS[metric])] == ranks
    assert {cell.rank for cell in numbers([{0: value} for value in values], METRICS[metric], ranked=False)} == {0}


# LaTeX


def latex_tables(text: str) -> list[tuple[str, list[list[str]]]]:
    """Column letters and rows of every tabular, cells that span several counted as so many."""
    found = []
    for letters, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [line.strip()[:-2] for line in body.splitlines() if line.strip().endswith(r"\\")]
        cells = [re.split(r"(?<!\\)&", row) for row in rows]
        found.append((letters, [[cell.strip() for cell in row] for row in cells]))
    return found


@pytest.mark.parametrize("by", ["benchmark", "action", "joint", "subject", "cost"])
def test_latex_is_balanced_and_every_row_has_every_column(project: Path, by: str) -> None:
    text = export("latex", by=by)
    code = re.sub(r"(?<!\\)%.*", "", text).replace(r"\{", "").replace(r"\}", "")
    assert code.count("{") == code.count("}")
    depth = [0]
    for brace in re.findall(r"[{}]", code):
        depth.append(depth[-1] + (1 if brace == "{" else -1))
    assert min(depth) == 0
    opened, closed = (re.findall(rf"\\{word}\{{(\S+?)\}}", code) for word in ("begin", "end"))
    assert opened == [name for pair in zip(closed[1::2], closed[0::2], strict=True) for name in pair]
    assert set(re.findall(r"\\(\w*rule)", code)) <= {"toprule", "midrule", "cmidrule", "bottomrule"}
    tables = latex_tables(text)
    assert tables
    for letters, rows in tables:
        for row in rows:
            spans = [int(span[1]) if (span := re.match(r"\\multicolumn\{(\d+)\}", cell)) else 1 for cell in row]
            assert sum(spans) == len(letters)


def test_latex_marks_the_best_and_the_second_and_escapes(project: Path) -> None:
    ((letters, (titles, *rows)),) = latex_tables(export("latex", "toy"))
    assert letters == "lrrrrr"
    assert titles == ["Method", "Frames", "MPJPE (mm)", "P-MPJPE (mm)", "Parameters", "MACs/frame"]
    assert rows == [
        ["mean\\_pose", "27", "120.0", "90.0", "0", "0"],
        ["MixSTE", "27", r"\textbf{51.0 $\pm$ 1.4}", r"\underline{41.2 $\pm$ 0.4}", "33.7 M", "573 M"],
        ["mine\\_2", "27", r"\underline{60.0}", r"\textbf{40.0}", "33.7 M", "573 M"],
    ], "a method without a number has no place in a paper"
    assert "Sitting \\& more" in export("latex", "toy", "action").replace("\n", " ")
    assert r"\shortstack{left\\part\_0}" in export("latex", "toy", "joint")
    assert escape("50 % of $x_1 ~ {a}\\b^2 & #3 ± —") == (
        r"50 \% of \$x\_1 \textasciitilde{} \{a\}\textbackslash{}b\textasciicircum{}2 \& \#3 $\pm$ --"
    )


def test_latex_sets_published_beside_measured_with_notes_and_sources(project: Path) -> None:
    text = export("latex", "h36m-cpn-243")
    ((_, (above, below, *rows)),) = latex_tables(text)
    assert above[2] == r"\multicolumn{2}{c}{MPJPE (mm)}"
    assert below[2:4] == ["published", "measured"]
    assert r"\cmidrule(lr){3-4}" in text
    assert ["MixSTE", "243", r"\underline{40.9}", "41.3"] in [row[:4] for row in rows]
    assert any(row[0] == r"P-STMO-S\textsuperscript{1}" for row in rows)
    assert r"\textsuperscript{1} Published: in conflict with the P-STMO README" in text
    assert "% VideoPose3D: published in VideoPose3D public README\n" in text
    assert re.search(r"^% MixSTE: results/records/h36m-cpn-243/mixste-s0-\w+\.json$", text, re.MULTILINE)


# CSV


def test_csv_has_a_line_a_number_with_its_source(project: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(export("csv"))))
    (ours,) = [one for one in lines if (one["benchmark"], one["method"], one["metric"]) == ("toy", "mixste", "mpjpe")]
    assert (ours["kind"], float(ours["value"]), ours["unit"], ours["seeds"]) == ("measured", 51.0, "mm", "0 1")
    assert float(ours["sd"]) == pytest.approx(2**0.5, rel=1e-5)
    assert all((project / path).is_file() for path in ours["source"].split())
    mixste = [one for one in lines if (one["benchmark"], one["method"]) == ("h36m-cpn-243", "mixste")]
    both = {one["kind"]: (float(one["value"]), one["seeds"]) for one in mixste if one["metric"] == "mpjpe"}
    assert both == {"published": (40.9, ""), "measured": (41.26, "0")}, "all digits"
    assert next(one for one in mixste if one["kind"] == "published")["source"].startswith("Diff3DHPE public README")
    assert not any(one["method"] == "diff3dhpe" and one["benchmark"] == "toy" for one in lines)


def test_csv_of_actions_names_each(project: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(export("csv", "toy", "action"))))
    assert {(one["name"], float(one["value"])) for one in lines} == {("Walking", 49.0), ("Sitting & more", 51.0)}
    assert len(lines) == 3 * len(ACTIONS)


# HTML


class Fragment(HTMLParser):
    """Checks that every tag is closed where it should be, and collects tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.rows: list[list[tuple[str, str]]] = []
        self.links: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append((dict(attrs).get("class") or "", ""))
        if tag == "a":
            self.links.append(dict(attrs)["href"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and {"td", "th"} & set(self.open):
            classes, text = self.rows[-1][-1]
            self.rows[-1][-1] = classes, text + data


@pytest.mark.parametrize("by", ["benchmark", "action", "joint", "subject", "cost"])
def test_html_is_whole_and_every_row_has_every_column(project: Path, by: str) -> None:
    fragment = Fragment(export("html", "toy", by))
    assert {"section", "table", "caption", "thead", "tbody", "style"} <= fragment.tags
    assert not {"script", "link", "img"} & fragment.tags
    assert len({len(row) for row in fragment.rows}) == 1


def test_html_says_in_classes_what_a_number_is_and_links_its_record(project: Path) -> None:
    fragment = Fragment(export("html", "h36m-cpn-243"))
    mixste = next(row for row in fragment.rows if row[0][1] == "MixSTE")
    assert mixste[2:4] == [("published second", "40.9"), ("measured", "41.3")]
    (link,) = fragment.links
    assert (project / link).is_file()
    assert "Sitting &amp; more" in export("html", "toy", "action")


# Cost


def test_a_page_shows_cost_and_the_readme_does_not(project: Path) -> None:
    assert run() == 0
    about, _, table = page(project).split("## Cost\n\n")[1].partition("\n\n")
    titles, _, row = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines())
    assert dict(zip(titles, row, strict=True)) == {
        "Method": "MixSTE",
        "Frames": "27",
        "MPJPE (mm)": "51.0 ± 1.4",
        "Parameters": "33.7 M",
        "MACs/frame": "573 M",
        "Test frames/s": "12,346",
        "Peak memory (MB)": "512",
        "Training (min)": "10.0",
        "Device": "A GPU, 4 threads; CPU",
    }
    assert "measured on the named device" in about
    assert "12,346" not in block(project)
    assert "## Cost" not in page(project, "h36m-cpn-243"), "nobody timed these"
    seconds = {one["metric"]: one["value"] for one in csv.DictReader(io.StringIO(export("csv", "toy", "cost")))}
    assert (seconds["training_seconds"], seconds["test_frames_per_second"]) == ("600", "12345.6")


def test_the_training_of_stages_is_paid_too(project: Path) -> None:
    training = {"seconds": 60.0, "stages": {"pretrain": {"seconds": 120.0}}}
    records.write(measured("mine_2", day=2, training=training), project / "results" / "records")
    assert re.search(r"^\| mine_2 .* 3\.0 \|", export("markdown", "toy", "cost"), re.MULTILINE)


# The command line


@pytest.mark.parametrize("form", benchmarks.FORMATS)
def test_a_table_goes_to_the_terminal_or_a_file(project: Path, capsys, monkeypatch, form: str) -> None:
    monkeypatch.chdir(project)
    before = sorted(project.rglob("*"))
    assert run("--format", form, "toy", "--by", "joint") == 0
    text = capsys.readouterr().out
    assert text == export(form, "toy", "joint")
    assert sorted(project.rglob("*")) == before, "nothing else is written"
    assert run("--format", form, "toy", "--by", "joint", "-o", "paper/joints.txt") == 0
    assert capsys.readouterr().out == "written  paper/joints.txt\n"
    assert (project / "paper" / "joints.txt").read_text() == text


def test_links_lead_from_the_file_to_the_records(project: Path, monkeypatch) -> None:
    monkeypatch.chdir(project)
    assert run("--format", "html", "h36m-cpn-243", "-o", "paper/table.html") == 0
    (link,) = Fragment((project / "paper" / "table.html").read_text()).links
    assert (project / "paper" / link).resolve().is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["toy"], "go with --format or --figure"),
        (["--by", "action"], "go with --format or --figure"),
        (["--format", "csv", "toi"], "Did you mean 'toy'"),
        (["--format", "latex", "h36m-cpn-243", "--by", "action"], "no record of h36m-cpn-243 has a table by action"),
        (["--format", "csv", "--by", "scene"], "no record of any benchmark has a table by scene"),
        (["--figure", "cost", "toy"], "a figure needs a benchmark and a file"),
        (["--figure", "cost", "toy", "-o", "cost.doc"], "a figure is written as svg, png, pdf, not as .doc"),
    ],
)
def test_what_cannot_be_given_is_refused(project: Path, capsys, monkeypatch, words: list[str], message: str) -> None:
    monkeypatch.chdir(project)
    before = sorted(project.rglob("*"))
    assert run(*words) == 2
    assert message in capsys.readouterr().err
    assert sorted(project.rglob("*")) == before


def test_every_kind_of_group_can_be_asked_for() -> None:
    assert set(KINDS) < set(benchmarks.BY)


def test_rendering_again_changes_nothing_and_a_hand_edited_number_is_found(project: Path, capsys) -> None:
    assert run("--check") == 2
    assert run() == 0
    files = {path: path.read_bytes() for path in project.rglob("*.md")}
    assert run() == 0
    assert capsys.readouterr().out.endswith("every table is up to date\n")
    assert {path: path.read_bytes() for path in project.rglob("*.md")} == files
    assert run("--check") == 0
    readme = project / "README.md"
    readme.write_text(readme.read_text().replace("51.0", "31.0"))
    capsys.readouterr()
    assert run("--check") == 2
    out, err = capsys.readouterr()
    assert "outdated  README.md" in out
    assert "run: make tables" in err
    assert "31.0" in readme.read_text(), "a check changes nothing"


def test_as_published_rows_are_apart_in_every_format(project: Path) -> None:
    counted = {"accounting": "as-published", "protocol": {"accounting": "as-published"}, "recipe": {"epochs": 8}}
    records.write(measured("mixste", mpjpe=44.0, **counted), project / "results" / "records")
    shared, own = latex_tables(export("latex", "toy"))
    assert not any("44.0" in cell for row in shared[1] for cell in row)
    assert [row[2] for row in own[1][1:]] == ["44.0"], "no bold"
    kinds = {
        one["accounting"]: one["value"]
        for one in csv.DictReader(io.StringIO(export("csv", "toy")))
        if (one["method"], one["metric"]) == ("mixste", "mpjpe")
    }
    assert kinds == {"shared": "51", "as-published": "44"}
