// The page: an overview of all benchmarks, or one of them.

const benchmarks = new Map(DATA.benchmarks.map((one) => [one.name, one]));
const measuredRows = (one) => one.boards[0].rows.filter((row) => row.measured.mpjpe);
const publishedRows = (one) => one.boards[0].rows.filter((row) => Object.keys(row.published).length);
const KINDS = [
  ["Measured", (one) => measuredRows(one).length > 0],
  ["Published numbers only", (one) => !measuredRows(one).length && publishedRows(one).length > 0],
  ["Nothing yet", (one) => !measuredRows(one).length && !publishedRows(one).length],
];

const kindOf = (one) => KINDS.find(([, test]) => test(one))[0];

function startNavigation() {
  const pick = document.getElementById("pick");
  const side = document.getElementById("side");
  pick.append(h("option", { value: "" }, "Overview"));
  side.append(h("a", { href: "#" }, "Overview"));
  for (const [kind, test] of KINDS) {
    const group = DATA.benchmarks.filter(test);
    if (!group.length) continue;
    pick.append(h("optgroup", { label: kind }, group.map((one) => h("option", { value: one.name }, one.name))));
    side.append(h("h2", {}, kind), h("ul", {}, group.map((one) => h("li", {}, h("a", { href: `#${one.name}` }, one.name)))));
  }
  pick.addEventListener("change", () => { location.hash = pick.value; });
  document.getElementById("brand").addEventListener("click", () => { location.hash = ""; });
  addEventListener("hashchange", show);
}

let shown = null;

function show() {
  const [name, part] = decodeURIComponent(location.hash.slice(1)).split("/");
  const benchmark = benchmarks.get(name);
  if (shown !== (benchmark ? name : "")) {
    shown = benchmark ? name : "";
    document.getElementById("pick").value = shown;
    for (const link of document.querySelectorAll("#side a")) {
      if (link.getAttribute("href") === `#${shown}`) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
    }
    document.getElementById("main").replaceChildren(...(benchmark ? benchmarkPage(benchmark) : overview()));
    document.title = benchmark ? `${benchmark.title} · Lifters compared` : "Lifters compared";
    document.dispatchEvent(new Event("theme")); // canvases are in the page from now on
    scrollTo(0, 0);
  }
  if (part) document.getElementById(part)?.scrollIntoView();
}

function overview() {
  const card = (one) => {
    const best = bestOf(measuredRows(one), (row) => row.measured.mpjpe.value);
    const paper = bestOf(publishedRows(one).filter((row) => "mpjpe" in row.published), (row) => row.published.mpjpe);
    return h("li", {}, h("a", { class: "card", href: `#${one.name}` },
      h("span", { class: "card-name" }, one.name), h("span", { class: "card-title" }, one.title),
      bars(one),
      h("span", { class: "card-numbers" },
        best ? h("span", {}, h("strong", {}, `${best.measured.mpjpe.value.toFixed(1)} mm`), ` measured, ${best.label}`) : null,
        paper ? h("span", {}, h("strong", {}, `${paper.published.mpjpe.toFixed(1)} mm`), ` published, ${paper.label}`) : null,
        best || paper ? null : h("span", {}, "Not measured yet."))));
  };
  const records = DATA.benchmarks.reduce((sum, one) => sum + one.boards.reduce((all, board) => all + board.rows.reduce((more, row) => more + row.records.length, 0), 0), 0);
  return [
    h("header", { class: "lead-in" }, h("h1", {}, "Lifters compared"),
      h("p", { class: "lead" }, "Methods that lift the 2D joints of a person in video to 3D poses, on the same protocols, beside the numbers of their papers. Measured and published numbers are never mixed."),
      h("p", { class: "caption" }, `${plural(records, "record")} of ${plural(DATA.benchmarks.length, "benchmark")}. Made ${day(DATA.made.at)}.`)),
    ...KINDS.map(([kind, test]) => [kind, DATA.benchmarks.filter(test)]).filter(([, group]) => group.length).map(([kind, group]) =>
      h("section", {}, h("h2", {}, kind), kind === "Nothing yet" ? null : h("p", { class: "lead" }, kind === "Measured" ? "MPJPE in mm, as measured here; lower is better. The mean pose is left out." : "MPJPE in mm, as their papers report it; lower is better."),
        kind === "Nothing yet" ? h("ul", { class: "plain" }, group.map((one) => h("li", {}, h("a", { href: `#${one.name}` }, one.name), ` ${one.title}. `, command(`make bench-${one.name}`)))) : h("ul", { class: "cards" }, group.map(card)))),
    madeBlock(),
  ];
}

const bestOf = (rows, value) => rows.reduce((best, row) => (!best || value(row) < value(best) ? row : best), null);

// The methods of a benchmark at a glance: measured where they are, else published.
function bars(one) {
  const measured = measuredRows(one).filter((row) => row.method !== "mean_pose");
  const list = (measured.length ? measured.map((row) => [row, row.measured.mpjpe.value]) : publishedRows(one).filter((row) => "mpjpe" in row.published).map((row) => [row, row.published.mpjpe])).sort((a, b) => a[1] - b[1]).slice(0, 6);
  if (!list.length) return null;
  const most = Math.max(...list.map(([, mm]) => mm));
  return h("span", { class: "bars" }, list.map(([row, mm]) => h("span", { class: "bar-row" }, h("span", { class: "bar-name" }, row.label),
    h("span", { class: measured.length ? "bar-track" : "bar-track outlined" }, h("span", { class: "bar-fill", style: { width: `${100 * mm / most}%`, background: measured.length ? colour(row.method) : "", borderColor: colour(row.method) } })), h("span", { class: "bar-value" }, mm.toFixed(1)))));
}

function benchmarkPage(one) {
  const [board] = one.boards;
  const rows = new Map(board.rows.map((row) => [row.id, row]));
  const run = `make bench-${one.name}`;
  const anyMeasured = measuredRows(one).length > 0;
  const parts = [...one.boards.map((each) => boardSection(one, each))];
  if (anyMeasured) {
    const missing = (id, title) => section(id, title, null, one.problems.length
      ? h("p", { class: "empty" }, "This section needs the folders of runs; the note at the top of this page says what is wrong with them.")
      : how("This section needs checkpoints and predictions of runs, which are missing. This command makes them:", run));
    parts.splice(1, 0,
      one.viewer ? viewerSection(one, rows) : missing("viewer", "Watch"),
      costSection(board), actionSection(board), jointSection(one, board),
      one.pck ? pckSection(one, rows) : missing("pck", "PCK curves"),
      one.sweeps.length ? sweepsSection(one, rows) : null,
      one.courses.length ? trainingSection(one, rows) : missing("training", "Training"));
    parts.push(provenanceSection(one));
  }
  const found = parts.filter(Boolean);
  const { protocol } = one;
  const item = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  return [
    h("header", { class: "lead-in" }, h("p", { class: "kicker" }, one.name), h("h1", {}, one.title),
      h("dl", { class: "protocol" }, item("Data", protocol.tested_on.dataset), item("2D keypoints", protocol.tested_on.keypoints),
        protocol.trained_on ? item("Trained on", `${protocol.trained_on.dataset}, ${protocol.trained_on.keypoints}`) : null,
        item("Frames", protocol.frames.join(", ")), item("Tested on", protocol.test_subjects.join(", ")), item("Mean over", protocol.averaging)),
      one.problems.length ? h("ul", { class: "problems" }, one.problems.map((text) => h("li", {}, text))) : null,
      found.length > 1 ? h("nav", { class: "jump", "aria-label": "Sections" }, found.map((part) => h("a", { href: `#${one.name}/${part.id}` }, part.querySelector("h2").textContent))) : null),
    ...found,
  ];
}

function provenanceSection(one) {
  const lines = one.boards.flatMap((board) => board.rows.flatMap((row) => row.records.map((record) => ({ row, record }))));
  const short = (text, length = 10) => (text ? h("code", { title: text }, text.length > length + 8 ? text.slice(0, length) + (text.endsWith("-dirty") ? "-dirty" : "") : text) : NONE);
  const same = (pick) => new Set(lines.map(({ record }) => pick(record))).size === 1;
  const packages = (record) => Object.entries(record.packages).map(([name, version]) => `${name} ${version}`).join(", ");
  const common = [["Data (SHA-256)", (record) => record.data], ["Packages", packages], ["Hardware", (record) => record.hardware], ["Test frames", (record) => record.frames.toLocaleString("en")], ["Test videos", (record) => record.sequences.toLocaleString("en")]];
  const shared = common.filter(([, pick]) => same(pick)), own = common.filter(([, pick]) => !same(pick));
  return section("provenance", "Provenance", "First what all runs have in common, then each run.",
    h("div", { class: "panel" }, h("dl", { class: "origin" }, shared.map(([name, pick]) => h("div", {}, h("dt", {}, name), h("dd", {}, pick(lines[0].record))))),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Runs" }, h("table", { class: "runs" },
        h("thead", {}, h("tr", {}, ["Run", "Seed", "Finished", "Code (git)", "Run key", "Configuration", "Epochs", "Trained for", ...own.map(([name]) => name), "Record"].map((name, place) => h("th", { scope: "col", class: place ? null : "pin" }, name)))),
        h("tbody", {}, lines.map(({ row, record }) => h("tr", {}, h("th", { scope: "row", class: "pin" }, dot(row.method), row.label), h("td", {}, record.seed), h("td", {}, day(record.finished_at)), h("td", {}, short(record.git)), h("td", {}, short(record.run_key, 8)), h("td", {}, short(record.config, 8)), h("td", {}, record.epochs ?? NONE), h("td", {}, duration(record.seconds)),
          own.map(([, pick]) => h("td", {}, short(pick(record), 30))), h("td", {}, h("a", { href: record.href }, "JSON")))))))), madeBlock());
}

function madeBlock() {
  const { at, git, packages } = DATA.made;
  const code = git.sha ? `, by the suite at ${git.sha.slice(0, 10)}${git.dirty ? " (with changes)" : ""}` : "";
  return h("p", { class: "made" }, `This page was made ${day(at)}${code}, ${Object.entries(packages).filter(([, version]) => version).map(([name, version]) => `${name} ${version}`).join(", ")}. It holds everything it shows and loads nothing from the network.`);
}

startNavigation();
startTheme();
show();
